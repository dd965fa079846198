"""One parked connection: a small object without a task, which is also its chain. Pure."""

from collections.abc import Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import attrs

from ..auth import Admission
from ..core.candidate import CandidateKey, plain
from ..core.model import Key
from ..core.patterns import Pattern
from ..fleet import Instance
from ..pipeline.broadcast import Delivery
from ..protocol.close import CloseReason
from ..settings.realtime import RealtimeSettings
from .chain import QuietChain
from .forms import Form
from .quota import PatternOwner
from .versions import Versions

# So many connections are woken before other tasks run. To wake one takes about 300 microseconds: 65 at once, and the rest in
# its tasks.
WOKEN_AT_ONCE = 4


class Queue(Protocol):
    """The queue of deliveries for parked connections."""

    def put(self, parked: "Parked", delivery: Delivery) -> None:
        """Queue a delivery, or record that the connection has missed it. Never waits, never raises."""
        ...


@attrs.frozen(slots=True, eq=False)
class Subscriptions:
    """The subscriptions of parked connections in addition to their main keys. Connections with equal ones share them.

    Attributes:
        patterns: The patterns in force.
        owner: The owner whose quota the patterns count for.
    """

    patterns: tuple[Pattern, ...]
    owner: PatternOwner


class SharedSubscriptions:
    """Finds the subscriptions that a connection can share. They are kept while a connection is parked with them."""

    def __init__(self) -> None:
        self._shared: WeakValueDictionary[tuple[PatternOwner, tuple[Pattern, ...]], Subscriptions] = (
            WeakValueDictionary()
        )

    def __len__(self) -> int:
        """The number of different subscriptions."""
        return len(self._shared)

    def get(self, patterns: tuple[Pattern, ...], owner: PatternOwner) -> Subscriptions:
        """Return the subscriptions with these patterns and this owner."""
        found = self._shared.get((owner, patterns))
        if found is None:
            found = self._shared[owner, patterns] = Subscriptions(patterns, owner)
        return found


class Parked(QuietChain):
    """One parked connection; a `broadcast.Subscriber`. It is also its chain, so that it needs only one object.

    Attributes:
        more: The subscriptions to patterns, or None.
        admission: The rights of the client.
        form: As in `client.Client`.
        instance: The client's identity for the fleet, the log and the limits.
        next_ping: The time at which the next heartbeat is due, by Trio's clock.
        pinged: The time of the heartbeat that the client hasn't answered, or None.
        settings: The settings at the time of the handshake.
    """

    __slots__ = (
        "admission",
        "fd",
        "form",
        "instance",
        "more",
        "next_ping",
        "pinged",
        "queue",
        "settings",
    )

    def __init__(
        self,
        queue: Queue,
        fd: int,
        key: Key,
        versions: str | Versions | None,
        admission: Admission,
        form: Form,
        instance: Instance,
        next_ping: float,
        settings: RealtimeSettings,
        more: Subscriptions | None = None,
    ) -> None:
        super().__init__(key, versions)
        self.queue = queue
        self.fd = fd
        self.admission = admission
        self.form = form
        self.instance = instance
        self.next_ping = next_ping
        self.pinged: float | None = None
        self.settings = settings
        self.more = more

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns in force."""
        return self.more.patterns if self.more is not None else ()

    def subscribe(self, more: Subscriptions, versions: Versions) -> None:
        """Add the first patterns of a connection that has none.

        Args:
            versions: The client's version of each of its keys. They count this client.
        """
        self.more = more
        self._versions = versions

    def move(self, key: Key, versions: Versions | None) -> None:
        """Continue with another track of the main key, whose current version the client has.

        Args:
            versions: The client's version of each of its keys, if it has patterns. They count this client.
        """
        self.key = key
        if versions is not None:
            self._versions = versions

    def deliver(self, delivery: Delivery) -> None:
        """See `broadcast.Subscriber`."""
        # A pattern may match the plain key of a client that has its candidate. The client gets that key once.
        if not (isinstance(self.key, CandidateKey) and delivery.key == plain(self.key)):
            self.queue.put(self, delivery)


class Lot(Protocol):
    """The parking lot, as its parts see it. All calls are synchronous."""

    def __contains__(self, parked: Parked) -> bool: ...

    def parked_at(self, fd: int) -> Parked | None:
        """Return the connection with this descriptor, if it is in the lot."""
        ...

    def wake(self, parked: Parked, received: bytes = b"", unsent: bytes = b"", missed: Sequence[Key] = ()) -> object:
        """Remove a connection from the lot, and start its tasks.

        Args:
            received: The bytes that were received but not handled.
            unsent: The rest of a frame whose beginning was written.
            missed: The keys of deliveries and of first states that were due but not written.
        """
        ...

    def close(self, parked: Parked, reason: CloseReason) -> None:
        """Remove a connection from the lot, and close it with a close frame."""
        ...

    def end(self, parked: Parked, reason: CloseReason) -> None:
        """Remove a connection from the lot, and close its socket at once."""
        ...
