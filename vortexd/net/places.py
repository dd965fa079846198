"""How many connections there may be, and which of them gives way when there are more.

In comes what each connection is at: it waits for its peer, it is idle between two requests, or it is being worked on. Out go answers: whether one more may
be accepted, and whether one more may hold a task while its peer is waited for. If not, a connection that waits is closed by the rule in `slots`. The
invariant: `count` is the number of open sockets, parked ones among them, and no more than the limit and a few spare ones are open at any time.
"""

import math
import resource
from collections import Counter
from collections.abc import Callable

import structlog
import trio

from ..settings.sections import ServerSettings
from .arrivals import Arrival
from .proxies import Proxies
from .slots import CROWDED_GRACE, GRACE, SUSPECT_GRACE, Addresses, Waiting, share_of

log = structlog.get_logger()

# Descriptors that connections may not use up: files, git, the log. At most a quarter of what there are, where these are few.
_RESERVE = 256
# Connections beyond the limit, so that /health is answered and others are told that there are too many.
_SPARE = 32
# Between two looks whether a connection gives way: at least, while all that may do so are being read, and at most.
_SHORT_PAUSE, _PAUSE = 0.01, 0.1
# The share of all addresses of which a connection had to give way lately.
_SUSPECTS = "suspects"
# Seconds for which it is remembered that an address had to give way, and that one has completed a request.
_SUSPECT_SECONDS, _KNOWN_SECONDS = 60.0, 3_600.0
# The part of the slots that is kept for addresses that have completed a request lately, so that a health check needs not wait for strangers.
_KEPT = 8
# Seconds from one warning of closed connections to the next.
_TOLD_INTERVAL = 10.0


