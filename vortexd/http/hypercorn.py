"""The bridge to Hypercorn: one accepted stream and its first bytes become requests to the ASGI application.

The only module that touches Hypercorn's internals, written against 0.18 and held by a contract test. Hypercorn is given a stream of ours,
for it shields its sends without a deadline: a client that stops reading would hold the process up for ever.
"""

import logging
import math
import socket
import sys
from collections.abc import Callable
from typing import Any

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import H11SendableEvent

from ..net.head import EMPTY_LINE, Http1, Refused, Stream, has_two_lengths, origin_form, to_bytes, wants_websocket
from ..net.listener import Accepted
from ..net.opening import socket_of
from ..net.outgoing import Outgoing
from ..net.places import Standing
from ..settings.sections import ServerSettings
from .http2 import Http2

# For a peer that is still sending when it is refused.
_LINGER = 1.0
_RECEIVE_BYTES = 65_536
# A body that isn't copied.
_LARGE = 65_536
# Between two parts of one answer.
_HURRIED = 0.5
# How many requests one connection may send: any number. Hypercorn's default closes it after 1,000, which gains nothing here and makes each busy proxy
# open its connections again and again. A connection ends when it is idle for `server.keep_alive_timeout`, when the client closes it, or in a drain.
_REQUESTS_PER_CONNECTION = sys.maxsize


class Bridge:
    """Serves HTTP connections with an ASGI application.

    Args:
        app: The ASGI application; its lifespan is not run.
    """

    def __init__(self, app: Any, settings: ServerSettings) -> None:
        self._asgi = app
        self._app = ASGIWrapper(app)
        self._context = WorkerContext(None)
        self._streams: set[_Stream | Http2] = set()
        self.outgoing = Outgoing()
        self._config = Config()
        self.replace(settings)
        self._config.include_server_header = False
        self._config.accesslog = None
        self._config.keep_alive_max_requests = _REQUESTS_PER_CONNECTION
        # What Hypercorn has to say is said by the listener and the application already.
        silent = logging.getLogger("vortexd.hypercorn")
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._config.errorlog = silent

    def replace(self, settings: ServerSettings) -> None:
        """Put other limits in force, for connections to come."""
        self._settings = settings
        self._config.h11_max_incomplete_size = settings.head_bytes
        self._config.keep_alive_timeout = settings.keep_alive_timeout

    async def serve(self, accepted: Accepted) -> bytes | None:
        """Serve the requests of one connection until it ends, and close the stream.

        Returns:
            The head of a WebSocket handshake, and what came behind it, where one came behind other requests, as proxies that keep their
            connections may send it. The stream is open then.
        """
        state = {"sender": accepted.sender, "proxies": accepted.proxies}
        if accepted.is_http2:
            await self._serve_http2(
                Http2(
                    self._asgi,
                    accepted.stream,
                    self._settings,
                    state,
                    self.outgoing,
                    accepted.only,
                    accepted.standing,
                )
            )
            return None
        stream = _Stream(accepted.stream, accepted.head, self._settings, self.outgoing, accepted.standing)
        self._streams.add(stream)
        if accepted.is_spare or self._context.terminated.is_set():
            stream.shut_down()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_close_when_cancelled, stream)
                server = _Server(self._app, self._config, self._context, state, stream)  # type: ignore[arg-type]  # not only its own streams
                try:
                    await server
                except* _Upgraded:
                    pass
                if stream.upgrade is None and server.has_unread:
                    await stream.linger()
                nursery.cancel_scope.cancel()
        finally:
            self._streams.discard(stream)
        return stream.upgrade

    async def _serve_http2(self, connection: Http2) -> None:
        self._streams.add(connection)
        if self._context.terminated.is_set():
            connection.shut_down()
        try:
            await connection.run()
        finally:
            self._streams.discard(connection)

    async def drain(self) -> None:
        """Let idle connections end now, and the others after the request they are at."""
        await self._context.terminated.set()
        for each in self._streams:
            each.shut_down()


