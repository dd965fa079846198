"""The keys of a key store by alias. Pure."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from .contract import Encryptor, NoSuchKey

# The number of keys to cache that were opened with a password from a text. The password is cached with the key.
_REOPENED = 64


class KeyStore:
    """The RSA keys of a key store. Other kinds of keys are ignored.

    Args:
        encrypted: Maps each alias in lower case to an EncryptedPrivateKeyInfo in DER.
        password: The password of all keys, unless a text names another.
        alias: The alias of the default key.
        encryptor: Makes an encryptor of a key.

    Raises:
        NoSuchKey: There is no default key.
    """

    def __init__(
        self,
        encrypted: Mapping[str, bytes],
        password: bytes,
        alias: str,
        encryptor: Callable[[RSAPrivateKey], Encryptor],
    ) -> None:
        self._encrypted = encrypted
        self._password = password
        self._alias = alias.lower()
        self._encryptor = encryptor
        # Opening a key takes tens of milliseconds, and all values of a file may name the same key.
        self._reopened = lru_cache(_REOPENED)(self._reopen)
        self._opened = {
            each: opened for each, data in encrypted.items() if (opened := self._open(data, password)) is not None
        }
        self.find({})

    def find(self, selectors: Mapping[str, str]) -> Encryptor:
        alias = selectors.get("key", self._alias).lower()
        secret = selectors["secret"].encode() if "secret" in selectors else self._password
        found = self._opened.get(alias) if secret == self._password else self._reopened(alias, secret)
        if found is None:
            raise NoSuchKey
        return found

    def _reopen(self, alias: str, secret: bytes) -> Encryptor | None:
        return self._open(self._encrypted[alias], secret) if alias in self._encrypted else None

    def _open(self, data: bytes, password: bytes) -> Encryptor | None:
        try:
            key = load_der_private_key(data, password)
        except (ValueError, TypeError):
            return None
        return self._encryptor(key) if isinstance(key, RSAPrivateKey) else None
