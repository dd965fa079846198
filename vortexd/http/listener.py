"""One port, two protocols: accepts, reads the request head within limits, and routes on it.

In come sockets; out go WebSocket handshakes to one handler and everything else to the other, each with the bytes already read. No
peer that hasn't said what it wants holds more than a head's size for more than a head's time.
"""

import errno
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import uuid4

import attrs
import h11
import structlog
import trio
from structlog.contextvars import bind_contextvars, bound_contextvars

from .. import binding
from ..client_certificate import ClientCertificate, read_certificate
from ..errors import RemoteError
from ..proxies import Proxies, Sender
from ..settings import Address, ServerSettings
from ..systemd import Inherited
from ..tls import Tls
from .head import Refused, Stream, in_origin_form, parse_head, read_head, refuse, wants_websocket
from .proxy_protocol import MAX_BYTES, InvalidHeader, ProxyHeader, parse_proxy_header

log = structlog.get_logger()

# Descriptors that connections may not use up: files, git, the log. At most a quarter of what there are, where these are few.
_RESERVE = 256
# Connections beyond the limit that may still ask how it goes: who is full has to be able to say so.
_SPARE = 32
_ALWAYS = frozenset({"/health", "/ready", "/metrics", "/status"})
# How long the head of one who comes when it is full may take.
_FULL_TIMEOUT = 1.0
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """The socket below a stream."""
    return stream.transport_stream.socket if isinstance(stream, trio.SSLStream) else stream.socket


@attrs.frozen(slots=True, eq=False)
class Accepted:
    """A connection whose request head has been read and is sound.

    Attributes:
        head: The head, and whatever came behind it.
        target: The request target.
        sender: Who sent it: the peer, or, of a WebSocket handshake, whom a trusted proxy has named.
        connection_id: A UUID.
        proxies: Where the peer of an HTTP connection is one of them: each request says who has sent it.
        is_spare: Whether it is one beyond the limit, which came to ask how it goes, and shall leave the place to others.
        is_websocket: It asks for one.
        is_http2: TLS has agreed on HTTP/2, and nothing has been read.
        only: Of such a connection, paths that are answered where there are too many connections; None for all.
    """

    stream: Stream
    head: bytes
    target: str
    sender: Sender
    connection_id: str
    proxies: Proxies | None = None
    is_spare: bool = False
    is_websocket: bool = False
    is_http2: bool = False
    only: frozenset[str] | None = None


# Returns the head of a WebSocket handshake that came behind the requests, and leaves the stream open; else None.
Handler = Callable[[Accepted], Awaitable[bytes | None]]
# Returns whether the connection goes on without its task; then `Listener.leave` is called when it ends.
WebSocketHandler = Callable[[Accepted], Awaitable[bool]]


