"""HTTP/1.1: serves the requests of one connection that have no body, one after the other, in the task of the connection.

The bridge passes in the stream and the head of the first request. The application responds to each request. If a request
has a body, asks for an upgrade or waits for an interim response, this module hands the connection over with all bytes that
aren't answered. Hypercorn serves the connection from then on, and it never comes back. `net.head` judges each head, here
and there.
"""

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from wsgiref.handlers import format_date_time

import attrs
import trio

from ..core.errors import RemoteError
from ..net.head import Head, Refused, Stream, end_of_head, in_origin_form, wants_websocket, without_empty_line
from ..net.proxies import Proxies, Sender
from .client_stream import ClientStream
from .endpoint import Response
from .event_stream import EventStream
from .request_head import PeerGone, RequestHead, Respond

# A body larger than this is sent in its own write, so that it isn't copied.
_LARGE = 65_536
# A head of at most this size is kept until the next request, which is often the same.
_KEPT_BYTES = 2_048
# A client may send this many bytes after a request that waits. They take memory for as long as the request waits.
_AHEAD_BYTES = 4_096


@attrs.define(slots=True, eq=False)
class NoBody:
    """The body of requests that have none, on one connection.

    Attributes:
        ahead: The bytes that the client has sent after the current request.
        has_waited: Whether the current request has waited.
    """

    _stream: ClientStream
    ahead: bytes = b""
    has_waited: bool = False

    async def receive(self) -> None:
        """See `Body`."""

    def waiting(self) -> AbstractContextManager[None]:
        """See `Body`. A client that has sent much after its request must wait for the response before it sends more."""
        if len(self.ahead) > _AHEAD_BYTES:
            raise RemoteError(f"at most {_AHEAD_BYTES} bytes may follow a request that waits", 400)
        self.has_waited = True
        return self._stream.waiting()

    async def wait_gone(self) -> None:
        """See `Body`. A client that closes only its sending half while its request waits has gone, too.

        If the request doesn't wait and the peer leaves, only the write of the response fails. The same holds if the client
        has sent so much after the request that the server reads no more.
        """
        try:
            while self.has_waited and (most := _AHEAD_BYTES - len(self.ahead)) > 0:
                data = await self._stream.receive(is_partly=False, most=most)
                if not data:
                    return
                self.ahead += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        await trio.sleep_forever()


@attrs.frozen(slots=True)
class Unanswered:
    """The bytes that another server must answer.

    Attributes:
        received: The head of a request in origin form, and all bytes after it.
        is_websocket: Whether the request is a WebSocket handshake.
    """

    received: bytes
    is_websocket: bool


@attrs.frozen(slots=True)
class Streamed:
    """A response whose body lasts. It takes the connection over; nothing of it was written.

    Attributes:
        head: The head of the response.
        is_chunked: Whether the body must be sent in chunks.
        has_spoken: Whether the client has sent more after the request.
    """

    stream: EventStream
    head: bytes
    is_chunked: bool
    has_spoken: bool

    @property
    def host(self) -> str:
        """The address that the stream counts for."""
        return self.stream.host

    async def serve(self, stream: Stream) -> bool:
        """Write the response to the connection until it ends. Returns whether it continues without the caller."""
        return await self.stream.serve(stream, self.head, is_chunked=self.is_chunked, has_spoken=self.has_spoken)

    def abandon(self) -> None:
        """Give up the stream."""
        self.stream.abandon()


