"""The encrypted values of what is resolved, each distinct ciphertext decrypted once. Pure, and the same in any thread.

In come property sources as files have them, out go the same with their values in the open. A decryptor has one set of keys for its whole life;
other keys are another decryptor.
"""

import hashlib
from collections import deque
from functools import partial

from ..model import PropertySource
from . import prefixes
from .ciphers import Undecryptable
from .keys import Keys, NoSuchKey
from .values import decrypted

# Of what is remembered, half: RSA costs a millisecond for each value, and publications decrypt what they had before.
_ROOM_BYTES = 16_777_216
# What an entry takes beside its text.
_ENTRY_BYTES = 256
_MAX_FAILURES = 64


class Decryptor:
    """See the module.

    Args:
        keys: None where there are none; then nothing can be decrypted.
        prefix_invalid: As of `values.decrypted`.
    """

    def __init__(self, keys: Keys | None, *, prefix_invalid: bool = True, room_bytes: int = _ROOM_BYTES) -> None:
        self._keys = keys
        self._prefix_invalid = prefix_invalid
        self._room_bytes = room_bytes
        # Two generations in place of an order of use: threads share them without a lock, and what is lost to a race is decrypted again.
        self._young: dict[bytes, str | None] = {}
        self._old: dict[bytes, str | None] = {}
        self._young_bytes = 0
        self._told: set[tuple[str, str, bytes]] = set()
        self._failures: deque[tuple[str, str]] = deque(maxlen=_MAX_FAILURES)

    def opened(self, sources: tuple[PropertySource, ...]) -> tuple[PropertySource, ...]:
        """Decrypt what is encrypted in property sources; those without any such value stay what they are."""
        return tuple(
            decrypted(
                source, self._decrypt, prefix_invalid=self._prefix_invalid, failed=partial(self._failed, source.name)
            )
            for source in sources
        )

    def take_failures(self) -> list[tuple[str, str]]:
        """What couldn't be decrypted since the last call, for logs: source and key, each text once."""
        taken = []
        while self._failures:
            taken.append(self._failures.popleft())
        return taken

    def _decrypt(self, text: str) -> str:
        digest = _digest(text)
        try:
            plain = self._young[digest] if digest in self._young else self._old[digest]
        except KeyError:
            plain = self._decrypt_anew(text)
        if digest not in self._young:
            self._remember(digest, plain)
        if plain is None:
            raise Undecryptable
        return plain

    def _decrypt_anew(self, text: str) -> str | None:
        if self._keys is None:
            return None
        try:
            return self._keys.find(prefixes.selectors(text)).decrypt(prefixes.strip(text))
        except (NoSuchKey, Undecryptable):
            return None

    def _remember(self, digest: bytes, plain: str | None) -> None:
        self._young_bytes += _ENTRY_BYTES + len(plain or "")
        if self._young_bytes > self._room_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[digest] = plain

    def _failed(self, name: str, key: str, text: str) -> None:
        failure = (name, key, _digest(text))
        if failure not in self._told:
            if len(self._told) >= 16 * _MAX_FAILURES:
                self._told.clear()
            self._told.add(failure)
            self._failures.append((name, key))


def _digest(text: str) -> bytes:
    # Not the text: a ciphertext is twice as long as what is in it.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
