"""Which server is next, and when: how each attempt ended in, the next attempt out. Pure; time and chance come from the caller.

Each server has its own times, so that one that is away, or asks for patience, keeps nobody from the others.
"""

import math

import attrs

from .backoff import LAST_CEILING, delay_before
from .disconnect import Disconnect

# A connection that lasted less is no reason to begin anew with short waits: a server may end each one right after its first state.
_WORKED = LAST_CEILING


@attrs.define(eq=False)
class _Turn:
    """One server: failures in a row, when it may be asked again, and whether it said never."""

    failures: int = 0
    due: float = -math.inf


class ServerRotation:
    """The turns of some servers, of which the first is asked first."""

    def __init__(self, count: int) -> None:
        self._rotation = [_Turn() for _ in range(count)]
        self._last = -1

    def next(self) -> tuple[int, float] | None:
        """Whose turn it is, and when (monotonic, may have passed); None where none may be asked again."""
        count = len(self._rotation)
        due, distance = min((turn.due, (number - self._last - 1) % count) for number, turn in enumerate(self._rotation))
        return None if due == math.inf else ((self._last + 1 + distance) % count, due)

    def ended(self, number: int, end: Disconnect, lasted: float, now: float, chance: float) -> None:
        """Note how an attempt ended, and `lasted`: for how long it had the current state."""
        if lasted >= _WORKED:
            # What was long ago says nothing of the others either.
            self._rotation = [_Turn() for _ in self._rotation]
        self._last = number
        turn = self._rotation[number]
        if end.may_return:
            turn.due = now + delay_before(turn.failures, chance, end.reconnect_after_ms)
            turn.failures += 1
        else:
            turn.due = math.inf
