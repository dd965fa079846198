"""Fair turns at the event loop. Work for clients is done in small pieces, with a bounded number per round of the loop.

Without turns, each round of the loop would do a piece of every client's work. Then a round, and with it every answer,
would take longer the more clients are busy. A client handles its messages one after the other, so it has one piece of
work at a time. So the queue is fair: before each piece, a busy client waits behind all waiting clients.
"""

from collections.abc import Iterator

import trio


class FairQueue:
    """Gives out turns in the order of requests.

    Args:
        at_once: The number of pieces in one round of the loop.
    """

    def __init__(self, at_once: int = 1) -> None:
        # Trio hands a place over in the order of requests. The task that receives it runs in the next round of the loop.
        self._places = trio.Semaphore(at_once, max_value=at_once)

    async def take(self) -> None:
        """Wait for a turn. The turn lasts until the caller's next await."""
        await self.work(iter(()))

    async def work(self, steps: Iterator[None]) -> None:
        """Do each step in a turn of its own. The last turn lasts until the caller's next await."""
        while True:
            async with self._places:
                if next(steps, self) is self:
                    return
