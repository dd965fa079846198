"""Decides which keys are in use. Pure.

Main subscriptions that begin and end, patterns, and the keys of a new tree arrive. The keys that the store keeps and
that the registry knows leave. Only this module adds and drops them, so the three always agree. A key is

    known       while it exists in the tree or is the main subscription of a connection: patterns match it
    in use      while it is the main subscription of a connection, or a subscriber's pattern matches it; before a pattern
                is subscribed to, its keys are brought into use
    idle        once it is no longer in use: the store keeps it for clients that reconnect, until newer idle keys need
                the room

The candidate of a key in a roll-out is in use as long as it is held. It is never known and never idle.

Each method leaves all three complete. The caller has nothing to do afterwards, in any order of its calls.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

from ..core.candidate import CandidateKey
from ..core.model import Change, Config, Key
from ..core.patterns import Pattern
from ..settings.history import HistorySettings
from .registry import Registry
from .store import Store

S = TypeVar("S")
Broadcast: TypeAlias = Callable[[Iterable[Change]], int]

# Checking this many keys takes less than a millisecond.
_SETTLED_AT_ONCE = 1_024


class KeyUsage(Generic[S]):
    """Decides which keys are in use; see the module.

    Args:
        store: Keeps the configurations of keys. No other part adds or drops any.
        registry: Finds subscribers. No other part makes keys known or adds patterns.
        settings: `idle_keys` limits the keys that are kept although they aren't in use.
    """

    def __init__(self, store: Store, registry: Registry[S], settings: HistorySettings) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._existing: frozenset[Key] = frozenset()
        # The number of connections whose main subscription a key is.
        self._mains: dict[Key, int] = {}
        # The keys that are in use because patterns match them.
        self._matched: set[Key] = set()
        # The oldest idle key comes first.
        self._idle: OrderedDict[Key, None] = OrderedDict()

    def replace(self, settings: HistorySettings) -> None:
        """Put another limit of idle keys in force, and drop the keys beyond it at once."""
        self._settings = settings
        self._trim()

    # Keys in use.

    def is_used(self, key: Key) -> bool:
        """Return whether a key is in use.

        If it isn't, it has ended for subscribers, even if the store still keeps it.
        """
        return key in self._mains or key in self._matched

    def is_known(self, key: Key) -> bool:
        """Return whether patterns can match a key."""
        return key in self._existing or key in self._mains

    def find(self, key: Key) -> Config | None:
        """Return the current configuration of a key that is in use, or None if the key has ended."""
        return self._store.find(key) if self.is_used(key) else None

    def version_of(self, key: Key) -> str | None:
        """Return the current version of a key that is in use, or None if the key has ended."""
        config = self.find(key)
        return config.version if config else None

    def main_labels(self) -> frozenset[str]:
        """Return the labels of the main subscriptions."""
        return frozenset(label for key in self._mains for label in key.labels)

    # Main subscriptions.

    def hold(self, key: Key, broadcast: Broadcast, resolved: Config | None = None) -> None:
        """Begin a main subscription, before its subscriber is added to the registry.

        Args:
            broadcast: Called with the beginning of the key, if the key wasn't known before and patterns match it.
            resolved: The key's configuration in the current state, if the caller has it already.

        Raises:
            UnknownLabel, FormatError, ResolveError: The key can't be resolved. Then nothing has changed.
        """
        if key in self._mains and self._store.find(key) is not None:
            # The first main subscription has done the rest.
            self._mains[key] += 1
            return
        self._store.add(key, resolved)
        is_new = not self.is_known(key)
        self._mains[key] = self._mains.get(key, 0) + 1
        self._idle.pop(key, None)
        if isinstance(key, CandidateKey):
            # Patterns never match a candidate.
            return
        self._registry.appear(key)
        self._match(key)
        if is_new and self._registry.is_matched(key):
            broadcast([Change(key, None, self._store.find(key))])

    def release(self, key: Key, broadcast: Broadcast) -> None:
        """End a main subscription.

        Args:
            broadcast: Called with the end of the key, if this was its last main subscription and it isn't in the tree.

        Raises:
            KeyError: The key has no main subscription.
        """
        self._mains[key] -= 1
        if self._mains[key]:
            return
        del self._mains[key]
        if isinstance(key, CandidateKey):
            # Its clients have their own key again.
            self._store.drop(key)
            return
        if key not in self._existing:
            self._end(key, broadcast)
        self._retire(key)

    # Patterns.

    def unresolved(self, keys: Iterable[Key]) -> set[Key]:
        """Return those of the keys that the store doesn't have."""
        return {key for key in keys if key not in self._store}

    def subscribe(
        self, subscriber: S, patterns: Collection[Pattern], resolved: Mapping[Key, Config | None]
    ) -> Collection[Key]:
        """Subscribe to patterns, and return the keys that they match now.

        Args:
            resolved: The configurations, in the current state, of the keys that `unresolved` returned. None for a key
                that can't be resolved.
        """
        keys = self._registry.subscribe(subscriber, *patterns)
        for key in keys:
            if key not in self._matched:
                self._match(key, resolved.get(key))
        return keys

    @contextmanager
    def ahead(self) -> Iterator[Callable[[Key, Config | None], None]]:
        """Bring keys into use before `subscribe`, which then finds them in use.

        Call the yielded function inside the `with`, with a key that the patterns match and its configuration in the
        current state. So thousands of keys can be added a few at a time. If the `with` ends with an error, the keys are
        retired unless another pattern matches them.
        """
        taken: list[Key] = []

        def expect(key: Key, resolved: Config | None) -> None:
            if key not in self._matched and self._registry.is_known(key):
                self._matched.add(key)
                self._idle.pop(key, None)
                self._store.expect(key, resolved)
                taken.append(key)

        try:
            yield expect
        except BaseException:
            self._registry.doubt(taken)
            self.settle()
            raise

    def unsubscribe(self, subscriber: S, patterns: Collection[Pattern]) -> None:
        """End subscriptions to patterns. If a subscription doesn't exist, nothing happens. See `settle`."""
        self._registry.unsubscribe(subscriber, *patterns)
        self.settle()

    def settle(self) -> bool:
        """Retire keys that no pattern matches any more. Return whether there are more keys to check.

        Each call checks a bounded number of the keys that have lost a pattern.
        A key that stays in use a while longer does no harm, because each publication retires all such keys.
        """
        keys, is_more = self._registry.unmatched(_SETTLED_AT_ONCE)
        for key in keys:
            self._matched.discard(key)
            self._retire(key)
        return is_more

    # Publications.

    def new(self, existing: frozenset[Key]) -> Collection[Key]:
        """Return the keys of a new tree that aren't known yet."""
        if existing is self._existing:
            return ()
        return [key for key in existing - self._existing if not self.is_known(key)]

    def appearing(self, existing: frozenset[Key]) -> set[Key]:
        """Return the keys of a new tree that aren't known yet and that subscribers' patterns match."""
        return {key for key in self.new(existing) if self._registry.would_match(key)}

    def update(self, existing: frozenset[Key], broadcast: Broadcast) -> int:
        """Make the keys of a new tree known before it is committed, and end the keys that are gone.

        Return the number of deliveries.

        Args:
            broadcast: Called with the end of each key that ends in this tree.
        """
        if existing is self._existing:
            return 0
        for key in existing - self._existing:
            self._registry.appear(key)
            self._match(key)
        gone = [key for key in self._existing - existing if key not in self._mains]
        self._existing = existing
        deliveries = 0
        for key in gone:
            deliveries += self._end(key, broadcast)
            self._retire(key)
        return deliveries

    # Steps of the methods above.

    def _match(self, key: Key, resolved: Config | None = None) -> None:
        """Bring a known key into use, if subscribers' patterns match it."""
        if key not in self._matched and self._registry.is_matched(key):
            self._matched.add(key)
            self._idle.pop(key, None)
            self._store.expect(key, resolved)

    def _end(self, key: Key, broadcast: Broadcast) -> int:
        """Make a key unknown. Return the number of deliveries to subscribers whose patterns match it."""
        config = self._store.find(key)
        # Broadcast before the registry forgets the key, because it finds the subscribers only until then.
        deliveries = broadcast([Change(key, config, None)]) if config else 0
        self._registry.vanish(key)
        self._matched.discard(key)
        return deliveries

    def _retire(self, key: Key) -> None:
        """Make a key idle if the store has it and it isn't in use. A key that is idle already keeps its place."""
        if key in self._store and not self.is_used(key):
            self._idle.setdefault(key)
            self._trim()

    def _trim(self) -> None:
        while len(self._idle) > self._settings.idle_keys:
            oldest, _ = self._idle.popitem(last=False)
            self._store.drop(oldest)
