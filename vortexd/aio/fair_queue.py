"""Turns at the loop: what many clients ask for goes in small pieces, a bounded number in each round of the loop, and each client in its turn.

Without turns each round of the loop would do a piece of everybody's work. So its length, and with it every answer, would grow with the number of
clients that are busy. A client has one piece of work at a time, for it does its messages one after the other. So a queue of those who wait is
fair: a client with much work waits behind all the others before each piece.
"""

from collections.abc import Iterator

import trio


class FairQueue:
    """See the module.

    Args:
        at_once: How many pieces are done in one round of the loop.
    """

    def __init__(self, at_once: int = 1) -> None:
        # Trio hands a place over in the order of asking, and the task that is given it runs in the next round of the loop.
        self._places = trio.Semaphore(at_once, max_value=at_once)

    async def take(self) -> None:
        """Wait for a turn. What the caller does before its next await is the piece."""
        await self.work(iter(()))

    async def work(self, steps: Iterator[None]) -> None:
        """Go through all steps, each in a turn of its own. What the caller does before its next await belongs to the last one."""
        while True:
            async with self._places:
                if next(steps, self) is self:
                    return
