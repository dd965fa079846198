"""Offers WebSocket handshakes that have arrived completely to the server, which may serve them without a task.

The input is arrivals and the bytes that are still in the kernel's buffer. A handshake is offered if nothing before it must
be waited for: no TLS, and the whole PROXY header. If a trusted proxy names the client, the connection counts for the client
first. If the server doesn't take the handshake, nothing has changed, and a task reads the same bytes.
"""

import socket
from collections.abc import Callable

import structlog

from ..core.errors import RemoteError
from ..settings.server import ServerSettings
from .arrivals import Arrival, peek
from .connection_id import make_connection_id
from .head import Head, Refused, end_of_head, parse_head
from .places import Places
from .proxies import Proxies, Sender
from .proxy_protocol import InvalidHeader, ProxyHeader, parse_proxy_header
from .tls import Tls

log = structlog.get_logger()

# Serves a WebSocket handshake without a task; see `WebSocketServer.serve_now`.
ServeNow = Callable[[socket.socket, bytes, str, Sender, Head | None, int], bool]


class Offers:
    """Offers handshakes; see the module.

    Attributes:
        serve_now: Takes the handshakes, or None.
    """

    def __init__(self, places: Places, tls: Tls) -> None:
        self._places, self._tls = places, tls
        self.serve_now: ServeNow | None = None
        self.replace(ServerSettings(), Proxies())

    def replace(self, settings: ServerSettings, proxies: Proxies) -> None:
        """Put other limits and proxies in force for new connections."""
        self._head_bytes, self._proxies = settings.head_bytes, proxies

    def offer(self, arrival: Arrival) -> bool:
        """Offer the handshake of a connection whose request is complete. Returns whether it was served."""
        is_plain = self._tls.context is None or not arrival.is_tcp
        if self.serve_now is None or not is_plain or arrival.is_beyond or arrival.is_late:
            return False
        if self._places.has_too_many(arrival):
            return False
        data = arrival.request or peek(arrival.socket)
        try:
            if arrival.has_proxy_header or arrival.proxies is not None:
                return self._offer_proxied(arrival, data)
            return self._is_handshake(data) and self._offer_plain(arrival, data, 0)
        except (Refused, RemoteError, InvalidHeader):
            # The task answers.
            return False

    def _is_handshake(self, data: bytes) -> bool:
        """Return whether the data is a complete head that may be a WebSocket handshake, and nothing else.

        Raises:
            Refused: The data can't become a head, or the head is too large.
        """
        return data.startswith(b"GET /ws/") and end_of_head(data, self._head_bytes) == len(data)

    def _offer_proxied(self, arrival: Arrival, data: bytes) -> bool:
        """Offer a handshake that came from a proxy. If it isn't served, the connection counts for its peer again."""
        peer = arrival.host, arrival.port, arrival.proxies
        is_served = False
        try:
            before = self.apply_header(arrival, parse_proxy_header(data)) if arrival.has_proxy_header else 0
            data = data[before:]
            if not self._is_handshake(data):
                return False
            if arrival.proxies is None:
                is_served = self._offer_plain(arrival, data, before)
            else:
                head = parse_head(data)
                self._places.has_spoken(arrival)
                sender = arrival.proxies.sender(list(head.headers), arrival.host)
                self.count_for(arrival, sender.host)
                is_served = self._offer(arrival, data, sender, head, before)
        finally:
            if not is_served:
                self._places.rename(arrival, *peer)
        return is_served

    def _offer_plain(self, arrival: Arrival, data: bytes, before: int) -> bool:
        """Offer a handshake whose headers don't name the client."""
        is_served = self._offer(arrival, data, Sender(arrival.host), None, before)
        if is_served:
            self._places.has_spoken(arrival)
        return is_served

    def _offer(self, arrival: Arrival, data: bytes, sender: Sender, head: Head | None, before: int) -> bool:
        """Pass a handshake to the server. Returns whether the connection was served, or has failed."""
        assert self.serve_now is not None
        connection_id = make_connection_id()
        try:
            return self.serve_now(arrival.socket, data, connection_id, sender, head, before)
        except Exception:
            # Only this connection fails.
            log.exception("connection failed", connection=connection_id, peer=str(arrival))
            arrival.close()
            self._places.end(arrival)
            return True

    # The client that a proxy names. Tasks use these methods, too.

    def count_for(self, arrival: Arrival, host: str, port: int | None = None) -> None:
        """Count a connection for another address instead of its peer's.

        Raises:
            Refused: The address has too many connections.
        """
        self._places.rename(arrival, host, port, self._proxies if self._proxies.has(host) else None)
        self.check_share(arrival)

    def apply_header(self, arrival: Arrival, header: ProxyHeader | None) -> int:
        """Count a connection for the client that its PROXY header names. Returns the size of the header in bytes.

        Raises:
            InvalidHeader: The header isn't complete, or its sender isn't a trusted proxy.
            Refused: The client's address has too many connections.
        """
        if header is None or arrival.proxies is None:
            raise InvalidHeader
        if header.source is not None:
            self.count_for(arrival, *header.source)
        else:
            # The proxy doesn't name the client. So don't trust any headers that name one.
            arrival.proxies = None
        return header.length

    def check_share(self, arrival: Arrival) -> None:
        """Refuse a connection if its address has too many."""
        if self._places.has_too_many(arrival):
            raise Refused(429, "too many connections from this address", "Retry-After: 1")
