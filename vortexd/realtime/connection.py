"""One awake connection, with three tasks in a nursery. Only these tasks wait for the client.

The client sends bytes, and the broadcaster passes in deliveries. The connection sends frames in the order of `chain.Chain`.

    reader     bytes ─▶ wsproto ─▶ session ─▶ replies and resyncs ─▶ chain   (an event stream: only the end of its input)
    writer     chain ─▶ socket
    heartbeat  sends pings, and ends the connection if the client gives no sign of life

`lifecycle` has the states of the connection. When the first task ends, the others are cancelled, and `closing` ends the
connection.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import trio

from ..aio.fair_queue import FairQueue
from ..auth import Forbidden, Right, Unauthorized
from ..core.model import Key
from ..core.patterns import Pattern
from ..pipeline.broadcast import Delivery
from ..protocol import messages
from ..protocol.close import CloseReason
from . import closing
from .chain import Chain, QuietChain, Reply
from .client import Client, Counters, Keys, Wanted, WebSocket
from .commands import Commands
from .framing import Compressor
from .heartbeat import Heartbeat
from .inbound import Unacceptable
from .lifecycle import Lifecycle, State
from .quota import PatternQuota
from .reader import Reader
from .reports import Reports
from .session import Session
from .writer import Writer

if TYPE_CHECKING:
    from .events.input import EventReader


class Connection:
    """A WebSocket after its handshake, or an event stream; a `broadcast.Subscriber`.

    `run` owns the nursery with all tasks. Other tasks call `deliver`, `drain` and `close`, which never wait and never raise.
    The caller must hold the key in the store and register the connection, from before `run` until after it.

    Args:
        stream: The socket. `run` closes it.
        websocket: The open wsproto connection. It may contain frames already. None for an event stream.
        reports: Receives acks.
        quota: Limits the number of patterns.
        fair_queue: Each message waits for a turn, so that many messages of one client don't delay the others.
        timestamp: Returns the current time as RFC 3339, UTC.
        random: The source of jitter.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        websocket: WebSocket | None,
        client: Client,
        keys: Keys,
        compressor: Compressor,
        counters: Counters,
        reports: Reports,
        quota: PatternQuota,
        fair_queue: FairQueue,
        timestamp: Callable[[], str],
        random: Random,
    ) -> None:
        settings = client.settings
        self._stream = stream
        self._websocket = websocket
        self._client = client
        self._keys = keys
        self._counters = counters
        self._timestamp = timestamp
        self._scope = trio.CancelScope()
        self._lifecycle = Lifecycle()
        self._session = session = Session(client.key, settings)
        # The first interval is shorter by a random part, so that the heartbeats of many new clients are spread in time.
        self._heartbeat = Heartbeat(
            settings.heartbeat_interval, settings.heartbeat_timeout, first=random.uniform(0.5, 1.0)
        )
        self._chain = chain = Chain(
            client.key,
            client.last_version,
            self._may_have,
            partial(reports.drop, client.instance),
            self._wake,
            settings.queue_messages,
            settings.queue_bytes,
        )
        self._writer = Writer(
            *(stream, websocket, client, chain, keys, compressor, counters, self._heartbeat, timestamp),
            self._can_park,
            session.fresh_in,
            random,
            self._cursor,
        )
        self._commands = Commands(
            *(self, client, session, chain, self._writer.reply, keys, counters, reports, quota, timestamp)
        )
        # The versions that an event stream has resumed with, until the client is subscribed to its patterns.
        self._resumed = client.wanted.resumed
        self._reader = self._open_reader(fair_queue)

    def _open_reader(self, fair_queue: FairQueue) -> "Reader | EventReader":
        client, counters, events = self._client, self._counters, self._client.form.events
        if events is not None:
            wanted = client.wanted
            self._session.restore(wanted.patterns)
            subscribe = partial(self._subscribe, wanted) if wanted.patterns else None
            return events.reader(self._stream, counters, subscribe, has_spoken=wanted.has_spoken)
        assert self._websocket is not None  # only event streams have none
        return Reader(
            *(self._stream, self._websocket, client.settings, counters, self._lifecycle, self._heartbeat, fair_queue),
            self._take,
            self._commands.take_control,
            self._writer.reply,
        )

    async def _subscribe(self, wanted: Wanted) -> None:
        await self._commands.subscribe(wanted)
        self._resumed = None

    def _cursor(self) -> bytes | None:
        """Make the id of an event for a client with patterns: its versions after everything that was taken. Else return None.

        While the chain doesn't know the keys of the patterns, the client still has the versions that it has resumed with.
        """
        client, events = self._client, self._client.form.events
        if events is None or not self._session.patterns:
            return None
        return events.cursor(
            client.key, self._session.patterns, client.owner, self._chain.versions, resumed=self._resumed
        )

    # The parking lot.

    def may_park(self) -> None:
        """Allow `run` to return None after nothing was pending for some time."""
        self._writer.may_park = True

    def may_not_park(self) -> None:
        """Undo `may_park`."""
        self._writer.may_park = False

    def resume(
        self,
        quiet: QuietChain,
        patterns: Iterable[Pattern],
        next_ping: float,
        pinged: float | None,
        received: bytes,
        unsent: bytes,
        missed: Iterable[Key] = (),
    ) -> None:
        """Continue a parked connection. Call this before `run`.

        Args:
            quiet: The chain from the parking lot. Its versions apply after `unsent` was written.
            patterns: The patterns in force.
            next_ping: The time at which the next heartbeat is due.
            pinged: The time of the heartbeat that the client hasn't answered, or None.
            received: The bytes that the lot has received from the client.
            unsent: The unwritten rest of a frame.
            missed: See `Chain.resume`.
        """
        self._session.restore(patterns)
        self._chain.resume(quiet, missed, self._keys.version_of)
        self._heartbeat.resume(next_ping, pinged, is_seen=bool(received))
        self._reader.received = received
        if unsent:
            # Half of a frame has been written. So until the rest is written, no close frame may follow.
            self._writer.is_writing = True
            self._chain.reply_first(Reply(unsent))

    @property
    def client(self) -> Client:
        """The client of this connection."""
        return self._client

    @property
    def key(self) -> Key:
        """The main subscription, on the track that the client is on now."""
        return self._chain.key

    def move(self, key: Key) -> None:
        """Continue with another track of the main key; see `Chain.move`. The key must be held."""
        self._session.move(key)
        self._chain.move(key, self._keys.version_of(key))

    @property
    def versions(self) -> Mapping[Key, str | None]:
        """The client's version of each of its keys, after it has read all that was written."""
        return self._chain.versions

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns in force."""
        return self._session.patterns

    @property
    def next_ping(self) -> float:
        """The time at which the next heartbeat is due."""
        return self._heartbeat.next

    def is_quiet(self) -> bool:
        """Whether nothing is pending in either direction, and the session has no state except its patterns."""
        return (
            self._chain.is_quiet
            and not self._writer.is_writing
            and self._heartbeat.is_answered
            and self._lifecycle.reason is None
            and self._reader.is_between
            and self._session.is_fresh(trio.current_time())
        )

    def _can_park(self) -> bool:
        return self._reader.is_listening and self.is_quiet()

    # Called by the broadcaster and the server: synchronous.

    def deliver(self, delivery: Delivery) -> None:
        """Queue a delivery, or mark its key as behind. See `broadcast.Subscriber`."""
        if not self._chain.offer(delivery):
            self._counters.lagged()

    def close(self, reason: CloseReason) -> None:
        """End the connection at once. If this is called several times, the first reason counts."""
        self._lifecycle.close(reason)
        self._scope.cancel()

    def drain(self, reconnect_after_ms: int) -> None:
        """Announce to the client that the server is stopping, and close the connection after that message is written."""
        text = messages.connection_closing(CloseReason.DRAIN.text, reconnect_after_ms, self._timestamp())
        self._chain.reply_first(Reply(self._client.form.message(text)), Reply(b"", ends=CloseReason.DRAIN))

    def unsubscribe_all(self) -> None:
        """End all subscriptions to patterns. Called when the connection has ended."""
        self._commands.unsubscribe_all()

    def recheck(self) -> None:
        """Check the client against the current rights, and end everything that it has lost its right to."""
        try:
            self._client.admission.renew()
            self._client.admission.authorize(Right.SUBSCRIBE, self._client.key)
        except Unauthorized:
            self.close(CloseReason.UNAUTHORIZED)
        except Forbidden:
            self.close(CloseReason.FORBIDDEN)
        else:
            self._commands.revoke()

    def _may_have(self, key: Key) -> bool:
        """Whether the client has the right to a key. If its token has expired, this closes the connection."""
        if self._client.admission.may(Right.SUBSCRIBE, key):
            return True
        if self._client.admission.is_expired:
            self.close(CloseReason.UNAUTHORIZED)
        return False

    def _wake(self) -> None:
        self._writer.wake()

    # The nursery.

    async def run(self) -> CloseReason | None:
        """Serve the client until one side ends the connection, and return the reason. No action of a client makes this raise.

        If the connection is quiet and may be parked, return None. The socket stays open then, and no await may come between
        this and the parking. If the connection can't be parked, call `run` again.

        The nursery has the reader, the writer and the heartbeat. The first task that ends cancels the others. If `run` is
        cancelled from outside, it still sends a close frame. But the client must accept it at once, and no other frame may be
        partly written.
        """
        try:
            while True:
                reason = await self._serve()
                if reason is not None:
                    return reason
                # Bytes or deliveries may have arrived while the tasks ended.
                if self.is_quiet():
                    self._lifecycle.enter(State.PARKED)
                    return None
        finally:
            if self._lifecycle.state is not State.PARKED:
                await self._end()

    async def _serve(self) -> CloseReason | None:
        """Run the tasks until the first one ends. Returns the reason of the end, or None if the connection can be parked."""
        if self._lifecycle.reason is None:
            self._lifecycle.enter(State.SERVING)
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                for task in (self._reader.run, self._writer.run, partial(self._heartbeat.run, self._writer.beat)):
                    nursery.start_soon(self._first_to_end, task)
        if self._lifecycle.is_parking:
            return None
        return self._lifecycle.reason or CloseReason.INTERNAL

    async def _first_to_end(self, task: Callable[[], Awaitable[CloseReason | None]]) -> None:
        try:
            reason = await task()
            if reason is not None:
                self.close(reason)
            else:
                self._lifecycle.park()
                self._scope.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.close(CloseReason.LOST)
        except Unacceptable as error:
            self.close(error.reason)

    async def _take(self, message: str | bytes) -> None:
        await self._commands.take(message)

    async def _end(self) -> None:
        """Close the socket. If possible, send the client a close frame with the reason first."""
        self._lifecycle.close(CloseReason.INTERNAL)
        events, is_writing = self._client.form.events, self._writer.is_writing
        how = self._lifecycle.reason or CloseReason.INTERNAL, self._client.settings.close_timeout
        if events is not None:
            await events.end(self._stream, *how, is_writing=is_writing)
        else:
            assert self._websocket is not None  # only event streams have none
            is_garbled = self._reader.is_garbled
            await closing.close(self._stream, self._websocket, *how, is_writing=is_writing, is_garbled=is_garbled)
        self._lifecycle.enter(State.CLOSED)
