"""Reads the files of [encryption]. It returns a whole `Encryption`, or reports every problem at once.

`secure_files` checks who may own, read and write the files. Only this module of the package accesses the file system.
No error text and no `repr` shows a key or a password. `private_keys` is imported only if the settings name a key, because it
loads the library cryptography.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from ..core.errors import SettingsError
from ..settings.encryption import EncryptionSettings
from ..settings.secure_files import OTHERS_READ_OR_WRITE, TrustedFiles
from .contract import Keys
from .decryptor import Decryptor

T = TypeVar("T")


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
        from .private_keys import one_key

        return self._secret(settings.key_file, partial(one_key, settings))

    def key_store(self, settings: EncryptionSettings) -> Keys | None:
        from .private_keys import key_store, password_of

        password = self._secret(settings.key_store_password_file, password_of)
        if password is None:
            # Report all the same whether the store itself can be read.
            self._secret(settings.key_store, lambda data, origin: None)
            return None
        return self._secret(settings.key_store, partial(key_store, settings, password))

    def _secret(self, path: str, load: Callable[[bytes, str], T]) -> T | None:
        place = self.expanded(path)

        def hashed(data: bytes, origin: str) -> T:
            self.digest.update(hashlib.sha256(data).digest())
            return load(data, origin)

        return self.load(place, OTHERS_READ_OR_WRITE, hashed) if place is not None else None
