"""Decrypts the encrypted values of property sources. Each distinct ciphertext is decrypted once. Pure and thread-safe.

The input is property sources with the values of their files. The output is the same sources with decrypted values. A
decryptor keeps the same keys for its whole life. Other keys need another decryptor.
"""

import hashlib
from collections import deque
from collections.abc import Iterable
from functools import partial

from ..core.model import PropertySource
from . import prefixes
from .contract import Keys, NoSuchKey, Undecryptable
from .values import PREFIX, decrypted

# The size of each of the two generations of the cache. RSA takes a millisecond per value, and each publication decrypts
# the same values again.
_ROOM_BYTES = 16_777_216
# The bytes that an entry takes in addition to its text.
_ENTRY_BYTES = 256
_MAX_FAILURES = 64


class Decryptor:
    """Decrypts values and caches the results.

    Args:
        keys: The keys, or None. Without keys, nothing can be decrypted.
        prefix_invalid: As in `values.decrypted`.
        plain_text: Whether `opened_text` must decrypt values in plain files.
    """

    def __init__(
        self,
        keys: Keys | None,
        *,
        prefix_invalid: bool = True,
        plain_text: bool = False,
        room_bytes: int = _ROOM_BYTES,
    ) -> None:
        self._keys = keys
        self.plain_text = plain_text
        self._prefix_invalid = prefix_invalid
        self._room_bytes = room_bytes
        # Two generations replace an order of use. So threads share them without a lock. If a race loses an entry, its
        # value is decrypted again.
        self._young: dict[bytes, str | None] = {}
        self._old: dict[bytes, str | None] = {}
        self._young_bytes = 0
        self._reported: set[tuple[str, str, bytes]] = set()
        self._failures: deque[tuple[str, str]] = deque(maxlen=_MAX_FAILURES)

    def opened(self, sources: tuple[PropertySource, ...]) -> tuple[PropertySource, ...]:
        """Decrypt the encrypted values of property sources. Sources without such values are returned unchanged."""
        return tuple(
            decrypted(
                source, self._decrypt, prefix_invalid=self._prefix_invalid, failed=partial(self._failed, source.name)
            )
            for source in sources
        )

    def opened_text(self, name: str, text: str, values: Iterable[str]) -> str:
        """Decrypt values in the text of a file. If a value can't be decrypted, it stays encrypted.

        Args:
            name: The name of the file, for logs.
            values: The values that may be encrypted, as a parser has read them.
        """
        opened = {}
        for value in {each.strip() for each in values if each.startswith(PREFIX)}:
            try:
                opened[value] = self._decrypt(value.removeprefix(PREFIX))
            except Undecryptable:
                self._failed(name, "", value)
        # Try the longest value first, because a value may begin with another.
        longest_first = sorted(opened, key=len, reverse=True)
        parts = []
        at = 0
        while opened and (found := text.find(PREFIX, at)) >= 0:
            value = next((each for each in longest_first if text.startswith(each, found)), PREFIX)
            parts += [text[at:found], opened.get(value, PREFIX)]
            at = found + len(value)
        return "".join((*parts, text[at:]))

    def take_failures(self) -> list[tuple[str, str]]:
        """Return the source and key of each value that couldn't be decrypted since the last call, once per text."""
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
        if failure not in self._reported:
            if len(self._reported) >= 16 * _MAX_FAILURES:
                self._reported.clear()
            self._reported.add(failure)
            self._failures.append((name, key))


def _digest(text: str) -> bytes:
    # Keep a digest, because a ciphertext is twice as long as its text.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
