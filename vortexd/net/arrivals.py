"""Accepted connections whose first bytes aren't complete. Each costs a socket and a small object, and no task.

`Arrivals` takes accepted sockets. When the first bytes of a connection suffice (see `first_bytes`), it starts a task, for
one connection after the other. One epoll waits for the bytes of all connections. The bytes are examined while they stay
in the kernel. So a peer that is silent, or sends its bytes slowly, costs only a descriptor. Health checks come first. The
other connections take turns. So no connection waits behind a crowd, and no connection waits forever.
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

from ..settings.server import Address
from .client_certificate import ClientCertificate
from .first_bytes import PEEK_BYTES, Verdict
from .head import Stream
from .proxies import Proxies
from .tls_stream import close_now

# The number of events to handle before other tasks of the event loop get their turn.
_AT_ONCE = 64
# The arrivals that are served without a task in one round.
_SERVED_AT_ONCE = 16
# The urgent arrivals that get a turn one after the other while other arrivals wait.
_URGENT_IN_ROW = 2
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
# Combining flags takes half as long as the system call.
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
# The longest request that is kept until its turn, so that it isn't examined twice. Thousands may wait at once.
_KEPT_BYTES = 2_048


@attrs.define(slots=True, eq=False)
class Arrival:
    """A connection since it was accepted, as far as it is known.

    Attributes:
        socket: The socket. After the TLS handshake has begun, it is a TLS socket.
        host: The address that the connection counts for, or "" for a Unix socket.
        port: The peer's port, or None if it isn't known.
        is_tcp: Whether the connection came over TCP.
        proxies: The trusted proxies, if the peer is one of them. Then each request names its sender. Otherwise None.
        since: When it was accepted.
        deadline: When its request head must be complete. Time that it waits for the server is added.
        has_proxy_header: Whether it must begin with a PROXY header. If the header is late, any such peer gets an answer.
        address: The address whose share of the places it takes. None for peers that bring other clients' connections.
        is_known: Whether its address has completed a request recently.
        is_alone: Whether its address has no other connection, and wasn't silent recently.
        is_beyond: Whether it exceeds the limit of connections. Then it must be a health check, or replace another.
        is_late: Whether its time ended before its first bytes were complete.
        has_left: Whether it has been closed and isn't counted any more.
        stream: The stream for the task that works on it. After the TLS handshake has begun, this is the TLS stream.
        certificate: The client's certificate, if it has sent one.
        queued: Since when it has been waiting for the server.
        request: The bytes of a short complete request, from when they came until the arrival is served or gets a task. They
            are still in the kernel's buffer, and more may have come since. Empty for all other arrivals.
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
    request: bytes = b""

    def __str__(self) -> str:
        """The peer's address, for logs."""
        if not self.host or self.port is None:
            return self.host or "unix"
        return str(Address(host=self.host, port=self.port))

    def is_quiet(self) -> bool:
        """Return whether there is nothing to read from the peer."""
        try:
            # A TLS socket would decrypt the bytes. This looks at them below TLS.
            return not socket.socket.recv(self.socket, 1, _PEEK)
        except OSError:
            return True

    def close(self) -> None:
        """Close the socket. A task that waits on it gets an error."""
        if self.stream is None:
            self.socket.close()
        else:
            close_now(self.stream)


class Slots(Protocol):
    """Limits how many connections tasks may wait for."""

    def has_slot(self, *, is_known: bool = False) -> bool:
        """Return whether there is a free slot. If necessary, another connection is closed for it.

        Args:
            is_known: Whether the address of the connection is known.
        """
        ...

    def slot_in(self) -> float:
        """Return the seconds until there may be a free slot, unless a connection ends or makes progress earlier."""
        ...

    def end(self, arrival: Arrival) -> None:
        """Remove a connection that has ended without a task from the counts."""
        ...


