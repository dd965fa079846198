"""The keys of PKCS #12 stores: aliases, unnamed keys, other parts of a store, and stores that are malformed.

The tests build their own stores: a MAC with one round (RFC 7292 appendix B) seals any content.
"""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

import pytest
from asn1crypto import pkcs12 as asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates

from vortexd.encryption.pkcs12 import encrypted_keys, is_java_store

KEYTOOLS = (Path(__file__).parent / "keys.p12").read_bytes()
PASSWORD = b"storepass"
_SALT = b"salt"
_BLOCK = 64


def store(*names: str | None) -> bytes:
    """A store of one part, with a key of each name, and None for a key without a name."""
    return sealed([("data", b"".join(encrypted(name) for name in names))])


def encrypted(name: str | None) -> bytes:
    """An element of a store: a key under the password."""
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1).hmac_hash(SHA256())
    return element(name, builder.key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC).build(PASSWORD))


def element(name: str | None, encryption: KeySerializationEncryption) -> bytes:
    alias = None if name is None else name.encode()
    whole = serialize_key_and_certificates(alias, ec.generate_private_key(ec.SECP256R1()), None, None, encryption)
    (part,) = asn1.Pfx.load(whole).authenticated_safe
    (only,) = asn1.SafeContents.load(part["content"].native)
    dumped: bytes = only.dump()
    return dumped


def sealed(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """A store with these parts: the type of each, and its elements."""
    safe = asn1.AuthenticatedSafe(
        [{"content_type": kind, "content": sequence(elements)} for kind, elements in parts]
    ).dump()
    return with_mac(safe)


def sequence(elements: bytes) -> bytes:
    size = len(elements)
    return (b"\x30\x82" + size.to_bytes(2, "big")) + elements


def with_mac(safe: bytes) -> bytes:
    digest = {"digest_algorithm": {"algorithm": "sha256"}, "digest": hmac.digest(mac_key(), safe, "sha256")}
    mac = {"mac": digest, "mac_salt": _SALT, "iterations": 1}
    stored: bytes = asn1.Pfx(
        {"version": "v3", "auth_safe": {"content_type": "data", "content": safe}, "mac_data": mac}
    ).dump()
    return stored


def mac_key() -> bytes:
    def filled(data: bytes) -> bytes:
        return (data * _BLOCK)[: -(-len(data) // _BLOCK) * _BLOCK]

    password = PASSWORD.decode().encode("utf-16-be") + b"\0\0"
    return hashlib.sha256(b"\x03" * _BLOCK + filled(_SALT) + filled(password)).digest()


def resealed(old: bytes, new: bytes) -> bytes:
    """A store with one key, in which other bytes replace some."""
    safe = asn1.Pfx.load(store("first"))["auth_safe"]["content"].native
    assert 1 == safe.count(old)
    return with_mac(safe.replace(old, new))


def test_each_key_is_found_by_its_alias_in_lower_case_and_in_the_order_of_the_store() -> None:
    assert ["second", "größe", "third"] == list(encrypted_keys(store("Second", "GRÖßE", "third"), PASSWORD))


def test_a_key_stays_encrypted_with_its_password() -> None:
    (key,) = encrypted_keys(store("first"), PASSWORD).values()

    assert isinstance(load_der_private_key(key, PASSWORD), ec.EllipticCurvePrivateKey)
    with pytest.raises(ValueError, match=r"(?i)password|decrypt|padding|asn"):
        load_der_private_key(key, b"other")


def test_a_key_without_an_alias_is_named_by_its_position_from_one() -> None:
    assert ["first", "2", "3"] == list(encrypted_keys(store("first", None, ""), PASSWORD))


def test_keys_of_every_part_are_found() -> None:
    parts = [("data", encrypted(name)) for name in ("first", "second")]

    assert ["first", "second"] == list(encrypted_keys(sealed(parts), PASSWORD))


def test_an_element_that_is_no_encrypted_key_is_passed_over_and_counts_as_a_position() -> None:
    whole = sealed([("data", element("plain", NoEncryption()) + encrypted(None))])

    assert ["2"] == list(encrypted_keys(whole, PASSWORD))


def test_a_part_with_certificates_after_the_keys_is_passed_over() -> None:
    assert ["data", "encrypted_data"] == [
        part["content_type"].native for part in asn1.Pfx.load(KEYTOOLS).authenticated_safe
    ]
    assert ["first", "second"] == list(encrypted_keys(KEYTOOLS, PASSWORD))


def test_keys_after_a_part_with_certificates_are_found() -> None:
    certificates, keys = reversed(list(asn1.Pfx.load(KEYTOOLS).authenticated_safe))

    assert ["first", "second"] == list(
        encrypted_keys(with_mac(asn1.AuthenticatedSafe([certificates, keys]).dump()), PASSWORD)
    )


def test_a_store_without_keys_has_none() -> None:
    assert {} == encrypted_keys(store(), PASSWORD)


def test_another_password_is_refused() -> None:
    with pytest.raises(ValueError, match="password"):
        encrypted_keys(store("first"), b"other")


@pytest.mark.parametrize("data", [b"", b"storepass", b"\x30\x03\x02\x01\x03", store("first")[:-1]])
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"(?i)pkcs|parse|asn"):
        encrypted_keys(data, PASSWORD)


@pytest.mark.parametrize("tag", [b"\x07", b"\xaa", b"\xe3"])
def test_a_sealed_store_with_a_malformed_key_is_refused(tag: bytes) -> None:
    """The parameters of hmacWithSHA256 are NULL; for another type, asn1crypto raises various errors."""
    algorithm = bytes.fromhex("2a864886f70d0209")

    with pytest.raises(ValueError, match="^isn't a PKCS #12 key store$"):
        encrypted_keys(resealed(algorithm + b"\x05\x00", algorithm + tag + b"\x00"), PASSWORD)


@pytest.mark.parametrize(
    ("data", "is_java"),
    [
        (b"\xfe\xed\xfe\xed", True),
        (b"\xce\xce\xce\xce\0\0\0\x02", True),
        (b"\xfe\xed\xfe", False),
        (b"\xce\xce\xce\0", False),
        (b"\0\xfe\xed\xfe\xed", False),
        (b"", False),
        (KEYTOOLS, False),
    ],
)
def test_only_a_store_that_begins_with_the_magic_of_jks_or_jceks_is_one_that_only_java_reads(
    data: bytes, is_java: bool
) -> None:
    assert is_java == is_java_store(data)
