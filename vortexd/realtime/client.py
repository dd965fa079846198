"""A client after its handshake, and the interfaces that its connection uses. Pure.

The server makes a `Client` from the handshake. The tasks of the connection, the parking lot and the server read it. It
never changes.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
from wsproto import WSConnection
from wsproto.connection import Connection as _OpenConnection

from ..auth import Admission
from ..core.generation import Generation
from ..core.model import Key
from ..core.patterns import Pattern
from ..fleet import Instance
from ..pipeline.broadcast import Delivery, Subscriber
from ..settings.realtime import RealtimeSettings
from .forms import PLAIN, Form
from .quota import PatternOwner
from .reports import Counters as ReportCounters

if TYPE_CHECKING:
    from .events.cursor import Resumed

# The wsproto connection: from its handshake on, or for a woken connection, without the handshake.
WebSocket: TypeAlias = WSConnection | _OpenConnection


class Keys(Protocol):
    """The part of the pipeline that a connection needs."""

    def version_of(self, key: Key) -> str | None:
        """The current version of a held key; None if the key was removed."""
        ...

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        """Make the delivery that leads from a version to the newest state."""
        ...

    def at_once(self, key: Key, version: str | None) -> Delivery | None:
        """Make this delivery if it takes no wait, or return None."""
        ...

    def is_ahead(self, key: Key, version: str | None, claimed: Generation | None) -> bool:
        """Whether a client has a newer state of a key than this server."""
        ...

    async def wait_level(self, key: Key, version: str | None, claimed: Generation | None) -> None:
        """Wait until a client isn't ahead any more. The caller limits the time."""
        ...

    async def stale(self, key: Key) -> Delivery:
        """Make the delivery for a client that is ahead and must take the state of this server."""
        ...

    async def subscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int) -> Collection[Key]:
        """Subscribe to patterns. Returns the matching keys that can be served.

        Raises:
            RemoteError: The subscription isn't possible.
        """
        ...

    def subscribe_now(
        self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int
    ) -> Collection[Key] | None:
        """Do what `subscribe` does, without waiting. Returns None if that isn't possible; then nothing has happened."""
        ...

    def ready(self, key: Key, version: str | None) -> Delivery | None:
        """Return the delivery of `catch_up`, if it is made already."""
        ...

    def unsubscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns."""
        ...

    def unmatched(self, keys: Iterable[Key], patterns: Sequence[Pattern]) -> Sequence[Key]:
        """Return the keys that none of these patterns matches. The client must have subscribed to all of the patterns."""
        ...

    async def turn(self) -> None:
        """Wait for a turn at the event loop before work that takes some time."""
        ...


class Counters(ReportCounters, Protocol):
    """The metrics of a connection. Only this program chooses their labels, so the number of labels is bounded."""

    def bytes_written(self, count: int) -> None: ...
    def bytes_read(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...
    def delivered(self, seconds: float, count: int) -> None: ...
    def lagged(self) -> None: ...
    def message_received(self, kind: str) -> None: ...
    def heartbeat_answered(self, seconds: float, count: int = 1) -> None: ...


@attrs.frozen(slots=True, eq=False)
class Wanted:
    """What the request for an event stream has, in addition to a handshake.

    Attributes:
        patterns: The patterns to subscribe to.
        resumed: The versions that the client claims to have by the id of its last event, or None.
        has_spoken: Whether the client has already sent bytes after its request.
    """

    patterns: tuple[Pattern, ...] = ()
    resumed: "Resumed | None" = None
    has_spoken: bool = False

    def version_of(self, key: Key) -> str | None:
        """Return the version of a key that the client claims to have, or None."""
        return self.resumed.version_of(key) if self.resumed is not None else None


NOTHING_MORE = Wanted()


@attrs.frozen(slots=True, eq=False)
class Client:
    """The properties of a client, as the handshake has determined them.

    Attributes:
        key: The main subscription at the beginning. During a roll-out, the chain of the connection may continue with another
            track of it.
        last_version: The version that the client claims to have, or None.
        admission: The rights of the client. They are checked again for each use.
        instance: The client's identity in the fleet.
        answer: The 101 response to its handshake, or the beginning of its event stream.
        form: The form of its messages. Connections of one form share them.
        hello: Makes the message `hello` from the type of the first state and the time; None if the client gets no `hello`.
        owner: The owner whose quota its patterns count for.
        settings: The settings at the time of the handshake. The connection keeps them.
        generation: The generation that the client claims for `last_version`, or None.
        is_sent_on: Whether another server has sent the client on already.
        wanted: For an event stream that has just been opened, the rest of its request.
    """

    key: Key
    last_version: str | None
    admission: Admission
    instance: Instance
    answer: bytes
    form: Form = PLAIN
    hello: Callable[[str, str], bytes] | None = None
    owner: PatternOwner = ("", "")
    settings: RealtimeSettings = attrs.field(factory=RealtimeSettings)
    generation: Generation | None = None
    is_sent_on: bool = False
    wanted: Wanted = NOTHING_MORE

    @property
    def window_bits(self) -> int | None:
        """The window of permessage-deflate; None without compression."""
        return self.form.window_bits

    def greeting(self, first: Delivery, timestamp: str) -> bytes:
        """Make the bytes of `hello`; empty if the client gets none.

        It is made together with the first state, because it announces the type of that message.
        """
        return bytes(self.form.message(self.hello(first.kind, timestamp))) if self.hello is not None else b""