class _Upgraded(Exception):
    """The connection has become a WebSocket's: Hypercorn has no way to let go of one but an error."""


class _Http11(H11Protocol):
    """HTTP/1.1 that stays HTTP/1.1: RFC 9110 section 7.8 lets a server ignore an Upgrade.

    WebSockets are ours: a handshake that comes first is told apart before Hypercorn sees the connection, and one that comes later is given
    back. HTTP/2 without TLS would escape the deadlines of a request, which here belong to the connection.

    The head of an answer goes out with its body, in one system call; before a large one, which may be in the cache and is held by as many
    connections as are slow to read it, it goes alone: one body is one body in memory.
    """

    _head = b""
    hand_over: Callable[[bytes], None]

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            # As Hypercorn has it: whoever breaks the protocol first has nothing to expect.
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data
        elif self._head or data:
            head, self._head = self._head, b""
            if len(data) > _LARGE:
                await self.send(RawData(data=head))
                head = b""
            await self.send(RawData(data=head + data))

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        try:
            if has_two_lengths(request):
                raise Refused(400, "two lengths")
            request = origin_form(request)
        except Refused as refused:
            await self._send_error_response(refused.status)
            await self.send(Closed())
            return
        if wants_websocket(request) and request.target.startswith(b"/ws/"):
            # What was asked before is answered: h11 gives no request sooner.
            self.hand_over(to_bytes(request) + self.connection.trailing_data[0])
            raise _Upgraded
        # As Hypercorn does it, but for two things: methods are as they were sent (RFC 9110 section 9.1), and nothing is upgraded.
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()


class _Server(TCPServer):
    """Hypercorn's server of one connection, given a protocol of ours as soon as it has made its own."""

    stream: "_Stream"  # type: ignore[assignment]  # in place of its own

    # None as long as there is no protocol: a peer may be gone before.
    _wrapper: ProtocolWrapper | None = None

    @property
    def protocol(self) -> ProtocolWrapper:
        assert self._wrapper is not None
        return self._wrapper

    @protocol.setter
    def protocol(self, wrapper: ProtocolWrapper) -> None:
        wrapper.protocol = protocol = _Http11(
            wrapper.app,
            wrapper.config,
            wrapper.context,
            wrapper.task_group,
            wrapper.state,
            wrapper.ssl,
            wrapper.client,
            wrapper.server,
            wrapper.send,
        )
        protocol.connection = self.stream.protocol = Http1(
            self.config.h11_max_incomplete_size, self.stream.standing.works
        )
        protocol.hand_over = self.stream.hand_over
        self._wrapper = wrapper

    async def _idle_timeout(self) -> None:
        """Hypercorn's clock of idle connections: ours is in the stream. This one would cut off who came when the drain had begun."""

    @property
    def has_unread(self) -> bool:
        """Whether the peer was still sending its last request when that was answered."""
        connection = getattr(self._wrapper.protocol, "connection", None) if self._wrapper else None
        return getattr(connection, "their_state", None) in (h11.SEND_BODY, h11.ERROR)


async def _close_when_cancelled(stream: "_Stream") -> None:
    """Close the socket, unless it is a WebSocket's now, under Hypercorn's shielded sends, which no cancellation of ours would end before the write deadline."""
    try:
        await trio.sleep_forever()
    finally:
        if stream.upgrade is None:
            stream.socket.close()


