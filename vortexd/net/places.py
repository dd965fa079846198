"""Limits the number of connections, and decides which are closed if there are too many.

A connection has one of three states: the server waits for its peer, it is idle between two requests, or it is served.
`Places` answers whether another connection may be accepted, and whether another task may wait for a peer. If not, a
waiting connection is closed by the rule in `slots`. The invariant: `count` is the number of open sockets, including
parked connections. It never exceeds the limit by more than a few spare connections.
"""

import math
import resource
from collections import Counter
from collections.abc import Callable

import structlog
import trio

from ..core.errors import RemoteError
from ..settings.server import ServerSettings
from .arrivals import Arrival
from .proxies import Proxies
from .slots import CROWDED_GRACE, GRACE, SUSPECT_GRACE, Addresses, Waiting, share_of

log = structlog.get_logger()

# Descriptors that stay free for files, git and the log. If there are few descriptors, at most a quarter of them stays free.
_RESERVE = 256
# Connections beyond the limit, so that /health is answered, and other clients learn that there are too many.
_SPARE = 32
# The shortest and the longest pause before the next check whether a connection may be closed. The shortest applies if all
# connections that may be closed have bytes left to read.
_SHORT_PAUSE, _PAUSE = 0.01, 0.1
# The common share of all addresses that recently had a connection closed for being silent.
_SUSPECTS = "suspects"
# How many seconds to remember that an address had a silent connection closed, and that an address completed a request.
_SUSPECT_SECONDS, _KNOWN_SECONDS = 60.0, 3_600.0
# One slot in this many is reserved for addresses that completed a request recently. So a health check needn't wait.
_KEPT = 8
# The connections of an address that may wait as known ones at the same time.
_KNOWN_AT_ONCE = 4
# Seconds between two warnings about closed connections.
_WARNING_INTERVAL = 10.0


