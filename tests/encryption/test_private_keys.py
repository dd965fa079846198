"""The contents of key files become keys. Whatever a file holds, no error shows any of it."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from vortexd.core.errors import SettingsError
from vortexd.encryption.ciphers import AesEncryptor, RsaEncryptor
from vortexd.encryption.private_keys import key_store, one_key, password_of
from vortexd.settings.encryption import EncryptionSettings

HERE = Path(__file__).parent
PEM = json.loads((HERE / "vectors.json").read_text())["private_key"].encode()
KEY = load_pem_private_key(PEM, None)
assert isinstance(KEY, RSAPrivateKey)
STORE = (HERE / "keys.p12").read_bytes()
ORIGIN = "/etc/vortexd/key"


def pem(key: RSAPrivateKey | EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def refusal(error: SettingsError) -> tuple[str, str]:
    """The place and the text of the only problem."""
    ((place, text),) = error.problems
    return place, text


def test_a_line_of_text_is_the_password_of_an_aes_key_with_the_salt_of_the_settings() -> None:
    keys = one_key(EncryptionSettings(salt="beef"), b"foo\r\n", ORIGIN)

    assert "s" == keys.find({}).decrypt(AesEncryptor("foo", "beef").encrypt("s"))
    assert keys.find({}).public_key is None


@pytest.mark.parametrize("is_oaep", [False, True])
@pytest.mark.parametrize("is_strong", [False, True])
def test_a_pem_is_an_rsa_key_in_the_form_of_the_settings(is_oaep: bool, is_strong: bool) -> None:
    settings = EncryptionSettings(rsa_algorithm="oaep" if is_oaep else "default", rsa_strong=is_strong, rsa_salt="beef")
    key = one_key(settings, PEM, ORIGIN).find({})
    assert isinstance(KEY, RSAPrivateKey)

    assert "s" == key.decrypt(RsaEncryptor(KEY, oaep=is_oaep, strong=is_strong, salt="beef").encrypt("s"))
    assert (key.public_key or "").startswith("ssh-rsa ")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "must hold one line of text and nothing else"),
        (b"one\ntwo", "must hold one line of text and nothing else"),
        (b"a\x00b", "must hold one line of text and nothing else"),
        (b"ssh-rsa AAAA", "must be a private key; a public key can't decrypt anything"),
        (PEM.replace(b"PRIVATE", b"PUBLIC"), "must be a private key; a public key can't decrypt anything"),
        (b"-----BEGIN CERTIFICATE-----\n", "must be a private key; a public key can't decrypt anything"),
        (PEM[:200], "must be a password on one line, or an RSA private key as PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "must be an RSA key"),
        (
            pem(rsa.generate_private_key(65_537, 2_048), b"x"),
            "is encrypted; store it without a password, readable only by its owner",
        ),
    ],
    ids=["empty", "two lines", "not text", "ssh", "public", "certificate", "half", "elliptic", "encrypted"],
)
def test_whatever_is_no_key_is_refused_with_its_file_and_without_its_content(data: bytes, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        one_key(EncryptionSettings(), data, ORIGIN)

    assert ("", text) == refusal(caught.value)
    assert ORIGIN in str(caught.value)


def test_a_real_public_key_is_refused_as_one() -> None:
    assert isinstance(KEY, RSAPrivateKey)
    data = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(SettingsError, match="public key can't decrypt"):
        one_key(EncryptionSettings(), data, ORIGIN)


@pytest.mark.parametrize(("data", "password"), [(b"pass", "pass"), (b"pass word\n", "pass word"), (b"p\r\n", "p")])
def test_a_password_is_the_line_without_its_end(data: bytes, password: str) -> None:
    assert password == password_of(data, ORIGIN)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", b"a\tb"])
def test_a_password_is_exactly_one_line_of_printable_text(data: bytes) -> None:
    with pytest.raises(SettingsError, match="must hold one line of text and nothing else"):
        password_of(data, ORIGIN)


def test_a_store_has_its_keys_by_alias() -> None:
    keys = key_store(EncryptionSettings(key_store_alias="second"), "storepass", STORE, ORIGIN)

    assert keys.find({}) is keys.find({"key": "SECOND"})


@pytest.mark.parametrize(
    ("alias", "password", "data", "place", "text"),
    [
        ("second", "wrong", STORE, "", "must be a PKCS #12 key store with the password in key_store_password_file"),
        ("second", "storepass", b"x", "", "must be a PKCS #12 key store with the password in key_store_password_file"),
        ("second", "storepass", b"\xfe\xed\xfe\xed" + b"x" * 20, "", "is a key store of Java's own kind"),
        ("nobody", "storepass", STORE, "key_store_alias", "must name an RSA key of key_store"),
        ("", "storepass", STORE, "key_store_alias", "must name one of the"),
    ],
    ids=["wrong password", "no store", "Java", "unknown alias", "several keys"],
)
def test_a_store_without_the_key_is_refused(alias: str, password: str, data: bytes, place: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        key_store(EncryptionSettings(key_store_alias=alias), password, data, ORIGIN)

    assert place == refusal(caught.value)[0]
    assert refusal(caught.value)[1].startswith(text)
    assert password not in refusal(caught.value)[1].replace("password", "")
