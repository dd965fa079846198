"""The heartbeats of parked connections, from one timer for all of them.

Connections arrive with the time of their next heartbeat. All heartbeats that are due within one tick are written together,
and those of the next few ticks with them: clients with the same key and version share one frame. The lot closes a connection
that doesn't answer in time.
"""

import errno
import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import attrs
import trio

from ..core.model import Key
from ..protocol.close import CloseReason
from ..settings.realtime import RealtimeSettings
from .forms import Form
from .parked import WOKEN_AT_ONCE, Lot, Parked
from .sockets import MOST, Sockets

# The ticks of a second. All heartbeats that are due within one tick are handled together.
_TICKS = 10
# The tolerance for rounding errors, in ticks, and in seconds.
_FUZZ = 1e-3
_FUZZ_SECONDS = _FUZZ / _TICKS
# For long times, several ticks are handled together: at most this share of the shorter time of a heartbeat's two. Each
# tick that is handled takes the event loop a fraction of a millisecond, even if only few clients are due.
_SHARE = 1 / 25
# Heartbeats that are due this many ticks of such a length later are written early, if one call has room for them. From then
# on, they are due together. To wake up takes as much processor time as about 30 heartbeats.
_EARLY = 2
# To look for an answer that wasn't read takes this share of the time that it takes to close a connection.
_READ_SHARE = 20


