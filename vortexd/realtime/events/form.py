"""The bytes of a message as an event, in chunks of HTTP/1.1 or without. All clients of one form share the bytes of a delivery.

The id of an event is the client's version after it, if the client has one key. If it has patterns, the id is a cursor
(see `cursor`). Clients with equal versions and patterns share the events with a cursor, too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import orjson
import trio

from ...core.model import Key
from ...core.patterns import Pattern
from ...pipeline.broadcast import Delivery
from ...protocol.close import CloseReason
from ...protocol.events import HEARTBEAT, LAST_CHUNK, chunk, event
from ...protocol.messages import kind_of
from ..client import Counters
from ..quota import PatternOwner
from .cursor import Cursors, Owner, Resumed
from .ending import end
from .input import EventReader

if TYPE_CHECKING:
    from ..parked import Parked

# The events of clients with several keys that are remembered while a publication is written, one entry for each cohort.
_COHORTS = 64
# The message `connection_closing` has announced these ends already. The client has caused the last one.
_NOT_ANNOUNCED = (CloseReason.DRAIN, CloseReason.BEHIND, CloseReason.CLIENT)


class EventForm:
    """A form of events; see `forms.Form`.

    Args:
        is_chunked: Whether each event is a chunk of HTTP/1.1.
    """

    transport = "events"
    window_bits: int | None = None

    def __init__(self, cursors: Cursors, *, is_chunked: bool) -> None:
        self._cursors = cursors
        self._wrap: Callable[[bytes], bytes] = chunk if is_chunked else bytes
        self._event = _chunked_event if is_chunked else event
        self._heartbeat = self._wrap(HEARTBEAT)
        self._end = LAST_CHUNK if is_chunked else b""
        # By the client's versions and subscriptions and the deliveries, which the entry keeps in memory.
        self._cohorts: dict[tuple[int, ...], tuple[list[bytes], object]] = {}

    @property
    def events(self) -> "EventForm":
        """See `Form`."""
        return self

    def wrap(self, data: bytes) -> bytes:
        """Return these bytes of the stream as they are sent."""
        return self._wrap(data)

    def shared(self, delivery: Delivery) -> bytes:
        """See `Form`. The id of the event is the client's version after it."""
        return delivery.payload.framed(self._event, delivery.kind, (delivery.new_version or "").encode("ascii"))

    def message(self, text: bytes) -> bytes:
        """See `Form`."""
        return self._event(text, kind_of(text))

    def heartbeat(self, key: Key, version: str | None, timestamp: str) -> bytes:
        """See `Form`. It is a comment, which no client answers."""
        return self._heartbeat

    def ending(self, reason: CloseReason) -> bytes:
        """Make the last event, and the end of the body."""
        if reason in _NOT_ANNOUNCED or not reason.is_sent:
            return self._end
        return self._event(orjson.dumps({"code": reason.code, "reason": reason.text}), "close") + self._end

    # The parts of an awake stream.

    def reader(
        self,
        stream: trio.abc.Stream,
        counters: Counters,
        subscribe: Callable[[], Awaitable[None]] | None,
        *,
        has_spoken: bool,
    ) -> EventReader:
        """Make the reader."""
        return EventReader(stream, counters, subscribe, has_spoken=has_spoken)

    async def end(self, stream: trio.abc.Stream, reason: CloseReason, timeout: float, *, is_writing: bool) -> None:
        """Write the last event, and close the connection; see `ending.end`."""
        await end(stream, self.ending(reason), timeout, is_writing=is_writing)

    # Clients with several keys.

    def with_id(self, delivery: Delivery, name: bytes) -> bytes:
        """Return the event of a delivery with a cursor as its id."""
        return self._event(delivery.payload, delivery.kind, name)

    def cursor(
        self,
        key: Key,
        patterns: Sequence[Pattern],
        owner: PatternOwner,
        versions: Mapping[Key, str | None],
        *,
        resumed: Resumed | None = None,
    ) -> bytes:
        """Make the cursor of a client with these versions; see `Cursors.make`."""
        return self._cursors.make(owner_of_cursor(key, patterns, owner), versions, resumed)

    def for_parked(self, parked: "Parked", deliveries: Sequence[Delivery]) -> list[bytes]:
        """Return the events of deliveries that follow one another, for a parked client with several keys."""
        more, several = parked.more, parked.several
        if more is None or several is None:
            return [self.shared(each) for each in deliveries]
        name = (id(several), id(more), *map(id, deliveries))
        found = self._cohorts.get(name)
        if found is None:
            versions = parked.versions
            made = []
            for each in deliveries:
                versions[each.key] = each.new_version
                made.append(self.with_id(each, self.cursor(parked.key, more.patterns, more.owner, versions)))
            if len(self._cohorts) >= _COHORTS:
                self._cohorts.clear()
            # As long as the entry is kept, no other objects can have the same ids.
            found = self._cohorts[name] = made, (several, more, *deliveries)
        return found[0]


def owner_of_cursor(key: Key, patterns: Sequence[Pattern], owner: PatternOwner) -> Owner:
    """Return the owner of a client's cursors. Without a token, the address doesn't count, because it may change."""
    return Owner(key, patterns, owner if owner[0] else ("", ""))


def _chunked_event(data: bytes, kind: str, name: bytes | None = None) -> bytes:
    return chunk(event(data, kind, name))
