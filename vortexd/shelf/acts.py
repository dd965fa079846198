"""Acts of people that one task does, one after the other. Each caller waits for its own act, for a limited time."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import trio

from ..core.errors import RemoteError
from .shelf import unavailable

T = TypeVar("T")


@attrs.define(eq=False)
class _Work(Generic[T]):
    """An act that a client wants.

    Attributes:
        has_begun: Whether it can no longer be given up.
        error: The reason why it wasn't done, or None.
        results: The value that the act has returned. Until it is done, there is none.
    """

    do: Callable[[], Awaitable[T]]
    has_begun: bool = False
    is_given_up: bool = False
    error: RemoteError | None = None
    results: list[T] = attrs.field(factory=list)
    ended: trio.Event = attrs.field(factory=trio.Event)


class Acts(Generic[T]):
    """The acts that wait for a task.

    Args:
        nouns: The plural name of the records, for messages to people: "pins".
        patience: The seconds for which a caller waits.
        most: The most acts that wait.
        wake: Called when there is an act. The task then calls `do_all`.
    """

    def __init__(self, nouns: str, patience: float, most: int, wake: Callable[[], None]) -> None:
        self._nouns = nouns
        self._patience = patience
        self._most = most
        self._wake = wake
        self._waiting: deque[_Work[T]] = deque()

    async def done(self, do: Callable[[], Awaitable[T]]) -> T:
        """Let the task do an act, and return what it returns. If this is cancelled, the act is done as a whole or not at all.

        Raises:
            RemoteError: It isn't done, as it says, or 503.
        """
        if len(self._waiting) >= self._most:
            raise unavailable(f"too many changes of {self._nouns} wait; try again")
        work = _Work(do)
        self._waiting.append(work)
        self._wake()
        try:
            with trio.move_on_after(self._patience):
                await work.ended.wait()
        finally:
            # If it has begun, it is done as a whole.
            work.is_given_up = not work.has_begun
        if work.error is not None:
            raise work.error
        if not work.results:
            begun = f"it may still be done; see the list of {self._nouns}" if work.has_begun else "nothing has changed"
            raise unavailable(f"the change isn't done after {self._patience:g} s; {begun}")
        return work.results[0]

    async def do_all(self) -> None:
        """Do all acts that wait. Only the task calls this."""
        while self._waiting:
            work = self._waiting.popleft()
            if work.is_given_up:
                continue
            work.has_begun = True
            try:
                work.results.append(await work.do())
            except RemoteError as error:
                work.error = error
            work.ended.set()
