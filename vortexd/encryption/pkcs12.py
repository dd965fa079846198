"""Reads the private keys of a PKCS #12 key store (RFC 7292), as keytool and openssl write it. Pure.

`cryptography` reads only the first key of a store. This module finds all keys, by alias. It leaves them encrypted,
because each may have a password of its own.
"""

from collections.abc import Iterator
from typing import Any

from asn1crypto import pkcs12
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

_OTHER_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")


def is_java_store(data: bytes) -> bool:
    """Return whether this is a store in a format that only Java reads, JKS or JCEKS."""
    return data.startswith(_OTHER_STORES)


def encrypted_keys(data: bytes, password: bytes) -> dict[str, bytes]:
    """Return the keys of a store: alias in lower case (as Java compares it) to EncryptedPrivateKeyInfo in DER.

    Raises:
        ValueError: The data isn't such a store, or the password is wrong.
    """
    load_pkcs12(data, password)  # verifies the integrity of the store
    try:
        return dict(_keys(data))
    except (TypeError, AttributeError, LookupError) as error:
        # asn1crypto raises these errors for some malformed structures.
        raise ValueError("isn't a PKCS #12 key store") from error


def _keys(data: bytes) -> Iterator[tuple[str, bytes]]:
    for part in pkcs12.Pfx.load(data).authenticated_safe:
        # Keys are encrypted one by one. Parts that are encrypted as a whole contain certificates.
        if part["content_type"].native != "data":
            continue
        for number, bag in enumerate(pkcs12.SafeContents.load(part["content"].native)):
            if bag["bag_id"].native == "pkcs8_shrouded_key_bag":
                yield _alias(bag) or str(number + 1), bag["bag_value"].untag().dump(force=True)


def _alias(bag: Any) -> str:
    attributes = {each["type"].native: each["values"].native for each in bag["bag_attributes"]}
    return "".join(attributes.get("friendly_name", [])[:1]).lower()