class _Stream(trio.abc.HalfCloseableStream):
    """A socket stream that first replays what was read, and bounds every wait for the peer.

    How long a connection may be idle is counted here, too: Hypercorn's own clock is started by the task of a request and may end with it, and
    outlives a peer that has gone.
    """

    # What has been made of the bytes that were received; None as long as Hypercorn has taken none.
    protocol: Http1 | None = None

    def __init__(
        self, stream: Stream, head: bytes, settings: ServerSettings, outgoing: Outgoing, standing: Standing
    ) -> None:
        self.standing = standing
        self._stream = stream
        self._head = head
        self._settings = settings
        self._outgoing = outgoing
        self._keep_alive = settings.keep_alive_timeout
        # An answer was written, and nothing has come since.
        self._is_idle = False
        # Until when the request that has begun must be whole, or another one begin.
        self._deadline = trio.current_time() + settings.request_timeout
        self._receiving = trio.CancelScope()
        self._is_closed = False
        # See `Bridge.serve`.
        self.upgrade: bytes | None = None

    @property
    def socket(self) -> trio.socket.SocketType:
        """Hypercorn asks it for the names of both ends."""
        return socket_of(self._stream)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive; the end of the stream where a request takes too long to arrive, or doesn't come."""
        if self._head:
            head, self._head = self._head, b""
            return head
        self._receiving = trio.CancelScope(deadline=self._deadline)
        with self._receiving:
            self._check_open()
            if self.protocol is not None and self.protocol.is_partly:
                await self.standing.reads()
            data = bytes(await self._stream.receive_some(max_bytes))
            # An empty line behind a request begins no other one.
            if data and self._is_idle and data != EMPTY_LINE:
                self._is_idle = False
                self._wait_until(trio.current_time() + self._settings.request_timeout)
            return data
        self._check_open()
        return b""

    def hand_over(self, head: bytes) -> None:
        """Leave the socket as it is when Hypercorn closes it: it is a WebSocket's, which begins with these bytes."""
        self.upgrade = head

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError

    def _wait_until(self, deadline: float) -> None:
        self._deadline = self._receiving.deadline = deadline

    def shut_down(self) -> None:
        """Be idle no longer than it takes to write an answer that has begun."""
        self._keep_alive = min(self._keep_alive, _HURRIED)
        if self._is_idle:
            self._wait_until(trio.current_time() + self._keep_alive)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, each part under the write deadline, and all of it within what `Outgoing` bounds; a peer that doesn't read breaks the connection."""
        self._check_open()
        self.standing.works()
        self._wait_until(math.inf)
        with trio.CancelScope() as whole:
            if len(data) > _LARGE:
                with self._outgoing.holding(bytes(data), whole.cancel):
                    await self._send_parts(memoryview(data))
            else:
                await self._send_parts(memoryview(data))
        if whole.cancelled_caught:
            await self._give_up()
        self._is_idle = True
        self.standing.idles()
        self._wait_until(trio.current_time() + self._keep_alive)

    async def _send_parts(self, view: memoryview) -> None:
        for start in range(0, len(view), 65_536):
            with trio.move_on_after(self._settings.write_timeout) as scope:
                await self._stream.send_all(view[start : start + 65_536])
            if scope.cancelled_caught:
                await self._give_up()

    async def _give_up(self) -> None:
        await trio.aclose_forcefully(self._stream)
        raise trio.BrokenResourceError("the peer doesn't read")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something may be sent."""
        await self._stream.wait_send_all_might_not_block()

    # Closing has no checkpoint: quart-trio cancels the task of a request as soon as it hears that its stream is closed, and that task
    # is the one in which Hypercorn is closing the connection. The bridge closes the socket itself once Hypercorn has ended.

    async def send_eof(self) -> None:
        """Say that nothing more comes."""
        try:
            # Behind TLS there are no halves.
            if self.upgrade is None and isinstance(self._stream, trio.SocketStream):
                self._stream.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def aclose(self) -> None:
        """Have nothing sent or received any more."""
        self._is_closed = True
        self._receiving.cancel()

    async def linger(self) -> None:
        """Let a peer that is still sending read the answer: to close with unread bytes would reset the connection, and the answer with it."""
        with trio.move_on_after(_LINGER):
            try:
                while await self._stream.receive_some(_RECEIVE_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
