"""Who wants what: the subscribers of each key, found by index.

In come keys and patterns, out go subscribers. Pure and synchronous: under Trio, registering and reading the first state in one `def`
leaves nothing to fall between.

Matching happens when something is new, never when something changes: a pattern is matched against the known keys when a client first
wants it, a key against the patterns when it becomes known. What is left for a change is a look-up, so its cost grows with the number of
subscribers it reaches and with nothing else. `ahead` does the long part of that in steps, before `subscribe` or `appear`, which then find it
done. What becomes known or is first wanted between the steps is matched as it comes.
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

# What it costs to make a line, in the unit of `matching.STEP`.
_NEW_LINE = 64


class Registry(Generic[S]):
    """Subscribers of keys and patterns. A subscriber is whatever the broadcaster can deliver to.

    A key is *known* from `appear` to `vanish`; patterns match known keys only. A pattern is *wanted* as long as it has subscribers.
    """

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets: delivery is in the order of arrival, the same in every run.
        self._subscribers: dict[Key, dict[S, None]] = {}
        # By the pattern's number.
        self._members: dict[int, dict[S, None]] = {}
        self._matching = Matching()
        # Sets of numbers: the known keys, the wanted patterns, and the keys that have lost one of these patterns.
        self._known = 0
        self._wanted = 0
        self._doubtful = 0

    # Single keys.

    def add(self, subscriber: S, key: Key) -> None:
        """Subscribe to a key; twice is the same as once."""
        self._subscribers.setdefault(key, {})[subscriber] = None

    def discard(self, subscriber: S, key: Key) -> None:
        """End a subscription; nothing happens where there is none."""
        subscribers = self._subscribers.get(key)
        if subscribers is not None:
            subscribers.pop(subscriber, None)
            if not subscribers:
                del self._subscribers[key]

    # Patterns.

    def subscribe(self, subscriber: S, *patterns: Pattern) -> list[Key]:
        """Subscribe to patterns, and return the known keys that they match now, each once; twice is the same as once."""
        matched = 0
        for pattern in patterns:
            line = self._matching.claim_pattern(pattern)
            self._matching.finish(line)
            members = self._members.get(line.number)
            if members is None:
                # The claim lasts until the last of them leaves.
                members = self._members[line.number] = {}
                self._wanted |= 1 << line.number
            else:
                self._matching.release(line)
            members[subscriber] = None
            matched |= line.cells
        return self._keys(matched & self._known)

    def unsubscribe(self, subscriber: S, *patterns: Pattern) -> None:
        """End subscriptions to patterns; nothing happens where there are none. See `unmatched`."""
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
        """Let one subscriber take another's place in subscriptions to patterns, whatever they match."""
        for pattern in patterns:
            line = self._matching.pattern(pattern)
            members = self._members.get(line.number) if line is not None else None
            if members is not None and old in members:
                del members[old]
                members[new] = None

    def matches(self, *patterns: Pattern) -> list[Key]:
        """The known keys that patterns match now, each once."""
        matched = 0
        for pattern in patterns:
            line = self._matching.claim_pattern(pattern)
            self._matching.finish(line)
            matched |= line.cells
            self._matching.release(line)
        return self._keys(matched & self._known)

    def unmatched_by(self, keys: Iterable[Key], patterns: Collection[Pattern]) -> list[Key]:
        """Those of some keys that none of these patterns matches; keys needn't be known."""
        matched = set(self.matches(*patterns))
        # A key that isn't known any more has no line to look at. There are few of them.
        return [
            key
            for key in keys
            if key not in matched and (self.is_known(key) or not any(pattern.matches(key) for pattern in patterns))
        ]

    def unmatched(self, most: int) -> tuple[list[Key], bool]:
        """Known keys that no pattern matches any more, since some lost their subscribers.

        Returns:
            Those among so many keys that are looked at, and whether others are left to look at.
        """
        found = []
        last = -1
        for last in islice(numbers_of(self._doubtful & self._known), most):
            line = self._matching.key_at(last)
            if line is not None and not line.cells & self._wanted:
                found.append(line.item)
        self._doubtful = (self._doubtful & self._known) >> (last + 1) << (last + 1)
        return found, bool(self._doubtful)

    # The long work of what follows, or of what precedes.

    @property
    def has_patterns(self) -> bool:
        """Whether there is any pattern that a new key has to be matched against."""
        return len(self._matching) > 0

    @contextmanager
    def ahead(self, patterns: Collection[Pattern] = (), keys: Collection[Key] = ()) -> Iterator[Iterator[None]]:
        """Match patterns before `subscribe`, and keys before `appear`: go through the steps, then call these inside of the `with`.

        A step takes about half a millisecond. What comes and goes between the steps is right in the end; who leaves early loses nothing but time.
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
        """Make a key known; it is matched against the patterns once, now at the latest."""
        if self.is_known(key):
            return
        line = self._matching.claim_key(key)
        self._matching.finish(line)
        line.is_known = True
        self._known |= 1 << line.number

    def vanish(self, key: Key) -> None:
        """Forget a key; nothing happens where it isn't known."""
        line = self._matching.key(key)
        if line is not None and line.is_known:
            line.is_known = False
            self._known &= ~(1 << line.number)
            self._matching.release(line)

    def is_matched(self, key: Key) -> bool:
        """Whether a pattern that somebody wants matches a known key."""
        line = self._matching.key(key)
        return line is not None and line.is_known and bool(line.cells & self._wanted)

    def would_match(self, key: Key) -> bool:
        """Whether a pattern that somebody wants matches a key, known or not."""
        line = self._matching.claim_key(key)
        self._matching.finish(line)
        found = bool(line.cells & self._wanted)
        self._matching.release(line)
        return found

    def is_known(self, key: Key) -> bool:
        """Whether patterns can match it now."""
        line = self._matching.key(key)
        return line is not None and line.is_known

    # What a change asks.

    def subscribers(self, key: Key) -> Collection[S]:
        """Those who want a key, by itself or by pattern, each once: first those who want itself, in the order of arrival. Copy it to keep it."""
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
        """Whether anybody wants a key."""
        return key in self._subscribers or self.is_matched(key)

    def __iter__(self) -> Iterator[Key]:
        """The known keys."""
        return iter(self._keys(self._known))

    def _keys(self, numbers: int) -> list[Key]:
        lines = map(self._matching.key_at, numbers_of(numbers))
        return [line.item for line in lines if line is not None]
