"""One awake WebSocket connection: three tasks in a nursery, the only place where a client is waited for.

In come bytes from the client and deliveries from the broadcaster; out go frames, in the order of `chain.Chain`.

    reader     bytes ─▶ wsproto ─▶ session ─▶ replies and resyncs ─▶ chain
    writer     chain ─▶ socket
    heartbeat  ping, and the end of a client that gives no sign of life

`lifecycle` has its states. The first task that ends ends the others, and `closing` ends the connection.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from random import Random

import trio

from ..aio.fair_queue import FairQueue
from ..auth import Forbidden, Right, Unauthorized
from ..core.model import Key
from ..core.patterns import Pattern
from ..pipeline.broadcast import Delivery
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.frames import text_frame
from . import closing
from .chain import Chain, QuietChain, Reply
from .client import Client, Counters, Keys, WebSocket
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


class Connection:
    """A WebSocket connection after its handshake; a `broadcast.Subscriber`.

    `run` owns the nursery and everything in it. `deliver`, `drain` and `close` are called from outside, never wait and never
    raise. The caller holds the key in the store and registers the connection, before `run` and until after it.

    Args:
        stream: The socket; `run` closes it.
        websocket: The wsproto connection, opened; may hold frames already.
        reports: Where acks go.
        quota: How many patterns there may be.
        turns: For each message: what clients say at once holds nobody up.
        timestamp: The current time as RFC 3339, UTC.
        random: For jitter.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        websocket: WebSocket,
        client: Client,
        keys: Keys,
        compressor: Compressor,
        counters: Counters,
        reports: Reports,
        quota: PatternQuota,
        turns: FairQueue,
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
        # The first one is early by chance, so that clients that came together don't beat together.
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
        )
        self._commands = Commands(
            *(self, client, session, chain, self._writer.reply, keys, counters, reports, quota, timestamp)
        )
        self._reader = Reader(
            *(stream, websocket, settings, counters, self._lifecycle, self._heartbeat, turns),
            self._take,
            self._commands.take_control,
            self._writer.reply,
        )

    # The parking lot.

    def may_park(self) -> None:
        """Let `run` return None once nothing is pending for a while."""
        self._writer.may_park = True

    def may_not_park(self) -> None:
        """Take `may_park` back."""
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
        """Go on from the parking lot, before `run`.

        Args:
            quiet: The chain in the lot, with what the client has once `unsent` is written.
            patterns: Those in force.
            next_ping: When the next heartbeat is due.
            pinged: When the client was sent the one it hasn't answered, or None.
            received: What has come from it.
            unsent: The rest of a frame.
            missed: See `Chain.resume`.
        """
        self._session.restore(patterns)
        self._chain.resume(quiet, missed, self._keys.version_of)
        self._heartbeat.resume(next_ping, pinged, is_seen=bool(received))
        self._reader.received = received
        if unsent:
            self._chain.reply_first(Reply(unsent))

    @property
    def client(self) -> Client:
        """Whose it is."""
        return self._client

    @property
    def versions(self) -> Mapping[Key, str | None]:
        """What the client has of each of its keys, once it has read what was written."""
        return self._chain.versions

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """Its patterns in force."""
        return self._session.patterns

    @property
    def next_ping(self) -> float:
        """When the next heartbeat is due."""
        return self._heartbeat.next

    def is_quiet(self) -> bool:
        """Whether nothing is pending in either direction, and nothing is to be remembered of what was said."""
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
        """Queue a frame, or note that the client is behind. See `broadcast.Subscriber`."""
        if not self._chain.offer(delivery):
            self._counters.lagged()

    def close(self, reason: CloseReason) -> None:
        """End the connection at once; the first reason counts."""
        self._lifecycle.close(reason)
        self._scope.cancel()

    def drain(self, reconnect_after_ms: int) -> None:
        """Tell the client that the server is stopping, and close once that is written."""
        text = messages.connection_closing(CloseReason.DRAIN.text, reconnect_after_ms, self._timestamp())
        self._chain.reply_first(Reply(text_frame(text)), Reply(b"", ends=CloseReason.DRAIN))

    def unsubscribe_all(self) -> None:
        """End its subscriptions to patterns, when the connection has ended."""
        self._commands.unsubscribe_all()

    def recheck(self) -> None:
        """Judge the client by the rights that are in force now: what it may no longer have ends here."""
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
        """Whether a delivery is allowed; a client whose token has expired is closed at the first that isn't."""
        if self._client.admission.may(Right.SUBSCRIBE, key):
            return True
        if self._client.admission.is_expired:
            self.close(CloseReason.UNAUTHORIZED)
        return False

    def _wake(self) -> None:
        self._writer.wake()

    # The nursery.

    async def run(self) -> CloseReason | None:
        """Serve the client until one side ends it, and return why. Raises nothing that a peer can cause.

        Returns None where it may be parked and is quiet: the socket is left as it is, and no await may be between this and the parking.
        If it can't be parked then, `run` may be called again.

        Inside run the reader, the writer and the heartbeat; the first to end cancels the others. When cancelled from
        outside, the client is still sent a close frame, if it takes it at once and no other frame is half written.
        """
        try:
            while True:
                reason = await self._serve()
                if reason is not None:
                    return reason
                # While the tasks ended something may have come.
                if self.is_quiet():
                    self._lifecycle.enter(State.PARKED)
                    return None
        finally:
            if self._lifecycle.state is not State.PARKED:
                await self._end()

    async def _serve(self) -> CloseReason | None:
        """Run the tasks until the first ends. Returns why the connection ends, or None if it is quiet."""
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
        """Close the socket, and tell the client why if it can be told."""
        self._lifecycle.close(CloseReason.INTERNAL)
        await closing.close(
            self._stream,
            self._websocket,
            self._lifecycle.reason or CloseReason.INTERNAL,
            self._client.settings.close_timeout,
            is_writing=self._writer.is_writing,
            is_garbled=self._reader.is_garbled,
        )
        self._lifecycle.enter(State.CLOSED)