class _Turns:
    """Arrivals that wait for a task.

    Every second turn belongs to an address that has completed a request recently. So a health check doesn't wait behind
    unknown peers. The other turns alternate between addresses with a single connection and all others. In both groups,
    they alternate between the newest and the oldest arrival.
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
        """Whether an arrival of a known address is waiting."""
        return bool(self._known)

    def append(self, arrival: Arrival) -> None:
        """Add an arrival."""
        (self._known if arrival.is_known else self._alone if arrival.is_alone else self._others).append(arrival)

    def take_known(self) -> Arrival:
        """Remove and return the oldest arrival of a known address. There must be one."""
        return self._known.popleft()

    def take(self) -> Arrival:
        """Remove and return the next arrival. There must be one."""
        self._is_known_next = not self._is_known_next
        if self._known and (self._is_known_next or not (self._alone or self._others)):
            return self._known.popleft()
        self._strangers += 1
        first, second = (self._alone, self._others) if self._strangers % 2 else (self._others, self._alone)
        arrivals = first or second
        return arrivals.pop() if self._strangers // 2 % 2 else arrivals.popleft()


class Arrivals:
    """Waits for the first bytes of connections, and starts tasks for them.

    Args:
        judge: Decides whether the first bytes of an arrival suffice for a task.
        slots: Limits how many connections tasks may wait for.
        start: Starts a task for an arrival. The verdict says whether the task must wait for the peer.
        serve_now: Serves an arrival without a task, if nothing must be waited for. Returns whether it did.
    """

    def __init__(
        self,
        judge: Callable[[Arrival, bytes], Verdict],
        slots: Slots,
        start: Callable[[Arrival, Verdict], None],
        serve_now: Callable[[Arrival], bool] = lambda _: False,
    ) -> None:
        self._judge, self._slots, self._start, self._serve_now = judge, slots, start, serve_now
        self._epoll = select.epoll()
        # By descriptor, in the order of arrival.
        self._waiting: dict[int, Arrival] = {}
        self._urgent: deque[Arrival] = deque()
        self._whole, self._partly = _Turns(), _Turns()
        self._is_partly_next = True
        self._urgent_in_row = 0
        self._changed = trio.Event()
        self._earlier = trio.Event()
        self._left = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._urgent) + len(self._whole) + len(self._partly)

    def add(self, arrival: Arrival) -> None:
        """Add a connection that was just accepted.

        Raises:
            OSError: The system can't watch another socket. The connection is closed and counted out then.
        """
        if self._look(arrival):
            return
        fd = arrival.socket.fileno()
        try:
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        except OSError:
            self._end(arrival)
            raise
        self._waiting[fd] = arrival
        if len(self._waiting) == 1:
            self._earlier.set()

    def discard(self, arrival: Arrival) -> None:
        """Remove a connection that waits here. Its socket stays open."""
        fd = arrival.socket.fileno()
        if self._waiting.get(fd) is arrival:
            del self._waiting[fd]
            self._epoll.unregister(fd)
            self._left.unpark_all()

    def freed(self) -> None:
        """Check again for a free slot, if any arrival needs one."""
        if self._partly:
            self._changed.set()

    def shorten_deadlines(self, seconds: float) -> None:
        """Limit the remaining time of all connections whose first bytes aren't complete."""
        until = trio.current_time() + seconds
        for each in self._waiting.values():
            each.deadline = min(each.deadline, until)
        self._earlier.set()

    async def wait_empty(self) -> None:
        """Wait until no arrival is left."""
        while self:
            await self._left.park()

    async def run(self) -> None:
        """Wait for first bytes, and start tasks for complete ones, until cancelled. Then close the arrivals that still wait."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                nursery.start_soon(self._expire)
                nursery.start_soon(self._admit)
        finally:
            for each in [*self._waiting.values(), *self._urgent, *self._whole, *self._partly]:
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
        """Examine the bytes that have come. Returns whether they suffice. Then the arrival is queued."""
        data = peek(arrival.socket)
        verdict = self._judge(arrival, data)
        if verdict is Verdict.WAIT:
            return False
        arrival.queued = trio.current_time()
        # An arrival beyond the limit either replaces a connection or is refused. Both are done quickly.
        if verdict is Verdict.URGENT or (arrival.is_beyond and verdict is Verdict.WHOLE):
            self._urgent.append(arrival)
        elif verdict is Verdict.WHOLE:
            if len(data) <= _KEPT_BYTES:
                arrival.request = data
            self._whole.append(arrival)
        else:
            self._partly.append(arrival)
        self._changed.set()
        return True

    async def _expire(self) -> None:
        """End the arrivals whose time is over. If a peer has sent something, a task sends it an error."""
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
                self._whole.append(late)
                self._changed.set()

    async def _admit(self) -> None:
        """Start tasks, one in each round of the loop. So fewer tasks start when rounds take longer.

        An arrival that is served without a task takes a tenth of a millisecond, so several of them share a round.
        """
        while True:
            if self._start_some():
                await trio.lowlevel.checkpoint()
                continue
            self._changed = trio.Event()
            with trio.move_on_after(self._slots.slot_in() if self._partly else math.inf):
                await self._changed.wait()

    def _start_some(self) -> bool:
        """Serve arrivals without a task, up to a limit, or start one task. Returns whether there may be more arrivals."""
        for _ in range(_SERVED_AT_ONCE):
            arrival, verdict = self._next()
            if arrival is None:
                return False
            is_open = arrival.socket.fileno() >= 0
            is_served = is_open and verdict is Verdict.WHOLE and self._serve_now(arrival)
            arrival.request = b""
            if is_open and not is_served:
                arrival.deadline += trio.current_time() - arrival.queued
                self._start(arrival, verdict)
            if self._left:
                self._left.unpark_all()
            if not is_served:
                break
        return True

    def _next(self) -> tuple[Arrival | None, Verdict]:
        # While others wait, only a few in a row: otherwise, a flood of urgent arrivals would keep the others waiting.
        if self._urgent and self._urgent_in_row < _URGENT_IN_ROW:
            self._urgent_in_row += 1
            return self._urgent.popleft(), Verdict.URGENT
        self._urgent_in_row = 0
        self._is_partly_next = not self._is_partly_next
        if self._whole and not (self._is_partly_next and self._partly):
            return self._whole.take(), Verdict.WHOLE
        if self._partly and self._slots.has_slot():
            return self._partly.take(), Verdict.PARTLY
        if self._partly.has_known and self._slots.has_slot(is_known=True):
            return self._partly.take_known(), Verdict.PARTLY
        if self._whole:
            return self._whole.take(), Verdict.WHOLE
        if self._urgent:
            self._urgent_in_row = 1
            return self._urgent.popleft(), Verdict.URGENT
        return None, Verdict.WAIT

    def _end(self, arrival: Arrival) -> None:
        arrival.close()
        self._slots.end(arrival)


def peek(peer: socket.socket) -> bytes:
    """Return the first bytes of a socket without removing them from the kernel's buffer."""
    try:
        return peer.recv(PEEK_BYTES, _PEEK)
    except OSError:
        return b""
