"""Measures how late the event loop is, without waking it.

Trio reports when the loop begins and ends to wait. From that, this computes what a task would measure that wakes ten times
a second. Such a task would itself cost more than all other work of an idle server.
"""

import time
from collections.abc import Callable

import trio

# Seconds between two measurements.
_INTERVAL = 0.1


class LoopLag(trio.abc.Instrument):
    """The measurement of one event loop. Add it with `trio.lowlevel.add_instrument`.

    Args:
        late: Called with the delay in seconds and the number of measurements that have found it.
        now: A clock that counts seconds as Trio's does.
    """

    def __init__(self, late: Callable[[float, int], object], now: Callable[[], float] = time.perf_counter) -> None:
        self._late = late
        self._now = now
        # When the next measurement is due, since when the loop has been busy, and when it should end to wait.
        self._due = now() + _INTERVAL
        self._busy_since = self._deadline = now()

    def after_io_wait(self, timeout: float) -> None:
        """The loop ends to wait. If it should have done so earlier, it has been late since then."""
        self._busy_since = min(self._now(), self._deadline)

    def before_io_wait(self, timeout: float) -> None:
        """The loop begins to wait. Record the measurements that were due until now."""
        now = self._now()
        self._deadline = now + timeout
        if self._due > now:
            return
        if self._due <= self._busy_since:
            # The loop waited then, so it would have been on time.
            count = int((self._busy_since - self._due) / _INTERVAL) + 1
            self._late(0.0, count)
            self._due += count * _INTERVAL
        if self._due <= now:
            self._late(now - self._due, 1)
            self._due = now + _INTERVAL