class Listener:
    """Accepts connections on all addresses of the settings.

    Args:
        inherited: Listening sockets that were handed over by systemd. Those of socket units take the place of the addresses; stored
            ones are taken up where their address is bound, and closed otherwise.
        tls: The certificate in force, for TCP.
    """

    def __init__(self, settings: ServerSettings, inherited: Inherited | None = None, tls: Tls | None = None) -> None:
        self._tls = tls or Tls()
        self._inherited = inherited or Inherited()
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        reserve = min(_RESERVE, descriptors // 4)
        self._limit = descriptors - reserve
        self._spare = min(_SPARE, reserve // 4)
        self.replace(settings)
        self._count = 0
        self._reading = 0
        self._by_address: Counter[str] = Counter()
        self._bound: binding.Bound | None = None
        self._accepting = trio.CancelScope()

    def replace(self, settings: ServerSettings) -> None:
        """Put other limits in force, for connections to come. The addresses stay."""
        self._settings = settings
        self._proxies = Proxies(settings.trusted_proxies)
        self._max_connections = min(settings.connections or self._limit, self._limit)

    async def bind(self) -> list[str]:
        """Bind and listen on every address, and return them as URLs.

        Raises:
            StartError: One can't be bound; none is then.
        """
        self._bound = await binding.bind(self._settings.bind, self._inherited)
        return self._bound.urls("http" if self._tls.context is None else "https")

    def storable(self) -> list[socket.socket]:
        """See `binding.Bound.storable`."""
        return self._bound.storable() if self._bound is not None else []

    async def serve(
        self,
        nursery: trio.Nursery,
        websocket: WebSocketHandler,
        http: Handler,
        first: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        """Accept until `stop_accepting`; each connection is a task in the given nursery, which outlives this call.

        Args:
            first: Awaited before the first one is accepted; who comes meanwhile waits in the queue of the socket.
        """
        assert self._bound is not None, "bind comes first"
        bound = self._bound
        try:
            with self._accepting:
                await first()
                async with trio.open_nursery() as accepting:
                    for each in bound.share():
                        accepting.start_soon(self._accept, each, nursery, websocket, http)
        finally:
            bound.close()

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on."""
        self._accepting.cancel()

    async def _accept(
        self, bound: trio.socket.SocketType, nursery: trio.Nursery, websocket: WebSocketHandler, http: Handler
    ) -> None:
        is_told = False
        while True:
            try:
                accepted, _ = await bound.accept()
            except OSError as error:
                # A peer that has gone already is no trouble; without descriptors, only time helps.
                if error.errno in _OUT_OF_DESCRIPTORS:
                    if not is_told:
                        log.warning("connections not accepted", reason=error.strerror)
                    is_told = True
                    await trio.sleep(0.1)
                continue
            is_told = False
            nursery.start_soon(self._serve, accepted, websocket, http, name="connection")

    def leave(self, host: str) -> None:
        """Count a connection out that has gone on without its task."""
        self._count -= 1
        self._by_address[host] -= 1
        if not self._by_address[host]:
            del self._by_address[host]

    def _enter(self, host: str) -> None:
        self._count += 1
        self._by_address[host] += 1

    async def _serve(self, accepted: trio.socket.SocketType, websocket: WebSocketHandler, http: Handler) -> None:
        """One connection, from accept to its end, or until it goes on without a task; the handler of last resort."""
        stream = trio.SocketStream(accepted)
        connection_id = str(uuid4())
        try:
            address = accepted.getpeername()
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        # A Unix socket has no address.
        host, port = address[:2] if isinstance(address, tuple) else ("", 0)
        guest = _Guest(
            stream, host, port, is_tcp=bool(host), proxies=self._proxies if self._proxies.has(host) else None
        )
        with bound_contextvars(connection=connection_id, peer=str(guest)):
            self._enter(guest.host)
            goes_on = False
            try:
                goes_on = await self._route(guest, connection_id, websocket, http)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
                log.debug("connection broke", reason=type(error).__name__)
            except Exception:
                log.exception("connection failed")
            finally:
                if not goes_on:
                    self.leave(guest.host)
                await trio.aclose_forcefully(stream)

    async def _route(self, guest: "_Guest", connection_id: str, websocket: WebSocketHandler, http: Handler) -> bool:
        """Let the right handler serve it. Returns whether it goes on without this task."""
        is_full = self._count > self._max_connections
        if self._count > self._max_connections + self._spare or self._reading >= self._settings.handshakes:
            await refuse(guest.stream, 503, "too many connections", "Retry-After: 1")
            return False
        try:
            self._reading += 1
            try:
                accepted = await self._receive(guest, connection_id, is_full=is_full)
            finally:
                self._reading -= 1
            if accepted is not None and not accepted.is_websocket:
                later = await http(attrs.evolve(accepted, is_spare=is_full))
                # A proxy may put a handshake on a connection that has served requests.
                if later and is_full:
                    raise Refused(503, "too many connections", "Retry-After: 1")
                accepted = self._accepted(guest, connection_id, later, parse_head(later)) if later else None
        except Refused as error:
            await refuse(guest.stream, error.status, error.reason, *error.headers)
            return False
        return await websocket(accepted) if accepted else False

    async def _receive(self, guest: "_Guest", connection_id: str, *, is_full: bool) -> Accepted | None:
        """Hear what a connection is for; None where the peer went away, or never said a word.

        Raises:
            Refused: It is for nothing that we serve.
        """
        self._check_share(guest)
        timeout = _FULL_TIMEOUT if is_full else self._settings.head_timeout
        begins = self._settings.proxy_protocol and (guest.is_tcp or guest.proxies is not None)
        if begins and not await self._introduce(guest, timeout):
            return None
        context = self._tls.context
        if context is not None and guest.is_tcp:
            encrypted = await _encrypt(guest.stream, context, timeout)
            if encrypted is None:
                return None
            guest.stream = encrypted
            der = encrypted.getpeercert(binary_form=True)
            if der is not None and context.authorities:
                guest.certificate = read_certificate(der, context.authorities)
            if encrypted.selected_alpn_protocol() == "h2":
                sender, only = Sender(guest.host, certificate=guest.certificate), _ALWAYS if is_full else None
                return Accepted(encrypted, b"", "", sender, connection_id, guest.proxies, is_http2=True, only=only)
        head = await read_head(guest.stream, timeout, self._settings.head_bytes)
        if head is None:
            return None
        head, request = in_origin_form(head)
        if is_full and request.target.partition(b"?")[0].decode("ascii") not in _ALWAYS:
            raise Refused(503, "too many connections", "Retry-After: 1")
        return self._accepted(guest, connection_id, head, request)

    def _accepted(self, guest: "_Guest", connection_id: str, head: bytes, request: h11.Request) -> Accepted:
        """A request with its sender: of a WebSocket for good, of others until there is a next one.

        Raises:
            Refused: It is for nobody here, or from somebody who has enough.
        """
        target, sender = request.target.decode("ascii"), Sender(guest.host, certificate=guest.certificate)
        if not wants_websocket(request):
            return Accepted(guest.stream, head, target, sender, connection_id, guest.proxies)
        if not target.startswith("/ws/"):
            raise Refused(404, "WebSockets are at /ws/{application}/{profile}")
        if guest.proxies is not None:
            try:
                sender = guest.proxies.sender(list(request.headers), guest.host)
            except RemoteError as error:
                raise Refused(error.status, error.reason) from None
            self._rename(guest, sender.host)
        return Accepted(guest.stream, head, target, sender, connection_id, is_websocket=True)

    def _check_share(self, guest: "_Guest") -> None:
        """Refuse who has too many connections; a proxy has them for others."""
        limit = self._settings.connections_per_address
        if limit and guest.proxies is None and self._by_address[guest.host] > limit:
            raise Refused(429, "too many connections from this address", "Retry-After: 1")

    def _rename(self, guest: "_Guest", host: str, port: int | None = None) -> None:
        """Have a connection count for somebody else than who has brought it."""
        self.leave(guest.host)
        guest.host, guest.port = host, port
        self._enter(host)
        guest.proxies = self._proxies if self._proxies.has(host) else None
        bind_contextvars(peer=str(guest))
        self._check_share(guest)

    async def _introduce(self, guest: "_Guest", timeout: float) -> bool:
        """Hear from a proxy whose connection it is. Returns False where it went away."""
        if guest.proxies is None:
            raise Refused(403, "this address isn't that of a proxy in server.trusted_proxies")
        try:
            with trio.fail_after(timeout):
                header = await _read_proxy_header(socket_of(guest.stream))
        except InvalidHeader:
            raise Refused(400, "a connection begins with a PROXY header here (server.proxy_protocol)") from None
        except trio.TooSlowError:
            raise Refused(408, "the PROXY header took too long") from None
        if header is None:
            return False
        if header.source is not None:
            self._rename(guest, *header.source)
        else:
            # Whoever is behind it: what their requests say of themselves was written by nobody we know.
            guest.proxies = None
        return True


@attrs.define(slots=True, eq=False)
class _Guest:
    """Who is at the other end of a connection, as far as that is known by now.

    Attributes:
        stream: What it is spoken to by: TLS, once that is there.
        host: The address that it counts for, or "" for a Unix socket.
        port: None where it isn't known.
        is_tcp: Whether it came by TCP, whoever it is.
        proxies: Where it is one of them, and its requests say who has sent them.
        certificate: Its own, where it has shown one.
    """

    stream: Stream
    host: str
    port: int | None
    is_tcp: bool
    proxies: Proxies | None
    certificate: ClientCertificate | None = None

    def __str__(self) -> str:
        """For logs."""
        if not self.host or self.port is None:
            return self.host or "unix"
        return str(Address(host=self.host, port=self.port))


async def _read_proxy_header(peer: trio.socket.SocketType) -> ProxyHeader | None:
    """Read a PROXY header and not a byte more; None where the peer went away.

    Raises:
        InvalidHeader: There is none.
    """
    received = b""
    while data := await peer.recv(MAX_BYTES - len(received), socket.MSG_PEEK):
        header = parse_proxy_header(received + data)
        rest = len(data) if header is None else header.length - len(received)
        # All of it is there already.
        received += await peer.recv(rest)
        if header is not None:
            return header
    return None


async def _encrypt(
    stream: Stream, context: ssl.SSLContext, timeout: float
) -> "trio.SSLStream[trio.SocketStream] | None":
    """Shake hands; None where the peer takes too long, doesn't speak TLS, or trusts nobody like us."""
    assert isinstance(stream, trio.SocketStream)
    with trio.move_on_after(timeout):
        first = await stream.socket.recv(1, socket.MSG_PEEK)
        if first.isalpha():
            await refuse(stream, 400, "this port speaks TLS: use https:// or wss://")
            return None
        encrypted = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await encrypted.do_handshake()
        return encrypted
    return None
