"""One HTTP/1.1 connection to a member of etcd or to another node: h11 over a stream of Trio.

Requests leave one after the other; the parts of each answer arrive. The caller sets the deadlines.
"""

import os
import select
import socket
import ssl
from urllib.parse import urlsplit

import attrs
import h11
import trio

# Bytes that are read at a time. An event of a watch seldom has more.
_READ = 65_536


class NotSent(Exception):
    """Not a byte of the request was sent. The text says why."""


class Lost(Exception):
    """The connection has ended after a part of the request was sent. The text says why."""


@attrs.frozen
class Endpoint:
    """The address of a member."""

    host: str
    port: int
    is_secure: bool

    @classmethod
    def parse(cls, text: str, port: int = 2379) -> "Endpoint":
        """Parse http://host:port or https://host:port.

        Args:
            port: The port if the text names none.

        Raises:
            ValueError: It isn't such an address.
        """
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError
        # A header takes only ASCII. And there are names that can't be looked up, such as a..b. This raises ValueError.
        parts.hostname.encode("ascii").decode().encode("idna")
        return cls(parts.hostname, parts.port or port, parts.scheme == "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_secure else 'http'}://{host}:{self.port}"


class Connection:
    """An open connection. Make one with `connect`.

    Args:
        stream: The open stream.
        host: The value of the header Host.
    """

    def __init__(self, stream: trio.abc.Stream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def connect(cls, endpoint: Endpoint, tls: ssl.SSLContext | None) -> "Connection":
        """Open a connection.

        Raises:
            NotSent: It can't be opened.
        """
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        except OSError as error:
            # Trio's own text only says that all addresses failed.
            raise NotSent(_reason(error.__cause__ or error)) from None
        if endpoint.is_secure:
            secure = trio.SSLStream(
                stream, tls or ssl.create_default_context(), server_hostname=endpoint.host, https_compatible=True
            )
            try:
                await secure.do_handshake()
            except (trio.BrokenResourceError, ssl.CertificateError) as error:
                await trio.aclose_forcefully(stream)
                raise NotSent(f"the TLS handshake failed: {_reason(error.__cause__ or error)}") from None
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            stream = secure
        host = str(endpoint).partition("://")[2]
        return cls(stream, host)

    async def post(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Send a request, and return the status of the answer. Read the whole answer before the next request.

        Raises:
            Lost: The connection has ended, or the peer doesn't speak HTTP.
        """
        lines = {"Host": self._host, "Content-Type": "application/json", "Content-Length": str(len(body))} | headers
        head = self._http.send(h11.Request(method="POST", target=path, headers=list(lines.items())))
        rest = self._http.send(h11.Data(data=body)) or b""
        self._http.send(h11.EndOfMessage())
        try:
            await self._stream.send_all((head or b"") + rest)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Lost(_reason(error.__cause__ or error)) from None
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return int(event.status_code)
            if not isinstance(event, h11.InformationalResponse):
                raise Lost("the peer has closed the connection")

    async def receive(self) -> bytes | None:
        """Return the next bytes of the answer, or None at its end.

        Raises:
            Lost: The connection has ended before.
        """
        event = await self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return None
        raise Lost("the peer has closed the connection")

    @property
    def is_reusable(self) -> bool:
        """Whether the answer was read whole, and the peer keeps the connection open for another request."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def is_quiet(self) -> bool:
        """Whether nothing waits to be read. The peer of an idle connection sends nothing, unless it closes it."""
        stream = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        if not isinstance(stream, trio.SocketStream):
            return True
        # Unlike `select.select`, this takes descriptors above 1023, which a server with many clients has.
        poll = select.poll()
        poll.register(stream.socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def begin_anew(self) -> None:
        """Prepare the next request. The connection must be reusable."""
        self._http.start_next_cycle()

    async def aclose(self) -> None:
        """Close the connection at once."""
        await trio.aclose_forcefully(self._stream)

    async def _event(self) -> object:
        has_ended = False
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = bytes(await self._stream.receive_some(_READ))
                has_ended = not data
                self._http.receive_data(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Lost(_reason(error.__cause__ or error)) from None
        except h11.RemoteProtocolError as error:
            if has_ended:
                raise Lost("the connection has ended before the answer was complete") from None
            raise Lost(f"the peer doesn't speak HTTP/1.1: {error}") from None
        return event


def _reason(error: BaseException) -> str:
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) and error.exceptions else error
    if isinstance(inner, OSError) and not isinstance(inner, ssl.SSLError | socket.gaierror) and inner.errno:
        # Trio's text has the address as a tuple. The caller names the endpoint.
        return os.strerror(inner.errno)
    text = getattr(inner, "verify_message", "") or getattr(inner, "strerror", None) or getattr(inner, "reason", None)
    return str(text or inner or type(inner).__name__)
