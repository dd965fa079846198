"""Receives from parked connections: pongs of many clients at once, acks, and the end of connections.

The epoll of the lot reports the sockets that have something to read. If a client has sent anything else than a pong or an
ack, the lot wakes its connection.
"""

import math
import select
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from ..core.patterns import Pattern
from ..protocol.close import CloseReason
from ..protocol.deflate import Deflate
from ..protocol.frames import is_pong
from .first_subscription import FirstSubscription
from .inbound import sole_text
from .parked import Lot, Parked
from .reports import Reports
from .session import Acknowledge, Session, Subscribe
from .sockets import NEEDS_TASK, Sockets

# An ack takes about 60 microseconds and a waking connection about 300, and thousands of acks arrive at once after a change.
# So only so many connections that have sent something else than a pong are handled before other tasks run.
_HEARD_AT_ONCE = 8
# A pong takes a few microseconds. If heartbeats were just written, nearly all that arrives are pongs.
_READABLE_AT_ONCE = 128
_ANSWERS_AT_ONCE = 1_024
_MANY_ANSWERS = 32
# After pongs, more pongs are about to arrive. They wait for so many seconds, so that one round of the event loop takes many.
_PONG_PAUSE = 0.005
# The largest message in bytes that is handled without tasks, and the least seconds between two acks of a client.
_MESSAGE_BYTES = 2_048
_ACK_PAUSE = 0.1


