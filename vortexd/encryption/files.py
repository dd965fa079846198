"""The files of [encryption], read and put together: in come the settings, out goes a whole `Encryption` or every problem at once.

Who may own, read and write them is for `trusted_files` to say. The only module here that touches the file system. Neither a key nor a password
gets into a message or a `repr`.
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
from ..settings.sections import EncryptionSettings
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
    """The keys that are in force together, and what they make of configuration.

    Attributes:
        keys: None where none is configured.
        decryptor: None where clients decrypt, and are served ciphertext.
        fingerprint: The same for the same keys and settings.
    """

    keys: Keys | None = None
    decryptor: Decryptor | None = None
    fingerprint: bytes = attrs.field(default=b"", repr=False)


class Keyring:
    """The `Encryption` in force, for those who must see a reload."""

    def __init__(self, current: Encryption | None = None) -> None:
        self.current = current or Encryption()

    def replace(self, encryption: Encryption) -> bool:
        """Put another in force. Returns whether it is another: the same keys stay, with what was decrypted by them."""
        if encryption.fingerprint == self.current.fingerprint:
            return False
        self.current = encryption
        return True


def load_encryption(settings: EncryptionSettings, base: Path, environ: Mapping[str, str]) -> Encryption:
    """Read what the settings name. Blocks on the file system.

    Args:
        base: Where relative paths start.
        environ: For $CREDENTIALS_DIRECTORY.

    Raises:
        SettingsError: With every problem of every file; nothing has changed then.
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
        problems.append(("encryption.key_file", "must not be there beside key_store; keep one"))
    if settings.key_store and not settings.key_store_password_file:
        problems.append(("encryption.key_store_password_file", "must name the file with the password of key_store"))
    return problems


class _Reader(TrustedFiles):
    """Makes keys of the files."""

    def __init__(self, base: Path, environ: Mapping[str, str]) -> None:
        super().__init__(base, environ)
        self.digest = hashlib.sha256()

    def key(self, settings: EncryptionSettings) -> Keys | None:
        encryptor = self._secret(settings.key_file, partial(_encryptor, settings))
        return OneKey(encryptor) if encryptor is not None else None

    def key_store(self, settings: EncryptionSettings) -> Keys | None:
        password = self._secret(settings.key_store_password_file, _line)
        if password is None:
            # Whether the store itself can be read is said all the same.
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
        raise SettingsError([("", "must be a private key; with a public one nothing can be decrypted")], origin)
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise SettingsError([("", "is encrypted; store it without a password, for the owner alone")], origin) from None
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
        text = "must be a PKCS #12 key store, of the password in key_store_password_file"
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
