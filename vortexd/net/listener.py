"""One port, two protocols: accepts, reads the request head within limits, and routes on it.

In come sockets; out go WebSocket handshakes to one handler and everything else to the other, each with the bytes already read. A connection is in one of
these states, and each state has a limit of its own:

    kernel's queue ──accept──▶ waiting ─────▶ reading ─────▶ serving
                               no task        a task         a task, or a parked WebSocket
                               (arrivals)     (slots)

    waiting   The first bytes aren't complete: a PROXY header, a TLS record, a request head. It costs a descriptor and a small object.
    reading   A task waits for the rest: a TLS handshake, a head within TLS, a body. `server.handshakes` is how many slots there are. A plain request that
              has come as a whole takes none.
    serving   The request is whole. From here on its peer isn't waited for, but to read the answer, and that has a deadline.

All of them together are at most `server.connections`. A few more are accepted so that they can ask for /health and its like, and a reserve of descriptors
is left alone. If there is no slot, or no place, the connection whose peer has kept us waiting for longest is closed, by the rule in `slots`. HTTP connections
that are idle between two requests come after those. If no connection can be closed yet, accepting pauses for a tenth of a second at most. So silent peers
never make the server refuse others: 503 says that all places are taken by peers that have said what they want.
"""

import errno
import select
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import uuid4

import attrs
import h11
import structlog
import trio
from structlog.contextvars import bind_contextvars, bound_contextvars

from ..core.errors import RemoteError
from ..settings.sections import ServerSettings
from . import binding
from .arrivals import Arrival, Arrivals, peek
from .client_certificate import read_certificate
from .first_bytes import ALWAYS, Expected, Verdict, is_whole, judge
from .head import Refused, Stream, in_origin_form, parse_head, read_head, refuse, wants_websocket
from .inherited import Inherited
from .opening import encrypt, forget, let_go, read_proxy_header, socket_of
from .places import Placed, Places, Standing
from .proxies import Proxies, Sender
from .proxy_protocol import InvalidHeader, parse_proxy_header
from .tls import Tls

log = structlog.get_logger()

_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Accepted from one socket before others of the loop have their turn.
_AT_ONCE = 128
# Seconds that those who were accepted before a drain have to say what they are for.
_LAST_WORDS = 1.0


