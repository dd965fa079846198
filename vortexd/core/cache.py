"""A cache that strangers can't fill: bounded by size and by number, with a small part of its own for what isn't known to exist. Pure.

Names come from the network, and Spring answers any of them. Made-up ones push out only each other.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# What isn't known to exist has this part of the room.
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
    """See the module. What was used last stays longest.

    Args:
        max_bytes: Of everything that is known to exist; what isn't may have an eighth beside it.
        max_entries: Likewise.
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
        """Keep a value in place of the former one; not at all if it is larger than its part of the cache."""
        part, other = (self._known, self._unknown) if is_known else (self._unknown, self._known)
        other.drop(key)
        part.put(key, value, size)

    def clear(self) -> None:
        for part in (self._known, self._unknown):
            part.entries.clear()
            part.bytes = 0

    def __len__(self) -> int:
        return len(self._known.entries) + len(self._unknown.entries)
