"""Threads for long work, on a machine that may have none to spare.

Where no thread can be started (RLIMIT_NPROC, a full pids cgroup) whoever wants one waits until one can: what is served goes on being served
from memory, and the source recovers by itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
import trio

log = structlog.get_logger()
T = TypeVar("T")

# CPython's own words; there is no class for it.
_SHORTAGE = "can't start new thread"
_PAUSE = 0.2


def is_shortage(error: RuntimeError) -> bool:
    """Whether an error says that no thread could be started."""
    return str(error) == _SHORTAGE


async def run_sync(
    function: Callable[..., T],
    *arguments: object,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """`trio.to_thread.run_sync`, again and again while no thread can be started."""
    is_told = False
    while True:
        try:
            return await trio.to_thread.run_sync(
                function, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=limiter
            )
        except RuntimeError as error:
            if not is_shortage(error):
                raise
        if not is_told:
            log.warning("no thread can be started", consequence="what is served stays as it is until one can")
        is_told = True
        await trio.sleep(_PAUSE)


class SingleFlight:
    """Lets one task do a piece of work while those that want the same wait for it."""

    def __init__(self) -> None:
        self._under_way: dict[object, trio.Event] = {}

    @asynccontextmanager
    async def first_of(self, work: object) -> AsyncIterator[bool]:
        """Enter with True as the first that wants this work, or, once that one is done, with False: then look again."""
        ended = self._under_way.get(work)
        if ended is not None:
            await ended.wait()
            yield False
            return
        self._under_way[work] = trio.Event()
        try:
            yield True
        finally:
            self._under_way.pop(work).set()