class Http1:
    """Serves one connection.

    Args:
        head_bytes: The largest size of a request head.
        sender: As in `RequestHead`.
        proxies: As in `RequestHead`.
        works: Called when a request is complete.
        is_draining: Returns whether the connection must end after the current request.

    Attributes:
        has_unread: Whether the client has sent more after the last request.
    """

    def __init__(
        self,
        respond: Respond,
        stream: ClientStream,
        head_bytes: int,
        sender: Sender,
        proxies: Proxies | None,
        works: Callable[[], None],
        is_draining: Callable[[], bool],
    ) -> None:
        self._respond, self._stream, self._head_bytes = respond, stream, head_bytes
        self._sender, self._proxies = sender, proxies
        self._works, self._is_draining = works, is_draining
        self.has_unread = False
        self._is_partly = False
        # Clients repeat their requests. So the last head is kept as it was received and as it was parsed.
        self._last: tuple[bytes, Head] | None = None
        self._request: tuple[Head, RequestHead] | None = None
        self._body = NoBody(stream)

    async def run(self, received: bytes, first: Head | None = None) -> Unanswered | Streamed | None:
        """Serve until the connection ends, or until a request needs another server.

        Args:
            received: The bytes that were received already.
            first: The parsed head that these bytes begin with; None if they weren't parsed.

        Returns:
            The bytes for another server, or the response that takes the connection over. None if the connection has ended.
            Then it isn't closed yet.

        Raises:
            Refused: A request isn't valid, or its head came too late.
            trio.BrokenResourceError, trio.ClosedResourceError: The connection is broken.
        """
        with self._stream.timed():
            try:
                return await self._serve(received, first)
            except PeerGone:
                return None
        # The deadline has passed.
        if self._is_partly:
            raise Refused(408, "the request head took too long")
        return None

    async def _serve(self, received: bytes, head: Head | None) -> Unanswered | Streamed | None:
        while True:
            if head is None:
                received, head = await self._next(received)
            if head is None:
                return None
            self._stream.begin_request()
            if not head.is_plain:
                return Unanswered(received, wants_websocket(head) and head.target.startswith(b"/ws/"))
            received, self._body.ahead = b"", received[head.size :]
            self._works()
            stream = await self._answer(head)
            if stream is not None:
                return stream
            received, self._body.ahead = self._body.ahead, b""
            if head.closes or self._is_draining():
                self.has_unread = bool(received)
                return None
            if received:
                # Other connections get their turn between the requests that a client has sent at once.
                await trio.lowlevel.checkpoint()
            head = None

    async def _next(self, received: bytes) -> tuple[bytes, Head | None]:
        """Wait for the next head. Returns it with all bytes that follow it, or None if the client sends nothing more."""
        head = without_empty_line(received)
        while not end_of_head(head, self._head_bytes):
            self._is_partly = bool(head)
            if self._is_partly:
                self._stream.begin_request()
            data = await self._stream.receive(is_partly=self._is_partly)
            if not data:
                return b"", None
            received += data
            head = without_empty_line(received)
        self._is_partly = False
        if self._last is not None and self._last[0] == head:
            return self._last
        found = in_origin_form(head)
        if found[0] is head and len(head) == found[1].size <= _KEPT_BYTES:
            self._last = found
        return found

    async def _answer(self, head: Head) -> Streamed | None:
        """Answer a request, unless the body of the response lasts."""
        if self._request is None or self._request[0] is not head:
            path, _, query = head.target.decode("ascii").partition("?")
            method = head.method.decode("ascii")
            self._request = head, RequestHead(method, path, query, head.headers, self._sender, self._proxies)
        request = self._request[1]
        self._body.has_waited = False
        response = await self._respond(request, self._body)
        if response.stream is not None:
            is_chunked = head.http_version != b"1.0"
            start = response_head(response, closes=True, is_chunked=is_chunked)
            return Streamed(response.stream, start, is_chunked, has_spoken=bool(self._body.ahead))
        # A client that has waited until the drain must not send its next request here.
        closes = head.closes or (self._body.has_waited and self._is_draining())
        start, body = response_head(response, closes=closes), response.content(request.method)
        if len(body) > _LARGE:
            await self._stream.send_all(start)
            await self._stream.send_all(body)
        else:
            await self._stream.send_all(start + body)
        return None


def response_head(response: Response, *, closes: bool, is_chunked: bool = False) -> bytes:
    """Encode the head of a response for the wire.

    Args:
        closes: Whether the server closes the connection after it.
        is_chunked: Whether the body is sent in chunks.
    """
    close = b"Connection: close\r\n\r\n" if closes else b"\r\n"
    if is_chunked:
        close = b"Transfer-Encoding: chunked\r\n" + close
    return b"HTTP/1.1 %d \r\n%s%s%s" % (response.status, response.lines, _date(int(time.time())), close)


@functools.lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return b"date: %s\r\n" % format_date_time(second).encode("ascii")
