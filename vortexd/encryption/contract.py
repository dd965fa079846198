"""The operations of keys, and their errors. Pure.

This module loads no cryptography. Most daemons have no key, and the library takes megabytes and tens of milliseconds.
"""

from collections.abc import Mapping
from typing import Protocol

from ..core.errors import RemoteError


class Undecryptable(RemoteError):
    """A text can't be decrypted with this key. The text is Spring's. It gives no reason, which would be an oracle."""

    def __init__(self) -> None:
        super().__init__("Text not encrypted with this key")


class NoSuchKey(RemoteError):
    """There is no key with this alias, or the password is wrong. The text never says which."""

    status = 404

    def __init__(self) -> None:
        super().__init__("No key was installed for encryption service")


class Encryptor(Protocol):
    """Encrypts and decrypts with one key, in one of Spring's forms."""

    @property
    def public_key(self) -> str | None:
        """The public key in OpenSSH's format, in which Spring publishes it. None if the key has no public part."""

    def encrypt(self, text: str) -> str:
        """Encrypt a text. The same text gives a different ciphertext each time."""

    def decrypt(self, ciphertext: str) -> str:
        """Decrypt a ciphertext.

        Raises:
            Undecryptable: The text was encrypted with another key or form, or has been changed.
        """


class Keys(Protocol):
    """Finds keys."""

    def find(self, selectors: Mapping[str, str]) -> Encryptor:
        """Return the key that a text selects, or the default key if it selects none. This may take milliseconds.

        Args:
            selectors: As `prefixes.selectors` returns them.

        Raises:
            NoSuchKey: There is no such key.
        """
        ...


class OneKey:
    """One key for everything. As in Spring, it ignores the key that a text selects."""

    def __init__(self, encryptor: Encryptor) -> None:
        self.encryptor = encryptor

    def find(self, selectors: Mapping[str, str]) -> Encryptor:
        return self.encryptor
