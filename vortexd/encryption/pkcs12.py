"""The private keys of a PKCS #12 key store (RFC 7292), as keytool and openssl write it. Pure.

`cryptography` reads the first key of a store and no other; here are all of them, each by its alias and still encrypted, for it may have a password
of its own.
"""

from collections.abc import Iterator
from typing import Any

from asn1crypto import pkcs12
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

_OTHER_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")


def is_java_store(data: bytes) -> bool:
    """Whether this is a store of Java's own two kinds, JKS and JCEKS, which nobody else reads."""
    return data.startswith(_OTHER_STORES)


def encrypted_keys(data: bytes, password: bytes) -> dict[str, bytes]:
    """The keys of a store: alias in lower case (as Java compares them) to an EncryptedPrivateKeyInfo in DER.

    Raises:
        ValueError: It isn't such a store, or the password isn't its own.
    """
    load_pkcs12(data, password)  # checks its seal
    try:
        return dict(_keys(data))
    except (TypeError, AttributeError) as error:
        # What asn1crypto makes of some structures that aren't as they should be.
        raise ValueError("isn't a PKCS #12 key store") from error


def _keys(data: bytes) -> Iterator[tuple[str, bytes]]:
    for part in pkcs12.Pfx.load(data).authenticated_safe:
        # Keys are encrypted one by one; what is encrypted as a whole are certificates.
        if part["content_type"].native != "data":
            continue
        for number, bag in enumerate(pkcs12.SafeContents.load(part["content"].native)):
            if bag["bag_id"].native == "pkcs8_shrouded_key_bag":
                yield _alias(bag) or str(number + 1), bag["bag_value"].untag().dump(force=True)


def _alias(bag: Any) -> str:
    attributes = {each["type"].native: each["values"].native for each in bag["bag_attributes"]}
    return "".join(attributes.get("friendly_name", [])[:1]).lower()
