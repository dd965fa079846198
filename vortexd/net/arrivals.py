"""Connections that were accepted and haven't said yet what they are for: each a socket and a small object, and no task.

In come accepted sockets, out go connections whose first bytes are enough to work on (see `first_bytes`), one after the other. One epoll waits for
the bytes of all connections, and they are looked at where they are, in the kernel. So a silent peer costs a descriptor, and so does a peer whose bytes
trickle. A connection that asks how the daemon does goes first. After that connections take turns, so that none is stuck behind a crowd, and none waits for
ever.
"""

import math
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

import attrs
import trio

from ..settings.sections import Address
from .client_certificate import ClientCertificate
from .first_bytes import PEEK_BYTES, Verdict
from .head import Stream
from .proxies import Proxies

# Looked at before others of the loop have their turn.
_AT_ONCE = 64
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@attrs.define(slots=True, eq=False)
class Arrival:
    """A connection, from accept on, as far as it is known by now.

    Attributes:
        host: The address that it counts for, or "" for a Unix socket.
        port: None where it isn't known.
        is_tcp: Whether it came by TCP, whoever it is.
        proxies: Where its peer is one of them, and its requests say who has sent them.
        since: When it was accepted.
        deadline: Until when its head has to be complete. What it waits for us is added.
        has_proxy_header: Whether it has to begin with one; one that is late is told so, whoever it is.
        address: Whose share of the places it takes; None for what brings the connections of others.
        is_known: Whether its address has completed a request lately.
        is_alone: Whether its address has no other connection, and wasn't silent lately.
        is_beyond: Whether it is one more than there may be, and has to ask how the daemon does, or take another's place.
        is_late: Whether its time was over before its first bytes were complete.
        has_left: Whether it was closed, and counts no more.
        stream: What it is spoken to by, once a task works on it: TLS, once that is there.
        certificate: The client's own, where it has shown one.
        queued: Since when it waits for us.
    """

    socket: socket.socket
    host: str
    port: int | None
    is_tcp: bool
    proxies: Proxies | None
    since: float
    deadline: float
    has_proxy_header: bool = False
    address: str | None = None
    is_known: bool = False
    is_alone: bool = False
    is_beyond: bool = False
    is_late: bool = False
    has_left: bool = False
    stream: "Stream | None" = None
    certificate: ClientCertificate | None = None
    queued: float = 0.0

    def __str__(self) -> str:
        """For logs."""
        if not self.host or self.port is None:
            return self.host or "unix"
        return str(Address(host=self.host, port=self.port))

    def is_quiet(self) -> bool:
        """Whether nothing that its peer has sent is left to read."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True

    def close(self) -> None:
        """Close the socket; a task that waits for it is told."""
        if self.stream is None:
            self.socket.close()
        else:
            lowest = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
            lowest.socket.close()


class Slots(Protocol):
    """How many connections a task may wait for."""

    def has_slot(self, *, is_known: bool = False) -> bool:
        """Whether there is a slot for one more, whose address is known or not; another connection may give way for it."""
        ...

    def slot_in(self) -> float:
        """Seconds after which there may be one, unless a connection ends or is worked on before."""
        ...

    def end(self, arrival: Arrival) -> None:
        """Count a connection out that has ended without a task."""
        ...


class _Turns:
    """Arrivals that wait for a task.

    Every other turn is that of an address which has completed a request lately: a health check isn't stuck behind strangers. The rest is shared by
    addresses that have no other connection and by all others, and among both by the newest and the oldest.
    """

    def __init__(self) -> None:
        self._known: deque[Arrival] = deque()
        self._alone: deque[Arrival] = deque()
        self._others: deque[Arrival] = deque()
        self._is_known_next = False
        self._strangers = 0

    def __len__(self) -> int:
        return len(self._known) + len(self._alone) + len(self._others)

    def __iter__(self) -> Iterator[Arrival]:
        return chain(self._known, self._alone, self._others)

    @property
    def has_known(self) -> bool:
        """Whether an address that has completed a request lately waits."""
        return bool(self._known)

    def append(self, arrival: Arrival) -> None:
        """Put an arrival in."""
        (self._known if arrival.is_known else self._alone if arrival.is_alone else self._others).append(arrival)

    def take_known(self) -> Arrival:
        """Take out the oldest arrival of an address that is known; there has to be one."""
        return self._known.popleft()

    def take(self) -> Arrival:
        """Take out the arrival whose turn it is; there has to be one."""
        self._is_known_next = not self._is_known_next
        if self._known and (self._is_known_next or not (self._alone or self._others)):
            return self._known.popleft()
        self._strangers += 1
        first, second = (self._alone, self._others) if self._strangers % 2 else (self._others, self._alone)
        arrivals = first or second
        return arrivals.pop() if self._strangers // 2 % 2 else arrivals.popleft()


class Arrivals:
    """See the module.

    Args:
        judge: What the first bytes of an arrival are enough for.
        slots: How many connections a task may wait for.
        start: Has a task work on an arrival; the verdict says whether the task has to wait for the peer.
    """

    def __init__(
        self,
        judge: Callable[[Arrival, bytes], Verdict],
        slots: Slots,
        start: Callable[[Arrival, Verdict], None],
    ) -> None:
        self._judge, self._slots, self._start = judge, slots, start
        self._epoll = select.epoll()
        # By descriptor, in the order in which they came.
        self._waiting: dict[int, Arrival] = {}
        self._urgent: deque[Arrival] = deque()
        self._ready = {Verdict.WHOLE: _Turns(), Verdict.PARTLY: _Turns()}
        self._is_partly_next = True
        self._changed = trio.Event()
        self._earlier = trio.Event()
        self._left = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._urgent) + sum(map(len, self._ready.values()))

    def add(self, arrival: Arrival) -> None:
        """Take in a connection that was just accepted."""
        if self._look(arrival):
            return
        fd = arrival.socket.fileno()
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        self._waiting[fd] = arrival
        if len(self._waiting) == 1:
            self._earlier.set()

    def discard(self, arrival: Arrival) -> None:
        """Let go of a connection that waits here; its socket isn't closed."""
        fd = arrival.socket.fileno()
        if self._waiting.get(fd) is arrival:
            del self._waiting[fd]
            self._epoll.unregister(fd)
            self._left.unpark_all()

    def freed(self) -> None:
        """Look again whether there is a slot, if anybody waits for one."""
        if self._ready[Verdict.PARTLY]:
            self._changed.set()

    def hasten(self, seconds: float) -> None:
        """Give those who haven't said what they are for no more time than this."""
        until = trio.current_time() + seconds
        for each in self._waiting.values():
            each.deadline = min(each.deadline, until)
        self._earlier.set()

    async def wait_empty(self) -> None:
        """Wait until nobody is here any more."""
        while self:
            await self._left.park()

    async def run(self) -> None:
        """Wait for first bytes, and have tasks work on those that are complete, until cancelled. Whoever still waits then is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                nursery.start_soon(self._expire)
                nursery.start_soon(self._admit)
        finally:
            left = [*self._waiting.values(), *self._urgent, *(each for turns in self._ready.values() for each in turns)]
            for each in left:
                self._end(each)
            self._epoll.close()

    async def _listen(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, events in self._epoll.poll(0, _AT_ONCE):
                arrival = self._waiting.get(fd)
                if arrival is None:
                    continue
                if self._look(arrival):
                    self.discard(arrival)
                elif events & _GONE:
                    self.discard(arrival)
                    self._end(arrival)

    def _look(self, arrival: Arrival) -> bool:
        """Look at what has come. Returns whether it is enough, and queued."""
        data = peek(arrival.socket)
        verdict = self._judge(arrival, data)
        if verdict is Verdict.WAIT:
            return False
        arrival.queued = trio.current_time()
        # One beyond the limit takes somebody's place, or is told that there is none: either is soon done.
        if verdict is Verdict.URGENT or (arrival.is_beyond and verdict is Verdict.WHOLE):
            self._urgent.append(arrival)
        else:
            self._ready[verdict].append(arrival)
        self._changed.set()
        return True

    async def _expire(self) -> None:
        """Let those go whose time is over: who has said something is told so by a task."""
        while True:
            first = next(iter(self._waiting.values()), None)
            with trio.move_on_at(math.inf if first is None else first.deadline):
                self._earlier = trio.Event()
                await self._earlier.wait()
            self._end_late(trio.current_time())

    def _end_late(self, now: float) -> None:
        while self._waiting and (late := next(iter(self._waiting.values()))).deadline <= now:
            self.discard(late)
            if late.is_quiet() and not late.has_proxy_header:
                self._end(late)
            else:
                late.is_late, late.queued = True, now
                self._ready[Verdict.WHOLE].append(late)
                self._changed.set()

    async def _admit(self) -> None:
        """Start tasks, one for each round of the loop: the longer a round takes, the fewer begin."""
        while True:
            arrival, verdict = self._next()
            if arrival is None:
                self._changed = trio.Event()
                with trio.move_on_after(self._slots.slot_in() if self._ready[Verdict.PARTLY] else math.inf):
                    await self._changed.wait()
                continue
            if arrival.socket.fileno() >= 0:
                arrival.deadline += trio.current_time() - arrival.queued
                self._start(arrival, verdict)
            self._left.unpark_all()
            await trio.lowlevel.checkpoint()

    def _next(self) -> tuple[Arrival | None, Verdict]:
        if self._urgent:
            return self._urgent.popleft(), Verdict.URGENT
        self._is_partly_next = not self._is_partly_next
        for verdict in (Verdict.PARTLY, Verdict.WHOLE) if self._is_partly_next else (Verdict.WHOLE, Verdict.PARTLY):
            turns = self._ready[verdict]
            if turns and (verdict is not Verdict.PARTLY or self._slots.has_slot()):
                return turns.take(), verdict
            if turns.has_known and self._slots.has_slot(is_known=True):
                return turns.take_known(), verdict
        return None, Verdict.WAIT

    def _end(self, arrival: Arrival) -> None:
        arrival.close()
        self._slots.end(arrival)


def peek(peer: socket.socket) -> bytes:
    """What has come on a socket, which stays there."""
    try:
        return peer.recv(PEEK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return b""
