"""Who wants what: the subscribers of each key.

Pure and synchronous: under Trio, registering and reading the first state in one `def` leaves nothing to fall between.
"""

from collections.abc import Collection
from typing import Generic, TypeVar

from .model import Key

S = TypeVar("S")


class Registry(Generic[S]):
    """Subscribers by key. A subscriber is whatever the broadcaster can deliver to; compared by identity or `==`."""

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets: delivery is in the order of arrival, the same in every run.
        self._subscribers: dict[Key, dict[S, None]] = {}

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

    def subscribers(self, key: Key) -> Collection[S]:
        """The subscribers of a key, in the order of their arrival. Changes with the registry: copy it to keep it."""
        return self._subscribers.get(key, {}).keys()

    @property
    def keys(self) -> Collection[Key]:
        """The keys that somebody wants."""
        return self._subscribers.keys()
