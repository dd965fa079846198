"""What has been received and wasn't compared yet: a bounded queue that keeps its error."""

from collections import deque
from typing import Any

import trio

MOST_WAITING = 1_000


class Failed(Exception):
    """The client doesn't conform; the text says how."""


class Channel:
    """A queue of values in the order of their arrival.

    Args:
        name: The kind of the values, for error texts.

    Attributes:
        failed: Set when no more values will come.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[Any] = deque()
        self._error: str | None = None
        self._news = trio.Event()
        self.failed = trio.Event()

    def put(self, value: Any) -> None:
        """Add a value. If more are waiting than any conversation expects, the client is faulty."""
        if len(self._waiting) >= MOST_WAITING:
            self.fail(f"more than {MOST_WAITING} {self._name} that nothing asked for")
            return
        self._waiting.append(value)
        self._wake()

    def fail(self, error: str) -> None:
        """Note an error: the first one is raised to the reader, once the queue is empty."""
        if self._error is None:
            self._error = error
            self.failed.set()
        self._wake()

    def next_nowait(self) -> Any | None:
        """Return the next value, or None. Raises `Failed` if there is an error and nothing is waiting."""
        if self._waiting:
            return self._waiting.popleft()
        if self._error is not None:
            raise Failed(self._error)
        return None

    async def next(self, seconds: float) -> Any | None:
        """Wait for the next value; None after that many seconds without one."""
        with trio.move_on_after(seconds):
            while (value := self.next_nowait()) is None:
                await self._news.wait()
            return value
        return None

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