class Places:
    """Counts connections, and closes waiting connections to make room for others.

    Args:
        forget: Called for a connection that is about to be closed and has no task.
        freed: Called when a connection has ended or makes progress.

    Attributes:
        count: The number of open connections.
        by_address: The number of open connections of each address.
    """

    def __init__(
        self, settings: ServerSettings, forget: Callable[[Arrival], None], freed: Callable[[], None] = lambda: None
    ) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        reserve = min(_RESERVE, descriptors // 4)
        self._limit = descriptors - reserve
        self._spare = min(_SPARE, reserve // 4)
        self._forget, self._freed = forget, freed
        self.count = 0
        self.by_address: Counter[str] = Counter()
        # The server waits for these peers, with or without a task.
        self._silent: Waiting[Arrival] = Waiting(1, GRACE, CROWDED_GRACE)
        # A task waits for these peers.
        self._reading: Waiting[Arrival] = Waiting(1)
        # These connections are between two requests.
        self._idle: Waiting[Arrival] = Waiting(1)
        # These connections were refused, and the answer has been written.
        self._refused: Waiting[Arrival] = Waiting(1, 0.0, 0.0)
        self._suspects, self._known = Addresses(_SUSPECT_SECONDS), Addresses(_KNOWN_SECONDS)
        self._changes = trio.lowlevel.ParkingLot()
        self._closed: Counter[str] = Counter()
        self._warned = -math.inf
        self.replace(settings)

    def replace(self, settings: ServerSettings) -> None:
        """Put other limits in force for new connections."""
        self._per_address = settings.connections_per_address
        self._most = min(settings.connections or self._limit, self._limit)
        self._silent.replace(self._most)
        self._reading.replace(settings.handshakes)

    @property
    def most(self) -> int:
        """The largest number of connections, without the spare ones."""
        return self._most

    # Beginning and end of connections.

    def enter(self, arrival: Arrival) -> None:
        """Count an accepted connection. If the server waits for its peer, call `waits` next."""
        self.count += 1
        self.by_address[arrival.host] += 1
        arrival.is_beyond = self.count > self._most
        arrival.address = self._share_of(arrival)
        if arrival.address is not None and arrival.address != _SUSPECTS:
            # A health check has few connections at a time. With more, an address could fill the slots that are kept for others.
            is_crowd = self._silent.count_of(arrival.address) >= _KNOWN_AT_ONCE
            arrival.is_known = not is_crowd and self._known.has(arrival.address, arrival.since)
            arrival.is_alone = self.by_address[arrival.host] == 1

    def waits(self, arrival: Arrival) -> None:
        """Record that the server waits for the peer of a connection without a task."""
        self._silent.add(arrival, arrival.address, arrival.since)

    def leave(self, host: str) -> None:
        """Remove a connection that has ended from the counts."""
        self.count -= 1
        self.by_address[host] -= 1
        if not self.by_address[host]:
            del self.by_address[host]
        self._notify()

    def end(self, arrival: Arrival) -> None:
        """Remove a connection that has ended from the counts, unless it was closed to make room."""
        self._discard(arrival)
        if not arrival.has_left:
            arrival.has_left = True
            self.leave(arrival.host)

    def enter_stream(self, host: str, *, is_limited: bool) -> None:
        """Count an event stream of HTTP/2 as a connection, because it takes as much. Call `leave` when it has ended.

        Args:
            host: The address of the client.
            is_limited: Whether the address is limited. A proxy isn't, because it has connections for others.

        Raises:
            RemoteError: There is no place (503), or the address has too many connections (429).
        """
        if self.count >= self._most:
            raise RemoteError("too many connections", 503, {"Retry-After": "1"})
        if is_limited and self._per_address and self.by_address[host] >= self._per_address:
            raise RemoteError("too many connections from this address", 429, {"Retry-After": "1"})
        self.count += 1
        self.by_address[host] += 1

    def rename(self, arrival: Arrival, host: str, port: int | None, proxies: Proxies | None) -> None:
        """Count a connection for another address than before."""
        self.leave(arrival.host)
        self.count += 1
        self.by_address[host] += 1
        arrival.host, arrival.port, arrival.proxies = host, port, proxies
        arrival.address = self._share_of(arrival)
        for each in (self._silent, self._reading):
            each.move(arrival, arrival.address)

    def _share_of(self, arrival: Arrival) -> str | None:
        """Return the address whose share of the places a connection takes, or None if it brings other clients' connections."""
        if not arrival.host or arrival.proxies is not None:
            return None
        share = share_of(arrival.host)
        return _SUSPECTS if self._suspects.has(share, trio.current_time()) else share

    def has_too_many(self, arrival: Arrival) -> bool:
        """Return whether an address has too many connections. A proxy isn't limited, because it has them for others."""
        limit = self._per_address
        return bool(limit) and arrival.proxies is None and self.by_address[arrival.host] > limit

    # States of connections.

    def works(self, arrival: Arrival) -> None:
        """Record that the server doesn't wait for the peer."""
        self._discard(arrival)
        self._notify()

    def has_spoken(self, arrival: Arrival) -> None:
        """Record that a request head is complete."""
        share = share_of(arrival.host)
        self._suspects.discard(share)
        self._known.add(share, trio.current_time())

    def idles(self, arrival: Arrival) -> None:
        """Record that the connection is idle between two requests."""
        self._discard(arrival)
        self._idle.add(arrival, None, trio.current_time())
        self._notify()

    def refusal_sent(self, arrival: Arrival) -> None:
        """Record that the connection was refused, and the answer has been written."""
        self._discard(arrival)
        self._refused.add(arrival, None, arrival.since)
        self._notify()

    def reads(self, arrival: Arrival) -> None:
        """Record that a task waits for the peer. There must be a free slot."""
        self._idle.discard(arrival)
        # Until now the connection may have waited for the server, so its time begins here.
        since = trio.current_time()
        if arrival.address == _SUSPECTS:
            since = max(arrival.since, since - GRACE + SUSPECT_GRACE)
        self._silent.add(arrival, arrival.address, since)
        self._reading.add(arrival, arrival.address, since)

    async def wait_reads(self, arrival: Arrival) -> None:
        """Wait for a free slot, and then record that a task waits for the peer."""
        while arrival not in self._reading and not self.has_slot(is_known=arrival.is_known):
            await self._pause(self._reading)
        self.reads(arrival)

    def _discard(self, arrival: Arrival) -> None:
        for each in (self._silent, self._reading, self._idle, self._refused):
            each.discard(arrival)

    # Limits.

    def has_slot(self, *, is_known: bool = False) -> bool:
        """Return whether another task may wait for its peer. If necessary, another connection is closed.

        Args:
            is_known: Whether the address has completed a request recently. An eighth of the slots is for such addresses.
        """
        most = self._reading.places if is_known else self._reading.places - self._reading.places // _KEPT
        return len(self._reading) < most or self._close_one("handshakes", self._reading)

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another connection, not even a spare place."""
        return self.count >= self._most + self._spare

    def has_room(self) -> bool:
        """Return whether another connection may be accepted. If necessary, another connection is closed."""
        return not self.is_full or self._close_one("connections", self._refused, self._silent, self._idle)

    async def make_room(self, arrival: Arrival) -> bool:
        """Find a place for a connection that was accepted beyond the limit. Returns whether it has a place.

        If other connections are silent, but not for long enough yet, this waits until one of them may be closed.
        """
        with trio.move_on_after(GRACE + _PAUSE):
            while self.count > self._most:
                if not self._close_one("connections", self._refused, self._silent, self._idle):
                    if not self._silent:
                        break
                    await self._pause(self._silent)
        arrival.is_beyond = self.count > self._most
        return not arrival.is_beyond

    async def wait_room(self) -> None:
        """Wait until the result of `has_room` may change, but at most a tenth of a second."""
        await self._pause(self._silent)

    def slot_in(self) -> float:
        """Return the seconds until the result of `has_slot` may change, unless a connection ends or makes progress earlier."""
        return min(_PAUSE, max(_SHORT_PAUSE, self._reading.gives_way_in(trio.current_time())))

    async def _pause(self, waiting: Waiting[Arrival]) -> None:
        with trio.move_on_after(min(_PAUSE, max(_SHORT_PAUSE, waiting.gives_way_in(trio.current_time())))):
            await self._changes.park()

    def _notify(self) -> None:
        # Usually no connection waits for a place.
        if self._changes:
            self._changes.unpark_all()
        self._freed()

    def _close_one(self, limit: str, *sets: Waiting[Arrival]) -> bool:
        now = trio.current_time()
        for each in sets:
            victim = each.victim(now, Arrival.is_quiet)
            if victim is not None:
                if victim.address is not None:
                    share = share_of(victim.host)
                    self._suspects.add(share, now)
                    self._known.discard(share)
                self._forget(victim)
                victim.close()
                self.end(victim)
                self._warn(limit, now)
                return True
        return False

    def _warn(self, limit: str, now: float) -> None:
        self._closed[limit] += 1
        if now - self._warned >= _WARNING_INTERVAL:
            log.warning(
                "silent connections closed",
                open=self.count,
                **{f"for_{key}": count for key, count in self._closed.items()},
            )
            self._closed.clear()
            self._warned = now


class Standing:
    """Records the state of a connection, for the code that serves it. This class is for connections without limits."""

    def works(self) -> None:
        """Record that the server doesn't wait for the peer."""

    def idles(self) -> None:
        """Record that the connection is idle between two requests."""

    async def reads(self) -> None:
        """Wait for a free slot, and record that the server waits for the peer."""

    def enter_stream(self, host: str) -> None:
        """Count an event stream of a client on this connection; see `Places.enter_stream`."""

    def leave_stream(self, host: str) -> None:
        """Remove an event stream that has ended from the counts."""


class Placed(Standing):
    """Records the state of a connection that has one of the places."""

    def __init__(self, places: Places, arrival: Arrival) -> None:
        self._places, self._arrival = places, arrival
        self._is_working = False

    def works(self) -> None:
        """Record that the server doesn't wait for the peer."""
        if not self._is_working:
            self._is_working = True
            self._places.works(self._arrival)

    def idles(self) -> None:
        """Record that the connection is idle between two requests."""
        self._is_working = False
        self._places.idles(self._arrival)

    async def reads(self) -> None:
        """Wait for a free slot, and record that the server waits for the peer."""
        self._is_working = False
        await self._places.wait_reads(self._arrival)

    def enter_stream(self, host: str) -> None:
        """Count an event stream of a client on this connection; see `Places.enter_stream`.

        Raises:
            RemoteError: As `Places.enter_stream` raises it.
        """
        # A proxy that doesn't name its client has the stream for somebody else.
        is_limited = self._arrival.proxies is None or host != self._arrival.host
        self._places.enter_stream(host, is_limited=is_limited)

    def leave_stream(self, host: str) -> None:
        """Remove an event stream that has ended from the counts."""
        self._places.leave(host)
