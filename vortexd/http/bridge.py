"""Connects the listener with the application: serves one accepted connection, in its protocol, until it ends.

The listener passes in connections with a complete head, or HTTP/2 connections whose TLS handshake is complete. The
application responds to each request.
"""

from ..net.listener import Accepted
from ..net.outgoing import Outgoing
from ..settings.server import ServerSettings
from .adapter.hypercorn import Http1Server
from .app import Application
from .client_stream import ClientStream
from .http2 import Http2


class Bridge:
    """Serves HTTP connections with an application.

    Attributes:
        outgoing: The large responses that are being sent, on all connections.
    """

    def __init__(self, app: Application, settings: ServerSettings) -> None:
        self._app = app
        self._http1 = Http1Server(app.respond)
        self._connections: set[ClientStream | Http2] = set()
        self.outgoing = Outgoing()
        self._settings = settings

    def replace(self, settings: ServerSettings) -> None:
        """Apply new limits to connections that are accepted from now on."""
        self._settings = settings

    async def serve(self, accepted: Accepted) -> bytes | None:
        """Serve the requests of one connection until it ends, and close the stream.

        Returns:
            The head of a WebSocket handshake and the bytes after it, if the client sent a handshake after other requests.
            A proxy that keeps its connections open may do that. The stream stays open then. Otherwise None.
        """
        if accepted.is_http2:
            await self._serve_http2(accepted)
            return None
        stream = ClientStream(accepted.stream, accepted.head, self._settings, self.outgoing, accepted.standing)
        upgrade = None
        self._connections.add(stream)
        if accepted.is_spare or self._http1.is_draining:
            stream.drain()
        try:
            upgrade = await self._http1.serve(stream, accepted.sender, accepted.proxies)
            if upgrade is None and stream.has_unread:
                await stream.linger()
        finally:
            self._connections.discard(stream)
            if upgrade is None:
                stream.close()
        return upgrade

    async def _serve_http2(self, accepted: Accepted) -> None:
        connection = Http2(
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
        if self._http1.is_draining:
            connection.drain()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def drain(self) -> None:
        """End idle connections now. End the other connections after their current requests."""
        await self._http1.drain()
        for each in self._connections:
            each.drain()
