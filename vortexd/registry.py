"""Who wants what: the subscribers of each key, found by index.

In come keys and patterns, out go subscribers. Pure and synchronous: under Trio, registering and reading the first state in one `def`
leaves nothing to fall between.

Matching happens when something is new, never when something changes: a pattern is matched against the known keys when it is
first wanted, a key against the patterns when it becomes known. What is left for a change is a look-up, so its cost grows with the number of
subscribers it reaches and with nothing else. Where there are many keys, `find` matches patterns ahead, in a thread, and the registry tries those
keys alone that have become known since.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

import attrs

from .model import Key
from .patterns import Pattern

S = TypeVar("S")


@attrs.frozen(slots=True, eq=False)
class Found:
    """Which of the known keys patterns matched at a moment.

    Attributes:
        keys: Of each pattern; some may be no longer known.
        age: How many keys had become known by then.
    """

    keys: Mapping[Pattern, Sequence[Key]] = attrs.field(factory=dict)
    age: int = 0


NOTHING_FOUND = Found()


def find(patterns: Iterable[Pattern], found: Found, later: Sequence[Key], age: int) -> Found:
    """Match patterns ahead of `Registry.subscribe`. Long work where there are many keys, for a thread.

    Args:
        found: What is known of the same patterns already.
        later: The keys that became known since, and `age` the age by then; see `Registry.later`.
    """
    keys = {
        pattern: [*found.keys.get(pattern, ()), *(key for key in later if pattern.matches(key))] for pattern in patterns
    }
    return Found(keys, age)


class Registry(Generic[S]):
    """Subscribers of keys and patterns. A subscriber is whatever the broadcaster can deliver to.

    A key is *known* from `appear` to `vanish`; patterns match known keys only.
    """

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets: delivery is in the order of arrival, the same in every run.
        self._subscribers: dict[Key, dict[S, None]] = {}
        self._patterns: dict[Pattern, dict[S, None]] = {}
        # Each pattern of a key and each key of a pattern. The keys stand in the order in which they became known.
        self._matching: dict[Key, dict[Pattern, None]] = {}
        self._matched: dict[Pattern, dict[Key, None]] = {}
        self._age = 0
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

    def subscribe(self, subscriber: S, pattern: Pattern, found: Found = NOTHING_FOUND) -> Collection[Key]:
        """Subscribe to a pattern, and return the known keys it matches now; twice is the same as once."""
        matched = self.matches(pattern, found)
        if pattern not in self._patterns:
            self._by_prefix.setdefault(_prefix(pattern), {})[pattern] = None
            self._matched[pattern] = dict.fromkeys(matched)
            for key in matched:
                self._matching[key][pattern] = None
        self._patterns.setdefault(pattern, {})[subscriber] = None
        return matched

    def unsubscribe(self, subscriber: S, pattern: Pattern) -> None:
        """End a subscription to a pattern; nothing happens where there is none."""
        _remove(self._patterns, pattern, subscriber)
        if pattern not in self._patterns and pattern in self._by_prefix.get(_prefix(pattern), ()):
            _remove(self._by_prefix, _prefix(pattern), pattern)
            for key in self._matched.pop(pattern):
                del self._matching[key][pattern]

    def matches(self, pattern: Pattern, found: Found = NOTHING_FOUND) -> list[Key]:
        """The known keys that a pattern matches now.

        Args:
            found: What it matched before; only keys that became known since are tried then.
        """
        if pattern in self._matched:
            return list(self._matched[pattern])
        if pattern not in found.keys:
            return [key for key in self._candidates(pattern) if pattern.matches(key)]
        keys = {key: None for key in found.keys[pattern] if key in self._matching}
        keys |= {key: None for key in self.later(found)[0] if pattern.matches(key)}
        return list(keys)

    def effort(self, patterns: Iterable[Pattern], found: Found = NOTHING_FOUND) -> int:
        """How many times `matches` would try a key to answer for all of these."""
        return sum(
            self._age - found.age if pattern in found.keys else len(self._candidates(pattern))
            for pattern in patterns
            if pattern not in self._matched
        )

    def later(self, found: Found) -> tuple[Sequence[Key], int]:
        """The keys that became known since something was found, and the age now."""
        # What has vanished since is no longer among them, and an older key in its place, which does no harm.
        return tuple(islice(reversed(self._matching), self._age - found.age)), self._age

    # Known keys.

    def appear(self, key: Key) -> None:
        """Make a key known; it is matched against the patterns once, now."""
        if key in self._matching:
            return
        self._age += 1
        self._by_application.setdefault(key.applications[0], {})[key] = None
        self._matching[key] = patterns = {pattern: None for pattern in self._possible(key) if pattern.matches(key)}
        for pattern in patterns:
            self._matched[pattern][key] = None

    def vanish(self, key: Key) -> None:
        """Forget a key; nothing happens where it isn't known."""
        patterns = self._matching.pop(key, None)
        if patterns is not None:
            _remove(self._by_application, key.applications[0], key)
            for pattern in patterns:
                del self._matched[pattern][key]

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

    def _candidates(self, pattern: Pattern) -> Collection[Key]:
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
