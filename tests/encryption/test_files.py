"""The files of [encryption]: keys of every kind, and the reports of unusable keys, which never reveal their contents."""

import json
from pathlib import Path
from typing import Any

import attrs
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
from vortexd.core.model import PropertySource
from vortexd.encryption.ciphers import AesEncryptor, RsaEncryptor
from vortexd.encryption.files import Encryption, Keyring, load_encryption
from vortexd.settings.encryption import EncryptionSettings

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "vectors.json").read_text())
PEM = VECTORS["private_key"].encode()
_LOADED = load_pem_private_key(PEM, None)
assert isinstance(_LOADED, RSAPrivateKey)
KEY: RSAPrivateKey = _LOADED
STORE = (HERE / "keys.p12").read_bytes()


def write(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def load(credentials: str = "", **settings: Any) -> Encryption:
    environ = {"CREDENTIALS_DIRECTORY": credentials} if credentials else {}
    return load_encryption(EncryptionSettings(**settings), Path("/"), environ)


def problems(**settings: Any) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(**settings)
    return dict(caught.value.problems)


def store(directory: Path, data: bytes = STORE, password: bytes = b"storepass\n") -> dict[str, str]:
    return {
        "key_store": write(directory / "keys.p12", data),
        "key_store_password_file": write(directory / "password", password),
    }


def decrypted(encryption: Encryption, cipher: str) -> object:
    assert encryption.decryptor is not None
    (opened,) = encryption.decryptor.opened((PropertySource("x", {"a": "{cipher}" + cipher}, {}),))
    return opened.values.get("a")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_password_on_a_line_is_a_key(tmp_path: Path, end: bytes) -> None:
    encryption = load(key_file=write(tmp_path / "key", b"foo" + end), salt="beef")

    assert "s" == decrypted(encryption, AesEncryptor("foo", "beef").encrypt("s"))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_rsa_key_as_pem_is_a_key_in_the_form_that_is_set(tmp_path: Path, form: PrivateFormat) -> None:
    path = write(tmp_path / "key", KEY.private_bytes(Encoding.PEM, form, NoEncryption()))
    encryption = load(key_file=path, rsa_algorithm="oaep", rsa_strong=True, rsa_salt="beef")

    assert "s" == decrypted(encryption, RsaEncryptor(KEY, oaep=True, strong=True, salt="beef").encrypt("s"))
    assert decrypted(encryption, RsaEncryptor(KEY).encrypt("s")) is None


def test_a_key_of_a_store_is_named_by_its_alias(tmp_path: Path) -> None:
    encryption = load(**store(tmp_path), key_store_alias="Second")
    assert encryption.keys is not None

    assert encryption.keys.find({}) is encryption.keys.find({"key": "second"})


def test_without_a_key_nothing_is_decrypted_and_without_the_wish_nothing_is_touched(tmp_path: Path) -> None:
    without, unwished = load(), load(enabled=False, key_file=write(tmp_path / "key", b"foo"))

    assert without.keys is None
    assert decrypted(without, AesEncryptor("foo").encrypt("s")) is None
    assert unwished.keys is not None
    assert unwished.decryptor is None


def test_a_credential_of_systemd_is_a_key(tmp_path: Path) -> None:
    write(tmp_path / "key", b"foo", 0o440)
    encryption = load(str(tmp_path), key_file="$CREDENTIALS_DIRECTORY/key")

    assert "s" == decrypted(encryption, AesEncryptor("foo").encrypt("s"))
    assert "isn't set" in problems(key_file="$CREDENTIALS_DIRECTORY/key")["$CREDENTIALS_DIRECTORY/key"]


def encoded(key: RSAPrivateKey | EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "one line"),
        (b"\n", "one line"),
        (b"hunter2\nhunter3", "one line"),
        (b"hunter2\0", "one line"),
        (b"hunter2\xff", "UTF-8"),
        (KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "private key"),
        (KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "private key"),
        (encoded(rsa.generate_private_key(65_537, 2_048), b"hunter2"), "without a password"),
        (encoded(ec.generate_private_key(ec.SECP256R1())), "RSA"),
        (PEM[:-100], "PEM"),
        (b"h" * 1_048_577, "at most"),
    ],
)
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path: Path, data: bytes, said: str) -> None:
    path = write(tmp_path / "key", data)
    found = problems(key_file=path)

    assert [path] == list(found)
    assert said in found[path]
    assert "hunter" not in str(found)


@pytest.mark.parametrize("name", ["key_file", "key_store", "key_store_password_file"])
def test_T06_a_file_that_is_open_to_others_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    settings = store(tmp_path) if name != "key_file" else {"key_file": write(tmp_path / "key", b"foo")}
    path = Path(settings[name])
    path.chmod(0o640)
    link = path.with_name("link")
    link.symlink_to(path)

    assert {str(path): "is open to other users; run chmod 600 on it"} == problems(**settings)
    assert "symbolic link" in problems(**settings | {name: str(link)})[str(link)]


@pytest.mark.parametrize("magic", [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"])
def test_a_store_of_javas_own_kind_is_refused_with_the_way_to_convert_it(tmp_path: Path, magic: bytes) -> None:
    found = problems(**store(tmp_path, magic + STORE))

    assert "keytool -importkeystore" in found[str(tmp_path / "keys.p12")]


@pytest.mark.parametrize(("data", "password"), [(STORE, b"hunter2"), (b"hunter2", b"storepass"), (b"", b"storepass")])
def test_a_store_that_its_password_does_not_open_is_refused(tmp_path: Path, data: bytes, password: bytes) -> None:
    found = problems(**store(tmp_path, data, password), key_store_alias="first")

    assert "key_store_password_file" in found[str(tmp_path / "keys.p12")]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(("alias", "said"), [("", "2 keys"), ("third", "RSA key")])
def test_a_key_of_a_store_that_is_not_there_is_refused(tmp_path: Path, alias: str, said: str) -> None:
    found = problems(**store(tmp_path), key_store_alias=alias)

    assert said in found[f"{tmp_path}/keys.p12: key_store_alias"]


def test_what_contradicts_itself_is_refused_before_anything_is_read() -> None:
    found = problems(key_file="/nothing", key_store="/nothing")

    assert ["encryption.key_file", "encryption.key_store_password_file"] == list(found)


def test_a_keyring_keeps_what_is_the_same_and_takes_what_is_not(tmp_path: Path) -> None:
    settings = {"key_file": write(tmp_path / "key", b"foo")}
    first = load(**settings)
    keyring = Keyring(first)

    assert not keyring.replace(load(**settings))
    assert keyring.current is first
    assert keyring.replace(load(**settings, salt="beef"))
    write(tmp_path / "key", b"bar")
    assert keyring.replace(load(**settings, salt="beef"))


def test_no_key_is_in_a_repr(tmp_path: Path) -> None:
    encryption = load(key_file=write(tmp_path / "key", b"hunter2"))

    assert "hunter2" not in repr(encryption) + repr(attrs.asdict(encryption, recurse=False))
