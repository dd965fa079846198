"""A client after its handshake, and the interfaces that its connection uses. Pure.

The handshake makes a `Client`; the connection's tasks, the parking lot and the server read it. It never changes.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol, TypeAlias

import attrs
from wsproto import WSConnection
from wsproto.connection import Connection as _OpenConnection

from ..auth import Admission
from ..core.model import Key
from ..core.patterns import Pattern
from ..fleet import Instance
from ..pipeline.broadcast import Delivery, Subscriber
from ..protocol.frames import text_frame
from ..settings.realtime import RealtimeSettings
from .quota import PatternOwner
from .reports import Counters as ReportCounters

# With the handshake before it, or taken up behind it.
WebSocket: TypeAlias = WSConnection | _OpenConnection


class Keys(Protocol):
    """What a connection asks of the pipeline."""

    def version_of(self, key: Key) -> str | None:
        """The current version of a held key; None where the key has ended."""
        ...

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        """The frame that leads from a version to the newest state."""
        ...

    async def subscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int) -> Collection[Key]:
        """Subscribe to patterns; returns the keys that they match and that can be served. Raises RemoteError."""
        ...

    def unsubscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns."""
        ...

    def unmatched(self, keys: Iterable[Key], patterns: Sequence[Pattern]) -> Sequence[Key]:
        """Those of some keys that none of these patterns, all of them subscribed to, matches."""
        ...

    async def turn(self) -> None:
        """Wait for a turn at the loop, for work that takes a while."""
        ...


class Counters(ReportCounters, Protocol):
    """What a connection counts; labels are bounded by the code that names them."""

    def bytes_written(self, count: int) -> None: ...
    def bytes_read(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...
    def delivered(self, seconds: float, count: int) -> None: ...
    def lagged(self) -> None: ...
    def message_received(self, kind: str) -> None: ...
    def heartbeat_answered(self, seconds: float) -> None: ...


@attrs.frozen(slots=True, eq=False)
class Client:
    """What the handshake has found out about a client.

    Attributes:
        key: The main subscription.
        last_version: What it says it has, or None.
        admission: What it may do, asked anew for everything.
        instance: Who it is to the fleet.
        answer: The 101 answer to its handshake.
        window_bits: The window of permessage-deflate, or None without compression.
        hello: Makes what it is told first, from the type of its first state and the time; None if it is told nothing.
        owner: For whom its patterns count.
        settings: Those that were in force, which stay the connection's.
    """

    key: Key
    last_version: str | None
    admission: Admission
    instance: Instance
    answer: bytes
    window_bits: int | None = None
    hello: Callable[[str, str], bytes] | None = None
    owner: PatternOwner = ("", "")
    settings: RealtimeSettings = attrs.field(factory=RealtimeSettings)

    def greeting(self, first: Delivery, timestamp: str) -> bytes:
        """The frame with `hello`, which is made with the first state, so that it announces what follows; nothing if there is none."""
        return bytes(text_frame(self.hello(first.kind, timestamp))) if self.hello is not None else b""