@attrs.frozen(slots=True, eq=False)
class Accepted:
    """A connection whose request head has been read and is sound.

    Attributes:
        head: The head, and whatever came behind it.
        target: The request target.
        sender: Who sent it: the peer, or, of a WebSocket handshake, whom a trusted proxy has named.
        connection_id: A UUID.
        proxies: Where the peer of an HTTP connection is one of them: each request says who has sent it.
        is_spare: Whether it is one beyond the limit, which came to ask how the daemon does, and shall leave the place to others.
        is_websocket: It asks for one.
        is_http2: TLS has agreed on HTTP/2, and nothing has been read.
        only: Of such a connection, paths that are answered where there are too many connections; None for all.
        standing: Where to say whether the peer is waited for.
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

    Attributes:
        places: How many connections there are, and may be.
    """

    def __init__(self, settings: ServerSettings, inherited: Inherited | None = None, tls: Tls | None = None) -> None:
        self._tls = tls or Tls()
        self._inherited = inherited or Inherited()
        self.places = Places(settings, lambda each: self._arrivals.discard(each), lambda: self._arrivals.freed())
        self._arrivals = Arrivals(self._judge, self.places, self._begin)
        self._start: Callable[[Arrival], None] = lambda _: None
        self._settled = trio.Event()
        self.replace(settings)
        self._bound: binding.Bound | None = None
        self._accepting = trio.CancelScope()

    def replace(self, settings: ServerSettings) -> None:
        """Put other limits in force, for connections to come. The addresses stay."""
        self._settings = settings
        self._proxies = Proxies(settings.trusted_proxies)
        self.places.replace(settings)

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
        """Accept until `stop_accepting`, and then until everybody who was accepted has said what they are for.

        Each connection whose first bytes have come is a task in the given nursery, which outlives this call.

        Args:
            first: Awaited before the first one is accepted; who comes meanwhile waits in the queue of the socket.
        """
        assert self._bound is not None, "bind comes first"
        bound = self._bound

        def start(arrival: Arrival) -> None:
            try:
                nursery.start_soon(self._serve, arrival, websocket, http, name="connection")
            except RuntimeError:
                # The nursery has ended: nobody is served any more.
                arrival.close()
                self.places.end(arrival)

        self._start = start
        try:
            async with trio.open_nursery() as arriving:
                arriving.start_soon(self._arrivals.run)
                with self._accepting:
                    await first()
                    async with trio.open_nursery() as accepting:
                        for each in bound.share():
                            accepting.start_soon(self._accept, each)
                bound.close()
                self._arrivals.hasten(_LAST_WORDS)
                await self._arrivals.wait_empty()
                arriving.cancel_scope.cancel()
        finally:
            bound.close()
            self._settled.set()

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on."""
        self._accepting.cancel()

    async def wait_settled(self) -> None:
        """Wait until a task works on everybody who was accepted before `stop_accepting`, or they are gone."""
        await self._settled.wait()

    def leave(self, host: str) -> None:
        """Count a connection out that has gone on without its task."""
        self.places.leave(host)

    # Before there is a task.

    async def _accept(self, bound: trio.socket.SocketType) -> None:
        # Trio's own accepts one in each round of the loop: with many tasks that leaves a crowd in the kernel's queue.
        listening = socket.socket(fileno=bound.fileno())
        queue = select.poll()
        queue.register(listening, select.POLLIN)
        try:
            is_told = False
            while True:
                await trio.lowlevel.wait_readable(listening)
                try:
                    is_paused = self._accept_some(listening, queue)
                    is_told = False
                except OSError as error:
                    # A peer that has gone already is no trouble; without descriptors, only time helps.
                    if error.errno in _OUT_OF_DESCRIPTORS:
                        if not is_told:
                            log.warning("connections not accepted", reason=error.strerror)
                        is_told = True
                        await trio.sleep(0.1)
                    continue
                if is_paused:
                    await self.places.wait_room()
        finally:
            # It is closed by its owner.
            listening.detach()

    def _accept_some(self, listening: socket.socket, queue: select.poll) -> bool:
        """Accept those who are in the kernel's queue. Returns whether there is no place for more of them."""
        for _ in range(_AT_ONCE):
            # Nobody gives way for a queue that is empty.
            if self.places.is_full and queue.poll(0) and not self.places.has_room():
                return True
            try:
                accepted, address = listening.accept()
            except BlockingIOError:
                return False
            # A Unix socket has no address.
            host, port = address[:2] if isinstance(address, tuple) else ("", 0)
            proxies = self._proxies if self._proxies.has(host) else None
            now = trio.current_time()
            deadline = now + self._settings.head_timeout
            begins = self._settings.proxy_protocol and (bool(host) or proxies is not None)
            arrival = Arrival(accepted, host, port, bool(host), proxies, now, deadline, begins)
            self.places.enter(arrival)
            self._arrivals.add(arrival)
        return False

    def _judge(self, arrival: Arrival, data: bytes) -> Verdict:
        """What the first bytes of a connection are enough for: nothing is waited for from one that is refused anyway."""
        if self.places.has_too_many(arrival) or (arrival.has_proxy_header and arrival.proxies is None):
            verdict = Verdict.WHOLE
        else:
            is_tls = self._tls.context is not None and arrival.is_tcp
            verdict = judge(data, Expected(arrival.has_proxy_header, is_tls, self._settings.head_bytes))
        if verdict is not Verdict.WAIT:
            self.places.works(arrival)
        return verdict

    def _begin(self, arrival: Arrival, verdict: Verdict) -> None:
        """Have a task work on a connection."""
        arrival.stream = trio.SocketStream(trio.socket.from_stdlib_socket(arrival.socket))
        if verdict is Verdict.PARTLY:
            self.places.reads(arrival)
        self._start(arrival)

    # The task of a connection.

    async def _serve(self, arrival: Arrival, websocket: WebSocketHandler, http: Handler) -> None:
        """One connection, from its first bytes to its end, or until it goes on without a task; the handler of last resort."""
        connection_id = str(uuid4())
        stream = arrival.stream
        assert stream is not None
        with bound_contextvars(connection=connection_id, peer=str(arrival)):
            goes_on = False
            try:
                goes_on = await self._route(arrival, connection_id, websocket, http)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
                log.debug("connection broke", reason=type(error).__name__)
                let_go(error)
            except Exception:
                log.exception("connection failed")
            finally:
                if not goes_on:
                    self.places.end(arrival)
                await trio.aclose_forcefully(stream)
                if isinstance(arrival.stream, trio.SSLStream):
                    forget(arrival.stream)

    async def _route(self, arrival: Arrival, connection_id: str, websocket: WebSocketHandler, http: Handler) -> bool:
        """Let the right handler serve it. Returns whether it goes on without this task."""
        try:
            accepted = await self._receive(arrival, connection_id)
            if accepted is not None and not accepted.is_websocket:
                later = await http(accepted)
                # A proxy may put a handshake on a connection that has served requests.
                accepted = None
                if later:
                    await self._admit(arrival)
                    accepted = self._accepted(arrival, connection_id, later, parse_head(later))
        except Refused as error:
            self.places.works(arrival)
            assert arrival.stream is not None
            on_written = partial(self.places.is_told, arrival)
            await refuse(arrival.stream, error.status, error.reason, *error.headers, on_written=on_written)
            return False
        self.places.works(arrival)
        return await websocket(accepted) if accepted else False

    async def _receive(self, arrival: Arrival, connection_id: str) -> Accepted | None:
        """Hear what a connection is for; None where the peer went away, or never said a word.

        Raises:
            Refused: It is for nothing that we serve.
        """
        assert arrival.stream is not None
        self._check_share(arrival)
        if arrival.has_proxy_header and not await self._introduce(arrival):
            return None
        context = self._tls.context
        if context is not None and arrival.is_tcp:
            encrypted = await encrypt(arrival.stream, context, _left(arrival))
            if encrypted is None:
                return None
            arrival.stream = encrypted
            der = encrypted.getpeercert(binary_form=True)
            if der is not None and context.authorities:
                arrival.certificate = read_certificate(der, context.authorities)
            if encrypted.selected_alpn_protocol() == "h2":
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
        """A connection on which TLS has agreed on HTTP/2: what it asks for comes later."""
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
        """Have a place for a connection that was accepted beyond the limit, and doesn't ask how the daemon does.

        Raises:
            Refused: All places are taken by those who have said what they want.
        """
        if arrival.is_beyond:
            self.places.works(arrival)
            if not await self.places.make_room(arrival):
                raise Refused(503, "too many connections", "Retry-After: 1")

    def _accepted(self, arrival: Arrival, connection_id: str, head: bytes, request: h11.Request) -> Accepted:
        """A request with its sender: of a WebSocket for good, of others until there is a next one.

        Raises:
            Refused: It is for nobody here, or from somebody who has enough.
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
            )
        if not target.startswith("/ws/"):
            raise Refused(404, "WebSockets are at /ws/{application}/{profile}")
        if arrival.proxies is not None:
            try:
                sender = arrival.proxies.sender(list(request.headers), arrival.host)
            except RemoteError as error:
                raise Refused(error.status, error.reason) from None
            self._rename(arrival, sender.host)
        return Accepted(arrival.stream, head, target, sender, connection_id, is_websocket=True)

    def _check_share(self, arrival: Arrival) -> None:
        """Refuse who has too many connections."""
        if self.places.has_too_many(arrival):
            raise Refused(429, "too many connections from this address", "Retry-After: 1")

    def _rename(self, arrival: Arrival, host: str, port: int | None = None) -> None:
        """Have a connection count for somebody else than who has brought it."""
        self.places.rename(arrival, host, port, self._proxies if self._proxies.has(host) else None)
        bind_contextvars(peer=str(arrival))
        self._check_share(arrival)

    async def _introduce(self, arrival: Arrival) -> bool:
        """Hear from a proxy whose connection it is. Returns False where it went away."""
        assert arrival.stream is not None
        if arrival.proxies is None:
            raise Refused(403, "this address isn't that of a proxy in server.trusted_proxies")
        try:
            if arrival.is_late and parse_proxy_header(peek(arrival.socket)) is None:
                raise Refused(408, "the PROXY header took too long")
            # All of it has come, unless it is refused.
            with trio.fail_after(self._settings.head_timeout):
                header = await read_proxy_header(socket_of(arrival.stream))
        except InvalidHeader:
            raise Refused(400, "a connection begins with a PROXY header here (server.proxy_protocol)") from None
        except trio.TooSlowError:
            raise Refused(408, "the PROXY header took too long") from None
        if header is None:
            return False
        if header.source is not None:
            self._rename(arrival, *header.source)
        else:
            # Whoever is behind it: what their requests say of themselves was written by nobody we know.
            arrival.proxies = None
        return True


def _left(arrival: Arrival) -> float:
    """Seconds until the head of a connection has to be complete."""
    return max(0.0, arrival.deadline - trio.current_time())