class Places:
    """See the module.

    Args:
        forget: Called for a connection that is to be closed while no task works on it.
        freed: Called when a connection has ended or is worked on.

    Attributes:
        count: Connections that are open.
        by_address: How many of them each address has.
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
        # Those whose peers have begun something, or nothing, and are waited for; those that wait in a task; those between two requests; those that
        # were refused and have been told so.
        self._silent: Waiting[Arrival] = Waiting(1, GRACE, CROWDED_GRACE)
        self._reading: Waiting[Arrival] = Waiting(1)
        self._idle: Waiting[Arrival] = Waiting(1)
        self._refused: Waiting[Arrival] = Waiting(1, 0.0, 0.0)
        self._suspects, self._known = Addresses(_SUSPECT_SECONDS), Addresses(_KNOWN_SECONDS)
        self._changes = trio.lowlevel.ParkingLot()
        self._closed: Counter[str] = Counter()
        self._told = -math.inf
        self.replace(settings)

    def replace(self, settings: ServerSettings) -> None:
        """Put other limits in force, for connections to come."""
        self._per_address = settings.connections_per_address
        self._most = min(settings.connections or self._limit, self._limit)
        self._silent.replace(self._most)
        self._reading.replace(settings.handshakes)

    # Who comes and goes.

    def enter(self, arrival: Arrival) -> None:
        """Count a connection that was accepted; its peer is waited for."""
        self.count += 1
        self.by_address[arrival.host] += 1
        arrival.is_beyond = self.count > self._most
        arrival.address = self._share_of(arrival)
        if arrival.address is not None and arrival.address != _SUSPECTS:
            arrival.is_known = self._known.has(arrival.address, arrival.since)
            arrival.is_alone = self.by_address[arrival.host] == 1
        self._silent.add(arrival, arrival.address, arrival.since)

    def leave(self, host: str) -> None:
        """Count a connection out that has ended."""
        self.count -= 1
        self.by_address[host] -= 1
        if not self.by_address[host]:
            del self.by_address[host]
        self._notify()

    def end(self, arrival: Arrival) -> None:
        """Count a connection out that has ended, unless it has given way before."""
        self._discard(arrival)
        if not arrival.has_left:
            arrival.has_left = True
            self.leave(arrival.host)

    def rename(self, arrival: Arrival, host: str, port: int | None, proxies: Proxies | None) -> None:
        """Have a connection count for somebody else than for whom it was accepted."""
        self.leave(arrival.host)
        self.count += 1
        self.by_address[host] += 1
        arrival.host, arrival.port, arrival.proxies = host, port, proxies
        arrival.address = self._share_of(arrival)
        for each in (self._silent, self._reading):
            each.move(arrival, arrival.address)

    def _share_of(self, arrival: Arrival) -> str | None:
        """Whose share of the places a connection takes; None for what brings the connections of others."""
        if not arrival.host or arrival.proxies is not None:
            return None
        share = share_of(arrival.host)
        return _SUSPECTS if self._suspects.has(share, trio.current_time()) else share

    def has_too_many(self, arrival: Arrival) -> bool:
        """Whether an address has more connections than it may have. A proxy has them for others."""
        limit = self._per_address
        return bool(limit) and arrival.proxies is None and self.by_address[arrival.host] > limit

    # What they are at.

    def works(self, arrival: Arrival) -> None:
        """Its peer isn't waited for."""
        self._discard(arrival)
        self._notify()

    def has_spoken(self, arrival: Arrival) -> None:
        """A request head of it is complete."""
        share = share_of(arrival.host)
        self._suspects.discard(share)
        self._known.add(share, trio.current_time())

    def idles(self, arrival: Arrival) -> None:
        """Its peer may ask for something else, or not."""
        self._discard(arrival)
        self._idle.add(arrival, None, trio.current_time())
        self._notify()

    def is_told(self, arrival: Arrival) -> None:
        """It was refused, and the answer is written."""
        self._discard(arrival)
        self._refused.add(arrival, None, arrival.since)
        self._notify()

    def reads(self, arrival: Arrival) -> None:
        """A task waits for its peer; there has to be a slot."""
        self._idle.discard(arrival)
        # Until now it may have waited for us: what is counted begins here.
        since = trio.current_time()
        if arrival.address == _SUSPECTS:
            since = max(arrival.since, since - GRACE + SUSPECT_GRACE)
        self._silent.add(arrival, arrival.address, since)
        self._reading.add(arrival, arrival.address, since)

    async def wait_reads(self, arrival: Arrival) -> None:
        """Wait for a slot, and have its peer waited for in a task."""
        while arrival not in self._reading and not self.has_slot(is_known=arrival.is_known):
            await self._pause(self._reading)
        self.reads(arrival)

    def _discard(self, arrival: Arrival) -> None:
        for each in (self._silent, self._reading, self._idle, self._refused):
            each.discard(arrival)

    # Limits.

    def has_slot(self, *, is_known: bool = False) -> bool:
        """Whether one more connection may wait for its peer in a task; if need be, another one gives way.

        Args:
            is_known: Whether its address has completed a request lately. An eighth of the slots is kept for such addresses.
        """
        most = self._reading.places if is_known else self._reading.places - self._reading.places // _KEPT
        return len(self._reading) < most or self._close_one("handshakes", self._reading)

    @property
    def is_full(self) -> bool:
        """Whether there is no place for one more connection, not even a spare one."""
        return self.count >= self._most + self._spare

    def has_room(self) -> bool:
        """Whether one more connection may be accepted; if need be, another one gives way."""
        return not self.is_full or self._close_one("connections", self._refused, self._silent, self._idle)

    async def make_room(self, arrival: Arrival) -> bool:
        """Have a place for a connection that was accepted beyond the limit. Returns whether it has one.

        Where others are silent, and not for long enough yet, it waits for them to give way.
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
        """Wait until `has_room` may say something else, but no longer than a tenth of a second."""
        await self._pause(self._silent)

    def slot_in(self) -> float:
        """Seconds after which `has_slot` may say something else, unless a connection ends or is worked on before."""
        return min(_PAUSE, max(_SHORT_PAUSE, self._reading.gives_way_in(trio.current_time())))

    async def _pause(self, waiting: Waiting[Arrival]) -> None:
        with trio.move_on_after(min(_PAUSE, max(_SHORT_PAUSE, waiting.gives_way_in(trio.current_time())))):
            await self._changes.park()

    def _notify(self) -> None:
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
                self._tell(limit, now)
                return True
        return False

    def _tell(self, limit: str, now: float) -> None:
        self._closed[limit] += 1
        if now - self._told >= _TOLD_INTERVAL:
            log.warning(
                "silent connections closed",
                open=self.count,
                **{f"for_{key}": count for key, count in self._closed.items()},
            )
            self._closed.clear()
            self._told = now


class Standing:
    """How a connection stands, for those who serve it to say. This one is of a connection that no limit concerns."""

    def works(self) -> None:
        """Its peer isn't waited for."""

    def idles(self) -> None:
        """Its peer may ask for something else, or not."""

    async def reads(self) -> None:
        """Its peer is waited for, once there is a slot for it."""


class Placed(Standing):
    """That of a connection which has one of the places."""

    def __init__(self, places: Places, arrival: Arrival) -> None:
        self._places, self._arrival = places, arrival

    def works(self) -> None:
        """See `Standing`."""
        self._places.works(self._arrival)

    def idles(self) -> None:
        """See `Standing`."""
        self._places.idles(self._arrival)

    async def reads(self) -> None:
        """See `Standing`."""
        await self._places.wait_reads(self._arrival)
