"""HTTP/2 over TLS: the requests of one connection, each in a task of its own, as the ASGI application answers them.

In comes a stream whose TLS has agreed on `h2`, out go the same answers as over HTTP/1.1. The `h2` package knows the protocol; what is here are the
waits, each with a deadline, and the bounds: a connection whose peer makes us work for nothing is ended with ENHANCE_YOUR_CALM. Hypercorn's own
HTTP/2 isn't used: it counts no resets, tells a drain to nobody, and can be made to fail by DATA behind an answer.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import structlog
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from ..net.head import MAX_TARGET_BYTES
from ..net.outgoing import Outgoing
from ..net.places import Standing
from ..settings.sections import ServerSettings

log = structlog.get_logger()

_MAX_STREAMS = 100
# Little at a time: a frame may have nine bytes, and others wait while they are read.
_RECEIVE_BYTES = 4_096
_PART_BYTES = 65_536
# How long one who comes when it is full may take to ask.
_SPARE_TIMEOUT = 1.0
# How long an answer that has gone out may be on its way when the connection is closed.
_LINGER = 1.0
# Per second, and at once. Resets are requests that nobody waits for (CVE-2023-44487); of the other frames no answer comes. A large answer may need
# two window updates for each of its frames.
_RESETS = (10.0, 100)
_CONTROL = (20.0, 200)
_WINDOW_UPDATES = (2_000.0, 10_000)

_Asgi = Callable[[Mapping[str, Any], Callable[[], Any], Callable[[Any], Any]], Any]


_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class _Calm(Exception):
    """The peer does too much of what costs us something and is of no use."""


class _Bucket:
    """An allowance that refills."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._at = float(burst), trio.current_time()

    def take(self) -> None:
        now = trio.current_time()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        if self._left < 0:
            raise _Calm


@attrs.define(slots=True, eq=False)
class _RequestStream:
    """A request that is being received or answered.

    Attributes:
        received: Parts of the body that the application hasn't taken, each with what it counts for flow control.
        is_whole: Whether the body has come to its end.
        is_delivered: Whether the application has been given all of it.
        arrived: Set when there is something new in either.
    """

    number: int
    headers: list[tuple[bytes, bytes]]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    received: list[tuple[bytes, int]] = attrs.field(factory=list)
    is_whole: bool = False
    is_delivered: bool = False
    arrived: trio.Event = attrs.field(factory=trio.Event)


