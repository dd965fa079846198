"""The parking lot for quiet connections. A parked connection is one small object without a task.

The server parks sockets for which nothing is pending. Deliveries arrive through the bounded channel of `outgoing`. The lot
writes shared frames directly to the sockets. If a connection needs more than that, the lot *wakes* it: the server makes a
`connection.Connection` of it again. All parked connections share one epoll and one list of heartbeats.

The invariant: a parked client has got complete frames up to `version`. No bytes wait to be written to it, and none of its
messages is partly read. So a connection loses nothing when it leaves the lot.
"""

import heapq
import math
import os
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import structlog
import trio

from ..auth import Right
from ..core.model import Key
from ..pipeline.broadcast import Delivery
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.deflate import Deflate
from ..protocol.frames import PING, is_pong, text_frame
from .connection import Connection
from .framing import frame_of
from .inbound import sole_text
from .outgoing import Batch, Outgoing
from .parked import Parked
from .reports import Reports
from .session import Acknowledge, Session

log = structlog.get_logger()

_RECEIVE_BYTES = 16_384
# The lot handles this many connections before it lets other tasks run.
_AT_ONCE = 256
# For received bytes, the lot handles fewer connections. An ack takes about 60 microseconds and a waking connection about 300,
# and thousands of acks arrive at once after a change.
_HEARD_AT_ONCE = 8
# The largest ack in bytes that the lot handles itself, and the least seconds between two acks of a client.
_ACK_BYTES = 2_048
_ACK_PAUSE = 0.1
# In seconds. The lot handles all heartbeats that are due within one tick together.
_TICK = 0.1
# The tolerance for rounding errors, in ticks.
_FUZZ = 1e-3
# The lot compresses frames up to this size itself. Awake connections compress larger frames in a thread.
_SMALL_BYTES = 65_536


class Owner(Protocol):
    """The server, which parks and wakes connections."""

    def awaken(self, parked: Parked, received: bytes, unsent: bytes, missed: Iterable[Key]) -> Connection:
        """Start the tasks of a connection that has left the lot. Synchronous; raises nothing.

        Args:
            received: The bytes that the lot has received but not handled.
            unsent: The rest of a frame whose beginning was written.
            missed: The keys of deliveries that were not written. The client has the newest version of all other keys, except
                perhaps of the main key.
        """
        ...

    def end_parked(self, parked: Parked, reason: CloseReason) -> None:
        """Remove a connection that has left the lot. Its socket is closed already. Synchronous."""
        ...


