"""Makes keys of the contents of their files. Pure.

No error text shows a key or a password.
"""

from functools import partial

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..core.errors import SettingsError
from ..settings.encryption import EncryptionSettings
from ..settings.secure_files import as_text
from . import pkcs12
from .ciphers import AesEncryptor, RsaEncryptor
from .contract import Encryptor, Keys, NoSuchKey, OneKey
from .keys import KeyStore

_PEM = b"-----BEGIN "
_PUBLIC = (b"PUBLIC KEY-----", b"CERTIFICATE-----")


def one_key(settings: EncryptionSettings, data: bytes, origin: str) -> Keys:
    """Make the key of `key_file`.

    Raises:
        SettingsError: The file has neither a password on one line nor an RSA private key as PEM.
    """
    return OneKey(_encryptor(settings, data, origin))


def password_of(data: bytes, origin: str) -> str:
    """Return the password that a file holds on its only line.

    Raises:
        SettingsError: The file doesn't have exactly one line of text.
    """
    text = as_text(data, origin).rstrip("\r\n")
    if not text or not text.isprintable():
        raise SettingsError([("", "must hold one line of text and nothing else")], origin)
    return text


def _encryptor(settings: EncryptionSettings, data: bytes, origin: str) -> Encryptor:
    if _PEM not in data and not data.startswith(b"ssh-rsa "):
        return AesEncryptor(password_of(data, origin), settings.salt)
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


def key_store(settings: EncryptionSettings, password: str, data: bytes, origin: str) -> Keys:
    """Make the keys of `key_store`.

    Raises:
        SettingsError: It is no PKCS #12 key store, the password is wrong, or there is no default key.
    """
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
