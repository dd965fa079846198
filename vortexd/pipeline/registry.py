"""Finds the subscribers of each key by index.

Keys and patterns arrive, and subscribers leave. Pure and synchronous. Under Trio a caller can register a subscriber and
read its first state in one `def`, so no change is lost in between.

Patterns are matched when a pattern or key is new, never when a configuration changes. A pattern is matched against the
known keys when a client first subscribes to it. A key is matched against the patterns when it becomes known. A change
needs only a look-up, so its cost depends only on the number of subscribers that it reaches. `ahead` does the long part
of the matching in steps. `subscribe` or `appear` then find it done. Keys and patterns that are added between the steps
are matched when they are added.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from ..core.model import Key
from ..core.patterns import Pattern
from .matching import STEP, Line, Matching, numbers_of

S = TypeVar("S")

# The cost of making a line, in the unit of `matching.STEP`.
_NEW_LINE = 64


class Registry(Generic[S]):
    """Holds the subscribers of keys and patterns. A subscriber is anything that the broadcaster can deliver to.

    A key is *known* from `appear` to `vanish`. Patterns match known keys only. A pattern is *wanted* while it has
    subscribers.
    """

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets, so deliveries go out in the order of arrival, the same in every run.
        self._subscribers: dict[Key, dict[S, None]] = {}
        # The subscribers of patterns, by the pattern's number.
        self._members: dict[int, dict[S, None]] = {}
        self._matching = Matching()
        # Sets of numbers: the known keys, the wanted patterns, and the keys whose patterns lost their last subscriber.
        self._known = 0
        self._wanted = 0
        self._doubtful = 0

    # Single keys.

    def add(self, subscriber: S, key: Key) -> None:
        """Subscribe to a key. A second call with the same arguments changes nothing."""
        self._subscribers.setdefault(key, {})[subscriber] = None

    def discard(self, subscriber: S, key: Key) -> None:
        """End a subscription to a key. If it doesn't exist, nothing happens."""
        subscribers = self._subscribers.get(key)
        if subscribers is not None:
            subscribers.pop(subscriber, None)
            if not subscribers:
                del self._subscribers[key]

    # Patterns.

    def subscribe(self, subscriber: S, *patterns: Pattern) -> list[Key]:
        """Subscribe to patterns, and return the known keys that they match now, each once.

        A repeated subscription changes nothing.
        """
        matched = 0
        for pattern in patterns:
            line = self._matching.claim_pattern(pattern)
            self._matching.finish(line)
            members = self._members.get(line.number)
            if members is None:
                # The claim lasts until the last subscriber leaves.
                members = self._members[line.number] = {}
                self._wanted |= 1 << line.number
            else:
                self._matching.release(line)
            members[subscriber] = None
            matched |= line.cells
        return self._keys(matched & self._known)

    def unsubscribe(self, subscriber: S, *patterns: Pattern) -> None:
        """End subscriptions to patterns. If a subscription doesn't exist, nothing happens. See `unmatched`."""
        for pattern in patterns:
            line = self._matching.pattern(pattern)
            members = self._members.get(line.number) if line is not None else None
            if line is None or members is None or subscriber not in members:
                continue
            del members[subscriber]
            if not members:
                del self._members[line.number]
                self._wanted &= ~(1 << line.number)
                self._doubtful |= line.cells
                self._matching.release(line)

    def replace(self, old: S, new: S, patterns: Iterable[Pattern]) -> None:
        """Put one subscriber in place of another in subscriptions to patterns. The matches stay the same."""
        for pattern in patterns:
            line = self._matching.pattern(pattern)
            members = self._members.get(line.number) if line is not None else None
            if members is not None and old in members:
                del members[old]
                members[new] = None

    def matches(self, *patterns: Pattern) -> list[Key]:
        """Return the known keys that patterns match now, each once."""
        matched = 0
        for pattern in patterns:
            line = self._matching.claim_pattern(pattern)
            self._matching.finish(line)
            matched |= line.cells
            self._matching.release(line)
        return self._keys(matched & self._known)

    def unmatched_by(self, keys: Iterable[Key], patterns: Collection[Pattern]) -> list[Key]:
        """Return those of the keys that none of these patterns matches. The keys needn't be known."""
        matched = set(self.matches(*patterns))
        # An unknown key may have no line, so it is compared with each pattern. There are few such keys.
        return [
            key
            for key in keys
            if key not in matched and (self.is_known(key) or not any(pattern.matches(key) for pattern in patterns))
        ]

    def unmatched(self, most: int) -> tuple[list[Key], bool]:
        """Find known keys that no wanted pattern matches any more, because patterns have lost their subscribers.

        Args:
            most: The largest number of keys to check.

        Returns:
            The keys found, and whether other keys remain to be checked.
        """
        found = []
        last = -1
        for last in islice(numbers_of(self._doubtful & self._known), most):
            line = self._matching.key_at(last)
            if line is not None and not line.cells & self._wanted:
                found.append(line.item)
        self._doubtful = (self._doubtful & self._known) >> (last + 1) << (last + 1)
        return found, bool(self._doubtful)

    def doubt(self, keys: Iterable[Key]) -> None:
        """Let `unmatched` check these keys, although their patterns haven't lost a subscriber."""
        for key in keys:
            line = self._matching.key(key)
            if line is not None:
                self._doubtful |= 1 << line.number

    # Matching in steps, before `subscribe` or `appear`.

    @property
    def has_patterns(self) -> bool:
        """Whether there is any pattern that a new key must be matched against."""
        return len(self._matching) > 0

    @contextmanager
    def ahead(self, patterns: Collection[Pattern] = (), keys: Collection[Key] = ()) -> Iterator[Iterator[None]]:
        """Match patterns before `subscribe`, and keys before `appear`.

        Run the steps, then call these methods inside the `with`.

        A step takes about half a millisecond. Keys and patterns that come and go between the steps are matched
        correctly. If the caller leaves early, the remaining matching is done later, all at once.
        """
        claimed: list[Line] = []
        claims: list[Callable[[], Line]] = [partial(self._matching.claim_pattern, each) for each in patterns]
        claims += [partial(self._matching.claim_key, each) for each in keys]
        try:
            yield self._steps(claims, claimed)
        finally:
            for line in claimed:
                self._matching.release(line)

    def _steps(self, claims: Iterable[Callable[[], Line]], claimed: list[Line]) -> Iterator[None]:
        effort = 0
        for claim in claims:
            claimed.append(line := claim())
            effort += _NEW_LINE
            while True:
                effort += self._matching.decide(line, STEP - effort)
                if effort < STEP:
                    break
                yield
                effort = 0

    # Known keys.

    def appear(self, key: Key) -> None:
        """Make a key known. If it hasn't been matched against the patterns yet, that happens now."""
        if self.is_known(key):
            return
        line = self._matching.claim_key(key)
        self._matching.finish(line)
        line.is_known = True
        self._known |= 1 << line.number

    def vanish(self, key: Key) -> None:
        """Make a key unknown. If it isn't known, nothing happens."""
        line = self._matching.key(key)
        if line is not None and line.is_known:
            line.is_known = False
            self._known &= ~(1 << line.number)
            self._matching.release(line)

    def is_matched(self, key: Key) -> bool:
        """Return whether a wanted pattern matches a known key."""
        line = self._matching.key(key)
        return line is not None and line.is_known and bool(line.cells & self._wanted)

    def would_match(self, key: Key) -> bool:
        """Return whether a wanted pattern matches a key, known or not."""
        line = self._matching.claim_key(key)
        self._matching.finish(line)
        found = bool(line.cells & self._wanted)
        self._matching.release(line)
        return found

    def is_known(self, key: Key) -> bool:
        """Return whether a key is known, so that patterns can match it."""
        line = self._matching.key(key)
        return line is not None and line.is_known

    # Look-ups for a change.

    def subscribers(self, key: Key) -> Collection[S]:
        """Return the subscribers of a key, directly or by pattern, each once.

        Direct subscribers come first, in the order of arrival. Copy the collection if you keep it.
        """
        single = self._subscribers.get(key, {})
        line = self._matching.key(key)
        patterns = line.cells & self._wanted if line is not None and line.is_known else 0
        if not patterns:
            return single.keys()
        found = dict(single)
        for number in numbers_of(patterns):
            found |= self._members[number]
        return found.keys()

    def is_wanted(self, key: Key) -> bool:
        """Return whether a key has any subscriber."""
        return key in self._subscribers or self.is_matched(key)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the known keys."""
        return iter(self._keys(self._known))

    def _keys(self, numbers: int) -> list[Key]:
        lines = map(self._matching.key_at, numbers_of(numbers))
        return [line.item for line in lines if line is not None]
