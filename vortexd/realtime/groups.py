"""Subscribes parked connections with a single key as one group per key. Pure.

The broadcaster passes a delivery to each subscriber. Most connections are parked and have a single key. So a call for each of
them would take longer than all other work of a publication. A group takes one call for all of its connections.
"""

from collections.abc import Collection
from typing import Protocol

from ..core.model import Key
from ..pipeline.broadcast import Delivery, Subscriber
from ..pipeline.registry import Registry
from .parked import Parked


class Queue(Protocol):
    """The queue of deliveries for parked connections."""

    def put_all(self, members: Collection[Parked], delivery: Delivery) -> None:
        """Queue a delivery for these connections, or record that they have missed it. Never waits, never raises."""
        ...


class Group:
    """The parked connections with a single key; a `broadcast.Subscriber` with a length."""

    __slots__ = ("_queue", "members")

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.members: dict[Parked, None] = {}

    def __len__(self) -> int:
        return len(self.members)

    def deliver(self, delivery: Delivery) -> None:
        """See `broadcast.Subscriber`."""
        self._queue.put_all(self.members, delivery)


class Groups:
    """The groups of a lot.

    Args:
        registry: The subscribers by their keys. A group is in it as long as it has connections.
    """

    def __init__(self, registry: Registry[Subscriber], queue: Queue) -> None:
        self._registry = registry
        self._queue = queue
        self._groups: dict[Key, Group] = {}

    def add(self, parked: Parked) -> None:
        """Subscribe a connection to its main key."""
        if parked.more is not None:
            self._registry.add(parked, parked.key)
            return
        group = self._groups.get(parked.key)
        if group is None:
            group = self._groups[parked.key] = Group(self._queue)
            self._registry.add(group, parked.key)
        group.members[parked] = None

    def discard(self, parked: Parked) -> None:
        """End the subscription of a connection to its main key."""
        if parked.more is not None:
            self._registry.discard(parked, parked.key)
            return
        group = self._groups[parked.key]
        del group.members[parked]
        if not group.members:
            del self._groups[parked.key]
            self._registry.discard(group, parked.key)
