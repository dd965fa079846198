"""Connects the listener with the application: serves one accepted connection, in its protocol, until it ends.

The listener passes in connections with a complete head, or HTTP/2 connections whose TLS handshake is complete. The
application responds to each request. Hypercorn and h2 are imported for the first connection that needs them.
"""

from typing import TYPE_CHECKING

import structlog
import trio

from ..aio.late_import import LateImport
from ..net.head import Refused
from ..net.listener import Accepted
from ..net.outgoing import Outgoing
from ..settings.server import ServerSettings
from .app import Application
from .client_stream import ClientStream
from .http1 import Http1, Streamed

if TYPE_CHECKING:
    from .adapter.hypercorn import Http1Server
    from .http2 import Http2

log = structlog.get_logger()


class Bridge:
    """Serves HTTP connections with an application.

    Attributes:
        outgoing: The large responses that are being sent, on all connections.
        hypercorn: The server for HTTP/1.1 connections that `http1` hands over.
        http2: The class that serves an HTTP/2 connection.
    """

    def __init__(self, app: Application, settings: ServerSettings) -> None:
        self._app = app
        self.hypercorn = LateImport(self._import_hypercorn)
        self.http2 = LateImport(_import_http2)
        self._is_draining = False
        self._connections: set[ClientStream | Http2] = set()
        self.outgoing = Outgoing()
        self._settings = settings

    def replace(self, settings: ServerSettings) -> None:
        """Apply new limits to connections that are accepted from now on."""
        self._settings = settings

    async def serve(self, accepted: Accepted) -> bytes | Streamed | None:
        """Serve the requests of one connection until it ends, and close the stream.

        Returns:
            The head of a WebSocket handshake and the bytes after it, if the client sent a handshake after other requests.
            A proxy that keeps its connections open may do that. The same for an event stream after a request with a body.
            If a response takes the connection over, the response. The stream stays open then. Otherwise None.
        """
        if accepted.is_http2:
            await self._serve_http2(accepted)
            return None
        stream = ClientStream(accepted.stream, b"", self._settings, self.outgoing, accepted.standing)
        upgrade: bytes | Streamed | None = None
        self._connections.add(stream)
        if accepted.is_spare or self._is_draining:
            stream.drain()
        is_open = False
        try:
            upgrade = await self._serve_http1(accepted, stream)
            is_open = upgrade is not None
        except Refused:
            # The listener sends the error.
            is_open = True
            raise
        finally:
            self._connections.discard(stream)
            if not is_open:
                stream.close()
        return upgrade

    async def _serve_http1(self, accepted: Accepted, stream: ClientStream) -> bytes | Streamed | None:
        """Serve requests without a body, and hand the connection over to Hypercorn at the first other request.

        Raises:
            Refused: A request isn't valid, its head came too late, or Hypercorn can't be loaded now.
        """
        http1 = Http1(
            self._app.respond,
            stream,
            self._settings.head_bytes,
            accepted.sender,
            accepted.proxies,
            accepted.standing.works,
            lambda: self._is_draining,
        )
        try:
            unanswered = await http1.run(accepted.head, accepted.request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        if isinstance(unanswered, Streamed):
            return unanswered
        if unanswered is None:
            stream.finish()
        elif unanswered.is_websocket:
            return unanswered.received
        else:
            stream.give_back(unanswered.received)
            server = await self._server()
            upgrade = await server.serve(stream, accepted.sender, accepted.proxies)
            if upgrade is not None:
                return upgrade
        if http1.has_unread or stream.has_unread:
            await stream.linger()
        return None

    async def _server(self) -> "Http1Server":
        """Return Hypercorn's server.

        Raises:
            Refused: It can't be loaded now (503).
        """
        try:
            server = await self.hypercorn.get()
        except (ImportError, OSError) as error:
            # The process has no descriptor left, or the installation is being replaced.
            log.warning("protocol not loaded", protocol="HTTP/1.1 by Hypercorn", reason=str(error))
            raise Refused(503, "bodies can't be received now", "Retry-After: 1") from error
        if self._is_draining and not server.is_draining:
            # The drain began before the import ended.
            await server.drain()
        return server

    def _import_hypercorn(self) -> "Http1Server":
        from .adapter.hypercorn import Http1Server

        return Http1Server(self._app.respond)

    async def _serve_http2(self, accepted: Accepted) -> None:
        try:
            protocol = await self.http2.get()
        except (ImportError, OSError) as error:
            log.warning("protocol not loaded", protocol="HTTP/2", reason=str(error))
            await trio.aclose_forcefully(accepted.stream)
            return
        connection = protocol(
            self._app.respond,
            accepted.stream,
            self._settings,
            accepted.sender,
            accepted.proxies,
            self.outgoing,
            accepted.only,
            accepted.standing,
        )
        self._connections.add(connection)
        if self._is_draining:
            connection.drain()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def drain(self) -> None:
        """End idle connections now. End the other connections after their current requests."""
        self._is_draining = True
        if self.hypercorn.loaded is not None:
            await self.hypercorn.loaded.drain()
        for each in self._connections:
            each.drain()


def _import_http2() -> "type[Http2]":
    from .http2 import Http2

    return Http2
