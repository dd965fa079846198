"""One change becomes one frame, and every subscriber of its key is handed that frame.

In come the changes of one publication, out go calls of `deliver`. Nothing here awaits, so a publication reaches everybody or
nobody, and the slowest client costs the others nothing.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from .model import Change, Key
from .registry import Registry


@attrs.frozen(slots=True, eq=False)
class Delivery:
    """What a subscriber is handed: a frame that all subscribers of the key share.

    Attributes:
        old_version: The version the frame builds on, or None where it stands alone.
        new_version: The version a client has after it, or None where the key has ended.
        frame: The encoded frame. Never changed by anyone.
    """

    key: Key
    old_version: str | None
    new_version: str | None
    frame: bytes


class Subscriber(Protocol):
    """What a connection is to the broadcaster."""

    def deliver(self, delivery: Delivery) -> None:
        """Take it, or note that it was missed. Never waits, never raises."""
        ...


class Broadcaster:
    """Hands each change to those who want its key.

    Args:
        registry: Who wants what.
        encode: Makes the shared frame of a change; called once per change that somebody wants.
    """

    def __init__(self, registry: Registry[Subscriber], encode: Callable[[Change], bytes]) -> None:
        self._registry = registry
        self._encode = encode

    def publish(self, changes: Iterable[Change]) -> int:
        """Deliver the changes of one publication, in order. Returns the number of deliveries."""
        count = 0
        for change in changes:
            subscribers = self._registry.subscribers(change.key)
            if not subscribers:
                continue
            delivery = Delivery(
                change.key,
                change.old.version if change.old and change.patch is not None else None,
                change.new.version if change.new else None,
                self._encode(change),
            )
            for subscriber in tuple(subscribers):
                subscriber.deliver(delivery)
                count += 1
        return count
