"""The keys of a store that keytool has written: found by alias, with their own passwords if a text names one."""

import json
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from vortexd.encryption import pkcs12, prefixes
from vortexd.encryption.ciphers import AesEncryptor, RsaEncryptor
from vortexd.encryption.contract import NoSuchKey, OneKey, Undecryptable
from vortexd.encryption.keys import KeyStore

RECORDED = json.loads((Path(__file__).parent / "answers.json").read_text())
STORE = (Path(__file__).parent / "keys.p12").read_bytes()
PASSWORD = b"storepass"
ENCRYPTED = pkcs12.encrypted_keys(STORE, PASSWORD)


def store(encrypted: dict[str, bytes] = ENCRYPTED, alias: str = "first") -> KeyStore:
    return KeyStore(encrypted, PASSWORD, alias, RsaEncryptor)


def with_password(password: bytes) -> dict[str, bytes]:
    """The store, with its second key under a password of its own."""
    found = store().find({"key": "second"})
    assert isinstance(found, RsaEncryptor)
    encryption = BestAvailableEncryption(password)
    return {**ENCRYPTED, "second": found.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, encryption)}


def test_every_key_of_a_store_is_found_by_its_alias_in_any_case() -> None:
    assert ["first", "second"] == list(ENCRYPTED)
    keys = store(alias="FIRST")

    assert keys.find({}) is keys.find({"key": "First"})
    assert keys.find({"key": "second"}) is not keys.find({})


def test_the_public_key_is_what_spring_says_it_is() -> None:
    found = store().find({})

    assert isinstance(found, RsaEncryptor)
    assert RECORDED["key"] == found.public_key


def test_what_spring_wrote_with_a_store_is_read() -> None:
    keys = store()
    rows = [row for row in RECORDED["decrypt"] if row[0] == "store" and row[1] == "text/plain" and row[3] == 200]
    for _, _, text, _, plain in rows:
        assert plain == keys.find(prefixes.selectors(text)).decrypt(prefixes.strip(text))
    assert any(row[2].startswith("{key:SECOND}{secret:storepass}") for row in rows)


@pytest.mark.parametrize("selectors", [{"key": "third"}, {"key": ""}, {"secret": "wrong"}, {"key": "x", "secret": "y"}])
def test_a_key_that_is_not_there_or_has_another_password_is_not_found(selectors: dict[str, str]) -> None:
    with pytest.raises(NoSuchKey):
        store().find(selectors)


def test_a_key_with_a_password_of_its_own_is_found_by_who_names_it() -> None:
    keys = store(with_password(b"own"))

    with pytest.raises(NoSuchKey):
        keys.find({"key": "second"})
    cipher = store().find({"key": "second"}).encrypt("a")
    assert "a" == keys.find({"key": "second", "secret": "own"}).decrypt(cipher)


def test_a_key_with_a_password_of_its_own_is_opened_once() -> None:
    keys = store(with_password(b"own"))
    named = {"key": "second", "secret": "own"}

    assert keys.find(named) is keys.find(named)


def test_the_default_key_must_be_there() -> None:
    with pytest.raises(NoSuchKey):
        store(alias="third")


def test_keys_that_are_not_rsa_are_as_if_they_were_not_there() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD)
    )

    with pytest.raises(NoSuchKey):
        store({**ENCRYPTED, "elliptic": other}).find({"key": "elliptic"})


@pytest.mark.parametrize(
    ("data", "password"), [(b"", PASSWORD), (b"\x30\x03\x02\x01\x03", PASSWORD), (STORE[:-1], PASSWORD), (STORE, b"x")]
)
def test_what_is_no_store_of_this_password_is_refused(data: bytes, password: bytes) -> None:
    with pytest.raises(ValueError, match="PKCS|password|parse|store"):
        pkcs12.encrypted_keys(data, password)


def test_one_key_is_the_key_for_everything() -> None:
    aes = AesEncryptor("foo")

    assert OneKey(aes).find({"key": "whatever", "secret": "x"}) is aes


def test_no_key_is_in_a_repr() -> None:
    keys = KeyStore(ENCRYPTED, PASSWORD, "first", partial(RsaEncryptor, salt="beef"))

    for shown in (repr(keys), repr(OneKey(AesEncryptor("foo"))), repr(keys.find({})), str(Undecryptable())):
        assert not {"storepass", "foo", "beef"} & set(shown.replace("(", " ").replace("'", " ").split())
