"""A cache that clients cannot fill with made-up names. It is bounded in bytes and in entries. Pure.

Names come from the network, and Spring answers every name. Entries for names that are not known to exist have a
small part of the cache of their own. So made-up names evict only each other.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# The entries for unknown names get one part in this many of the size.
_UNKNOWN_SHARE = 8


@attrs.define(slots=True, eq=False)
class _Part(Generic[K, V]):
    max_bytes: int
    max_entries: int
    entries: OrderedDict[K, tuple[V, int]] = attrs.field(factory=OrderedDict)
    bytes: int = 0

    def drop(self, key: K) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]

    def put(self, key: K, value: V, size: int) -> None:
        self.drop(key)
        if size > self.max_bytes:
            return
        self.entries[key] = value, size
        self.bytes += size
        while self.bytes > self.max_bytes or len(self.entries) > self.max_entries:
            self.drop(next(iter(self.entries)))


class Cache(Generic[K, V]):
    """Evicts the entry that was used least recently.

    Args:
        max_bytes: The limit for all known entries. Unknown entries may take an eighth of it in addition.
        max_entries: The limit on the number of known entries. Unknown entries may take an eighth of it in addition.
    """

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        self._known = _Part[K, V](max_bytes, max_entries)
        self._unknown = _Part[K, V](max_bytes // _UNKNOWN_SHARE, max(1, max_entries // _UNKNOWN_SHARE))

    def get(self, key: K) -> V | None:
        for part in (self._known, self._unknown):
            entry = part.entries.get(key)
            if entry is not None:
                part.entries.move_to_end(key)
                return entry[0]
        return None

    def put(self, key: K, value: V, size: int, *, is_known: bool) -> None:
        """Replace the value of a key. If the value is larger than its part of the cache, nothing is kept."""
        part, other = (self._known, self._unknown) if is_known else (self._unknown, self._known)
        other.drop(key)
        part.put(key, value, size)

    def clear(self) -> None:
        for part in (self._known, self._unknown):
            part.entries.clear()
            part.bytes = 0

    def __len__(self) -> int:
        return len(self._known.entries) + len(self._unknown.entries)