class Counters(Protocol):
    """The metrics of heartbeats that are written."""

    def bytes_written(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...


@attrs.frozen(slots=True)
class _Kind:
    """The connections of one kind share the bytes of a heartbeat and the times after it."""

    key: Key
    version: str | None
    settings: RealtimeSettings
    form: Form


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


@attrs.define(slots=True, eq=False)
class _Tick:
    """What is due within one tick.

    Attributes:
        length: The shortest length of a tick for its connections, in units of 1 / _TICKS seconds.
        due: The connections for which a heartbeat is due.
        rounds: The rounds whose time for the answers ends.
    """

    length: int
    due: list[Parked] = attrs.field(factory=list)
    rounds: list[_Round] = attrs.field(factory=list)


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

    def is_answered(self, pinged: float) -> bool:
        """Whether all clients have answered a round that hasn't ended."""
        return not self._counts[pinged]

    def end(self, pinged: float) -> int:
        """End a round. Returns how many clients may not have answered."""
        return self._counts.pop(pinged)


class Pings:
    """The timer of a lot.

    Args:
        unanswered: Counts answers. The receiver records them.
        timestamp: Returns the current time as RFC 3339, UTC.
        receive: Receives from one connection, whose answer may have arrived without being read.
        written: Called with the number of heartbeats that were just written.
    """

    def __init__(
        self,
        lot: Lot,
        sockets: Sockets,
        counters: Counters,
        unanswered: Unanswered,
        timestamp: Callable[[], str],
        receive: Callable[[Parked], None],
        written: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._lot = lot
        self._sockets = sockets
        self._counters = counters
        self._timestamp = timestamp
        self._receive = receive
        self._written = written
        # Maps each tick to what it concerns. Connections that have left the lot are skipped later.
        self._due: dict[int, _Tick] = {}
        self._ticks: list[int] = []
        self._earlier = trio.Event()
        self._unanswered = unanswered

    def schedule(self, parked: Parked) -> None:
        """Write a heartbeat to a connection when its next one is due."""
        self._at(parked.next_ping, parked.settings).due.append(parked)

    def _at(self, time: float, settings: RealtimeSettings) -> _Tick:
        """Return the tick at which a time is due."""
        ticks = _length(settings)
        tick = ticks * math.ceil(math.ceil(time * _TICKS - _FUZZ) / ticks)
        found = self._due.get(tick)
        if found is None:
            found = self._due[tick] = _Tick(ticks)
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._earlier.set()
        found.length = min(found.length, ticks)
        return found

    async def run(self) -> None:
        """Handle the heartbeats that are due. Never returns."""
        while True:
            self._earlier = trio.Event()
            self._skip_answered()
            with trio.CancelScope() as scope:
                if self._ticks:
                    scope.deadline = self._ticks[0] / _TICKS
                await self._earlier.wait()
            while self._ticks and self._ticks[0] / _TICKS <= trio.current_time() + _FUZZ_SECONDS:
                number = heapq.heappop(self._ticks)
                tick = self._due.pop(number)
                due = tick.due
                self._end(tick.rounds, due)
                if due:
                    self._add_early(number, due)
                    await self._handle(due)

    def _skip_answered(self) -> None:
        """Drop the next ticks, as long as they concern only rounds that all clients have answered already."""
        while self._ticks:
            tick = self._due[self._ticks[0]]
            if tick.due or not all(self._unanswered.is_answered(each.pinged) for each in tick.rounds):
                return
            del self._due[heapq.heappop(self._ticks)]
            self._end(tick.rounds, [])

    def _end(self, rounds: Iterable[_Round], due: list[Parked]) -> None:
        """End rounds. If not all clients of a round have answered, its connections are added to `due`."""
        for each in rounds:
            if self._unanswered.end(each.pinged):
                due.extend(each.parked)
            else:
                # All have answered, so none of them needs to be looked at before its next heartbeat.
                self._at(each.next_ping, each.settings).due.extend(each.parked)

    def _add_early(self, number: int, due: list[Parked]) -> None:
        """Add the connections of the ticks that follow shortly, as long as one call has room for them."""
        later = []
        while self._ticks:
            tick = self._due[self._ticks[0]]
            # A tick of the least length is short already.
            early = _EARLY * tick.length if tick.length > 1 else 0
            if self._ticks[0] - number > early or len(due) + len(tick.due) > MOST:
                break
            due.extend(tick.due)
            tick.due.clear()
            following = heapq.heappop(self._ticks)
            if tick.rounds:
                later.append(following)
            else:
                del self._due[following]
        for each in later:
            heapq.heappush(self._ticks, each)

    async def _handle(self, due: Sequence[Parked]) -> None:
        """Handle the connections for which a heartbeat or the end of a round is due."""
        frames: dict[tuple[Key, str | None, Form], bytes] = {}
        count = 0
        late: list[Parked] = []
        timestamp = self._timestamp()
        for start in range(0, len(due), MOST):
            for kind, members in self._sort(due[start : start + MOST], late).items():
                what = kind.key, kind.version, kind.form
                if what not in frames:
                    frames[what] = kind.form.heartbeat(kind.key, kind.version, timestamp)
                self._ping(members, frames[what], kind)
                if kind.form.events is None:
                    count += len(members)
            if start + MOST < len(due):
                await trio.lowlevel.checkpoint()
        self._written(count)
        await self._close_silent(late)

    async def _close_silent(self, late: Iterable[Parked]) -> None:
        """Close those of these connections that haven't answered in time. Other tasks run in between."""
        work = 0
        for each in late:
            if work >= WOKEN_AT_ONCE * _READ_SHARE:
                await trio.lowlevel.checkpoint()
                work = 0
            if each in self._lot and each.pinged is not None:
                # If this process was stopped, the answer may have arrived without being read.
                self._receive(each)
                work += 1
            if each not in self._lot:
                work += _READ_SHARE
            elif each.pinged is None:
                self.schedule(each)
            else:
                self._lot.close(each, CloseReason.HEARTBEAT)
                work += _READ_SHARE

    def _sort(self, due: Iterable[Parked], late: list[Parked]) -> dict[_Kind, list[Parked]]:
        """Find the connections for which a heartbeat is due, by its kind. Those that should have answered are added to `late`."""
        # A connection whose time is rounded up to this tick is due in it.
        now = trio.current_time() + _FUZZ_SECONDS
        found: dict[_Kind, list[Parked]] = {}
        parked_at = self._lot.parked_at
        kind: _Kind | None = None
        members: list[Parked] = []
        for each in due:
            if parked_at(each.fd) is not each:
                continue
            if each.pinged is not None:
                # Otherwise, the round of that heartbeat ends later.
                if now >= each.pinged + each.settings.heartbeat_timeout:
                    late.append(each)
                continue
            if now < each.next_ping and now + _early(each.settings) < each.next_ping:
                self.schedule(each)
                continue
            # Most connections have the same kind of heartbeat as the one before, so this compares before it hashes.
            version = each.version
            if (
                kind is None
                or each.key is not kind.key
                or version != kind.version
                or each.settings is not kind.settings
                or each.form is not kind.form
            ):
                kind = _Kind(each.key, version, each.settings, each.form)
                members = found.setdefault(kind, [])
            members.append(each)
        return found

    def _ping(self, members: Sequence[Parked], frame: bytes, kind: _Kind) -> None:
        """Write one heartbeat to all these connections. No other task runs from their look-up until this returns.

        The client of an event stream doesn't answer it. If such a client is lost, only a write fails.
        """
        is_answered = kind.form.events is None
        now = self._unanswered.begin(trio.current_time(), len(members)) if is_answered else trio.current_time()
        next_ping = now + kind.settings.heartbeat_interval
        exceptions = self._sockets.write_all([each.fd for each in members], frame)
        for each in members:
            each.pinged, each.next_ping = (now if is_answered else None), next_ping
        if is_answered:
            end = self._at(now + kind.settings.heartbeat_timeout, kind.settings)
            end.rounds.append(_Round(members, now, next_ping, kind.settings))
        else:
            # Those that leave the lot below are skipped when they are due.
            self._at(next_ping, kind.settings).due.extend(members)
        lost = unwritten = 0
        for index, result in exceptions:
            if result >= 0 or result == -errno.EAGAIN:
                written = max(result, 0)
                unwritten += len(frame) - written
                self._lot.wake(members[index], unsent=frame[written:])
            else:
                lost += 1
                self._lot.end(members[index], CloseReason.LOST)
        self._counters.sent("ping" if is_answered else "heartbeat", len(members) - lost)
        self._counters.bytes_written((len(members) - lost) * len(frame) - unwritten)


def _length(settings: RealtimeSettings) -> int:
    """Return the length of a tick for these settings, in units of 1 / _TICKS seconds."""
    shorter = min(settings.heartbeat_interval, settings.heartbeat_timeout)
    return max(int(shorter * _SHARE * _TICKS + _FUZZ), 1)


def _early(settings: RealtimeSettings) -> float:
    """Return by how many seconds a heartbeat may be early."""
    length = _length(settings)
    return _EARLY * length / _TICKS if length > 1 else 0.0
