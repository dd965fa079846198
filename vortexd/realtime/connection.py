"""One awake WebSocket connection: three tasks in a nursery, the only place where a client is waited for.

In come bytes from the client and deliveries from the broadcaster; out go frames, in the order of `chain.Chain`.

    reader     bytes ─▶ wsproto ─▶ session ─▶ replies and resyncs ─▶ chain
    writer     chain ─▶ socket
    heartbeat  ping, and the end of a client that gives no sign of life
"""

import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Protocol, TypeAlias

import attrs
import trio
from wsproto import WSConnection
from wsproto.connection import Connection as _OpenConnection
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ..aio.fair_queue import FairQueue
from ..auth import Admission, Forbidden, Right, Unauthorized
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.patterns import Pattern
from ..fleet import Instance
from ..pipeline.broadcast import Delivery, Subscriber
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.frames import Boundary, Frame, text_frame
from ..settings.sections import RealtimeSettings
from .chain import CatchUp, Chain, Lagged, QuietChain, Reply
from .inbound import Inbound, Unacceptable
from .quota import PatternOwner, PatternQuota
from .reports import Counters as ReportCounters
from .reports import Reports
from .session import (
    Acknowledge,
    Answer,
    Close,
    Request,
    Resync,
    Session,
    Subscribe,
    Unsubscribe,
)

_RECEIVE_BYTES = 16_384
# What is written at once. A client must take this much within the write deadline, whatever the size of the whole frame.
_WRITE_BYTES = 65_536
# When all is being cancelled, what a close frame may wait for: it is a courtesy then, and a process is waiting to end.
_HURRIED_TIMEOUT = 0.5
# To mark so many keys takes less than a millisecond.
_KEYS_AT_ONCE = 128
# How often to ask whether it is quiet, where it isn't yet.
_PARK_PAUSE = 0.1


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

    async def compress(self, frame: Frame, window_bits: int) -> bytes:
        """The form of a frame for a client that agreed on compression."""
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


