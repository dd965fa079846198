"""Reads the files of [encryption]. It returns a whole `Encryption`, or reports every problem at once.

`secure_files` checks who may own, read and write the files. Only this module of the package accesses the file system.
No error text and no `repr` shows a key or a password.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..core.errors import SettingsError
from ..settings.encryption import EncryptionSettings
from ..settings.secure_files import OTHERS_READ_OR_WRITE, TrustedFiles, as_text
from . import pkcs12
from .ciphers import AesEncryptor, Encryptor, RsaEncryptor
from .decryptor import Decryptor
from .keys import Keys, KeyStore, NoSuchKey, OneKey

T = TypeVar("T")
_PEM = b"-----BEGIN "
_PUBLIC = (b"PUBLIC KEY-----", b"CERTIFICATE-----")


@attrs.frozen(slots=True, eq=False)
class Encryption:
    """The keys in force, and the decryptor that uses them.

    Attributes:
        keys: The keys, or None if none is configured.
        decryptor: The decryptor, or None if clients decrypt the values and the server sends ciphertext.
        fingerprint: Equal for equal keys and settings.
    """

    keys: Keys | None = None
    decryptor: Decryptor | None = None
    fingerprint: bytes = attrs.field(default=b"", repr=False)


class Keyring:
    """Holds the `Encryption` in force, for parts that must notice a reload."""

    def __init__(self, current: Encryption | None = None) -> None:
        self.current = current or Encryption()

    def replace(self, encryption: Encryption) -> bool:
        """Put another `Encryption` in force. Returns whether it differs.

        If the keys are the same, the present object stays, with its decrypted values.
        """
        if encryption.fingerprint == self.current.fingerprint:
            return False
        self.current = encryption
        return True


def load_encryption(settings: EncryptionSettings, base: Path, environ: Mapping[str, str]) -> Encryption:
    """Read the files that the settings name. Blocks on the file system.

    Args:
        base: The directory for relative paths.
        environ: The environment, for $CREDENTIALS_DIRECTORY.

    Raises:
        SettingsError: The error lists every problem of every file. Nothing has changed.
    """
    problems = list(_problems(settings))
    reader = _Reader(base, environ)
    keys = None
    if not problems:
        if settings.key_store:
            keys = reader.key_store(settings)
        elif settings.key_file:
            keys = reader.key(settings)
    problems += reader.problems
    if problems:
        raise SettingsError(problems, "encryption")
    decryptor = None
    if settings.enabled:
        decryptor = Decryptor(keys, prefix_invalid=settings.prefix_invalid_properties, plain_text=settings.plain_text)
    reader.digest.update(repr(settings).encode())
    return Encryption(keys, decryptor, reader.digest.digest())


def _problems(settings: EncryptionSettings) -> list[tuple[str, str]]:
    problems = []
    if settings.key_file and settings.key_store:
        problems.append(("encryption.key_file", "can't be used together with key_store; keep one of them"))
    if settings.key_store and not settings.key_store_password_file:
        problems.append(("encryption.key_store_password_file", "must name the file with the password of key_store"))
    return problems


class _Reader(TrustedFiles):
    """Reads the files and makes keys of their contents."""

    def __init__(self, base: Path, environ: Mapping[str, str]) -> None:
        super().__init__(base, environ)
        self.digest = hashlib.sha256()

    def key(self, settings: EncryptionSettings) -> Keys | None:
        encryptor = self._secret(settings.key_file, partial(_encryptor, settings))
        return OneKey(encryptor) if encryptor is not None else None

    def key_store(self, settings: EncryptionSettings) -> Keys | None:
        password = self._secret(settings.key_store_password_file, _line)
        if password is None:
            # Report all the same whether the store itself can be read.
            self._secret(settings.key_store, lambda data, origin: None)
            return None
        return self._secret(settings.key_store, partial(_key_store, settings, password))

    def _secret(self, path: str, load: Callable[[bytes, str], T]) -> T | None:
        place = self.expanded(path)

        def hashed(data: bytes, origin: str) -> T:
            self.digest.update(hashlib.sha256(data).digest())
            return load(data, origin)

        return self.load(place, OTHERS_READ_OR_WRITE, hashed) if place is not None else None


def _line(data: bytes, origin: str) -> str:
    text = as_text(data, origin).rstrip("\r\n")
    if not text or not text.isprintable():
        raise SettingsError([("", "must hold one line of text and nothing else")], origin)
    return text


def _encryptor(settings: EncryptionSettings, data: bytes, origin: str) -> Encryptor:
    if _PEM not in data and not data.startswith(b"ssh-rsa "):
        return AesEncryptor(_line(data, origin), settings.salt)
    if data.startswith(b"ssh-rsa ") or any(each in data for each in _PUBLIC):
        raise SettingsError([("", "must be a private key; a public key can't decrypt anything")], origin)
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise SettingsError(
            [("", "is encrypted; store it without a password, readable only by its owner")], origin
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError([("", "must be a password on one line, or an RSA private key as PEM")], origin) from None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError([("", "must be an RSA key")], origin)
    return _rsa(settings, key)


def _rsa(settings: EncryptionSettings, key: RSAPrivateKey) -> RsaEncryptor:
    return RsaEncryptor(key, settings.rsa_algorithm == "oaep", settings.rsa_strong, settings.rsa_salt)


def _key_store(settings: EncryptionSettings, password: str, data: bytes, origin: str) -> Keys:
    if pkcs12.is_java_store(data):
        text = (
            "is a key store of Java's own kind; convert it: keytool -importkeystore -srckeystore OLD -destkeystore NEW "
            "-deststoretype PKCS12"
        )
        raise SettingsError([("", text)], origin)
    try:
        encrypted = pkcs12.encrypted_keys(data, password.encode())
    except ValueError:
        text = "must be a PKCS #12 key store with the password in key_store_password_file"
        raise SettingsError([("", text)], origin) from None
    alias = settings.key_store_alias or (next(iter(encrypted)) if len(encrypted) == 1 else "")
    if not alias:
        text = f"must name one of the {len(encrypted)} keys of key_store" if encrypted else "key_store holds no key"
        raise SettingsError([("key_store_alias", text)], origin)
    try:
        return KeyStore(encrypted, password.encode(), alias, partial(_rsa, settings))
    except NoSuchKey:
        text = "must name an RSA key of key_store that has the store's password"
        raise SettingsError([("key_store_alias", text)], origin) from None
