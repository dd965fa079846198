"""Makes one payload of each change, and delivers it to every subscriber of its key.

The changes of one publication arrive, and calls of `deliver` leave. Nothing here awaits. So a publication reaches all
subscribers or none, and a slow client doesn't delay the others.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Protocol

import attrs

from ..core.model import Change, Key
from .encoder import Payload
from .registry import Registry


@attrs.frozen(slots=True, eq=False)
class Delivery:
    """A message for a subscriber. All subscribers of the key share it.

    Attributes:
        old_version: The version that the message builds on, or None if it needs no earlier version.
        new_version: The client's version after the message, or None if the key has ended.
        payload: The message as JSON. The subscriber's transport frames it.
        published: When the change was published, by the event loop's clock. None if the message is made for one client
            that catches up.
    """

    key: Key
    old_version: str | None
    new_version: str | None
    payload: Payload
    published: float | None = None

    @property
    def kind(self) -> str:
        """The type of the message."""
        if self.new_version is None:
            return "config_removed"
        if self.old_version is None:
            return "config_snapshot"
        return "in_sync" if self.old_version == self.new_version else "config_change"


class Subscriber(Protocol):
    """A receiver of deliveries: a connection, or a group of them, as the broadcaster sees it.

    A group has a length: the number of its connections.
    """

    def deliver(self, delivery: Delivery) -> None:
        """Take the delivery, or note that it was missed. Never waits, never raises."""
        ...


class Broadcaster:
    """Delivers each change to the subscribers of its key.

    Args:
        registry: Finds the subscribers of a key.
        encode: Makes the shared payload of a change. Called once for each change that has a subscriber.
        now: The event loop's clock.
        on_change: Called with each change, even if it has no subscriber.
    """

    def __init__(
        self,
        registry: Registry[Subscriber],
        encode: Callable[[Change], Payload],
        now: Callable[[], float],
        on_change: Callable[[Change], None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._encode = encode
        self._now = now
        self._on_change = on_change
        # The changes of a publication whose broadcast takes several steps, the number of the next one, and the numbers of all
        # by key. The numbers are found only if a client joins meanwhile.
        self._postponed: Sequence[Change] = ()
        self._next = 0
        self._numbers: dict[Key, int] | None = None

    def postpone(self, changes: Sequence[Change], following: int) -> None:
        """Note that changes are in force, and will be published later.

        Args:
            changes: All changes of the publication; none if its broadcast has ended.
            following: The number of those that are published already.
        """
        if changes is not self._postponed:
            self._postponed, self._numbers = changes, None
        self._next = following

    def postponed(self, key: Key) -> str | None:
        """Return the version of a key's change that is in force and will be published later, or None if there is none.

        A client that joins now begins with this version.
        """
        if not self._postponed:
            return None
        if self._numbers is None:
            self._numbers = {each.key: number for number, each in enumerate(self._postponed)}
        number = self._numbers.get(key, -1)
        if number < self._next:
            return None
        new = self._postponed[number].new
        return new.version if new is not None else None

    def publish(self, changes: Iterable[Change]) -> int:
        """Deliver the changes of one publication, in order. Return the number of deliveries: one for each connection."""
        count, now = 0, self._now()
        for change in changes:
            self._on_change(change)
            subscribers = self._registry.subscribers(change.key)
            if not subscribers:
                continue
            delivery = Delivery(
                change.key,
                change.old.version if change.old and change.patch is not None else None,
                change.new.version if change.new else None,
                self._encode(change),
                now,
            )
            for subscriber in tuple(subscribers):
                subscriber.deliver(delivery)
                count += len(subscriber) if isinstance(subscriber, Sized) else 1
        return count
