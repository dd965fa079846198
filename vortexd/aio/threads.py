"""Threads for long work, also on a machine that temporarily has no thread to spare.

If no thread can be started (RLIMIT_NPROC, a full pids cgroup), the caller waits until a thread can be started. Meanwhile
the server answers from memory, and the source recovers by itself.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

import attrs
import structlog
import trio

log = structlog.get_logger()
T = TypeVar("T")

# CPython's error text. There is no exception class for this error.
_SHORTAGE = "can't start new thread"
_PAUSE = 0.2


def is_shortage(error: RuntimeError) -> bool:
    """Return whether an error says that no thread could be started."""
    return str(error) == _SHORTAGE


class _Tokens:
    """The tokens of a limiter. If one is free, taking it doesn't let other tasks run first.

    Trio would make a pass of the event loop for it, and the thread is awaited in any case.
    """

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except trio.WouldBlock:
            await self._limiter.acquire_on_behalf_of(borrower)

    def release_on_behalf_of(self, borrower: object) -> None:
        self._limiter.release_on_behalf_of(borrower)


async def run_sync(
    function: Callable[..., T],
    *arguments: object,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """Run `trio.to_thread.run_sync`. If no thread can be started, try again until it succeeds."""
    is_logged = False
    # Trio takes any object with these two methods.
    tokens = cast(trio.CapacityLimiter, _Tokens(limiter or trio.to_thread.current_default_thread_limiter()))
    while True:
        try:
            return await trio.to_thread.run_sync(
                function, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=tokens
            )
        except RuntimeError as error:
            if not is_shortage(error):
                raise
        if not is_logged:
            log.warning(
                "no thread can be started", consequence="the configuration stays as it is until a thread can be started"
            )
        is_logged = True
        await trio.sleep(_PAUSE)


@attrs.define(slots=True, eq=False)
class _Flight(Generic[T]):
    ended: trio.Event = attrs.field(factory=trio.Event)
    made: "tuple[T] | None" = None


class SingleFlight:
    """Does a piece of work once for all callers that want it at the same time."""

    def __init__(self) -> None:
        self._under_way: dict[object, _Flight[Any]] = {}

    async def shared(self, work: object, make: Callable[[], Awaitable[T]]) -> T:
        """Make a value, or wait for the caller that is making it already. Returns the value.

        If that caller fails or is cancelled, the next waiting caller makes the value. So each error reaches one caller.

        Args:
            work: Identifies the work. It must be equal if the results are equal.
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
