"""A request that waits before it is answered, as the application sees it. Pure.

An endpoint returns a `Response` with a `Waiting` in place of an answer. The application waits, and then passes the same
request to its endpoint again, which checks everything anew.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol


class Waiting(Protocol):
    """A request that waits. The application must call `leave` once, whatever happens."""

    async def wait(self, wait_gone: Callable[[], Awaitable[None]]) -> bool:
        """Wait until the request should be passed to its endpoint again.

        Args:
            wait_gone: Waits until the client closes the connection.

        Returns:
            Whether the client still waits for a response.
        """
        ...

    def leave(self, status: int | None) -> None:
        """End the wait.

        Args:
            status: The status of the response. None if the client has gone, so that no response is sent.
        """
        ...
