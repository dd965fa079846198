"""Serves HTTP/1.1 with Hypercorn's protocol on vortexd's streams, from the first request on a connection that `http1` leaves to it.

It turns bytes into requests, and responses into bytes.
"""

import logging
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import attrs
import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, H11SendableEvent

from ...net.head import Head, to_bytes, wants_websocket
from ...net.proxies import Proxies, Sender
from ..request_head import PeerGone, RequestHead, Respond
from .h11 import Http1Parser

_Message = Mapping[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
_Asgi = Callable[[_Message, _Receive, _Send], Awaitable[None]]

# The paths of event streams and of requests that wait.
_LASTING = b"/api/v1/events/", b"/api/v1/watch/"
_OF_BODIES = (b"content-length", b"transfer-encoding")
_UPGRADE_LINES = re.compile(rb"^(?:connection|expect|http2-settings|upgrade):[^\n]*\n", re.IGNORECASE | re.MULTILINE)
# A body larger than this is sent in its own write, so that it isn't copied.
_LARGE = 65_536
# A connection may send any number of requests. Hypercorn would close it after 1,000 by default. That has no advantage here,
# and each busy proxy would have to open new connections again and again. A connection ends if it is idle for
# `server.keep_alive_timeout`, if the client closes it, or in a drain.
_REQUESTS_PER_CONNECTION = sys.maxsize


class Transport(Protocol):
    """The stream of an HTTP/1.1 connection. It has its own deadline for each wait."""

    @property
    def parser(self) -> Http1Parser:
        """The parser of the received bytes."""
        ...

    async def receive_some(self) -> bytes:
        """Receive bytes. Returns b"" if the client sends nothing more."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def finish(self) -> None:
        """Close the sending half, and stop receiving and sending. Doesn't wait."""
        ...


class Http1Server:
    """Serves HTTP/1.1 with Hypercorn on vortexd's streams.

    vortexd doesn't use Hypercorn's own TCP server. Its sends have no deadline, and its timer for idle connections goes on
    after the peer has left.

    Relies on: `WorkerContext.terminated` makes Hypercorn close a connection after the current request. `TaskGroup` and
    `ASGIWrapper` run the application.
    """

    def __init__(self, respond: Respond) -> None:
        self._app = ASGIWrapper(_asgi(respond))
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.include_server_header = False
        self._config.accesslog = None
        self._config.keep_alive_max_requests = _REQUESTS_PER_CONNECTION
        # The listener and the application log everything that Hypercorn would log.
        silent = logging.getLogger("vortexd.hypercorn")
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._config.errorlog = silent

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._context.terminated.is_set()

    async def drain(self) -> None:
        """Close each connection after its current request."""
        await self._context.terminated.set()

    async def serve(self, transport: Transport, sender: Sender, proxies: Proxies | None) -> bytes | None:
        """Serve the requests of one connection until it ends.

        Args:
            sender: As in `RequestHead`.
            proxies: As in `RequestHead`.

        Returns:
            If a WebSocket handshake follows other requests, or a request for which `may_last` holds, its head and the bytes
            after it. The transport stays open then. Otherwise None.
        """
        sending, tasks, receiving = trio.Lock(), TaskGroup(), trio.CancelScope()

        async def send(event: Event) -> None:
            if isinstance(event, RawData):
                async with sending:
                    try:
                        await transport.send_all(event.data)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        await protocol.handle(Closed())
                        # The peer has gone. Hypercorn would still serve the requests that it has received.
                        receiving.cancel()
            elif isinstance(event, Closed):
                transport.finish()
                await protocol.handle(Closed())
                # After a pipelined request, Hypercorn's parser would wait for ever.
                receiving.cancel()

        state = ConnectionState({"sender": sender, "proxies": proxies})
        protocol = _Http1Protocol(self._app, self._config, self._context, tasks, state, False, None, None, send)
        protocol.connection = transport.parser
        try:
            async with tasks:
                with receiving:
                    await _receive(transport, protocol)
                await protocol.handle(Closed())
        finally:
            if protocol.upgrade is None:
                transport.finish()
        return protocol.upgrade


async def _receive(transport: Transport, protocol: "_Http1Protocol") -> None:
    """Pass on all received bytes until the connection ends or becomes a WebSocket."""
    data: bytes | None = None
    while data != b"" and protocol.upgrade is None:
        try:
            data = await transport.receive_some()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            break
        await protocol.handle(RawData(data))


class _Http1Protocol(H11Protocol):
    """HTTP/1.1 without an upgrade to HTTP/2. RFC 9110 section 7.8 allows a server to ignore an Upgrade.

    Relies on: Hypercorn calls the three methods below for each request and each part of a response. It stops parsing while
    `stream` is None.

    Attributes:
        upgrade: The result of `Http1Server.serve`.
    """

    connection: Http1Parser
    upgrade: bytes | None = None
    _head = b""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Send the head of a response and its body in one write.

        A large body is sent in its own write, without a copy. It may be in the cache, so that all slow connections share its
        bytes.
        """
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            # Do as Hypercorn does: if the peer has violated the protocol, send nothing more.
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
        """Never upgrade to HTTP/2 without TLS. Its requests would have no deadlines, because those belong to this connection."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Begin a request as Hypercorn does, with two differences.

        The method keeps its case (RFC 9110 section 9.1), and the header Upgrade is left out.
        """
        head = self.connection.head
        # All requests before such a request are answered, because h11 yields no request sooner.
        if wants_websocket(head) and head.target.startswith(b"/ws/"):
            self.upgrade = to_bytes(head) + self.connection.trailing_data[0]
            return
        if may_last(head):
            self.upgrade = to_bytes(without_upgrade(head)) + self.connection.trailing_data[0]
            return
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
                headers=[(name, value) for name, value in head.headers if name != b"upgrade"],
                http_version=head.http_version.decode("ascii"),
                method=head.method.decode("ascii"),
                raw_path=head.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()


def may_last(head: Head) -> bool:
    """Return whether `http1` must serve a request, because the request may wait, or may be for an event stream."""
    has_body = any(name in _OF_BODIES and value != b"0" for name, value in head.headers)
    return head.method == b"GET" and any(each in head.target for each in _LASTING) and not has_body


def without_upgrade(head: Head) -> Head:
    """Return a request without the headers for which `http1` leaves a request to Hypercorn. A server may ignore them."""
    fields = _UPGRADE_LINES.sub(b"", head.fields) + (b"Connection: close\r\n" if head.closes else b"")
    return attrs.evolve(head, fields=fields)


class _AsgiBody:
    """A request body that is received as ASGI messages."""

    def __init__(self, receive: _Receive) -> None:
        self._receive = receive
        self._is_whole = False

    async def receive(self) -> bytes | None:
        """See `Body`."""
        if self._is_whole:
            return None
        message = await self._receive()
        if message["type"] != "http.request":
            raise PeerGone
        self._is_whole = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def wait_gone(self) -> None:
        """See `Body`."""
        while (await self._receive())["type"] == "http.request":
            pass

    def waiting(self) -> AbstractContextManager[None]:
        """See `Body`. Only `http1` serves requests that may wait; see `may_last`."""
        return nullcontext()


def _asgi(respond: Respond) -> _Asgi:
    """Make the ASGI application that Hypercorn runs. It translates requests to `RequestHead`, and responses back."""

    async def application(scope: _Message, receive: _Receive, send: _Send) -> None:
        state = scope["state"]
        head = RequestHead(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            scope["headers"],
            state["sender"],
            state["proxies"],
        )
        try:
            response = await respond(head, _AsgiBody(receive))
        except PeerGone:
            return
        await send({"type": "http.response.start", "status": response.status, "headers": response.head()})
        await send({"type": "http.response.body", "body": response.body})

    return application
