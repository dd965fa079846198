"""The body of a response that lasts, as the connections of HTTP see it."""

from typing import Protocol

import trio


class EventStream(Protocol):
    """An event stream that was accepted. The connection of the request must call `serve` or `abandon`.

    Attributes:
        host: The address of the client that the stream counts for; "" for a Unix socket.
    """

    @property
    def host(self) -> str: ...

    async def serve(
        self, stream: trio.abc.Stream, head: bytes = b"", *, is_chunked: bool = False, has_spoken: bool = False
    ) -> bool:
        """Write the response to a connection until it ends; see `realtime.events.opening.Opened`.

        Args:
            stream: The connection, or what stands for it in HTTP/2.
            head: The head of the response; empty if it was sent already.
            is_chunked: Whether the body is sent in chunks of HTTP/1.1.
            has_spoken: Whether the client has sent bytes after its request.

        Returns:
            Whether the stream continues without the caller.
        """
        ...

    def abandon(self) -> None:
        """Give up the stream, because its connection can't serve it."""
        ...
