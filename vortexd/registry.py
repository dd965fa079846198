"""Who wants what: the subscribers of each key, found by index.

In come keys and patterns, out go subscribers. Pure and synchronous: under Trio, registering and reading the first state in one `def`
leaves nothing to fall between.

Matching happens when something is new, never when something changes: a pattern is matched against the known keys when it is
first wanted, a key against the patterns when it becomes known. What is left for a change is a look-up, so its cost grows with the number of
subscribers it reaches and with nothing else.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Generic, TypeVar

from .model import Key
from .patterns import Pattern

S = TypeVar("S")


class Registry(Generic[S]):
    """Subscribers of keys and patterns. A subscriber is whatever the broadcaster can deliver to.

    A key is *known* from `appear` to `vanish`; patterns match known keys only.
    """

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets: delivery is in the order of arrival, the same in every run.
        self._subscribers: dict[Key, dict[S, None]] = {}
        self._patterns: dict[Pattern, dict[S, None]] = {}
        self._matching: dict[Key, dict[Pattern, None]] = {}
        # Two indexes that narrow the matching: patterns by what stands before the first `*` of the application, keys by application.
        self._by_prefix: dict[str, dict[Pattern, None]] = {}
        self._by_application: dict[str, dict[Key, None]] = {}

    # Single keys.

    def add(self, subscriber: S, key: Key) -> None:
        """Subscribe to a key; twice is the same as once."""
        self._subscribers.setdefault(key, {})[subscriber] = None

    def discard(self, subscriber: S, key: Key) -> None:
        """End a subscription; nothing happens where there is none."""
        _remove(self._subscribers, key, subscriber)

    # Patterns.

    def subscribe(self, subscriber: S, pattern: Pattern) -> Collection[Key]:
        """Subscribe to a pattern, and return the known keys it matches now; twice is the same as once."""
        matched = self.matches(pattern)
        if pattern not in self._patterns:
            self._by_prefix.setdefault(_prefix(pattern), {})[pattern] = None
            for key in matched:
                self._matching[key][pattern] = None
        self._patterns.setdefault(pattern, {})[subscriber] = None
        return matched

    def unsubscribe(self, subscriber: S, pattern: Pattern) -> None:
        """End a subscription to a pattern; nothing happens where there is none."""
        _remove(self._patterns, pattern, subscriber)
        if pattern not in self._patterns and pattern in self._by_prefix.get(_prefix(pattern), ()):
            _remove(self._by_prefix, _prefix(pattern), pattern)
            for key in self._candidates(pattern):
                self._matching[key].pop(pattern, None)

    def matches(self, pattern: Pattern) -> list[Key]:
        """The known keys that a pattern matches now."""
        if pattern in self._patterns:
            return [key for key in self._candidates(pattern) if pattern in self._matching[key]]
        return [key for key in self._candidates(pattern) if pattern.matches(key)]

    # Known keys.

    def appear(self, key: Key) -> None:
        """Make a key known; it is matched against the patterns once, now."""
        if key in self._matching:
            return
        self._by_application.setdefault(key.applications[0], {})[key] = None
        self._matching[key] = {pattern: None for pattern in self._possible(key) if pattern.matches(key)}

    def vanish(self, key: Key) -> None:
        """Forget a key; nothing happens where it isn't known."""
        if self._matching.pop(key, None) is not None:
            _remove(self._by_application, key.applications[0], key)

    def is_matched(self, key: Key) -> bool:
        """Whether a pattern that somebody wants matches a known key."""
        return bool(self._matching.get(key))

    def would_match(self, key: Key) -> bool:
        """Whether a pattern that somebody wants matches a key, known or not."""
        return self.is_matched(key) or any(pattern.matches(key) for pattern in self._possible(key))

    def is_known(self, key: Key) -> bool:
        """Whether patterns can match it now."""
        return key in self._matching

    # What a change asks.

    def subscribers(self, key: Key) -> Collection[S]:
        """Those who want a key, by itself or by pattern, each once, in the order of arrival. Copy it to keep it."""
        single = self._subscribers.get(key, {})
        patterns = self._matching.get(key)
        if not patterns:
            return single.keys()
        found = dict(single)
        for pattern in patterns:
            found |= self._patterns[pattern]
        return found.keys()

    def is_wanted(self, key: Key) -> bool:
        """Whether anybody wants a key."""
        return key in self._subscribers or bool(self._matching.get(key))

    def _possible(self, key: Key) -> Iterator[Pattern]:
        """The patterns whose application begins as the key's does: all that can match it, and not many more."""
        name = key.applications[0]
        for length in range(len(name) + 1):
            yield from self._by_prefix.get(name[:length], ())

    def _candidates(self, pattern: Pattern) -> Iterable[Key]:
        if "*" not in pattern.application:
            return self._by_application.get(pattern.application, ())
        return self._matching

    def __iter__(self) -> Iterator[Key]:
        """The known keys."""
        return iter(self._matching)


def _prefix(pattern: Pattern) -> str:
    return pattern.application.partition("*")[0]


def _remove(sets: "dict[K, dict[V, None]]", name: "K", value: "V") -> None:
    """Take a value out of a dictionary of sets, and the set with its last value."""
    values = sets.get(name)
    if values is not None:
        values.pop(value, None)
        if not values:
            del sets[name]


K = TypeVar("K")
V = TypeVar("V")