class Http2:
    """Serves one connection; see the module.

    Args:
        app: The ASGI application.
        state: What requests have in `scope["state"]`.
        outgoing: What is held of large answers of all connections.
        only: Paths that are answered, and then the connection ends, where there are too many connections for others; None for all.
        standing: Where to say whether the peer is waited for.
    """

    def __init__(
        self,
        app: Any,
        stream: trio.abc.Stream,
        settings: ServerSettings,
        state: Mapping[str, Any],
        outgoing: Outgoing,
        only: frozenset[str] | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._standing = standing or Standing()
        self._app, self._stream, self._settings, self._state, self._only = app, stream, settings, state, only
        self._outgoing = outgoing
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        # From the beginning on, whatever the peer acknowledges. ENABLE_CONNECT_PROTOCOL isn't there: WebSockets are HTTP/1.1's.
        limits = {
            SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: settings.head_bytes,
        }
        self._connection.local_settings = Settings(client=False, initial_values=limits)
        self._connection.decoder.max_header_list_size = settings.head_bytes
        self._exchanges: dict[int, _RequestStream] = {}
        self._last = 0
        self._sending = trio.Lock()
        self._receiving = trio.CancelScope()
        self._window = trio.Event()
        self._is_draining = self._is_told = False
        self._idle_until = trio.current_time() + (settings.head_timeout if only is None else _SPARE_TIMEOUT)
        self._resets, self._control = _Bucket(*_RESETS), _Bucket(*_CONTROL)
        self._window_updates = _Bucket(*_WINDOW_UPDATES)

    def shut_down(self) -> None:
        """End after the requests that are under way."""
        self._is_draining = True
        self._receiving.cancel()

    async def run(self) -> None:
        """Serve until the peer goes, is idle for too long, breaks the protocol or the bounds, or the drain is over. Closes the stream.

        What runs inside is the reader, here, a task for each request, and one that ends writes when all are cancelled.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_when_cancelled)
            with contextlib.suppress(*_GONE):
                try:
                    self._connection.initiate_connection()
                    await self._flush()
                    await self._read(nursery)
                except h2.exceptions.ProtocolError:
                    # The h2 package has a GOAWAY ready that says why.
                    await self._flush()
                except _Calm:
                    log.debug("connection refused", reason="too many useless frames")
                    self._connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                    await self._flush()
                with trio.move_on_after(_LINGER):
                    await self._stream.aclose()
            nursery.cancel_scope.cancel()

    async def _close_when_cancelled(self) -> None:
        """Close what is below TLS under shielded writes, which no cancellation would end before the write deadline."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope() as scope:
                scope.cancel()
                await self._stream.aclose()

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            if self._is_draining and not self._is_told:
                await self._say_goodbye()
            if not self._exchanges and (self._is_draining or trio.current_time() >= self._idle_until):
                if not self._is_told:
                    await self._say_goodbye()
                return
            data = None
            with trio.CancelScope(deadline=self._deadline) as self._receiving:
                if self._is_partly:
                    await self._standing.reads()
                else:
                    self._say_standing()
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            if data is None:
                continue
            if not data:
                return
            for event in self._connection.receive_data(bytes(data)):
                self._handle(event, nursery)
            await self._flush()

    @property
    def _is_partly(self) -> bool:
        """Whether the peer is waited for: before its first request, and while no request has come as a whole."""
        if not self._exchanges:
            return not self._last
        return not any(each.is_whole for each in self._exchanges.values())

    def _say_standing(self) -> None:
        if self._exchanges:
            self._standing.works()
        else:
            self._standing.idles()

    @property
    def _deadline(self) -> float:
        """Until when nothing needs to come. What is sent in between, such as a PING, makes nobody less idle."""
        if self._exchanges:
            return math.inf
        return -math.inf if self._is_draining else self._idle_until

    def _handle(self, event: h2.events.Event, nursery: trio.Nursery) -> None:
        stream_state = self._exchanges.get(getattr(event, "stream_id", None) or 0)
        match event:
            case h2.events.RequestReceived():
                self._begin(event, nursery)
            case h2.events.DataReceived():
                # Each stream ends once, and many clients end it by an empty frame. Others say nothing, however they are padded.
                if not event.data and event.stream_ended is None:
                    self._control.take()
                if stream_state is not None:
                    stream_state.received.append((event.data, event.flow_controlled_length))
                    stream_state.arrived.set()
                else:
                    # It is answered already.
                    self._acknowledge(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                if stream_state is not None:
                    stream_state.is_whole = True
                    stream_state.arrived.set()
            case h2.events.StreamReset():
                self._resets.take()
                if stream_state is not None:
                    stream_state.scope.cancel()
            case h2.events.WindowUpdated():
                self._window_updates.take()
                self._wake()
            case h2.events.RemoteSettingsChanged():
                self._control.take()
                self._wake()
            case h2.events.ConnectionTerminated():
                raise trio.BrokenResourceError
            case h2.events.PingReceived() | h2.events.PriorityUpdated() | h2.events.UnknownFrameReceived():
                self._control.take()

    def _wake(self) -> None:
        self._window.set()
        self._window = trio.Event()

    def _begin(self, event: h2.events.RequestReceived, nursery: trio.Nursery) -> None:
        if self._is_told or len(self._exchanges) >= _MAX_STREAMS:
            self._reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last = event.stream_id
        stream_state = _RequestStream(event.stream_id, [(bytes(name), bytes(value)) for name, value in event.headers])
        self._exchanges[event.stream_id] = stream_state
        nursery.start_soon(self._exchange, stream_state)

    async def _exchange(self, stream_state: _RequestStream) -> None:
        """One request, to the end of its answer; the handler of last resort."""
        try:
            with stream_state.scope:
                try:
                    status, headers, body = await self._answer(stream_state)
                    with self._outgoing.holding(body, stream_state.scope.cancel):
                        await self._send(stream_state, status, headers, body)
                except trio.TooSlowError:
                    self._reset(stream_state.number, ErrorCodes.CANCEL)
                except h2.exceptions.ProtocolError:
                    # The stream was closed meanwhile; else the answer can't be one.
                    self._reset(stream_state.number, ErrorCodes.INTERNAL_ERROR)
                except _GONE:
                    # The reader is told the same.
                    pass
                except Exception:
                    log.exception("request failed")
                    self._reset(stream_state.number, ErrorCodes.INTERNAL_ERROR)
        finally:
            del self._exchanges[stream_state.number]
            for _, length in stream_state.received:
                self._acknowledge(length, stream_state.number)
            if stream_state.scope.cancelled_caught:
                # By its peer, or for it takes too long over too much.
                self._reset(stream_state.number, ErrorCodes.CANCEL)
            self._is_draining |= self._only is not None
            if not self._exchanges:
                self._idle_until = trio.current_time() + self._settings.keep_alive_timeout
            self._receiving.deadline = self._deadline
            if not self._is_partly:
                self._say_standing()
            if self._is_draining or self._is_partly:
                self._receiving.cancel()
        if not stream_state.is_whole:
            # Nobody reads the rest (RFC 9113 section 8.1).
            self._reset(stream_state.number, ErrorCodes.NO_ERROR)
        with contextlib.suppress(*_GONE):
            await self._flush()

    async def _answer(self, stream_state: _RequestStream) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """What the application answers, once it is whole.

        Raises:
            trio.TooSlowError: The request takes too long to arrive.
        """
        pseudo = {name: value for name, value in stream_state.headers if name.startswith(b":")}
        method, target, authority = (pseudo.get(name, b"") for name in (b":method", b":path", b":authority"))
        headers = [each for each in stream_state.headers if not each[0].startswith(b":")]
        # One that says the same is no second one.
        headers = (
            [(b"host", authority), *(each for each in headers if each != (b"host", authority))]
            if authority
            else headers
        )
        if method == b"CONNECT":
            return 501, [], b""
        if not any(name == b"host" for name, _ in headers):
            return 400, [], b""
        if not target.startswith(b"/") or not (method + target).isascii():
            return 400, [], b""
        if len(target) > MAX_TARGET_BYTES:
            return 414, [], b""
        path, _, query = target.partition(b"?")
        if self._only is not None and path.decode("ascii") not in self._only:
            return 503, [(b"retry-after", b"1")], b""
        if not stream_state.is_whole and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"transfer-encoding", b"chunked"))
        began: dict[str, Any] = {"status": 500, "headers": []}
        parts: list[bytes] = []

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                began.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        until = trio.current_time() + self._settings.request_timeout
        scope = self._scope(method, path, query, headers)
        await self._app(scope, lambda: self._receive(stream_state, until), send)
        if method == b"HEAD" or began["status"] in (204, 304):
            parts = []
        return (
            began["status"],
            [(bytes(name).lower(), bytes(value)) for name, value in began["headers"]],
            b"".join(parts),
        )

    def _scope(self, method: bytes, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": "2",
            "method": method.decode("ascii"),
            "scheme": "https",
            # Of no use to us, who look paths up as they were sent.
            "path": path.decode("ascii"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": None,
            "state": dict(self._state),
            "extensions": {},
        }

    async def _receive(self, stream_state: _RequestStream, until: float) -> dict[str, Any]:
        """The next part of a body, as ASGI has it. Behind the last one nothing comes: a peer that goes away cancels the request."""
        if stream_state.is_delivered:
            await trio.sleep_forever()
        while not stream_state.received and not stream_state.is_whole:
            stream_state.arrived = trio.Event()
            with trio.fail_at(until):
                await stream_state.arrived.wait()
        parts, stream_state.received = stream_state.received, []
        stream_state.is_delivered = stream_state.is_whole
        for _, length in parts:
            self._acknowledge(length, stream_state.number)
        await self._flush()
        body = b"".join(data for data, _ in parts)
        return {"type": "http.request", "body": body, "more_body": not stream_state.is_delivered}

    async def _send(
        self, stream_state: _RequestStream, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Send an answer, as fast as the peer takes it.

        Raises:
            trio.TooSlowError: It doesn't take any for too long, or too little of it.
        """
        number, timeout = stream_state.number, self._settings.write_timeout
        with trio.fail_after(timeout * (1 + math.ceil(len(body) / _PART_BYTES))):
            self._connection.send_headers(number, [(b":status", b"%d" % status), *headers], end_stream=not body)
            sent = 0
            while sent < len(body):
                # Before it is looked at: what changes it may come while something is written.
                changed = self._window
                window = self._connection.local_flow_control_window(number)
                length = min(window, self._connection.max_outbound_frame_size, len(body) - sent)
                if length <= 0:
                    await self._flush()
                    with trio.fail_after(timeout):
                        await changed.wait()
                    continue
                self._connection.send_data(number, body[sent : sent + length], end_stream=sent + length == len(body))
                sent += length
                await self._flush()
            await self._flush()

    def _acknowledge(self, length: int, number: int) -> None:
        # Nothing counts any more on a connection that is closed.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.acknowledge_received_data(length, number)

    def _reset(self, number: int, code: ErrorCodes) -> None:
        # It may be closed already.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.reset_stream(number, code)

    async def _say_goodbye(self) -> None:
        """Tell the peer to bring further requests elsewhere. The h2 package would end those that are under way."""
        self._is_told = True
        await self._flush(GoAwayFrame(0, last_stream_id=self._last, error_code=ErrorCodes.NO_ERROR).serialize())

    async def _flush(self, more: bytes = b"") -> None:
        """Write what there is to write, each part under the write deadline; the connection is broken for a peer that doesn't read.

        A write of TLS that is cut off can't be gone on with: what ends one request mustn't cut off that of all.
        """
        async with self._sending:
            data = self._connection.data_to_send() + more
            for start in range(0, len(data), _PART_BYTES):
                with trio.move_on_after(self._settings.write_timeout, shield=True) as scope:
                    await self._stream.send_all(data[start : start + _PART_BYTES])
                if scope.cancelled_caught:
                    await trio.aclose_forcefully(self._stream)
                    raise trio.BrokenResourceError("the peer doesn't read")
