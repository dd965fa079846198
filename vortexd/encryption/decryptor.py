"""The encrypted values of what is resolved, each distinct ciphertext decrypted once. Pure, and the same in any thread.

In come property sources as files have them, out go the same with their values in the open. A decryptor has one set of keys for its whole life;
other keys are another decryptor.
"""

import hashlib
from collections import deque
from collections.abc import Iterable
from functools import partial

from ..core.model import PropertySource
from . import prefixes
from .ciphers import Undecryptable
from .keys import Keys, NoSuchKey
from .values import PREFIX, decrypted

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
        plain_text: Whether values in plain files are to be decrypted, too, by `opened_text`.
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

    def opened_text(self, name: str, text: str, values: Iterable[str]) -> str:
        """Decrypt values where they stand in the text of a file; what can't be decrypted stays as it is.

        Args:
            name: The file, for logs.
            values: Those that may be encrypted, as a parser has read them.
        """
        opened = {}
        for value in {each.strip() for each in values if each.startswith(PREFIX)}:
            try:
                opened[value] = self._decrypt(value.removeprefix(PREFIX))
            except Undecryptable:
                self._failed(name, "", value)
        # The longest first: one may begin with another.
        longest_first = sorted(opened, key=len, reverse=True)
        parts = []
        at = 0
        while opened and (found := text.find(PREFIX, at)) >= 0:
            value = next((each for each in longest_first if text.startswith(each, found)), PREFIX)
            parts += [text[at:found], opened.get(value, PREFIX)]
            at = found + len(value)
        return "".join((*parts, text[at:]))

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
