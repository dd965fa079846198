"""The heartbeat of an awake connection: queues heartbeats, and checks that the client answers them.

The reader reports signs of life. If the client gives no sign of life in time, the heartbeat ends the connection.
"""

import math
from collections.abc import Callable

import trio

from ..protocol.close import CloseReason


class Heartbeat:
    """The clock of one connection's heartbeats, by Trio's clock.

    Args:
        interval: The seconds between two heartbeats.
        timeout: The seconds after a heartbeat in which the client must give a sign of life.
        first: The fraction of the interval until the first heartbeat.

    Attributes:
        next: The time at which the next heartbeat is due.
    """

    __slots__ = ("_interval", "_pinged", "_seen", "_timeout", "next")

    def __init__(self, interval: float, timeout: float, first: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._seen = trio.current_time()
        self._pinged: float | None = None
        self.next = self._seen + interval * first

    def resume(self, next_ping: float, pinged: float | None, *, is_seen: bool) -> None:
        """Continue the heartbeats of a parked connection.

        Args:
            next_ping: The time at which the next heartbeat is due.
            pinged: The time of the heartbeat that the client hasn't answered, or None.
            is_seen: Whether the client has sent something since then.
        """
        self.next, self._pinged = next_ping, pinged
        self._seen = trio.current_time() if is_seen or pinged is None else -math.inf

    @property
    def is_answered(self) -> bool:
        """Whether the client has given a sign of life since the last heartbeat that was written."""
        return self._pinged is None or self._seen >= self._pinged

    @property
    def seconds_to_answer(self) -> float | None:
        """The seconds that the client took to answer the last heartbeat. None if there is no heartbeat or no answer."""
        return self._seen - self._pinged if self._pinged is not None and self.is_answered else None

    def seen(self) -> None:
        """Record a sign of life. Any received bytes are one."""
        self._seen = trio.current_time()

    def written(self) -> None:
        """Record that a heartbeat is being written. The time for its answer begins now."""
        self._pinged = trio.current_time()

    async def run(self, beat: Callable[[], object]) -> CloseReason:
        """Call `beat` whenever a heartbeat is due. Return the reason if the client doesn't answer one in time."""
        while True:
            if self._pinged is not None and not self.is_answered:
                await trio.sleep_until(self._pinged + self._timeout)
                # If the process was stopped meanwhile, the answer may have arrived. So let the reader read it first.
                await trio.lowlevel.checkpoint()
                if not self.is_answered:
                    return CloseReason.HEARTBEAT
            await trio.sleep_until(self.next)
            self._pinged = None
            self.next = trio.current_time() + self._interval
            beat()
            await trio.sleep(self._timeout)
