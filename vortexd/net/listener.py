"""One port for two protocols: accepts connections, reads the request head within limits, and routes by it.

The input is sockets. WebSocket handshakes go to one handler and all other requests to another, each with the bytes that
were already read. A connection is in one of these states, and each state has its own limit:

    kernel's queue ──accept──▶ waiting ─────▶ reading ─────▶ serving
                               no task        a task         a task, or a parked WebSocket
                               (arrivals)     (slots)

    waiting   The first bytes (a PROXY header, a TLS record, a request head) aren't complete. The connection costs a
              descriptor and a small object.
    reading   A task waits for the rest: a TLS handshake, a head within TLS, a body. `server.handshakes` is the number of
              slots. A plain request that has arrived completely takes no slot.
    serving   The request is complete. The server waits for the peer only to read the answer, with a deadline.

There are at most `server.connections` in total. A few more are accepted for /health and similar requests, and a reserve
of descriptors stays free. If there is no slot or no place, the listener closes the connection that has been silent
longest, by the rule in `slots`. HTTP connections that are idle between two requests are closed only after those. If no
connection may be closed yet, the listener stops accepting for at most a tenth of a second. So silent peers never make the
server refuse others. A 503 means that all places are taken by peers that have sent a request.
"""

import errno
import select
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import attrs
import structlog
import trio
from structlog.contextvars import bind_contextvars, bound_contextvars

from ..core.errors import RemoteError
from ..settings.server import ServerSettings
from . import binding
from .arrivals import Arrival, Arrivals, peek
from .connection_id import make_connection_id
from .first_bytes import ALWAYS, Expected, Verdict, is_whole, judge
from .head import Head, Refused, Stream, in_origin_form, parse_head, read_head, refuse, wants_websocket
from .inherited import Inherited
from .offers import Offers, ServeNow
from .opening import encrypt, read_proxy_header, release_frames
from .places import Placed, Places, Standing
from .proxies import Proxies, Sender
from .proxy_protocol import InvalidHeader, parse_proxy_header
from .socket_options import needs_options, set_options
from .tls import Tls

log = structlog.get_logger()

_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}
# The number of connections to accept from one socket before other tasks of the event loop get their turn.
_AT_ONCE = 128
# Seconds in which connections that were accepted before a drain must complete their first bytes.
_DRAIN_SECONDS = 1.0


