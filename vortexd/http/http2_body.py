"""The body of a response that lasts, on one stream of HTTP/2: in place of a socket for those that write it."""

from collections.abc import Awaitable, Callable

import trio


class Http2Body(trio.abc.Stream):
    """The sending half of one HTTP/2 stream. Its client has sent the whole request, so there is nothing to receive.

    Args:
        send: Sends bytes as fast as the client reads them.
        gone: Set when the client has reset the stream, or when the connection has ended.

    Attributes:
        is_whole: Whether all bytes that were passed in have been sent.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], gone: trio.Event) -> None:
        self._send = send
        self._gone = gone
        self._is_closed = False
        self.is_whole = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes.

        Raises:
            trio.ClosedResourceError: `aclose` was called.
            trio.BrokenResourceError: The client has gone.
        """
        if self._is_closed:
            raise trio.ClosedResourceError
        if self._gone.is_set():
            raise trio.BrokenResourceError("the client has ended the stream")
        self.is_whole = False
        await self._send(bytes(data))
        self.is_whole = True

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`. Whether there is room shows only when bytes are sent."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait until the client has gone, and return b""."""
        await self._gone.wait()
        return b""

    async def aclose(self) -> None:
        """Send nothing more. The connection ends the stream."""
        self._is_closed = True
        await trio.lowlevel.checkpoint()
