"""The owner of "in use": which keys are in use, and for whom. Pure.

In come main subscriptions that begin and end, patterns, and the keys that exist in a new tree. Out go the keys that the store keeps and the
registry knows: only this module adds and drops them, so the three always agree. A key is

    known       while it exists in the tree or is the main subscription of a connection: patterns match it
    in use      while it is the main subscription of a connection, or a pattern that somebody wants matches it
    idle        once it is no longer in use: the store keeps it for clients that come back, until newer keys need the room

Each method leaves all of that complete: a caller has nothing to do afterwards, whatever the order of its calls.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

from ..core.model import Change, Config, Key
from ..core.patterns import Pattern
from ..settings.history import HistorySettings
from .registry import Registry
from .store import Store

S = TypeVar("S")
Broadcast: TypeAlias = Callable[[Iterable[Change]], int]

# To look at so many takes less than a millisecond.
_SETTLED_AT_ONCE = 1_024


class KeyUsage(Generic[S]):
    """See the module.

    Args:
        store: Where the configurations of keys are kept; nobody else adds or drops any.
        registry: Where subscribers are found; nobody else makes keys known or adds patterns.
        settings: `idle_keys` bounds the keys that are kept though they aren't in use.
    """

    def __init__(self, store: Store, registry: Registry[S], settings: HistorySettings) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._existing: frozenset[Key] = frozenset()
        # How many connections have a key as their main subscription.
        self._mains: dict[Key, int] = {}
        # The keys that are in use because patterns match them.
        self._matched: set[Key] = set()
        # Oldest first.
        self._idle: OrderedDict[Key, None] = OrderedDict()

    def replace(self, settings: HistorySettings) -> None:
        """Put another bound of idle keys in force, and drop at once the keys that are beyond it."""
        self._settings = settings
        self._trim()

    # What is in use.

    def is_used(self, key: Key) -> bool:
        """Whether a key is in use. The store may keep it even so; for subscribers it has ended."""
        return key in self._mains or key in self._matched

    def is_known(self, key: Key) -> bool:
        """Whether patterns can match a key."""
        return key in self._existing or key in self._mains

    def find(self, key: Key) -> Config | None:
        """The current configuration of a key that is in use; None where the key has ended."""
        return self._store.find(key) if self.is_used(key) else None

    def version_of(self, key: Key) -> str | None:
        """The current version of a key that is in use; None where the key has ended."""
        config = self.find(key)
        return config.version if config else None

    def main_labels(self) -> frozenset[str]:
        """The labels of the main subscriptions."""
        return frozenset(label for key in self._mains for label in key.labels)

    # Main subscriptions.

    def hold(self, key: Key, broadcast: Broadcast, resolved: Config | None = None) -> None:
        """Begin a main subscription, before its subscriber is added to the registry.

        Args:
            broadcast: Called with the beginning of the key, if patterns match it and didn't know it before.
            resolved: What the state in force makes of the key, where the caller knows it already.

        Raises:
            UnknownLabel, FormatError, ResolveError: The key can't be resolved; nothing has changed then.
        """
        self._store.add(key, resolved)
        is_new = not self.is_known(key)
        self._mains[key] = self._mains.get(key, 0) + 1
        self._idle.pop(key, None)
        self._registry.appear(key)
        self._match(key)
        if is_new and self._registry.is_matched(key):
            broadcast([Change(key, None, self._store.find(key))])

    def release(self, key: Key, broadcast: Broadcast) -> None:
        """End a main subscription.

        Args:
            broadcast: Called with the end of the key, if it ends by this.

        Raises:
            KeyError: There is none.
        """
        self._mains[key] -= 1
        if self._mains[key]:
            return
        del self._mains[key]
        if key not in self._existing:
            self._end(key, broadcast)
        self._retire(key)

    # Patterns.

    def unresolved(self, keys: Iterable[Key]) -> set[Key]:
        """Those that the store doesn't have."""
        return {key for key in keys if key not in self._store}

    def subscribe(
        self, subscriber: S, patterns: Collection[Pattern], resolved: Mapping[Key, Config | None]
    ) -> Collection[Key]:
        """Subscribe to patterns, and return the keys that they match now.

        Args:
            resolved: What the state in force makes of those that `unresolved` named; None for those it can't resolve.
        """
        keys = self._registry.subscribe(subscriber, *patterns)
        for key in keys:
            self._match(key, resolved.get(key))
        return keys

    def unsubscribe(self, subscriber: S, patterns: Collection[Pattern]) -> None:
        """End subscriptions to patterns; nothing happens where there are none. See `settle`."""
        self._registry.unsubscribe(subscriber, *patterns)
        self.settle()

    def settle(self) -> bool:
        """Retire keys that no pattern matches any more, among a bounded number that have lost one. Returns whether others are left.

        A key that stays in use a while longer does no harm: each publication retires all of them.
        """
        keys, is_more = self._registry.unmatched(_SETTLED_AT_ONCE)
        for key in keys:
            self._matched.discard(key)
            self._retire(key)
        return is_more

    # Publications.

    def new(self, existing: frozenset[Key]) -> Collection[Key]:
        """The keys of a new tree that aren't known yet."""
        if existing is self._existing:
            return ()
        return [key for key in existing - self._existing if not self.is_known(key)]

    def appearing(self, existing: frozenset[Key]) -> set[Key]:
        """The keys of a new tree that aren't known yet and that patterns will match."""
        return {key for key in self.new(existing) if self._registry.would_match(key)}

    def update(self, existing: frozenset[Key], broadcast: Broadcast) -> int:
        """Make the keys of a new tree known, before it is committed, and end those that are gone. Returns the number of deliveries.

        Args:
            broadcast: Called with the end of each key that ends by this.
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

    # Steps of the above.

    def _match(self, key: Key, resolved: Config | None = None) -> None:
        """Bring a known key into use for the patterns that match it, if there are any."""
        if key not in self._matched and self._registry.is_matched(key):
            self._matched.add(key)
            self._idle.pop(key, None)
            self._store.expect(key, resolved)

    def _end(self, key: Key, broadcast: Broadcast) -> int:
        """Make a key unknown. Returns the number of deliveries to those whose patterns match it."""
        config = self._store.find(key)
        # Before the registry forgets the key: until then it finds the subscribers.
        deliveries = broadcast([Change(key, config, None)]) if config else 0
        self._registry.vanish(key)
        self._matched.discard(key)
        return deliveries

    def _retire(self, key: Key) -> None:
        """Make a key idle if the store has it and it isn't in use; one that is idle already keeps its place."""
        if key in self._store and not self.is_used(key):
            self._idle.setdefault(key)
            self._trim()

    def _trim(self) -> None:
        while len(self._idle) > self._settings.idle_keys:
            oldest, _ = self._idle.popitem(last=False)
            self._store.drop(oldest)
