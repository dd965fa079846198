"""The writer of an awake connection: writes the next step of the chain to the socket. Each write has a deadline.

It takes the steps of a `chain.Chain`, and catch-up frames from the pipeline. While the connection is served, no other task
writes. So no frame is interrupted by another one.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random

import trio
from wsproto.events import Ping
from wsproto.utilities import LocalProtocolError

from ..pipeline.broadcast import Delivery
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.frames import Frame, text_frame
from .chain import CatchUp, Chain, Lagged, Reply
from .client import Client, Counters, Keys, WebSocket
from .framing import Compressor
from .heartbeat import Heartbeat
from .inbound import Unacceptable

# The bytes of one write. A client must accept them within the write timeout, whatever the size of the whole frame.
_WRITE_BYTES = 65_536
# Making this many catch-up frames takes about a millisecond.
_CATCH_UPS_AT_ONCE = 32
# The most seconds that a client waits for its first state if it has a newer one.
LEVEL_WITHIN = 2.0
# The milliseconds after which a client should turn to another server that has its state: at least, and at most.
_SENT_ON_MS = 50, 500
# The least seconds between two checks whether the connection is quiet.
_PARK_PAUSE = 0.1
_PING = Reply(b"", is_ping=True)


class Writer:
    """Writes to one client.

    Args:
        websocket: The open wsproto connection; None for an event stream.
        timestamp: Returns the current time as RFC 3339, UTC.
        can_park: Returns whether nothing is pending.
        fresh_in: Returns the seconds until the session has no state except its patterns.
        cursor: Makes the id of an event for a client with patterns, from its versions after the event. Else returns None.

    Attributes:
        may_park: Whether the connection may be parked when it is quiet.
        is_writing: Whether a frame is only partly written.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        websocket: WebSocket | None,
        client: Client,
        chain: Chain,
        keys: Keys,
        compressor: Compressor,
        counters: Counters,
        heartbeat: Heartbeat,
        timestamp: Callable[[], str],
        can_park: Callable[[], bool],
        fresh_in: Callable[[float], float],
        random: Random,
        cursor: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._cursor = cursor
        self._stream = stream
        self._websocket = websocket
        self._client = client
        self._settings = client.settings
        self._form = client.form
        self._chain = chain
        self._keys = keys
        self._compressor = compressor
        self._counters = counters
        self._heartbeat = heartbeat
        self._timestamp = timestamp
        self._can_park = can_park
        self._fresh_in = fresh_in
        self._random = random
        self._has_more = trio.Event()
        self._has_room = trio.Event()
        # Whether `hello` was written, if the client gets one. Nothing is written before it.
        self._is_greeted = client.hello is None
        # Whether the writer has compared the client's generation with the one of this server.
        self._is_level = False
        self.may_park = False
        self.is_writing = False

    def wake(self) -> None:
        """Wake the task, because there may be something to write."""
        self._has_more.set()

    async def reply(self, reply: Reply) -> None:
        """Queue a reply, and wait for room. So a client can't cause more replies than it reads."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._chain.reply(reply):
            self._has_room = trio.Event()
            await self._has_room.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def beat(self) -> None:
        """Queue a heartbeat. If the queue is full, leave it out; the write timeout then shows whether the client reads."""
        self._chain.reply(_PING)

    async def run(self) -> CloseReason | None:
        """Write until the connection ends, and return the reason. If the connection can be parked, return None.

        Raises:
            Unacceptable: The client doesn't read.
            trio.BrokenResourceError, trio.ClosedResourceError: The socket is broken.
        """
        if not await self._level():
            return CloseReason.BEHIND
        while True:
            self._has_room.set()
            match self._chain.step() if self._is_greeted else self._chain.catch_up(self._chain.key):
                case CatchUp() as asked:
                    if not (self._is_greeted and await self._catch_up_at_once()):
                        await self._catch_up(asked)
                case Reply(data=data, ends=ends):
                    await self._write(data)
                    if ends is not None:
                        return ends
                case Lagged(dropped):
                    await self._write(self._form.message(messages.lagged(dropped, self._timestamp())))
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

    async def _level(self) -> bool:
        """If the client has a newer state than this server, wait a bounded time for it. The client has no state yet.

        If it doesn't come, send the client on to another server, and return False. Do this only once: a client that was sent on
        already, and one that claims no generation, is served the state of this server.
        """
        client = self._client
        has = self._chain.key, client.last_version, client.generation
        if self._is_level or not self._keys.is_ahead(*has):
            self._is_level = True
            return True
        self._is_level = True
        with trio.move_on_after(LEVEL_WITHIN) as scope:
            await self._keys.wait_level(*has)
        if not scope.cancelled_caught or client.generation is None:
            return True
        if client.is_sent_on:
            await self._write_stale()
            return True
        after = self._random.randint(*_SENT_ON_MS)
        text = messages.connection_closing(CloseReason.BEHIND.text, after, self._timestamp())
        await self._write(self._form.message(text))
        return False

    async def _write_stale(self) -> None:
        while True:
            asked = self._chain.catch_up(self._chain.key)
            delivery = await self._keys.stale(asked.key)
            if asked.key == self._chain.key:
                break
        # No await may come before this call.
        await self._write_caught_up(asked, delivery)

    async def _wait(self) -> bool:
        """Wait for something to write. Returns whether the connection was quiet for so long that it can be parked instead."""
        if not self._chain.is_idle:
            # The writer has skipped the delivery that was handed to it, and there is something else to write.
            return False
        pause = math.inf
        if self.may_park:
            # There may be thousands of sessions that aren't fresh. So each one checks again only when it can be fresh.
            pause = max(self._settings.park_after, _PARK_PAUSE, self._fresh_in(trio.current_time()))
            if self._settings.park_after == 0 and self._can_park():
                return True
        self._has_more = trio.Event()
        self._chain.is_awaited = True
        with trio.move_on_after(pause) as scope:
            await self._has_more.wait()
        self._chain.is_awaited = False
        return scope.cancelled_caught and self._can_park()

    async def _catch_up_at_once(self) -> bool:
        """Write all catch-up frames that can be made without waiting, up to the size of one write.

        Returns whether there were any. After a subscription or a large publication, thousands of keys are behind.
        """
        frames: list[bytes] = []
        deliveries: list[Delivery] = []
        count = size = 0
        # No await may come before the frames are written; see `_catch_up`.
        while size < _WRITE_BYTES and count < _CATCH_UPS_AT_ONCE and (asked := self._chain.next_catch_up()) is not None:
            delivery = self._keys.at_once(asked.key, asked.base(self._keys.version_of))
            if delivery is None:
                break
            count += 1
            if self._chain.caught_up(asked, delivery, self._keys.version_of(asked.key)):
                frames.append(self._bytes_of(delivery))
                deliveries.append(delivery)
                size += len(frames[-1])
        if frames:
            await self._write(await self._on_the_wire(frames))
            self._count(deliveries)
        return count > 0

    async def _catch_up(self, asked: CatchUp) -> None:
        delivery = await self._keys.catch_up(asked.key, asked.base(self._keys.version_of))
        # No await may come before this call.
        await self._write_caught_up(asked, delivery)

    async def _write_caught_up(self, asked: CatchUp, delivery: Delivery) -> None:
        # No await may come before `caught_up`, and no other item is written before this frame. Later deliveries build on it.
        if not self._chain.caught_up(asked, delivery, self._keys.version_of(asked.key)):
            return
        greeting = b"" if self._is_greeted else self._client.greeting(delivery, self._timestamp())
        self._is_greeted = True
        data = await self._on_the_wire([self._bytes_of(delivery)])
        await self._write(greeting + data if greeting else data)
        self._count([delivery])

    def _count(self, deliveries: Iterable[Delivery]) -> None:
        """Count the written deliveries."""
        now = trio.current_time()
        for each in deliveries:
            self._counters.sent(each.kind)
            if each.published is not None:
                self._counters.delivered(now - each.published, 1)

    def _batch(self) -> tuple[list[bytes], CloseReason | None, list[Delivery]]:
        """Take queued items, up to the size of one write."""
        parts: list[bytes] = []
        deliveries: list[Delivery] = []
        size = 0
        while size < _WRITE_BYTES and (item := self._chain.take()) is not None:
            if isinstance(item, Delivery):
                deliveries.append(item)
                part: bytes = self._bytes_of(item)
            else:
                part = self._ping() if item.is_ping else item.data
                if item.ends is not None:
                    return [*parts, part], item.ends, deliveries
            parts.append(part)
            size += len(part)
        return parts, None, deliveries

    def _bytes_of(self, delivery: Delivery) -> bytes:
        """Return the bytes of a delivery that the chain has just been extended by, before compression."""
        events = self._form.events
        name = self._cursor() if events is not None else None
        return self._form.shared(delivery) if events is None or name is None else events.with_id(delivery, name)

    async def _on_the_wire(self, frames: Sequence[bytes]) -> bytes:
        """Join frames in the form for this client."""
        bits = self._form.window_bits
        if bits is not None:
            frames = [await self._compressed(frame, bits) for frame in frames]
        return frames[0] if len(frames) == 1 else b"".join(frames)

    async def _compressed(self, frame: bytes, bits: int) -> bytes:
        # Only shared frames are compressed. Control frames and messages for only this connection aren't worth the work.
        return await self._compressor.compress(frame, bits) if isinstance(frame, Frame) else frame

    async def _write(self, data: bytes) -> None:
        """Write complete frames in parts. Each part has the write timeout.

        Raises:
            Unacceptable: The client doesn't read.
        """
        # After this, nothing can be cancelled before the first byte. So if `is_writing` prevents the close frame, a frame has
        # really begun.
        await trio.lowlevel.checkpoint_if_cancelled()
        self.is_writing = True
        for start in range(0, len(data), _WRITE_BYTES):
            with trio.move_on_after(self._settings.write_timeout) as scope:
                await self._stream.send_all(memoryview(data)[start : start + _WRITE_BYTES])
            if scope.cancelled_caught:
                raise Unacceptable(CloseReason.SLOW)
        self.is_writing = False
        self._counters.bytes_written(len(data))

    def _ping(self) -> bytes:
        """Make a heartbeat. If the client must answer it, start the time for the answer.

        If the main key is behind, return nothing, because the client's version isn't known then. If the connection is
        closing, return nothing, too.
        """
        key = self._chain.key
        if self._chain.is_behind(key):
            return b""
        if self._websocket is None:
            # The client of an event stream doesn't answer. If it doesn't read, the write timeout ends the connection.
            self._counters.sent("heartbeat")
            return self._form.heartbeat(key, self._chain.versions[key], self._timestamp())
        try:
            frame = self._websocket.send(Ping())
        except LocalProtocolError:
            return b""
        self._heartbeat.written()
        self._counters.sent("ping")
        return text_frame(messages.ping(key, self._chain.versions[key], self._timestamp())) + frame
