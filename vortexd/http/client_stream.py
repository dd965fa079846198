"""The stream of one HTTP/1.1 connection. `http1` uses it first, and then Hypercorn, if the connection is handed over.

Each wait for the client has a deadline. The stream also ends a connection that is idle for too long. It reports to the
listener whether the connection waits for its client.
"""

import contextlib
import math
import os
import socket
from collections.abc import Iterator

import trio

from ..net.head import EMPTY_LINE, Stream
from ..net.outgoing import Outgoing
from ..net.places import Standing
from ..net.tls_stream import TlsStream, close_now
from ..settings.server import ServerSettings
from .adapter.h11 import Http1Parser

# The seconds that the server reads on, if a client is still sending when its request is refused.
_LINGER = 1.0
_RECEIVE_BYTES = 65_536
# The bytes of one write. Each write has the whole write timeout.
_PART_BYTES = 65_536
# `Outgoing` counts only larger bodies, in bytes.
_LARGE = 65_536
# Seconds between two writes of one response, while the server drains.
_DRAIN_IDLE = 0.5


class ClientStream:
    """The stream of one connection.

    Args:
        head: Bytes that were read already. `receive_some` returns them first.
    """

    def __init__(
        self, stream: Stream, head: bytes, settings: ServerSettings, outgoing: Outgoing, standing: Standing
    ) -> None:
        self._parser: Http1Parser | None = None
        self._standing = standing
        self._stream = stream
        # For a plain connection, system calls that needn't wait are made without Trio's checkpoints.
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._head = head
        self._settings = settings
        self._outgoing = outgoing
        self._keep_alive = settings.keep_alive_timeout
        # A response was written, and no byte was received since then.
        self._is_idle = False
        # The time by which the current request must be complete, or by which the next request must begin.
        self._deadline = trio.current_time() + settings.request_timeout
        self._receiving = trio.CancelScope()
        self._is_ended = False

    @property
    def parser(self) -> Http1Parser:
        """The parser of the received bytes, for Hypercorn."""
        if self._parser is None:
            self._parser = Http1Parser(self._settings.head_bytes, self._standing.works)
        return self._parser

    def give_back(self, received: bytes) -> None:
        """Let `receive_some` return bytes that were received before."""
        self._head = received

    async def receive_some(self) -> bytes:
        """Receive bytes for Hypercorn.

        Returns:
            b"" if the client sends nothing more, or if the deadline has passed.

        Raises:
            trio.ClosedResourceError: `end` was called before.
            trio.BrokenResourceError: The connection is broken.
        """
        if self._head:
            head, self._head = self._head, b""
            return head
        with self.timed():
            return await self.receive(is_partly=self.parser.is_partly)
        self._check_open()
        return b""

    def timed(self) -> trio.CancelScope:
        """Return a scope that ends at the deadline of the connection: when it is idle for too long, or a request takes too long."""
        self._receiving = trio.CancelScope(deadline=self._deadline)
        return self._receiving

    async def receive(self, *, is_partly: bool, most: int = _RECEIVE_BYTES) -> bytes:
        """Receive bytes. Returns b"" if the client sends nothing more. Call this in the scope `timed`.

        Args:
            is_partly: Whether a request has arrived partly.
            most: The largest number of bytes to receive.

        Raises:
            trio.ClosedResourceError: `end` was called before.
            trio.BrokenResourceError: The connection is broken.
        """
        self._check_open()
        if is_partly:
            await self._standing.reads()
        data = await self._wait_bytes(most)
        # An empty line after a request doesn't begin another request.
        if data and data != EMPTY_LINE:
            self.begin_request()
        return data

    def begin_request(self) -> None:
        """Begin the time of a request, unless it has begun already."""
        if self._is_idle:
            self._is_idle = False
            self._wait_until(trio.current_time() + self._settings.request_timeout)

    async def _wait_bytes(self, most: int) -> bytes:
        if self._socket is None:
            return bytes(await self._stream.receive_some(most))
        while (descriptor := self._socket.fileno()) >= 0:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(self._socket.fileno(), most)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError from error
        raise trio.ClosedResourceError

    def _check_open(self) -> None:
        if self._is_ended:
            raise trio.ClosedResourceError

    def _wait_until(self, deadline: float) -> None:
        self._deadline = self._receiving.deadline = deadline

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the current request wait for the server inside the `with`, without a deadline. Then its time begins anew."""
        self._wait_until(math.inf)
        try:
            yield
        finally:
            self._wait_until(trio.current_time() + self._settings.request_timeout)

    def drain(self) -> None:
        """End the connection soon if it is idle. From now on it may be idle only between two writes of one response."""
        self._keep_alive = min(self._keep_alive, _DRAIN_IDLE)
        if self._is_idle:
            self._wait_until(trio.current_time() + self._keep_alive)

    async def send_all(self, data: bytes) -> None:
        """Send bytes in parts. Each part has the write timeout. A large body must fit within the limit of `Outgoing`.

        Raises:
            trio.ClosedResourceError: `end` was called before.
            trio.BrokenResourceError: The connection is broken, the client doesn't read, or `Outgoing` cancelled the response.
        """
        self._check_open()
        self._standing.works()
        deadline = self._deadline
        # The time of the request has no part in what follows. Each write has its own.
        if len(data) > _LARGE:
            self._wait_until(math.inf)
            await self._send_large(data)
        elif (sent := self._send_at_once(data)) < len(data):
            self._wait_until(math.inf)
            await self._send_parts(memoryview(data)[sent:])
        if self._parser is not None and self._parser.is_in_body:
            # This was an interim response (100). The request still has its own time.
            self._wait_until(deadline)
            return
        self._is_idle = True
        self._standing.idles()
        self._wait_until(trio.current_time() + self._keep_alive)

    async def _send_large(self, data: bytes) -> None:
        with trio.CancelScope() as whole, self._outgoing.holding(data, whole.cancel):
            await self._send_parts(memoryview(data))
        if whole.cancelled_caught:
            await self._give_up()

    async def _send_parts(self, view: memoryview) -> None:
        for start in range(0, len(view), _PART_BYTES):
            part = view[start : start + _PART_BYTES]
            sent = self._send_at_once(part)
            if sent == len(part):
                continue
            with trio.move_on_after(self._settings.write_timeout) as scope:
                await self._stream.send_all(part[sent:])
            if scope.cancelled_caught:
                await self._give_up()

    def _send_at_once(self, part: bytes | memoryview) -> int:
        """Write as many bytes as the kernel takes without a wait, and return their number."""
        if isinstance(self._stream, TlsStream):
            return self._stream.write_now(part)
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), part)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def _give_up(self) -> None:
        await trio.aclose_forcefully(self._stream)
        raise trio.BrokenResourceError("the client doesn't read")

    def shut_down_sending(self) -> None:
        """Close the sending half of a TCP connection. With TLS this does nothing, because TLS can't close one half."""
        if isinstance(self._stream, trio.SocketStream):
            try:
                self._stream.socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                raise trio.BrokenResourceError from error

    def finish(self) -> None:
        """Close the sending half, and stop sending and receiving."""
        with contextlib.suppress(trio.BrokenResourceError):
            self.shut_down_sending()
        self.end()

    def end(self) -> None:
        """Stop sending and receiving. The socket stays open for `linger`."""
        self._is_ended = True
        self._receiving.cancel()

    @property
    def has_unread(self) -> bool:
        """Whether the client was still sending its last request when the server responded."""
        return self._parser is not None and self._parser.is_unfinished

    async def linger(self) -> None:
        """Read on for a moment, so that a client that is still sending can read the response.

        If the server closed the socket with unread bytes, the kernel would reset the connection. The client could lose
        the response.
        """
        with trio.move_on_after(_LINGER):
            try:
                while await self._stream.receive_some(_RECEIVE_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    def close(self) -> None:
        """Close the socket."""
        close_now(self._stream)
