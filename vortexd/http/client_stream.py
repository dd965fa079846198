"""The stream of one HTTP/1.1 connection: replays the bytes that were read, and has a deadline for each wait for the client.

It also ends a connection that is idle for too long, and reports to the listener whether the connection waits for its client.
"""

import math
import socket

import trio

from ..net.head import EMPTY_LINE, Http1, Stream
from ..net.opening import socket_of
from ..net.outgoing import Outgoing
from ..net.places import Standing
from ..settings.server import ServerSettings

# Seconds for a client that is still sending when it is refused.
_LINGER = 1.0
_RECEIVE_BYTES = 65_536
# Bytes of one write. Each has the whole write deadline.
_PART_BYTES = 65_536
# A larger body counts for `Outgoing`.
_LARGE = 65_536
# Seconds between two writes of one response, while the server drains.
_DRAIN_IDLE = 0.5


class ClientStream:
    """See the module.

    Args:
        head: The bytes that were read already.

    Attributes:
        parser: The parser of the bytes that are received.
    """

    def __init__(
        self, stream: Stream, head: bytes, settings: ServerSettings, outgoing: Outgoing, standing: Standing
    ) -> None:
        self.parser = Http1(settings.head_bytes, standing.works)
        self._standing = standing
        self._stream = stream
        self._head = head
        self._settings = settings
        self._outgoing = outgoing
        self._keep_alive = settings.keep_alive_timeout
        # A response was written, and nothing has come since.
        self._is_idle = False
        # When the request that has begun must be whole, or the next one begin.
        self._deadline = trio.current_time() + settings.request_timeout
        self._receiving = trio.CancelScope()
        self._is_ended = False

    async def receive_some(self) -> bytes:
        """Receive.

        Returns:
            b"" if the client sends nothing more, or the deadline has passed.

        Raises:
            trio.ClosedResourceError: `end` was called.
            trio.BrokenResourceError: The connection is broken.
        """
        if self._head:
            head, self._head = self._head, b""
            return head
        self._receiving = trio.CancelScope(deadline=self._deadline)
        with self._receiving:
            self._check_open()
            if self.parser.is_partly:
                await self._standing.reads()
            data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
            # An empty line behind a request begins no other one.
            if data and self._is_idle and data != EMPTY_LINE:
                self._is_idle = False
                self._wait_until(trio.current_time() + self._settings.request_timeout)
            return data
        self._check_open()
        return b""

    def _check_open(self) -> None:
        if self._is_ended:
            raise trio.ClosedResourceError

    def _wait_until(self, deadline: float) -> None:
        self._deadline = self._receiving.deadline = deadline

    def drain(self) -> None:
        """End soon if idle, and from now on be idle no longer than it takes to go on with a response."""
        self._keep_alive = min(self._keep_alive, _DRAIN_IDLE)
        if self._is_idle:
            self._wait_until(trio.current_time() + self._keep_alive)

    async def send_all(self, data: bytes) -> None:
        """Send in parts, each under the write deadline, and a large body within what `Outgoing` allows.

        Raises:
            trio.ClosedResourceError: `end` was called.
            trio.BrokenResourceError: The connection is broken, or the client doesn't read.
        """
        self._check_open()
        self._standing.works()
        self._wait_until(math.inf)
        with trio.CancelScope() as whole:
            if len(data) > _LARGE:
                with self._outgoing.holding(data, whole.cancel):
                    await self._send_parts(memoryview(data))
            else:
                await self._send_parts(memoryview(data))
        if whole.cancelled_caught:
            await self._give_up()
        self._is_idle = True
        self._standing.idles()
        self._wait_until(trio.current_time() + self._keep_alive)

    async def _send_parts(self, view: memoryview) -> None:
        for start in range(0, len(view), _PART_BYTES):
            with trio.move_on_after(self._settings.write_timeout) as scope:
                await self._stream.send_all(view[start : start + _PART_BYTES])
            if scope.cancelled_caught:
                await self._give_up()

    async def _give_up(self) -> None:
        await trio.aclose_forcefully(self._stream)
        raise trio.BrokenResourceError("the client doesn't read")

    def shut_down_sending(self) -> None:
        """Tell the client that nothing more comes. TLS has no half that could be closed."""
        if isinstance(self._stream, trio.SocketStream):
            try:
                self._stream.socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                raise trio.BrokenResourceError from error

    def end(self) -> None:
        """Send and receive nothing more. The socket stays open, for `linger`."""
        self._is_ended = True
        self._receiving.cancel()

    @property
    def has_unread(self) -> bool:
        """Whether the client was still sending its last request when that was answered."""
        return self.parser.is_unfinished

    async def linger(self) -> None:
        """Let a client that is still sending read the response: closing with unread bytes would reset the connection, and the response with it."""
        with trio.move_on_after(_LINGER):
            try:
                while await self._stream.receive_some(_RECEIVE_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    def close(self) -> None:
        """Close the socket."""
        socket_of(self._stream).close()