@attrs.frozen(slots=True, eq=False)
class Accepted:
    """A connection with a valid request head.

    Attributes:
        head: The head, and all bytes after it that were read.
        target: The request target.
        sender: The sender of the request: the peer, or for a WebSocket handshake, the client that a trusted proxy named.
        connection_id: A UUID.
        proxies: The trusted proxies, if the peer of an HTTP connection is one of them. Then each request names its sender.
        is_spare: Whether the connection exceeds the limit. It is for a health check, and must be closed after it.
        is_websocket: Whether the request asks for a WebSocket.
        is_http2: Whether TLS has agreed on HTTP/2. Then no request has been read.
        only: For HTTP/2 beyond the limit of connections, the only paths that may be answered. None for all paths.
        standing: Records whether the server waits for the peer.
        request: The parsed head, or None if no request has been read.
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
    standing: Standing = attrs.field(factory=Standing)
    request: Head | None = None


class Streamed(Protocol):
    """A response that takes its connection over. The listener calls `serve` or `abandon`."""

    @property
    def host(self) -> str:
        """The address of the client, which a trusted proxy may have named."""
        ...

    async def serve(self, stream: Stream, /) -> bool:
        """Serve the connection, and return what a `WebSocketHandler` returns."""
        ...

    def abandon(self) -> None:
        """Give up the response."""
        ...


# Returns the head of a request for another handler that followed the requests, or a response that takes the connection over,
# and leaves the stream open. Otherwise returns None.
Handler = Callable[[Accepted], Awaitable[bytes | Streamed | None]]
# Returns whether the connection continues without its task. Then `Listener.leave` is called when it ends.
WebSocketHandler = Callable[[Accepted], Awaitable[bool]]


class Listener:
    """Accepts connections on all addresses of the settings.

    Args:
        inherited: Listening sockets from systemd. Sockets of socket units replace the addresses. A stored socket is used
            if its address is bound, and closed otherwise.
        tls: The TLS context in force, for TCP.

    Attributes:
        places: Counts and limits the connections.
    """

    def __init__(self, settings: ServerSettings, inherited: Inherited | None = None, tls: Tls | None = None) -> None:
        self._tls = tls or Tls()
        self._inherited = inherited or Inherited()
        self.places = Places(settings, lambda each: self._arrivals.discard(each), lambda: self._arrivals.freed())
        self._offers = Offers(self.places, self._tls)
        self._arrivals = Arrivals(self._judge, self.places, self._begin, self._offers.offer)
        self._start: Callable[[Arrival], None] = lambda _: None
        self._settled = trio.Event()
        self.replace(settings)
        self._bound: binding.Bound | None = None
        self._accepting = trio.CancelScope()

    def replace(self, settings: ServerSettings) -> None:
        """Put other limits in force for new connections. The addresses don't change."""
        self._settings = settings
        self._proxies = Proxies(settings.trusted_proxies)
        # The beginning that each connection must have, by whether it has a PROXY header, and whether it uses TLS.
        self._expected = {
            (has_header, is_tls): Expected(has_header, is_tls, settings.head_bytes)
            for has_header in (False, True)
            for is_tls in (False, True)
        }
        self.places.replace(settings)
        self._offers.replace(settings, self._proxies)

    async def bind(self) -> list[str]:
        """Bind and listen on every address, and return them as URLs.

        Raises:
            StartError: An address can't be bound. Then all sockets are closed.
        """
        self._bound = await binding.bind(self._settings.bind, self._inherited)
        return self._bound.urls("http" if self._tls.context is None else "https")

    def storable(self) -> list[socket.socket]:
        """Duplicate the listening sockets, as `binding.Bound.storable` describes."""
        return self._bound.storable() if self._bound is not None else []

    async def serve(
        self,
        nursery: trio.Nursery,
        websocket: WebSocketHandler,
        http: Handler,
        first: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        websocket_now: ServeNow | None = None,
    ) -> None:
        """Accept until `stop_accepting`, and then until no accepted connection waits for its first bytes.

        Each connection whose first bytes are complete is a task in the given nursery, which outlives this call.

        Args:
            first: Awaited before the first connection is accepted. Meanwhile clients wait in the queue of the socket.
            websocket_now: Serves handshakes without a task, as far as it can. `websocket` serves the others.
        """
        assert self._bound is not None, "bind comes first"
        bound = self._bound

        def start(arrival: Arrival) -> None:
            try:
                nursery.start_soon(self._serve, arrival, websocket, http, name="connection")
            except RuntimeError:
                # The nursery has ended, so no connection is served any more.
                arrival.close()
                self.places.end(arrival)

        self._start, self._offers.serve_now = start, websocket_now
        try:
            async with trio.open_nursery() as arriving:
                arriving.start_soon(self._arrivals.run)
                with self._accepting:
                    await first()
                    async with trio.open_nursery() as accepting:
                        for each in bound.share():
                            accepting.start_soon(self._accept, each)
                bound.close()
                self._arrivals.shorten_deadlines(_DRAIN_SECONDS)
                await self._arrivals.wait_empty()
                arriving.cancel_scope.cancel()
        finally:
            bound.close()
            self._settled.set()

    def stop_accepting(self) -> None:
        """Close the listening sockets. Open connections continue."""
        self._accepting.cancel()

    async def wait_settled(self) -> None:
        """Wait until each connection that was accepted before `stop_accepting` has a task, or has been closed."""
        await self._settled.wait()

    def leave(self, host: str) -> None:
        """Remove a connection that has continued without its task from the counts."""
        self.places.leave(host)

    # Before a connection has a task.

    async def _accept(self, bound: trio.socket.SocketType) -> None:
        # Trio accepts one connection in each round of the loop. With many tasks, a crowd would wait in the kernel's queue.
        listening = socket.socket(fileno=bound.fileno())
        listening.setblocking(False)
        sets_options = needs_options(listening)
        queue = select.poll()
        queue.register(listening, select.POLLIN)
        try:
            is_logged = False
            while True:
                await trio.lowlevel.wait_readable(listening)
                try:
                    is_paused = self._accept_some(listening, queue, sets_options=sets_options)
                    is_logged = False
                except OSError as error:
                    # If the peer has gone already, go on. If descriptors have run out, only waiting helps.
                    if error.errno in _OUT_OF_DESCRIPTORS:
                        if not is_logged:
                            log.warning("connections not accepted", reason=error.strerror)
                        is_logged = True
                        await trio.sleep(0.1)
                    continue
                if is_paused:
                    await self.places.wait_room()
        finally:
            # The owner of the socket closes it.
            listening.detach()

    def _accept_some(self, listening: socket.socket, queue: select.poll, *, sets_options: bool) -> bool:
        """Accept connections from the kernel's queue. Returns whether there is no place for more."""
        now = trio.current_time()
        deadline = now + self._settings.head_timeout
        for _ in range(_AT_ONCE):
            # Close no connection if the queue is empty.
            if self.places.is_full and queue.poll(0) and not self.places.has_room():
                return True
            try:
                accepted, address = listening.accept()
            except BlockingIOError:
                return False
            accepted.setblocking(False)
            if sets_options:
                set_options(accepted)
            # A Unix socket has no address.
            host, port = address[:2] if isinstance(address, tuple) else ("", 0)
            proxies = self._proxies if self._proxies.has(host) else None
            begins = self._settings.proxy_protocol and (bool(host) or proxies is not None)
            arrival = Arrival(accepted, host, port, bool(host), proxies, now, deadline, begins)
            self.places.enter(arrival)
            self._arrivals.add(arrival)
        return False

    def _judge(self, arrival: Arrival, data: bytes) -> Verdict:
        """Decide whether the first bytes of a connection suffice for a task. A connection that will be refused needn't wait."""
        if self.places.has_too_many(arrival) or (arrival.has_proxy_header and arrival.proxies is None):
            verdict = Verdict.WHOLE
        else:
            is_tls = self._tls.context is not None and arrival.is_tcp
            verdict = judge(data, self._expected[arrival.has_proxy_header, is_tls])
        if verdict is Verdict.WAIT:
            self.places.waits(arrival)
        else:
            self.places.works(arrival)
        return verdict

    def _begin(self, arrival: Arrival, verdict: Verdict) -> None:
        """Start a task for a connection."""
        arrival.stream = trio.SocketStream(trio.socket.from_stdlib_socket(arrival.socket))
        if verdict is Verdict.PARTLY:
            self.places.reads(arrival)
        self._start(arrival)

    # The task of a connection.

    async def _serve(self, arrival: Arrival, websocket: WebSocketHandler, http: Handler) -> None:
        """Serve one connection, until it ends or continues without this task. Any unexpected error ends here."""
        connection_id = make_connection_id()
        assert arrival.stream is not None
        with bound_contextvars(connection=connection_id, peer=str(arrival)):
            goes_on = False
            try:
                goes_on = await self._route(arrival, connection_id, websocket, http)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
                log.debug("connection broke", reason=type(error).__name__)
                release_frames(error)
            except Exception:
                log.exception("connection failed")
            finally:
                if not goes_on:
                    self.places.end(arrival)
                # Meanwhile this may have become a TLS stream.
                await trio.aclose_forcefully(arrival.stream)

    async def _route(self, arrival: Arrival, connection_id: str, websocket: WebSocketHandler, http: Handler) -> bool:
        """Route a connection to its handler. Returns whether it continues without this task."""
        try:
            accepted = await self._receive(arrival, connection_id)
            while accepted is not None and not accepted.is_websocket:
                later = await http(accepted)
                # A proxy may send a handshake on a connection that has served requests.
                accepted = None
                if isinstance(later, bytes):
                    await self._admit(arrival)
                    accepted = self._accepted(arrival, connection_id, later, parse_head(later))
                elif later is not None:
                    return await self._stream(arrival, later)
        except Refused as error:
            self.places.works(arrival)
            assert arrival.stream is not None
            on_written = partial(self.places.refusal_sent, arrival)
            await refuse(arrival.stream, error.status, error.reason, *error.headers, on_written=on_written)
            return False
        self.places.works(arrival)
        return await websocket(accepted) if accepted else False

    async def _stream(self, arrival: Arrival, response: Streamed) -> bool:
        """Serve a response that takes a connection over. Returns whether it continues without this task.

        Raises:
            Refused: The client that a proxy has named has too many connections.
        """
        if arrival.proxies is not None:
            try:
                # No await may come before `serve`, because the response holds something until then.
                self._offers.count_for(arrival, response.host)
            except BaseException:
                response.abandon()
                raise
            finally:
                bind_contextvars(peer=str(arrival))
        self.places.works(arrival)
        assert arrival.stream is not None
        return await response.serve(arrival.stream)

    async def _receive(self, arrival: Arrival, connection_id: str) -> Accepted | None:
        """Read the request of a connection. Returns None if the peer closed the connection, or sent nothing.

        Raises:
            Refused: The server doesn't serve this request.
        """
        assert arrival.stream is not None
        self._offers.check_share(arrival)
        if arrival.has_proxy_header and not await self._read_proxy_header(arrival):
            return None
        context = self._tls.context
        if context is not None and arrival.is_tcp:
            encrypted = await encrypt(arrival, context, _left(arrival))
            if encrypted is None:
                return None
            der = encrypted.tls_socket.getpeercert(binary_form=True)
            if der is not None and context.authorities:
                from .x509 import read_certificate

                arrival.certificate = read_certificate(der, context.authorities)
            if encrypted.tls_socket.selected_alpn_protocol() == "h2":
                self.places.has_spoken(arrival)
                return await self._http2(arrival, connection_id)
        elif arrival.is_late:
            raise Refused(408, "the request head took too long")
        head = await read_head(arrival.stream, _left(arrival), self._settings.head_bytes)
        if head is None:
            return None
        head, request = in_origin_form(head)
        self.places.has_spoken(arrival)
        if request.target.partition(b"?")[0].decode("ascii") not in ALWAYS:
            await self._admit(arrival)
        if is_whole(head):
            self.places.works(arrival)
        else:
            await self.places.wait_reads(arrival)
        return self._accepted(arrival, connection_id, head, request)

    async def _http2(self, arrival: Arrival, connection_id: str) -> Accepted:
        """Make a connection on which TLS has agreed on HTTP/2. Its requests come later."""
        sender = Sender(arrival.host, certificate=arrival.certificate)
        only = None
        if arrival.is_beyond and not await self.places.make_room(arrival):
            only = ALWAYS
        assert arrival.stream is not None
        standing = Placed(self.places, arrival)
        return Accepted(
            arrival.stream,
            b"",
            "",
            sender,
            connection_id,
            arrival.proxies,
            is_http2=True,
            only=only,
            standing=standing,
        )

    async def _admit(self, arrival: Arrival) -> None:
        """Get a place for a connection that was accepted beyond the limit, and isn't a health check.

        Raises:
            Refused: All places are taken by peers that have sent a request.
        """
        if arrival.is_beyond:
            self.places.works(arrival)
            if not await self.places.make_room(arrival):
                raise Refused(503, "too many connections", "Retry-After: 1")

    def _accepted(self, arrival: Arrival, connection_id: str, head: bytes, request: Head) -> Accepted:
        """Combine a request with its sender. For a WebSocket the sender is final, for HTTP each request has its own.

        Raises:
            Refused: The path isn't served, or the sender has too many connections.
        """
        assert arrival.stream is not None
        target, sender = request.target.decode("ascii"), Sender(arrival.host, certificate=arrival.certificate)
        if not wants_websocket(request):
            return Accepted(
                arrival.stream,
                head,
                target,
                sender,
                connection_id,
                arrival.proxies,
                is_spare=arrival.is_beyond,
                standing=Placed(self.places, arrival),
                request=request,
            )
        if not target.startswith("/ws/"):
            raise Refused(404, "WebSockets are at /ws/{application}/{profile}")
        if arrival.proxies is not None:
            try:
                sender = arrival.proxies.sender(list(request.headers), arrival.host)
            except RemoteError as error:
                raise Refused(error.status, error.reason) from None
            try:
                self._offers.count_for(arrival, sender.host)
            finally:
                bind_contextvars(peer=str(arrival))
        return Accepted(arrival.stream, head, target, sender, connection_id, is_websocket=True)

    async def _read_proxy_header(self, arrival: Arrival) -> bool:
        """Read from the PROXY header which client the connection belongs to. Returns False if the peer closed it."""
        assert isinstance(arrival.stream, trio.SocketStream)
        if arrival.proxies is None:
            raise Refused(403, "this address isn't listed in server.trusted_proxies")
        try:
            if arrival.is_late and parse_proxy_header(peek(arrival.socket)) is None:
                raise Refused(408, "the PROXY header took too long")
            # The whole header has arrived, unless it is refused.
            with trio.fail_after(self._settings.head_timeout):
                header = await read_proxy_header(arrival.stream.socket)
        except InvalidHeader:
            raise Refused(
                400, "a connection to this port must begin with a PROXY header (server.proxy_protocol)"
            ) from None
        except trio.TooSlowError:
            raise Refused(408, "the PROXY header took too long") from None
        if header is None:
            return False
        try:
            self._offers.apply_header(arrival, header)
        finally:
            bind_contextvars(peer=str(arrival))
        return True


def _left(arrival: Arrival) -> float:
    """Return the seconds until the head of a connection must be complete."""
    return max(0.0, arrival.deadline - trio.current_time())
