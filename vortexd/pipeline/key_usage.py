"""What is in use, and why: ties who wants what (the registry) to what is kept resolved (the store). Pure.

In come connections that begin and end, patterns, and the keys that a new tree has; out goes the registry's and the store's state, kept
equal. A key is *known*, so that patterns match it, while it exists in the tree or a connection has it as its main subscription. It is
*held* in the store once for each such connection, and once for all the patterns that match it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Generic, TypeVar

from ..core.model import Config, Key
from ..core.patterns import Pattern
from .registry import Registry
from .store import Store

S = TypeVar("S")

# To look at so many takes less than a millisecond.
_SETTLED_AT_ONCE = 1_024


class KeyUsage(Generic[S]):
    """See the module.

    Args:
        store: Where keys are held; nobody else holds any.
        registry: Where subscribers are found; nobody else makes keys known or adds patterns.
    """

    def __init__(self, store: Store, registry: Registry[S]) -> None:
        self._store = store
        self._registry = registry
        self._existing: frozenset[Key] = frozenset()
        self._mains: Counter[Key] = Counter()
        self._matched: set[Key] = set()

    # Main subscriptions.

    def hold(self, key: Key, resolved: Config | None = None) -> bool:
        """Begin a main subscription, before its subscriber is added to the registry.

        Args:
            resolved: What the state in force makes of the key, where the caller knows it already.

        Returns:
            Whether the key became known by it, and is new to patterns that match it.

        Raises:
            UnknownLabel, FormatError, ResolveError: The key can't be resolved; nothing has changed then.
        """
        self._store.hold(key, resolved)
        self._mains[key] += 1
        is_new = not self._registry.is_known(key)
        self._registry.appear(key)
        self._hold_matched(key)
        return is_new and self._registry.is_matched(key)

    def release(self, key: Key) -> bool:
        """End a main subscription. Returns whether the key ended by it, for patterns that match it; then call `forget`."""
        self._mains[key] -= 1
        self._store.release(key)
        if self._mains[key]:
            return False
        del self._mains[key]
        return key not in self._existing

    def forget(self, key: Key) -> None:
        """Make a key unknown that nothing but patterns wants any more."""
        self._registry.vanish(key)
        if key in self._matched:
            self._matched.discard(key)
            self._store.release(key)

    def main_labels(self) -> frozenset[str]:
        """The labels of the main subscriptions."""
        return frozenset(label for key in self._mains for label in key.labels)

    def is_served(self, key: Key) -> bool:
        """Whether somebody has a claim on the key now. The store may know it still; for subscribers it has ended."""
        return key in self._mains or key in self._matched

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
            self._hold_matched(key, resolved.get(key))
        return keys

    def unsubscribe(self, subscriber: S, patterns: Collection[Pattern]) -> None:
        """End subscriptions to patterns; nothing happens where there are none. See `settle`."""
        self._registry.unsubscribe(subscriber, *patterns)
        self.settle()

    def settle(self) -> bool:
        """Let go of keys that no pattern matches any more, among a bounded number that have lost one. Returns whether others are left.

        A key that is held a while longer harms nobody: each publication lets go of all of them.
        """
        keys, is_more = self._registry.unmatched(_SETTLED_AT_ONCE)
        for key in keys:
            if key in self._matched:
                self._matched.discard(key)
                self._store.release(key)
        return is_more

    def _hold_matched(self, key: Key, resolved: Config | None = None) -> None:
        """Hold a known key for the patterns that match it, if there are any."""
        if key not in self._matched and self._registry.is_matched(key):
            self._matched.add(key)
            self._store.expect(key, resolved)

    # Publications.

    def new(self, existing: frozenset[Key]) -> Collection[Key]:
        """The keys of a new tree that aren't known yet."""
        if existing is self._existing:
            return ()
        return [key for key in existing - self._existing if not self._registry.is_known(key)]

    def appearing(self, existing: frozenset[Key]) -> set[Key]:
        """The keys of a new tree that aren't known yet and that patterns will match."""
        return {key for key in self.new(existing) if self._registry.would_match(key)}

    def update(self, existing: frozenset[Key]) -> list[Key]:
        """Make the keys of a new tree known, before it is committed. Returns those that have ended; call `forget` for each."""
        if existing is self._existing:
            return []
        for key in existing - self._existing:
            self._registry.appear(key)
            self._hold_matched(key)
        ended = [key for key in self._existing - existing if key not in self._mains]
        self._existing = existing
        return ended