_PING = Reply(b"", is_ping=True)


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
        self._key = key = client.key
        self._keys = keys
        self._settings = settings
        self._counters = counters
        self._reports = reports
        self._quota = quota
        self._turns = turns
        self._timestamp = timestamp
        self._random = random
        self._session = Session(key, settings)
        self._inbound = Inbound(settings.message_bytes, settings.message_fragments)
        self._scope = trio.CancelScope()
        self._reason: CloseReason | None = None
        self._is_writing = False
        self._is_garbled = False
        self._last_seen = trio.current_time()
        self._pinged: float | None = None
        # The first one is early by chance, so that clients that came together don't beat together.
        self._next_ping = self._last_seen + settings.heartbeat_interval * random.uniform(0.5, 1.0)
        # For the way into the parking lot and out of it.
        self._may_park = False
        self._is_parking = False
        self._is_listening = False
        self._boundary = Boundary()
        self._received = b""
        self._chain = Chain(
            key,
            client.last_version,
            self._may_have,
            partial(reports.drop, client.instance),
            self._wake,
            settings.queue_messages,
            settings.queue_bytes,
        )
        self._has_more = trio.Event()
        self._has_room = trio.Event()
        # Nothing is written before it.
        self._is_greeted = client.hello is None

    # The parking lot.

    def may_park(self) -> None:
        """Let `run` return None once nothing is pending for a while."""
        self._may_park = True

    def may_not_park(self) -> None:
        """Take `may_park` back."""
        self._may_park = False

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
        self._next_ping, self._pinged = next_ping, pinged
        self._received = received
        if received or pinged is None:
            self._last_seen = trio.current_time()
        else:
            self._last_seen = -math.inf
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
        return self._next_ping

    def is_quiet(self) -> bool:
        """Whether nothing is pending in either direction, and nothing is to be remembered of what was said."""
        is_answered = self._pinged is None or self._last_seen >= self._pinged
        return (
            self._chain.is_quiet
            and not self._received
            and not self._is_writing
            and is_answered
            and self._reason is None
            and self._websocket.state is ConnectionState.OPEN
            and self._boundary.is_between
            and not self._inbound.is_open
            and self._session.is_fresh(trio.current_time())
        )

    # Called by the broadcaster and the server: synchronous.

    def deliver(self, delivery: Delivery) -> None:
        """Queue a frame, or note that the client is behind. See `broadcast.Subscriber`."""
        if not self._chain.offer(delivery):
            self._counters.lagged()

    def close(self, reason: CloseReason) -> None:
        """End the connection at once; the first reason counts."""
        if self._reason is None:
            self._reason = reason
        self._scope.cancel()

    def drain(self, reconnect_after_ms: int) -> None:
        """Tell the client that the server is stopping, and close once that is written."""
        text = messages.connection_closing(CloseReason.DRAIN.text, reconnect_after_ms, self._timestamp())
        self._chain.reply_first(Reply(text_frame(text)), Reply(b"", ends=CloseReason.DRAIN))

    def unsubscribe_all(self) -> None:
        """End its subscriptions to patterns, when the connection has ended."""
        self._end_patterns(self._session.patterns)

    def recheck(self) -> None:
        """Judge the client by the rights that are in force now: what it may no longer have ends here."""
        try:
            self._client.admission.renew()
            self._client.admission.authorize(Right.SUBSCRIBE, self._key)
        except Unauthorized:
            self.close(CloseReason.UNAUTHORIZED)
        except Forbidden:
            self.close(CloseReason.FORBIDDEN)
        else:
            lost = [each for each in self._session.patterns if not self._client.admission.may(Right.SUBSCRIBE, each)]
            if lost:
                self._session.forget(lost)
                self._end_patterns(lost)
                self._forget_unmatched()
                self._chain.reply_first(Reply(text_frame(messages.unsubscribed(lost, self._timestamp()))))

    def _may_have(self, key: Key) -> bool:
        """Whether a delivery is allowed; a client whose token has expired is closed at the first that isn't."""
        if self._client.admission.may(Right.SUBSCRIBE, key):
            return True
        if self._client.admission.is_expired:
            self.close(CloseReason.UNAUTHORIZED)
        return False

    def _wake(self) -> None:
        """Let the writer look again."""
        self._has_more.set()

    async def _reply(self, reply: Reply) -> None:
        """Queue a reply, and wait for room. What a client makes us say is bounded by what it reads."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._chain.reply(reply):
            self._has_room = trio.Event()
            await self._has_room.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()

    # The nursery.

    async def run(self) -> CloseReason | None:
        """Serve the client until one side ends it, and return why. Raises nothing that a peer can cause.

        Returns None where it may be parked and is quiet: the socket is left as it is, and no await may be between this and the parking.

        Inside run the reader, the writer and the heartbeat; the first to end cancels the others. When cancelled from
        outside, the client is still sent a close frame, if it takes it at once and no other frame is half written.
        """
        is_parked = False
        try:
            while not is_parked:
                self._is_parking = self._is_listening = False
                async with trio.open_nursery() as nursery:
                    self._scope = nursery.cancel_scope
                    if self._reason is not None:
                        self._scope.cancel()
                    for task in (self._reader, self._writer, self._heartbeat):
                        nursery.start_soon(self._first_to_end, task)
                if not self._is_parking or self._reason is not None:
                    return self._reason or CloseReason.INTERNAL
                # While the tasks ended something may have come.
                is_parked = self.is_quiet()
            return None
        finally:
            if not is_parked:
                await self._close_handshake()

    async def _first_to_end(self, task: Callable[[], Awaitable[CloseReason | None]]) -> None:
        try:
            reason = await task()
            if reason is not None:
                self.close(reason)
            else:
                self._is_parking = True
                self._scope.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.close(CloseReason.LOST)
        except Unacceptable as error:
            self.close(error.reason)

    async def _reader(self) -> CloseReason | None:
        message_deadline = math.inf
        try:
            while True:
                if self._received:
                    # Came while the connection was parked, or on its way there.
                    data, self._received = self._received, b""
                    self._take_bytes(data)
                for event in self._websocket.events():
                    match event:
                        case TextMessage() | BytesMessage():
                            message = self._inbound.receive(event)
                            if message is not None:
                                message_deadline = math.inf
                                await self._turns.take()
                                await self._take(message)
                        case Ping():
                            await self._answer(self._session.receive_control(trio.current_time()))
                            await self._reply(Reply(self._websocket.send(event.response())))
                        case Pong():
                            await self._answer(self._session.receive_control(trio.current_time()))
                            if self._pinged is not None and self._last_seen >= self._pinged:
                                self._counters.heartbeat_answered(self._last_seen - self._pinged)
                        case CloseConnection(code=code):
                            if self._websocket.state is ConnectionState.OPEN:
                                # Not the client's close frame: wsproto's word that what came can't be a frame.
                                self._is_garbled = True
                                return _reason_of(code)
                            # Behind what is queued, for the client has said only that it won't send any more.
                            reply = self._websocket.send(event.response())
                            await self._reply(Reply(reply, ends=CloseReason.CLIENT))
                            await trio.sleep(self._settings.close_timeout)
                            return CloseReason.CLIENT
                if self._inbound.is_open and message_deadline == math.inf:
                    message_deadline = trio.current_time() + self._settings.message_timeout
                self._is_listening = True
                with trio.CancelScope(deadline=message_deadline) as scope:
                    data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
                if scope.cancelled_caught:
                    return CloseReason.POLICY
                if not data:
                    return CloseReason.LOST
                if self._is_parking:
                    # The other tasks are ending: what would be begun now could be cancelled in the middle.
                    self._received = data
                    return None
                self._is_listening = False
                self._take_bytes(data)
        except RemoteProtocolError:
            return CloseReason.PROTOCOL

    def _take_bytes(self, data: bytes) -> None:
        self._last_seen = trio.current_time()
        self._counters.bytes_read(len(data))
        self._boundary.feed(data)
        self._websocket.receive_data(data)

    async def _take(self, message: str | bytes) -> None:
        """Do what a message asks for."""
        if isinstance(message, bytes):
            raise Unacceptable(CloseReason.NOT_TEXT)
        await self._answer(self._session.receive(message, trio.current_time(), self._timestamp()))

    async def _answer(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self._counters.message_received(type(request).__name__.lower())
            match request:
                case Answer(message):
                    await self._reply(Reply(text_frame(message)))
                case Resync():
                    await self._resync(request)
                case Subscribe(patterns, new):
                    await self._subscribe(patterns, new)
                case Unsubscribe(patterns, ended):
                    # What is ended is ended at once, or a connection that is lost while it waits would leave it behind.
                    self._end_patterns(ended)
                    if ended:
                        await self._keys.turn()
                        self._forget_unmatched()
                    await self._reply(Reply(text_frame(messages.unsubscribed(patterns, self._timestamp()))))
                case Acknowledge():
                    await self._acknowledge(request)
                case Close(reason):
                    # Behind the answer that says why; nothing more is read meanwhile.
                    await self._reply(Reply(b"", ends=reason))
                    await trio.sleep(self._settings.write_timeout)
                    raise Unacceptable(reason)

    async def _refuse(self, code: str, reason: str) -> None:
        await self._answer(self._session.refuse(code, reason, trio.current_time(), self._timestamp()))

    async def _resync(self, asked: Resync) -> None:
        key = asked.key
        if key not in self._chain.versions:
            await self._refuse("SUBSCRIPTION_FAILED", "there is no such subscription")
        elif not self._client.admission.may(Right.SUBSCRIBE, key):
            await self._refuse("FORBIDDEN", "the token doesn't allow this")
        else:
            wants_diff = asked.wants_diff and asked.last_version is not None
            self._chain.resync(key, asked.last_version, in_full=not wants_diff)

    async def _acknowledge(self, said: Acknowledge) -> None:
        if said.key not in self._chain.versions:
            # The key may have ended while this was on its way, so it isn't counted as wrong.
            refusal = messages.error("SUBSCRIPTION_FAILED", "there is no such subscription", self._timestamp())
            await self._reply(Reply(text_frame(refusal)))
        elif not self._reports.take(self._client.instance, self._client.admission, said):
            await self._refuse("FORBIDDEN", "the token doesn't allow this")

    async def _subscribe(self, patterns: Sequence[Pattern], new: Sequence[Pattern]) -> None:
        try:
            for pattern in new:
                self._client.admission.authorize(Right.SUBSCRIBE, pattern)
            self._quota.take(self._client.owner, new)
            try:
                keys = await self._keys.subscribe(self, new, self._settings.keys)
            except RemoteError:
                self._quota.give_back(self._client.owner, self._session.in_force(new))
                raise
        except RemoteError as error:
            self._session.forget(new)
            await self._refuse("FORBIDDEN" if error.status == 403 else "SUBSCRIPTION_FAILED", error.reason)
            return
        # Some may have ended meanwhile, before they were there to be ended: see `recheck`.
        in_force = self._session.in_force(patterns)
        self._keys.unsubscribe(self, [pattern for pattern in new if pattern not in in_force])
        # What is delivered of these keys while this waits is either whole, or marks them as behind; and their states are written
        # behind the confirmation, whether that is queued or kept.
        await self._reply(Reply(text_frame(messages.subscribed(in_force, self._timestamp()))))
        for number, key in enumerate(keys, 1):
            self._chain.begin(key)
            if number % _KEYS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self._chain.wake()

    def _end_patterns(self, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns that were in force."""
        self._keys.unsubscribe(self, patterns)
        self._quota.give_back(self._client.owner, patterns)

    def _forget_unmatched(self) -> None:
        """Forget the keys that the client had by patterns which have ended."""
        others = [key for key in self._chain.versions if key != self._key]
        self._chain.forget(self._keys.unmatched(others, self._session.patterns))

    async def _writer(self) -> CloseReason | None:
        while True:
            self._has_room.set()
            match self._chain.step() if self._is_greeted else self._chain.catch_up(self._key):
                case CatchUp() as asked:
                    await self._catch_up(asked)
                case Reply(data=data, ends=ends):
                    await self._write(data)
                    if ends is not None:
                        return ends
                case Lagged(dropped):
                    await self._write(text_frame(messages.lagged(dropped, self._timestamp())))
                    self._counters.sent("lagged")
                case None:
                    parts, ends, deliveries = self._batch()
                    if parts:
                        await self._write(await self._on_the_wire(parts))
                        self._count(deliveries)
                        if ends is not None:
                            return ends
                    elif await self._wait():
                        return None

    async def _wait(self) -> bool:
        """Wait for something to write. Returns whether it has been quiet for long enough to park instead."""
        if not self._chain.is_idle:
            # What was handed over didn't fit any more, and something else is to be written.
            return False
        pause = math.inf
        if self._may_park:
            # There may be thousands of connections that aren't fresh: each looks again when it may be.
            pause = max(self._settings.park_after, _PARK_PAUSE, self._session.fresh_in(trio.current_time()))
            if self._settings.park_after == 0 and self._is_listening and self.is_quiet():
                return True
        self._has_more = trio.Event()
        self._chain.is_awaited = True
        with trio.move_on_after(pause) as scope:
            await self._has_more.wait()
        self._chain.is_awaited = False
        return scope.cancelled_caught and self._is_listening and self.is_quiet()

    async def _catch_up(self, asked: CatchUp) -> None:
        key = asked.key
        delivery = await self._keys.catch_up(key, asked.base(self._keys.version_of))
        # No await from here to the write: deliveries after this moment build on this frame.
        if not self._chain.caught_up(asked, delivery, self._keys.version_of(key)):
            return
        greeting = b"" if self._is_greeted else self._client.greeting(delivery, self._timestamp())
        self._is_greeted = True
        data = await self._on_the_wire([delivery.frame])
        await self._write(greeting + data if greeting else data)
        self._count([delivery])

    def _count(self, deliveries: Iterable[Delivery]) -> None:
        """Count what was written."""
        now = trio.current_time()
        for each in deliveries:
            self._counters.sent(each.kind)
            if each.published is not None:
                self._counters.delivered(now - each.published, 1)

    def _batch(self) -> tuple[list[bytes], CloseReason | None, list[Delivery]]:
        """Take what is queued, up to one write."""
        parts: list[bytes] = []
        deliveries: list[Delivery] = []
        size = 0
        while size < _WRITE_BYTES and (item := self._chain.take()) is not None:
            if isinstance(item, Delivery):
                deliveries.append(item)
                part: bytes = item.frame
            else:
                part = self._ping() if item.is_ping else item.data
                if item.ends is not None:
                    return [*parts, part], item.ends, deliveries
            parts.append(part)
            size += len(part)
        return parts, None, deliveries

    async def _on_the_wire(self, frames: Sequence[bytes]) -> bytes:
        """Frames as this client takes them, in one piece."""
        bits = self._client.window_bits
        if bits is not None:
            frames = [await self._compressed(frame, bits) for frame in frames]
        return frames[0] if len(frames) == 1 else b"".join(frames)

    async def _compressed(self, frame: bytes, bits: int) -> bytes:
        # What isn't shared (control frames, what holds something of this connection) isn't worth the work.
        return await self._keys.compress(frame, bits) if isinstance(frame, Frame) else frame

    async def _write(self, data: bytes) -> None:
        """Write frames whole, each part under the deadline.

        Raises:
            Unacceptable: The client doesn't read.
        """
        # From here to the first byte nothing can be cancelled any more, so a close frame isn't lost for a frame that never began.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._is_writing = True
        for start in range(0, len(data), _WRITE_BYTES):
            with trio.move_on_after(self._settings.write_timeout) as scope:
                await self._stream.send_all(memoryview(data)[start : start + _WRITE_BYTES])
            if scope.cancelled_caught:
                raise Unacceptable(CloseReason.SLOW)
        self._is_writing = False
        self._counters.bytes_written(len(data))

    async def _heartbeat(self) -> CloseReason:
        interval, timeout = self._settings.heartbeat_interval, self._settings.heartbeat_timeout
        while True:
            if self._pinged is not None and self._last_seen < self._pinged:
                await trio.sleep_until(self._pinged + timeout)
                # Of a process that was stopped meanwhile both are due at once: this, and the reader that has the answer.
                await trio.lowlevel.checkpoint()
                if self._last_seen < self._pinged:
                    return CloseReason.HEARTBEAT
            await trio.sleep_until(self._next_ping)
            self._pinged = None
            self._next_ping = trio.current_time() + interval
            # A full queue is no reason to wait: whether the client reads is for the write deadline to say.
            self._chain.reply(_PING)
            await trio.sleep(timeout)

    def _ping(self) -> bytes:
        """A heartbeat behind all that was written, and the start of its time.

        Nothing where the client has said goodbye, or where a catch-up frame is to come.
        """
        if self._chain.is_behind(self._key):
            return b""
        try:
            frame = self._websocket.send(Ping())
        except LocalProtocolError:
            return b""
        self._pinged = trio.current_time()
        self._counters.sent("ping")
        return text_frame(messages.ping(self._key, self._chain.versions[self._key], self._timestamp())) + frame

    async def _close_handshake(self) -> None:
        """Send our close frame unless one is half written, wait for theirs (RFC 6455 section 7.1.1), close the socket."""
        reason = self._reason or CloseReason.INTERNAL
        is_cancelled = trio.current_effective_deadline() == -math.inf
        timeout = _HURRIED_TIMEOUT if is_cancelled else self._settings.close_timeout
        with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
                if self._websocket.state is ConnectionState.OPEN and reason.is_sent and not self._is_writing:
                    await self._stream.send_all(self._websocket.send(CloseConnection(reason.code, reason.text)))
                    if not is_cancelled:
                        await self._wait_closed()
        await trio.aclose_forcefully(self._stream)

    async def _wait_closed(self) -> None:
        """Read until the client has closed, too: a socket that is closed on unread bytes takes the close frame with it."""
        if self._is_garbled:
            # No frame can be found in what comes any more, and wsproto would keep it all. The end of our half tells the
            # client (section 7.1.7); where there are no halves, as in TLS, nothing is left to wait for.
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
                while await self._stream.receive_some(_RECEIVE_BYTES):
                    pass
            return
        while data := await self._stream.receive_some(_RECEIVE_BYTES):
            self._websocket.receive_data(bytes(data))
            if any(isinstance(event, CloseConnection) for event in self._websocket.events()):
                return


def _reason_of(code: int) -> CloseReason:
    return next((reason for reason in CloseReason if reason.code == code), CloseReason.PROTOCOL)