class Counters(Protocol):
    """The metrics of what is received."""

    def bytes_read(self, count: int) -> None: ...
    def bytes_written(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...
    def heartbeat_answered(self, seconds: float, count: int = 1) -> None: ...
    def message_received(self, kind: str) -> None: ...


class Receiving:
    """The receiver of a lot.

    Args:
        epoll: Reports the connections of the lot.
        reports: Receives acks.
        first_subscription: Takes the first patterns of a connection.
        answered: Called with the time of a heartbeat and the number of clients that have answered it.
    """

    def __init__(
        self,
        lot: Lot,
        epoll: select.epoll,
        sockets: Sockets,
        counters: Counters,
        reports: Reports,
        first_subscription: FirstSubscription,
        answered: Callable[[float, int], None],
    ) -> None:
        self._lot = lot
        self._epoll = epoll
        self._sockets = sockets
        self._counters = counters
        self._reports = reports
        self._first_subscription = first_subscription
        self._answered = answered
        # Until this time, the answers to heartbeats that were just written are awaited.
        self._answers_until = -math.inf

    def expect_answers(self, count: int) -> None:
        """Receive nothing for a moment, if the answers to many heartbeats are about to arrive."""
        if count >= _MANY_ANSWERS:
            self._answers_until = trio.current_time() + _PONG_PAUSE

    async def run(self) -> None:
        """Receive what has arrived. Never returns."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            most = None
            if trio.current_time() < self._answers_until:
                await trio.sleep_until(self._answers_until)
                most = _ANSWERS_AT_ONCE
            if self._receive_some(most):
                await trio.sleep(_PONG_PAUSE)

    def _receive_some(self, most: int | None = None) -> bool:
        """Receive from at most so many connections, or else from a moderate number. What is left is reported again.

        Returns whether nothing but pongs was there, and not so many that more are certain to be there.
        """
        most = most or _READABLE_AT_ONCE
        answering: list[Parked] = []
        others: list[Parked] = []
        for fd, _ in self._epoll.poll(0, most):
            if (parked := self._lot.parked_at(fd)) is not None:
                (others if parked.pinged is None else answering).append(parked)
        left = _HEARD_AT_ONCE
        if answering:
            left -= self._receive_pongs(answering)
        for parked in others[:left]:
            # Handling an earlier connection may have removed this one from the lot.
            if parked in self._lot:
                self.receive(parked)
        return left == _HEARD_AT_ONCE and not others and 0 < len(answering) < most

    def _receive_pongs(self, answering: Sequence[Parked]) -> int:
        """Receive from connections that pongs are expected from. Returns how many have sent something else."""
        descriptors = [each.fd for each in answering]
        taken, size, exceptions = self._sockets.receive_pongs(descriptors, _HEARD_AT_ONCE)
        other = {index for index, _ in exceptions}
        # Many clients got their heartbeat at the same time.
        counts: dict[float, int] = {}
        for index, parked in enumerate(answering[:taken]):
            if index not in other and parked.pinged is not None:
                counts[parked.pinged] = counts.get(parked.pinged, 0) + 1
                parked.pinged = None
        now = trio.current_time()
        for pinged, count in counts.items():
            self._answered(pinged, count)
            self._counters.heartbeat_answered(now - pinged, count)
        self._counters.bytes_read(size)
        heard = 0
        for index, data in exceptions:
            if data is not None:
                heard += 1
                self._handle(answering[index], data)
        return heard

    def receive(self, parked: Parked) -> None:
        """Receive from one connection, and handle what it has sent."""
        data = self._sockets.receive(parked.fd)
        if data is None:
            return
        if parked.pinged is not None and is_pong(data):
            self._counters.bytes_read(len(data))
            self._counters.heartbeat_answered(trio.current_time() - parked.pinged)
            self._note_life(parked)
        else:
            self._handle(parked, data)

    def _handle(self, parked: Parked, data: bytes) -> None:
        """Handle data that isn't the pong of a heartbeat. This removes no other connection from the lot."""
        if data is NEEDS_TASK:
            self._lot.wake(parked)
        elif parked.form.events is not None:
            # The client of an event stream has nothing to say. Any bytes, and their end, end the stream.
            self._counters.bytes_read(len(data))
            self._lot.end(parked, CloseReason.CLIENT)
        elif not data:
            self._lot.end(parked, CloseReason.LOST)
        elif not self._take_message(parked, data):
            self._lot.wake(parked, received=data)

    def _take_message(self, parked: Parked, data: bytes) -> bool:
        """Handle these bytes, if they are exactly one ack or one first subscription. Returns whether they were.

        After each change, every client sends an ack. After a restart, every client subscribes. Tasks for all of them would
        fragment the heap.
        """
        # The pause is at least the time that one message takes by the limit of messages. So this path keeps that limit, too.
        pause = max(_ACK_PAUSE, 1 / parked.settings.messages_per_second)
        may_report = self._reports.silent_for(parked.instance) >= pause
        may_subscribe = self._first_subscription.is_possible(parked)
        if len(data) > _MESSAGE_BYTES or not (may_report or may_subscribe):
            return False
        bits = parked.form.window_bits
        text = sole_text(data, [] if bits is None else [Deflate(parked.settings.message_bytes, bits)])
        if text is None:
            return False
        match Session(parked.key, parked.settings).receive(text, trio.current_time(), ""):
            case (Acknowledge(key=key) as said,) if may_report and key == parked.key:
                return self._acknowledge(parked, said)
            case (Subscribe(patterns=patterns),) if may_subscribe:
                return self._subscribe(parked, patterns, len(data))
        return False

    def _acknowledge(self, parked: Parked, said: Acknowledge) -> bool:
        if not self._reports.take(parked.instance, parked.admission, said, parked.version):
            return False
        self._counters.message_received(Acknowledge.kind)
        self._note_life(parked)
        return True

    def _subscribe(self, parked: Parked, patterns: tuple[Pattern, ...], size: int) -> bool:
        begun = self._first_subscription.begin(parked, patterns)
        if begun is None:
            return False
        self._counters.bytes_read(size)
        self._counters.message_received(Subscribe.kind)
        self._note_life(parked)
        try:
            written = self._sockets.write(parked.fd, begun.data)
        except BlockingIOError:
            written = 0
        except OSError:
            self._lot.end(parked, CloseReason.LOST)
            return True
        self._counters.bytes_written(written)
        for delivery in begun.deliveries:
            self._counters.sent(delivery.kind)
        if begun.missing or written < len(begun.data):
            self._lot.wake(parked, unsent=begun.data[written:], missed=begun.missing)
        return True

    def _note_life(self, parked: Parked) -> None:
        """Record a sign of life: any frame of the client answers its last heartbeat."""
        if parked.pinged is not None:
            self._answered(parked.pinged, 1)
            parked.pinged = None
