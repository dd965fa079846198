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
from http import HTTPStatus
from typing import TypeAlias
from uuid import uuid4

import attrs
import h11
import orjson
import structlog
import trio
from structlog.contextvars import bound_contextvars

from .. import binding
from ..settings import Address, ServerSettings
from ..systemd import Inherited
from ..tls import Tls

log = structlog.get_logger()

# Descriptors that connections may not use up: files, git, the log. At most a quarter of what there are, where these are few.
_RESERVE = 256
# Connections beyond the limit that may still ask how it goes: who is full has to be able to say so.
_SPARE = 32
_ALWAYS = frozenset({"/health", "/ready", "/metrics", "/status"})
_RECEIVE_BYTES = 16_384
_MAX_TARGET_BYTES = 8_192
_REFUSAL_TIMEOUT = 1.0
# How long the head of one who comes when it is full may take.
_FULL_TIMEOUT = 1.0
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """The socket below a stream."""
    return stream.transport_stream.socket if isinstance(stream, trio.SSLStream) else stream.socket


@attrs.frozen(slots=True, eq=False)
class Accepted:
    """A connection whose request head has been read and is sound.

    Attributes:
        head: The head, and whatever came behind it.
        target: The request target.
        peer: For the log.
        host: The peer's address, or "" for a Unix socket.
        connection_id: A UUID.
    """

    stream: Stream
    head: bytes
    target: str
    peer: str
    host: str
    connection_id: str


Handler = Callable[[Accepted], Awaitable[None]]
# Returns whether the connection goes on without its task; then `Listener.leave` is called when it ends.
WebSocketHandler = Callable[[Accepted], Awaitable[bool]]


class _BadHead(Exception):
    def __init__(self, status: int, reason: str, *headers: str) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers


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

    async def serve(self, nursery: trio.Nursery, websocket: WebSocketHandler, http: Handler) -> None:
        """Accept until `stop_accepting`; each connection is a task in the given nursery, which outlives this call."""
        assert self._bound is not None, "bind comes first"
        bound = self._bound
        try:
            with self._accepting:
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

    async def _serve(self, accepted: trio.socket.SocketType, websocket: WebSocketHandler, http: Handler) -> None:
        """One connection, from accept to its end, or until it goes on without a task; the handler of last resort."""
        stream = trio.SocketStream(accepted)
        connection_id = str(uuid4())
        try:
            address = accepted.getpeername()
            host = address[0] if isinstance(address, tuple) else ""
            peer = str(Address(host=host, port=address[1])) if host else "unix"
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        with bound_contextvars(connection=connection_id, peer=peer):
            self._count += 1
            self._by_address[host] += 1
            goes_on = False
            try:
                goes_on = await self._route(stream, host, peer, connection_id, websocket, http)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
                log.debug("connection broke", reason=type(error).__name__)
            except Exception:
                log.exception("connection failed")
            finally:
                if not goes_on:
                    self.leave(host)
                await trio.aclose_forcefully(stream)

    async def _route(
        self,
        stream: Stream,
        host: str,
        peer: str,
        connection_id: str,
        websocket: WebSocketHandler,
        http: Handler,
    ) -> bool:
        """Let the right handler serve it. Returns whether it goes on without this task."""
        limit = self._settings.connections_per_address
        is_full = self._count > self._max_connections
        if self._count > self._max_connections + self._spare or self._reading >= self._settings.handshakes:
            await _refuse(stream, 503, "too many connections", "Retry-After: 1")
            return False
        if limit and self._by_address[host] > limit:
            await _refuse(stream, 429, "too many connections from this address", "Retry-After: 1")
            return False
        self._reading += 1
        try:
            timeout = _FULL_TIMEOUT if is_full else self._settings.head_timeout
            if self._tls.context is not None and host:
                encrypted = await _encrypt(stream, self._tls.context, timeout)
                if encrypted is None:
                    return False
                stream = encrypted
            head = await self._read_head(stream, timeout)
            if head is None:
                return False
            request = _parse(head)
            if is_full and request.target.partition(b"?")[0].decode("ascii") not in _ALWAYS:
                raise _BadHead(503, "too many connections", "Retry-After: 1")
        except _BadHead as error:
            await _refuse(stream, error.status, error.reason, *error.headers)
            return False
        finally:
            self._reading -= 1
        target = request.target.decode("ascii")
        accepted = Accepted(stream, head, target, peer, host, connection_id)
        wants_websocket = any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.headers)
        if not wants_websocket:
            await http(accepted)
        elif target.partition("?")[0].startswith("/ws/"):
            return await websocket(accepted)
        else:
            await _refuse(stream, 404, "WebSockets are at /ws/{application}/{profile}")
        return False

    async def _read_head(self, stream: Stream, timeout: float) -> bytes | None:
        """Read until the head is whole; None where the peer went away, or never said a word."""
        head = b""
        with trio.move_on_after(timeout):
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some(_RECEIVE_BYTES)
                if not data:
                    return None
                head += data
                _check_beginning(head)
                if head.find(b"\r\n\r\n") < 0 and len(head) > self._settings.head_bytes:
                    raise _BadHead(431, f"a request head has at most {self._settings.head_bytes} bytes")
            return head
        if head:
            raise _BadHead(408, "the request head took too long")
        return None


def _check_beginning(head: bytes) -> None:
    """Tell those who speak something else at once, rather than when the head's time is over."""
    if head.startswith(b"\x16\x03"):
        raise _BadHead(400, "this port speaks plain HTTP, not TLS")
    if not head[:1].isalpha():
        raise _BadHead(400, "this is no HTTP request")
    if head.startswith(b"PRI * HTTP/2.0"):
        raise _BadHead(400, "this port speaks HTTP/1.1; HTTP/2 needs TLS")
    line = head.partition(b"\r\n")[0]
    if len(line) > _MAX_TARGET_BYTES:
        raise _BadHead(414, f"a request line has at most {_MAX_TARGET_BYTES} bytes")


def _parse(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        connection.receive_data(head)
        request = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise _BadHead(error.error_status_hint, "this is no valid HTTP request") from None
    if not isinstance(request, h11.Request):
        raise _BadHead(400, "this is no valid HTTP request")
    if b"\n" in head.partition(b"\r\n\r\n")[0].replace(b"\r\n", b""):
        raise _BadHead(400, "lines end in CR LF")
    return request


async def _encrypt(
    stream: Stream, context: ssl.SSLContext, timeout: float
) -> "trio.SSLStream[trio.SocketStream] | None":
    """Shake hands; None where the peer takes too long, doesn't speak TLS, or trusts nobody like us."""
    assert isinstance(stream, trio.SocketStream)
    with trio.move_on_after(timeout):
        first = await stream.socket.recv(1, socket.MSG_PEEK)
        if first.isalpha():
            await _refuse(stream, 400, "this port speaks TLS: use https:// or wss://")
            return None
        encrypted = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await encrypted.do_handshake()
        return encrypted
    return None


async def _refuse(stream: Stream, status: int, reason: str, *headers: str) -> None:
    phrase = HTTPStatus(status).phrase
    body = orjson.dumps({"status": status, "error": phrase, "message": reason})
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *headers,
        "Connection: close",
    ]
    with trio.move_on_after(_REFUSAL_TIMEOUT):
        await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if isinstance(stream, trio.SocketStream):
            await stream.send_eof()
        # Closing with unread bytes would reset the connection, and with it the answer on its way.
        while await stream.receive_some(_RECEIVE_BYTES):
            pass