class Counters(Protocol):
    """The metrics of the lot."""

    def bytes_written(self, count: int) -> None: ...
    def bytes_read(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...
    def delivered(self, seconds: float, count: int) -> None: ...
    def heartbeat_answered(self, seconds: float) -> None: ...
    def message_received(self, kind: str) -> None: ...
    def lagged(self) -> None: ...


class ParkingLot:
    """The parking lot.

    Args:
        reports: Receives acks.
        timestamp: Returns the current time as RFC 3339, UTC.
    """

    def __init__(self, owner: Owner, counters: Counters, reports: Reports, timestamp: Callable[[], str]) -> None:
        self._owner = owner
        self._counters = counters
        self._reports = reports
        self._timestamp = timestamp
        self._epoll = select.epoll()
        self._parked: dict[int, Parked] = {}
        # Maps each tick to the connections with a heartbeat due in it. Connections that have left the lot are skipped later.
        self._due: dict[int, list[Parked]] = {}
        self._ticks: list[int] = []
        self._earlier = trio.Event()
        self._outgoing = Outgoing()
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> Iterator[Parked]:
        return iter(tuple(self._parked.values()))

    def __contains__(self, parked: Parked) -> bool:
        return self._parked.get(parked.fd) is parked

    @property
    def nursery(self) -> trio.Nursery | None:
        """The nursery of woken connections. None as long as the lot isn't open; no connection may be parked then."""
        return self._nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the lot until `close` is called, and the woken connections until they have ended."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                with self._scope:
                    async with trio.open_nursery() as inner:
                        inner.start_soon(self._listen)
                        inner.start_soon(self._beat)
                        inner.start_soon(self._send)
        finally:
            self._nursery = None
            for parked in self:
                self._end(parked, CloseReason.LOST)
            self._epoll.close()

    @property
    def queue(self) -> Outgoing:
        """The queue of deliveries for parked connections."""
        return self._outgoing

    def close(self) -> None:
        """Close the lot. `run` returns after all woken connections have ended. No connection may be parked from now on."""
        self._scope.cancel()

    def park(self, parked: Parked) -> None:
        """Park a connection, for which nothing may be pending. From now on, the lot owns the file descriptor."""
        self._parked[parked.fd] = parked
        self._epoll.register(parked.fd, select.EPOLLIN | select.EPOLLRDHUP)
        self._schedule(parked, parked.next_ping)

    def wake(
        self, parked: Parked, received: bytes = b"", unsent: bytes = b"", missed: Sequence[Delivery] = ()
    ) -> Connection:
        """Remove a connection from the lot, and start its tasks.

        Args:
            received: As in `Owner.awaken`.
            unsent: As in `Owner.awaken`.
            missed: The deliveries that were taken from the queue but couldn't be written.
        """
        waiting = self._leave(parked)
        return self._owner.awaken(parked, received, unsent, [*(each.key for each in missed), *waiting])

    # Outbound.

    async def _send(self) -> None:
        """Write the queued deliveries in their order, and let other tasks run in between."""
        while True:
            # This is a separate call, because its local variables would keep the last batch in memory during the wait.
            await self._send_batches(await self._outgoing.take())
            await self._send_gathered()
            await self._wake_missed()

    async def _send_batches(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            for start in range(0, len(batch.parked), _AT_ONCE):
                self._send_batch(batch.parked[start : start + _AT_ONCE], batch.delivery)
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_gathered(self) -> None:
        for number, each in enumerate(self._outgoing.gathered(), 1):
            if deliveries := self._outgoing.take_gathered(each):
                self._send_all(each, deliveries)
            if number % _AT_ONCE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wake_missed(self) -> None:
        """Wake the connections that missed deliveries because the channel was full. They catch up by version."""
        missed = self._outgoing.missed()
        if missed:
            log.warning(
                "parking lot lagging", connections=len(missed), consequence="these connections catch up by version"
            )
        for number, each in enumerate(missed, 1):
            if each in self:
                self._counters.lagged()
                self.wake(each)
            if number % _HEARD_AT_ONCE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _send_batch(self, batch: list[Parked], delivery: Delivery) -> None:
        """Write a frame to these connections.

        This runs for each client of each change. So the common case needs only one look-up and one system call.
        """
        frame = frame_of(delivery)
        size, count, unwritten = len(frame), 0, 0
        # Rights by the identity of the principal, because clients with the same credential share one object. A hash would be
        # computed again for each client. Most clients have the same principal as the client before.
        rights: dict[int, bool] = {}
        principal: object = rights
        may = False
        parked_at, write = self._parked.get, os.write
        for each in batch:
            if parked_at(each.fd) is not each:
                continue
            if (owner := each.admission.principal) is not principal:
                principal, who = owner, id(owner)
                if who not in rights:
                    rights[who] = each.admission.may(Right.SUBSCRIBE, delivery.key)
                may = rights[who]
            if each.window_bits is not None or not each.accepts(delivery, may):
                self._send_all(each, [delivery])
                continue
            try:
                written = write(each.fd, frame)
            except BlockingIOError:
                self.wake(each)
                continue
            except OSError:
                self._end(each, CloseReason.LOST)
                continue
            count += 1
            each.extend(delivery)
            if written != size:
                unwritten += size - written
                self.wake(each, unsent=frame[written:])
        self._counters.bytes_written(count * size - unwritten)
        self._count(delivery, count)

    def _count(self, delivery: Delivery, count: int) -> None:
        """Count a delivery for all these clients at once. Counting each client would take as long as the write."""
        self._counters.sent(delivery.kind, count)
        if delivery.published is not None:
            self._counters.delivered(trio.current_time() - delivery.published, count)

    def _send_all(self, parked: Parked, deliveries: Sequence[Delivery]) -> None:
        """Write all deliveries of one client at once. If that isn't possible, wake the connection."""
        frames = self._frames_for(parked, deliveries)
        if frames is None or not parked.accepts_all(deliveries, partial(parked.admission.may, Right.SUBSCRIBE)):
            self.wake(parked, missed=deliveries)
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        written = self._write(parked, data)
        if written is None:
            return
        if written:
            for delivery in deliveries:
                parked.extend(delivery)
                self._count(delivery, 1)
            if written < len(data):
                self.wake(parked, unsent=data[written:])
        else:
            self.wake(parked, missed=deliveries)

    def _frames_for(self, parked: Parked, deliveries: Sequence[Delivery]) -> list[bytes] | None:
        """Return the frames in the form for this client. Returns None if compressing them needs a thread."""
        bits = parked.window_bits
        frames: list[bytes] = []
        for delivery in deliveries:
            frame = frame_of(delivery)
            if bits is None:
                frames.append(frame)
            elif len(frame) <= _SMALL_BYTES or frame.is_ready(bits):
                frames.append(frame.for_window(bits))
            else:
                return None
        return frames

    def _write(self, parked: Parked, data: bytes) -> int | None:
        """Write to the socket. Returns the number of written bytes.

        If the socket is broken, end the connection and return None.
        """
        try:
            written = os.write(parked.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._end(parked, CloseReason.LOST)
            return None
        self._counters.bytes_written(written)
        return written

    # Inbound.

    async def _listen(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0, _HEARD_AT_ONCE):
                # Handling an earlier connection may have removed this one from the lot.
                if (parked := self._parked.get(fd)) is not None:
                    self._receive(parked)

    def _receive(self, parked: Parked) -> None:
        try:
            data = os.read(parked.fd, _RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(parked, CloseReason.LOST)
        elif parked.pinged is not None and is_pong(data):
            self._counters.bytes_read(len(data))
            self._counters.heartbeat_answered(trio.current_time() - parked.pinged)
            parked.pinged = None
        elif not self._acknowledge(parked, data):
            self.wake(parked, received=data)

    def _acknowledge(self, parked: Parked, data: bytes) -> bool:
        """Handle these bytes, if they are exactly one ack. Returns whether they were.

        After each change, every client sends an ack. Tasks for all of them would fragment the heap.
        """
        # The pause is at least the time that one message takes by the limit of messages. So this path keeps that limit, too.
        pause = max(_ACK_PAUSE, 1 / parked.settings.messages_per_second)
        if len(data) > _ACK_BYTES or self._reports.silent_for(parked.instance) < pause:
            return False
        bits = parked.window_bits
        text = sole_text(data, [] if bits is None else [Deflate(parked.settings.message_bytes, bits)])
        if text is None:
            return False
        match Session(parked.key, parked.settings).receive(text, trio.current_time(), ""):
            case (Acknowledge(key=key) as said,) if key == parked.key:
                pass
            case _:
                return False
        if not self._reports.take(parked.instance, parked.admission, said):
            return False
        self._counters.message_received(Acknowledge.kind)
        # Any frame is a sign of life.
        parked.pinged = None
        return True

    # Heartbeats.

    def _schedule(self, parked: Parked, time: float) -> None:
        tick = math.ceil(time / _TICK - _FUZZ)
        due = self._due.get(tick)
        if due is not None:
            due.append(parked)
            return
        self._due[tick] = [parked]
        heapq.heappush(self._ticks, tick)
        if self._ticks[0] == tick:
            self._earlier.set()

    async def _beat(self) -> None:
        while True:
            self._earlier = trio.Event()
            with trio.CancelScope() as scope:
                if self._ticks:
                    scope.deadline = self._ticks[0] * _TICK
                await self._earlier.wait()
            while self._ticks and self._ticks[0] * _TICK <= trio.current_time() + _TICK * _FUZZ:
                await self._beat_once(self._due.pop(heapq.heappop(self._ticks)))

    async def _beat_once(self, due: list[Parked]) -> None:
        """Handle the heartbeats that are due. Clients with the same key and version share one frame."""
        frames: dict[tuple[Key, str | None], bytes] = {}
        timestamp = self._timestamp()
        for number, parked in enumerate(due, 1):
            if parked in self:
                now = trio.current_time()
                if parked.pinged is not None:
                    if now >= parked.pinged + parked.settings.heartbeat_timeout - _TICK * _FUZZ:
                        # If this process was stopped, the client's answer may have arrived without being read.
                        self._receive(parked)
                        if parked in self and parked.pinged is not None:
                            self.wake(parked).close(CloseReason.HEARTBEAT)
                        elif parked in self:
                            self._schedule(parked, parked.next_ping)
                elif now < parked.next_ping - _TICK * _FUZZ:
                    self._schedule(parked, parked.next_ping)
                else:
                    what = parked.key, parked.version
                    if what not in frames:
                        frames[what] = text_frame(messages.ping(*what, timestamp)) + PING
                    self._ping(parked, frames[what], now)
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _ping(self, parked: Parked, frame: bytes, now: float) -> None:
        parked.pinged = now
        parked.next_ping = now + parked.settings.heartbeat_interval
        written = self._write(parked, frame)
        if written is None:
            return
        self._counters.sent("ping")
        if written < len(frame):
            self.wake(parked, unsent=frame[written:])
        else:
            self._schedule(parked, now + parked.settings.heartbeat_timeout)

    # Leaving.

    def _leave(self, parked: Parked) -> Sequence[Key]:
        """Remove a connection from the lot. Returns the keys of its waiting deliveries; see `Outgoing.leave`."""
        del self._parked[parked.fd]
        self._epoll.unregister(parked.fd)
        return self._outgoing.leave(parked)

    def _end(self, parked: Parked, reason: CloseReason) -> None:
        self._leave(parked)
        os.close(parked.fd)
        self._owner.end_parked(parked, reason)
