"""Which keys there are: one for everything, or those of a key store, by alias. Pure.

In come `prefixes.selectors`, out goes the `Encryptor` that they mean.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

import attrs
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from ..core.errors import RemoteError
from .ciphers import Encryptor

# Keys that were opened by a password which a text named; it is kept for as long.
_REOPENED = 64


class NoSuchKey(RemoteError):
    """There is no key of that alias, or the password isn't its own; it never says which."""

    status = 404

    def __init__(self) -> None:
        super().__init__("No key was installed for encryption service")


class Keys(Protocol):
    """The keys in force."""

    def find(self, selectors: Mapping[str, str]) -> Encryptor:
        """The key that a text says it is for; the default key where it says nothing. May take milliseconds.

        Raises:
            NoSuchKey: There is none.
        """
        ...


@attrs.frozen(slots=True, eq=False)
class OneKey:
    """One key for everything; what a text says of others doesn't matter, as in Spring."""

    encryptor: Encryptor = attrs.field(repr=False)

    def find(self, selectors: Mapping[str, str]) -> Encryptor:
        return self.encryptor


class KeyStore:
    """The RSA keys of a key store; its other keys are as if they weren't there.

    Args:
        encrypted: Alias in lower case to an EncryptedPrivateKeyInfo in DER.
        password: Of all keys for which a text names no other.
        alias: The default key's.
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
        # To open a key takes tens of milliseconds, and a file may name the same one for all of its values.
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
