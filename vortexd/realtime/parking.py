"""The parking lot: quiet connections, each one small object and no task.

In come sockets with nothing pending, deliveries through the bounded channel of `outgoing`, and bytes; out go shared frames, written straight to
the socket, and connections that need more than that, which are *woken*: the server makes a `connection.Connection` of them again. One epoll
and one list of heartbeats serve everybody. The invariant: what a parked client has been sent is whole frames up to `version`, nothing waits for it, and nothing of it
has been read by halves; so leaving the lot loses nothing.
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
# What is done for parked connections before others of the loop have their turn.
_AT_ONCE = 256
# Fewer, for an ack takes some sixty microseconds and a connection that wakes some three hundred, and thousands come at once after a change.
_HEARD_AT_ONCE = 8
# An ack that is taken here, and how long after the one before.
_ACK_BYTES = 2_048
_ACK_PAUSE = 0.1
# Heartbeats that are due within one of these are one piece of work.
_TICK = 0.1
# What rounding may add to a number of ticks.
_FUZZ = 1e-3
# What is worth compressing here, between two writes; larger frames are compressed in a thread, by awake connections.
_SMALL_BYTES = 65_536


class Owner(Protocol):
    """Who put the connections here."""

    def awaken(self, parked: Parked, received: bytes, unsent: bytes, missed: Iterable[Key]) -> Connection:
        """Give a connection, which has left the lot, its tasks again. Synchronous; raises nothing.

        Args:
            received: What has come from the client and was not looked at.
            unsent: The rest of a frame of which the beginning was written.
            missed: The keys of what was delivered and not written. Of all others but the main key, the client has the newest.
        """
        ...

    def end_parked(self, parked: Parked, reason: CloseReason) -> None:
        """Forget a connection that has left the lot; its socket is closed. Synchronous."""
        ...


class Counters(Protocol):
    """What the lot counts."""

    def bytes_written(self, count: int) -> None: ...
    def bytes_read(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...
    def delivered(self, seconds: float, count: int) -> None: ...
    def heartbeat_answered(self, seconds: float) -> None: ...
    def message_received(self, kind: str) -> None: ...
    def lagged(self) -> None: ...


class ParkingLot:
    """See the module.

    Args:
        reports: Where acks go.
        timestamp: The current time as RFC 3339, UTC.
    """

    def __init__(self, owner: Owner, counters: Counters, reports: Reports, timestamp: Callable[[], str]) -> None:
        self._owner = owner
        self._counters = counters
        self._reports = reports
        self._timestamp = timestamp
        self._epoll = select.epoll()
        self._parked: dict[int, Parked] = {}
        # The beats: tick to who has something due in it. Who has left since is passed over.
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
        """Where woken connections run; None while the lot isn't open, and then nobody may be parked."""
        return self._nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the lot open until it is closed, and the connections it woke until they have ended."""
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
        """Where deliveries for the connections here wait."""
        return self._outgoing

    def close(self) -> None:
        """End `run` once everybody it woke has ended. Nobody may be parked any more."""
        self._scope.cancel()

    def park(self, parked: Parked) -> None:
        """Take a connection in. Nothing of it may be pending; from now on the descriptor is the lot's."""
        self._parked[parked.fd] = parked
        self._epoll.register(parked.fd, select.EPOLLIN | select.EPOLLRDHUP)
        self._schedule(parked, parked.next_ping)

    def wake(
        self, parked: Parked, received: bytes = b"", unsent: bytes = b"", missed: Sequence[Delivery] = ()
    ) -> Connection:
        """Let a connection leave with its tasks.

        Args:
            missed: What was delivered to it, is queued no longer, and couldn't be written.
        """
        waiting = self._leave(parked)
        return self._owner.awaken(parked, received, unsent, [*(each.key for each in missed), *waiting])

    # Outbound.

    async def _send(self) -> None:
        """Write what is queued, in its order, and let others of the loop have their turn in between."""
        while True:
            # A call of its own: its locals would keep the last batch alive during the wait.
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
        """Wake the connections whose deliveries found no room, so that they catch up by version."""
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
        """Write a frame to these. This is what a change costs for each client, so the common case is one look-up and one system call."""
        frame = frame_of(delivery)
        size, count, unwritten = len(frame), 0, 0
        # By identity, for who proved the same is one object, and its hash would be made anew for each client. Most are as the one before.
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
        """Count what so many clients were written, all at once: for each it would cost what the write costs."""
        self._counters.sent(delivery.kind, count)
        if delivery.published is not None:
            self._counters.delivered(trio.current_time() - delivery.published, count)

    def _send_all(self, parked: Parked, deliveries: Sequence[Delivery]) -> None:
        """Write what waits for one client, in one piece; wake it where that takes more."""
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
        """Frames as this client takes them; None if that takes a thread."""
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
        """How much of it the socket took; None where it is broken, and the connection has ended."""
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
                # Who was woken by one that came before is gone.
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
        """Take an ack, if that is all this is. After each change every client says one, and tasks for them would leave holes in the heap."""
        # Less often than it takes for nothing to be left of what was said, by the limit of messages: it is the limit, then.
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
        """Do what is due for these, with one frame for all that have the same."""
        frames: dict[tuple[Key, str | None], bytes] = {}
        timestamp = self._timestamp()
        for number, parked in enumerate(due, 1):
            if parked in self:
                now = trio.current_time()
                if parked.pinged is not None:
                    if now >= parked.pinged + parked.settings.heartbeat_timeout - _TICK * _FUZZ:
                        # What it answered while this process was stopped is there, and only wasn't read yet.
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
        """Let go of a connection, and return the keys of what waits for it; see `Outgoing.leave`."""
        del self._parked[parked.fd]
        self._epoll.unregister(parked.fd)
        return self._outgoing.leave(parked)

    def _end(self, parked: Parked, reason: CloseReason) -> None:
        self._leave(parked)
        os.close(parked.fd)
        self._owner.end_parked(parked, reason)
