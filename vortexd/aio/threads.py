"""Threads for long work, on a machine that may have none to spare.

Where no thread can be started (RLIMIT_NPROC, a full pids cgroup) whoever wants one waits until one can: what is served goes on being served
from memory, and the source recovers by itself.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

import attrs
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


@attrs.define(slots=True, eq=False)
class _Flight(Generic[T]):
    ended: trio.Event = attrs.field(factory=trio.Event)
    made: "tuple[T] | None" = None


class SingleFlight:
    """Has a piece of work done once for all those that want it at the same time."""

    def __init__(self) -> None:
        self._under_way: dict[object, _Flight[Any]] = {}

    async def shared(self, work: object, make: Callable[[], Awaitable[T]]) -> T:
        """Make something, or wait for whom makes it already, and return what was made.

        Where that one fails or is cancelled, the next of those that wait makes it, so each error is raised for one of them.

        Args:
            work: What is made; equal where the results are.
        """
        while (flight := self._under_way.get(work)) is not None:
            await flight.ended.wait()
            if flight.made is not None:
                return cast(T, flight.made[0])
        flight = self._under_way[work] = _Flight()
        try:
            made = await make()
            flight.made = (made,)
            return made
        finally:
            del self._under_way[work]
            flight.ended.set()
