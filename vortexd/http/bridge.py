"""Connects the listener with the application: serves one accepted connection, in its protocol, until it ends.

The listener passes in connections with a complete head, or HTTP/2 connections whose TLS handshake is complete. The
application responds to each request.
"""

import trio

from ..net.head import Refused
from ..net.listener import Accepted
from ..net.outgoing import Outgoing
from ..settings.server import ServerSettings
from .adapter.hypercorn import Http1Server
from .app import Application
from .client_stream import ClientStream
from .http1 import Http1
from .http2 import Http2


class Bridge:
    """Serves HTTP connections with an application.

    Attributes:
        outgoing: The large responses that are being sent, on all connections.
    """

    def __init__(self, app: Application, settings: ServerSettings) -> None:
        self._app = app
        self._hypercorn = Http1Server(app.respond)
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
        stream = ClientStream(accepted.stream, b"", self._settings, self.outgoing, accepted.standing)
        upgrade = None
        self._connections.add(stream)
        if accepted.is_spare or self._hypercorn.is_draining:
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

    async def _serve_http1(self, accepted: Accepted, stream: ClientStream) -> bytes | None:
        """Serve requests without a body, and hand the connection over to Hypercorn at the first other request.

        Raises:
            Refused: A request isn't valid, or its head came too late.
        """
        http1 = Http1(
            self._app.respond,
            stream,
            self._settings.head_bytes,
            accepted.sender,
            accepted.proxies,
            accepted.standing.works,
            lambda: self._hypercorn.is_draining,
        )
        try:
            unanswered = await http1.run(accepted.head, accepted.request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        if unanswered is None:
            stream.finish()
        elif unanswered.is_websocket:
            return unanswered.received
        else:
            stream.give_back(unanswered.received)
            upgrade = await self._hypercorn.serve(stream, accepted.sender, accepted.proxies)
            if upgrade is not None:
                return upgrade
        if http1.has_unread or stream.has_unread:
            await stream.linger()
        return None

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
        if self._hypercorn.is_draining:
            connection.drain()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def drain(self) -> None:
        """End idle connections now. End the other connections after their current requests."""
        await self._hypercorn.drain()
        for each in self._connections:
            each.drain()
