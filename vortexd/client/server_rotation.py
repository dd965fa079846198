"""Which server to try next, and when: records how each attempt ended, and chooses the next. Pure; the caller passes time and chance.

Each server has its own waiting time. If one server is down or asks for a delay, the client can still try the others. There is one exception:
a server that is behind sends the client on to another server, and its delay is for that attempt.
"""

import math

import attrs

from .backoff import LAST_CEILING, delay_before
from .disconnect import Disconnect

# Seconds. A shorter connection doesn't reset the waits, because a server may close each connection right after its first state.
_WORKED = LAST_CEILING


@attrs.define(eq=False)
class _Turn:
    """One server: consecutive failures, and the time of the next attempt. If the server has refused for good, the time is infinite."""

    failures: int = 0
    due: float = -math.inf


class ServerRotation:
    """The order of attempts over several servers; the first server is tried first."""

    def __init__(self, count: int) -> None:
        self._rotation = [_Turn() for _ in range(count)]
        self._last = -1

    def next(self) -> tuple[int, float] | None:
        """Return the next server's number and when to try it (monotonic; may have passed). None if every server has refused for good."""
        count = len(self._rotation)
        due, distance = min((turn.due, (number - self._last - 1) % count) for number, turn in enumerate(self._rotation))
        return None if due == math.inf else ((self._last + 1 + distance) % count, due)

    def ended(self, number: int, end: Disconnect, lasted: float, now: float, chance: float) -> None:
        """Record how an attempt ended. `lasted` is how many seconds the connection had the current state."""
        if lasted >= _WORKED:
            # Failures before a long connection no longer say anything about the other servers either.
            self._rotation = [_Turn() for _ in self._rotation]
        self._last = number
        turn = self._rotation[number]
        if end.may_return:
            turn.due = now + delay_before(turn.failures, chance, end.reconnect_after_ms)
            turn.failures += 1
        else:
            turn.due = math.inf
        if end.is_behind:
            due = now + delay_before(0, chance, end.reconnect_after_ms)
            for turn in self._rotation:
                turn.due = max(turn.due, due)
