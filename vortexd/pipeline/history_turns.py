"""Shares out the time in which histories are read, so that no client takes all of it.

A client asks for a turn, and leaves when its history is read. The invariants: one history of a client is read at a time,
and one for an act of an administrator. In the queue each client has one place, so it waits for at most one history of each
other client. Acts of administrators don't wait for clients.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from ..core.errors import RemoteError

# The seconds that a request waits for its turn. A turn lasts at most `key_history.SECONDS`, so it is enough for two turns.
PATIENCE = 10.0
# The most histories of one client that are read or wait.
MOST_PER_CLIENT = 2


@attrs.define(eq=False)
class _Client:
    """A client that reads a history or waits.

    Attributes:
        own: Limits the places of this client in the queue.
        count: The number of its requests.
    """

    own: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    count: int = 0


class HistoryTurns:
    """Gives out turns; see the module."""

    def __init__(self) -> None:
        # Trio hands a place over in the order of requests.
        self._queue = trio.CapacityLimiter(1)
        self._acts = trio.CapacityLimiter(1)
        self._clients: dict[str, _Client] = {}

    @asynccontextmanager
    async def turn(self, client: str | None) -> AsyncIterator[None]:
        """Wait for a turn. It lasts until the end of the block.

        Args:
            client: Identifies the client. None means an act of an administrator.

        Raises:
            RemoteError: That takes too long, or the client has too many requests already (503).
        """
        if client is None:
            async with _first(self._acts):
                yield
            return
        entry = self._clients.setdefault(client, _Client())
        if entry.count >= MOST_PER_CLIENT:
            raise late(f"{MOST_PER_CLIENT} other histories are read for this client or wait; try again")
        entry.count += 1
        try:
            async with _first(entry.own, self._queue):
                yield
        finally:
            entry.count -= 1
            if not entry.count:
                del self._clients[client]


@asynccontextmanager
async def _first(*limiters: trio.CapacityLimiter) -> AsyncIterator[None]:
    """Wait for a place of each limiter, for a limited time in all. Leave all places at the end of the block."""
    # Two requests may belong to one task.
    holder = object()
    held: list[trio.CapacityLimiter] = []
    try:
        with trio.move_on_after(PATIENCE) as waiting:
            for each in limiters:
                await each.acquire_on_behalf_of(holder)
                held.append(each)
        if waiting.cancelled_caught:
            raise late("the server reads other histories; try again")
        yield
    finally:
        for each in reversed(held):
            each.release_on_behalf_of(holder)


def late(reason: str) -> RemoteError:
    """Return the error for a history that can't be read now."""
    return RemoteError(reason, 503, {"Retry-After": "1"})
