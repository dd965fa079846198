"""Knows which keys read which files. Pure.

Configurations with the files that they read arrive, and alterations of a tree. The keys that these alterations may
change leave. The invariant: a key that isn't returned has the same property sources and the same origin as before, if
the tree is the only thing that has changed. So each key in the index is resolved from the served state.
"""

import attrs

from ..core.model import Config, Key
from ..resolve.alterations import Alterations


@attrs.define(slots=True, eq=False)
class _Label:
    """The keys of one label. Dictionaries serve as ordered sets."""

    keys: dict[Key, None] = attrs.field(factory=dict)
    readers: dict[str, dict[Key, None]] = attrs.field(factory=dict)


def is_altered(config: Config, alterations: Alterations) -> bool:
    """Return whether alterations may change the key of a configuration. `Dependencies.altered` finds the same keys."""
    if config.key in alterations.keys:
        return True
    for label in config.key.labels:
        stems = alterations.stems.get(label, frozenset())
        if stems is None or not stems.isdisjoint(config.reads):
            return True
    return False


class Dependencies:
    """The index of keys by the stems of the files that they read; see the module."""

    def __init__(self) -> None:
        self._labels: dict[str, _Label] = {}
        self._reads: dict[Key, tuple[str, ...]] = {}

    def put(self, config: Config) -> None:
        """Add the key of a configuration, or note that the key reads other files now."""
        key = config.key
        if self._reads.get(key) == config.reads:
            return
        self.discard(key)
        self._reads[key] = config.reads
        for name in key.labels:
            label = self._labels.setdefault(name, _Label())
            label.keys[key] = None
            for stem in config.reads:
                label.readers.setdefault(stem, {})[key] = None

    def discard(self, key: Key) -> None:
        """Remove a key, if it is there."""
        reads = self._reads.pop(key, None)
        if reads is None:
            return
        for name in dict.fromkeys(key.labels):
            label = self._labels[name]
            del label.keys[key]
            for stem in reads:
                readers = label.readers[stem]
                del readers[key]
                if not readers:
                    del label.readers[stem]
            if not label.keys:
                del self._labels[name]

    def altered(self, alterations: Alterations) -> set[Key]:
        """Return the keys that may be altered."""
        found = {key for key in alterations.keys if key in self._reads}
        for name, stems in alterations.stems.items():
            label = self._labels.get(name)
            if label is None:
                continue
            if stems is None:
                found |= label.keys.keys()
            else:
                found.update(*(label.readers.get(stem, ()) for stem in stems))
        return found

    def __contains__(self, key: Key) -> bool:
        return key in self._reads

    def __len__(self) -> int:
        return len(self._reads)
