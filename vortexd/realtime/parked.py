"""One parked connection: a small object without a task, which is its own chain. Pure."""

from typing import Protocol

import attrs

from ..auth import Admission
from ..core.model import Key
from ..core.patterns import Pattern
from ..fleet import Instance
from ..pipeline.broadcast import Delivery
from ..settings.realtime import RealtimeSettings
from .chain import QuietChain
from .quota import PatternOwner


class Queue(Protocol):
    """Where deliveries for parked connections wait."""

    def put(self, parked: "Parked", delivery: Delivery) -> None:
        """Queue a delivery, or note that the connection has missed it. Never waits, never raises."""
        ...


@attrs.define(slots=True, eq=False)
class Subscriptions:
    """What a parked connection has beside its main key; few have any.

    Attributes:
        patterns: Those in force.
        owner: For whom the patterns count.
    """

    patterns: tuple[Pattern, ...]
    owner: PatternOwner


class Parked(QuietChain):
    """One parked connection; a `broadcast.Subscriber`. It is its own chain, so that it is one object.

    Attributes:
        more: Its subscriptions to patterns, or None.
        admission: What it may do.
        window_bits: As in `client.Client`.
        instance: Who it is to the fleet, to the log and to the limits.
        next_ping: When its next heartbeat is due, by Trio's clock.
        pinged: When it was sent the heartbeat that it hasn't answered, or None.
        settings: Those it began with.
    """

    __slots__ = (
        "admission",
        "fd",
        "instance",
        "more",
        "next_ping",
        "pinged",
        "queue",
        "settings",
        "window_bits",
    )

    def __init__(
        self,
        queue: Queue,
        fd: int,
        key: Key,
        versions: str | dict[Key, str | None] | None,
        admission: Admission,
        window_bits: int | None,
        instance: Instance,
        next_ping: float,
        settings: RealtimeSettings,
        more: Subscriptions | None = None,
    ) -> None:
        super().__init__(key, versions)
        self.queue = queue
        self.fd = fd
        self.admission = admission
        self.window_bits = window_bits
        self.instance = instance
        self.next_ping = next_ping
        self.pinged: float | None = None
        self.settings = settings
        self.more = more

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns in force."""
        return self.more.patterns if self.more is not None else ()

    def deliver(self, delivery: Delivery) -> None:
        """See `broadcast.Subscriber`."""
        self.queue.put(self, delivery)
