"""One change becomes one payload, and every subscriber of its key is handed that payload.

In come the changes of one publication, out go calls of `deliver`. Nothing here awaits, so a publication reaches everybody or
nobody, and the slowest client costs the others nothing.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from ..core.model import Change, Key
from .encoder import Payload
from .registry import Registry


@attrs.frozen(slots=True, eq=False)
class Delivery:
    """What a subscriber is handed: a message that all subscribers of the key share.

    Attributes:
        old_version: The version the message builds on, or None where it stands alone.
        new_version: The version a client has after it, or None where the key has ended.
        payload: The message as JSON. The subscriber's transport frames it.
        published: When it was published, by the loop's clock; None where it is made for one client that catches up.
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
    """What a connection is to the broadcaster."""

    def deliver(self, delivery: Delivery) -> None:
        """Take it, or note that it was missed. Never waits, never raises."""
        ...


class Broadcaster:
    """Hands each change to those who want its key.

    Args:
        registry: Who wants what.
        encode: Makes the shared payload of a change; called once per change that somebody wants.
        now: The loop's clock.
        told: Called with each change, whoever wants it.
    """

    def __init__(
        self,
        registry: Registry[Subscriber],
        encode: Callable[[Change], Payload],
        now: Callable[[], float],
        told: Callable[[Change], None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._encode = encode
        self._now = now
        self._told = told

    def publish(self, changes: Iterable[Change]) -> int:
        """Deliver the changes of one publication, in order. Returns the number of deliveries."""
        count, now = 0, self._now()
        for change in changes:
            self._told(change)
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
                count += 1
        return count
