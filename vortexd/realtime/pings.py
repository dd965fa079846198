"""The heartbeats of parked connections, from one timer for all of them.

Connections arrive with the time of their next heartbeat. All heartbeats that are due within one tick are written together:
clients with the same key and version share one frame. The lot closes a connection that doesn't answer in time.
"""

import errno
import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import attrs
import trio

from ..core.model import Key
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.frames import PING, text_frame
from ..settings.realtime import RealtimeSettings
from .parked import Lot, Parked
from .sockets import MOST, Sockets

# The ticks of a second. All heartbeats that are due within one tick are handled together.
_TICKS = 10
# The tolerance for rounding errors, in ticks, and in seconds.
_FUZZ = 1e-3
_FUZZ_SECONDS = _FUZZ / _TICKS
# For long times, several ticks are handled together: at most this share of the shorter time of a heartbeat's two. Each
# tick that is handled takes the event loop a fraction of a millisecond, even if only few clients are due.
_SHARE = 1 / 25


class Counters(Protocol):
    """The metrics of heartbeats that are written."""

    def bytes_written(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...


@attrs.frozen(slots=True)
class _Kind:
    """The connections of one kind share the frame of a heartbeat and the times after it."""

    key: Key
    version: str | None
    settings: RealtimeSettings


@attrs.frozen(slots=True, eq=False)
class _Round:
    """One heartbeat, and all the connections that it was written to.

    Attributes:
        pinged: The time at which it was written. No other round has the same.
        next_ping: The time of the next one.
    """

    parked: Sequence[Parked]
    pinged: float
    next_ping: float
    settings: RealtimeSettings


class Unanswered:
    """Counts the clients that haven't answered a round yet.

    A client that has left the lot may stay counted. The count is zero only if all have answered.
    """

    def __init__(self) -> None:
        self._counts: dict[float, int] = {}

    def begin(self, now: float, count: int) -> float:
        """Begin a round with so many clients. Returns its time, which no other round has: now or a moment later."""
        while now in self._counts:
            now = math.nextafter(now, math.inf)
        self._counts[now] = count
        return now

    def answered(self, pinged: float, count: int = 1) -> None:
        """Record that so many clients have answered the round of this time. If it has ended, do nothing."""
        if pinged in self._counts:
            self._counts[pinged] -= count

    def end(self, pinged: float) -> int:
        """End a round. Returns how many clients may not have answered."""
        return self._counts.pop(pinged)


class Pings:
    """The timer of a lot.

    Args:
        unanswered: Counts answers. The receiver records them.
        timestamp: Returns the current time as RFC 3339, UTC.
        receive: Receives from one connection, whose answer may have arrived without being read.
    """

    def __init__(
        self,
        lot: Lot,
        sockets: Sockets,
        counters: Counters,
        unanswered: Unanswered,
        timestamp: Callable[[], str],
        receive: Callable[[Parked], None],
    ) -> None:
        self._lot = lot
        self._sockets = sockets
        self._counters = counters
        self._timestamp = timestamp
        self._receive = receive
        # Maps each tick to the connections and rounds that it concerns. Connections that have left the lot are skipped later.
        self._due: dict[int, tuple[list[Parked], list[_Round]]] = {}
        self._ticks: list[int] = []
        self._earlier = trio.Event()
        self._unanswered = unanswered

    def schedule(self, parked: Parked) -> None:
        """Write a heartbeat to a connection when its next one is due."""
        due, _ = self._at(parked.next_ping, parked.settings)
        due.append(parked)

    def _at(self, time: float, settings: RealtimeSettings) -> tuple[list[Parked], list[_Round]]:
        """Return the lists of the tick at which a time is due."""
        shorter = min(settings.heartbeat_interval, settings.heartbeat_timeout)
        ticks = max(int(shorter * _SHARE * _TICKS + _FUZZ), 1)
        tick = ticks * math.ceil(math.ceil(time * _TICKS - _FUZZ) / ticks)
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = [], []
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._earlier.set()
        return due

    async def run(self) -> None:
        """Handle the heartbeats that are due. Never returns."""
        while True:
            self._earlier = trio.Event()
            with trio.CancelScope() as scope:
                if self._ticks:
                    scope.deadline = self._ticks[0] / _TICKS
                await self._earlier.wait()
            while self._ticks and self._ticks[0] / _TICKS <= trio.current_time() + _FUZZ_SECONDS:
                await self._handle(*self._due.pop(heapq.heappop(self._ticks)))

    async def _handle(self, due: list[Parked], rounds: Sequence[_Round]) -> None:
        """Handle what one tick concerns: the ends of rounds, and connections for which a heartbeat is due."""
        for each in rounds:
            if self._unanswered.end(each.pinged):
                due.extend(each.parked)
            else:
                # All have answered, so none of them needs to be looked at before its next heartbeat.
                self._at(each.next_ping, each.settings)[0].extend(each.parked)
        if not due:
            return
        frames: dict[tuple[Key, str | None], bytes] = {}
        timestamp = self._timestamp()
        for start in range(0, len(due), MOST):
            for kind, members in self._sort(due[start : start + MOST]).items():
                what = kind.key, kind.version
                if what not in frames:
                    frames[what] = text_frame(messages.ping(*what, timestamp)) + PING
                self._ping(members, frames[what], kind)
            await trio.lowlevel.checkpoint()

    def _sort(self, due: Iterable[Parked]) -> dict[_Kind, list[Parked]]:
        """Find the connections for which a heartbeat is due, by its kind. Handle the others."""
        # A connection whose time is rounded up to this tick is due in it.
        now = trio.current_time() + _FUZZ_SECONDS
        found: dict[_Kind, list[Parked]] = {}
        parked_at = self._lot.parked_at
        kind: _Kind | None = None
        members: list[Parked] = []
        for each in due:
            if parked_at(each.fd) is not each or (each.pinged is not None and not self._has_answered(each, now)):
                continue
            if now < each.next_ping:
                self.schedule(each)
                continue
            # Most connections have the same kind of heartbeat as the one before, so this compares before it hashes.
            version = each.version
            if (
                kind is None
                or each.key is not kind.key
                or version != kind.version
                or each.settings is not kind.settings
            ):
                kind = _Kind(each.key, version, each.settings)
                members = found.setdefault(kind, [])
            members.append(each)
        return found

    def _has_answered(self, parked: Parked, now: float) -> bool:
        """Whether a client has answered its last heartbeat. If its time is over, close its connection."""
        assert parked.pinged is not None
        if now < parked.pinged + parked.settings.heartbeat_timeout:
            # The round of that heartbeat ends later.
            return False
        # If this process was stopped, the answer may have arrived without being read.
        self._receive(parked)
        if parked not in self._lot:
            return False
        if parked.pinged is None:
            return True
        self._lot.close(parked, CloseReason.HEARTBEAT)
        return False

    def _ping(self, members: Sequence[Parked], frame: bytes, kind: _Kind) -> None:
        """Write one heartbeat to all these connections. No other task runs from their look-up until this returns."""
        now = self._unanswered.begin(trio.current_time(), len(members))
        next_ping = now + kind.settings.heartbeat_interval
        exceptions = self._sockets.write_all([each.fd for each in members], frame)
        for each in members:
            each.pinged, each.next_ping = now, next_ping
        _, rounds = self._at(now + kind.settings.heartbeat_timeout, kind.settings)
        rounds.append(_Round(members, now, next_ping, kind.settings))
        lost = unwritten = 0
        for index, result in exceptions:
            if result >= 0 or result == -errno.EAGAIN:
                written = max(result, 0)
                unwritten += len(frame) - written
                self._lot.wake(members[index], unsent=frame[written:])
            else:
                lost += 1
                self._lot.end(members[index], CloseReason.LOST)
        self._counters.sent("ping", len(members) - lost)
        self._counters.bytes_written((len(members) - lost) * len(frame) - unwritten)
