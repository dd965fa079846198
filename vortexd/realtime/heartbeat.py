"""The heartbeat of an awake connection: when the next one is due, and whether the last one was answered.

In come signs of life from the reader; out go calls that queue a heartbeat, and the end of a client that gives no sign of life.
"""

import math
from collections.abc import Callable

import trio

from ..protocol.close import CloseReason


class Heartbeat:
    """The clock of one connection's heartbeats, by Trio's clock.

    Args:
        interval: Seconds between two heartbeats.
        timeout: Seconds in which a client has to give a sign of life after one.
        first: The part of the interval until the first one.

    Attributes:
        next: When the next one is due.
    """

    __slots__ = ("_interval", "_pinged", "_seen", "_timeout", "next")

    def __init__(self, interval: float, timeout: float, first: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._seen = trio.current_time()
        self._pinged: float | None = None
        self.next = self._seen + interval * first

    def resume(self, next_ping: float, pinged: float | None, *, is_seen: bool) -> None:
        """Go on from the parking lot.

        Args:
            pinged: When the client was sent the heartbeat that it hasn't answered, or None.
            is_seen: It has sent something since.
        """
        self.next, self._pinged = next_ping, pinged
        self._seen = trio.current_time() if is_seen or pinged is None else -math.inf

    @property
    def is_answered(self) -> bool:
        """Whether the client has given a sign of life since the last heartbeat that was written."""
        return self._pinged is None or self._seen >= self._pinged

    @property
    def seconds_to_answer(self) -> float | None:
        """How long the client took to answer the last heartbeat; None if there is none or no answer."""
        return self._seen - self._pinged if self._pinged is not None and self.is_answered else None

    def seen(self) -> None:
        """Note a sign of life: any bytes."""
        self._seen = trio.current_time()

    def written(self) -> None:
        """Note that a heartbeat is being written: the time for its answer begins."""
        self._pinged = trio.current_time()

    async def run(self, beat: Callable[[], object]) -> CloseReason:
        """Call `beat` whenever a heartbeat is due; return when one isn't answered in time."""
        while True:
            if self._pinged is not None and not self.is_answered:
                await trio.sleep_until(self._pinged + self._timeout)
                # If the process was stopped meanwhile, both are due at once: this, and the reader that has the answer.
                await trio.lowlevel.checkpoint()
                if not self.is_answered:
                    return CloseReason.HEARTBEAT
            await trio.sleep_until(self.next)
            self._pinged = None
            self.next = trio.current_time() + self._interval
            beat()
            await trio.sleep(self._timeout)
