"""The parking lot for quiet connections. A parked connection is one small object without a task.

The server parks sockets for which nothing is pending. All parked connections share one epoll, and the three parts of the
lot: `fanout` writes deliveries, `pings` writes heartbeats, and `receiving` reads. If a connection needs more than that, the
lot *wakes* it: the server makes a `connection.Connection` of it again.

The invariant: a parked client has got complete frames up to `version`. No bytes wait to be written to it, and none of its
messages is partly read. So a connection loses nothing when it leaves the lot.
"""

import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import structlog
import trio

from ..core.model import Key
from ..protocol.close import CloseReason
from . import fanout, pings, receiving
from .connection import Connection
from .fanout import FanOut
from .first_subscription import FirstSubscription
from .outgoing import Outgoing
from .parked import Parked
from .parked_sockets import ParkedSockets
from .pings import Pings, Unanswered
from .receiving import Receiving
from .reports import Reports

log = structlog.get_logger()


class Owner(Protocol):
    """The server, which parks and wakes connections."""

    def awaken(self, parked: Parked, received: bytes, unsent: bytes, missed: Iterable[Key]) -> Connection:
        """Start the tasks of a connection that has left the lot. Synchronous; raises nothing.

        Args:
            received: The bytes that the lot has received but not handled.
            unsent: The rest of a frame whose beginning was written.
            missed: The keys of deliveries and of first states that were not written. The client has the newest version of all other keys, except
                perhaps of the main key.
        """
        ...

    def end_parked(self, parked: Parked, reason: CloseReason) -> None:
        """Remove a connection that has left the lot. Its socket is closed already. Synchronous."""
        ...


class Counters(fanout.Counters, pings.Counters, receiving.Counters, Protocol):
    """The metrics of the lot."""


class ParkingLot:
    """The parking lot; the `parked.Lot` of its parts.

    Args:
        reports: Receives acks.
        first_subscription: Takes the first patterns of a connection.
        timestamp: Returns the current time as RFC 3339, UTC.
        sockets: The sockets of all parked connections.
    """

    def __init__(
        self,
        owner: Owner,
        counters: Counters,
        reports: Reports,
        first_subscription: FirstSubscription,
        timestamp: Callable[[], str],
        sockets: ParkedSockets,
    ) -> None:
        self._owner = owner
        self._sockets = sockets
        self._epoll = select.epoll()
        self._parked: dict[int, Parked] = {}
        # Whether the system refused to watch the last socket. The log names only the first refusal in a row.
        self._has_refused = False
        # The look-up of a connection. It is no method of Python, because thousands of calls follow one another.
        self.parked_at = self._parked.get
        self._outgoing = Outgoing(self.parked_at)
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._fanout = FanOut(self, self._outgoing, sockets, counters)
        unanswered = Unanswered()
        self._receiving = Receiving(
            self, self._epoll, sockets, counters, reports, first_subscription, unanswered.answered
        )
        self._pings = Pings(
            self,
            sockets,
            counters,
            unanswered,
            timestamp,
            self._receiving.receive,
            self._receiving.expect_answers,
        )

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
        """Run the lot until `shut` is called, and the woken connections until they have ended."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                with self._scope:
                    async with trio.open_nursery() as inner:
                        for part in (self._receiving, self._pings, self._fanout):
                            inner.start_soon(part.run)
        finally:
            self._nursery = None
            for parked in self:
                self.end(parked, CloseReason.LOST)
            self._epoll.close()

    @property
    def queue(self) -> Outgoing:
        """The queue of deliveries for parked connections."""
        return self._outgoing

    def shut(self) -> None:
        """Close the lot. `run` returns after all woken connections have ended. No connection may be parked from now on."""
        self._scope.cancel()

    def park(self, parked: Parked) -> bool:
        """Park a connection, for which nothing may be pending. From now on, the lot owns the file descriptor.

        Returns False if the system can't watch another socket. Then nothing has happened, and the connection needs a task.
        """
        try:
            self._epoll.register(parked.fd, select.EPOLLIN | select.EPOLLRDHUP)
        except OSError as error:
            # The user's processes have too many watches (fs.epoll.max_user_watches), or the kernel has no memory.
            if not self._has_refused:
                log.warning(
                    "connections not parked",
                    reason=str(error),
                    consequence="such connections keep their tasks, and take more memory",
                )
            self._has_refused = True
            return False
        self._has_refused = False
        self._parked[parked.fd] = parked
        self._pings.schedule(parked)
        return True

    def wake(
        self, parked: Parked, received: bytes = b"", unsent: bytes = b"", missed: Sequence[Key] = ()
    ) -> Connection:
        """See `parked.Lot`. Returns the connection."""
        waiting = self._leave(parked)
        return self._owner.awaken(parked, received, unsent, [*missed, *waiting])

    def close(self, parked: Parked, reason: CloseReason) -> None:
        """See `parked.Lot`."""
        self.wake(parked).close(reason)

    def end(self, parked: Parked, reason: CloseReason) -> None:
        """See `parked.Lot`."""
        self._leave(parked)
        self._sockets.close(parked.fd)
        self._owner.end_parked(parked, reason)

    def _leave(self, parked: Parked) -> Sequence[Key]:
        """Remove a connection from the lot. Returns the keys of its waiting deliveries; see `Outgoing.leave`."""
        del self._parked[parked.fd]
        self._epoll.unregister(parked.fd)
        return self._outgoing.leave(parked)
