"""HTTP/2 over TLS: serves one connection, and each of its requests in its own task.

The bridge passes in a stream whose TLS handshake has negotiated `h2`. The application responds to each request, as with
HTTP/1.1. The h2 package implements the protocol. This module adds the waits, each with a deadline, and the limits. If a
client makes the server work for nothing, the server ends the connection with ENHANCE_YOUR_CALM.

vortexd doesn't use the HTTP/2 of Hypercorn. That counts no resets and sends no GOAWAY in a drain. DATA after a response
can make it fail.
"""

import contextlib
import math
from functools import partial

import h2.events
import h2.exceptions
import structlog
import trio
from h2.errors import ErrorCodes

from ..core.errors import RemoteError
from ..net.outgoing import Outgoing
from ..net.places import Standing
from ..net.proxies import Proxies, Sender
from ..settings.server import ServerSettings
from .adapter.h2 import goaway, http2_connection
from .allowance import AllowanceExceeded, Allowances
from .event_stream import EventStream
from .http2_body import Http2Body
from .http2_request import HeadRefused, RequestStream
from .request_head import PeerGone, Respond

log = structlog.get_logger()

_MAX_STREAMS = 100
# So many of them may wait, so that the connection can carry other requests.
_MAX_WAITING = 50
# Only a few bytes at a time. A frame may have nine bytes, and other connections wait while the server handles frames.
_RECEIVE_BYTES = 4_096
_PART_BYTES = 65_536
# Seconds until the first request on a connection beyond the limit.
_SPARE_TIMEOUT = 1.0
# The seconds in which the last response may still be sent when the connection is closed.
_LINGER = 1.0

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Http2:
    """Serves one connection.

    Args:
        sender: The peer of the connection.
        proxies: As in `RequestHead`.
        outgoing: The large responses that are being sent, on all connections.
        only: If there are too many connections, this one ends after a request, and only these paths are answered. Else None.
        standing: Receives reports whether the connection waits for its client.
    """

    def __init__(
        self,
        respond: Respond,
        stream: trio.abc.Stream,
        settings: ServerSettings,
        sender: Sender,
        proxies: Proxies | None,
        outgoing: Outgoing,
        only: frozenset[str] | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._standing = standing or Standing()
        self._respond, self._stream, self._settings, self._only = respond, stream, settings, only
        self._sender, self._proxies = sender, proxies
        self._outgoing = outgoing
        self._connection = http2_connection(_MAX_STREAMS, settings.head_bytes)
        self._requests: dict[int, RequestStream] = {}
        self._last = 0
        self._sending = trio.Lock()
        self._receiving = trio.CancelScope()
        self._window = trio.Event()
        self._ended = trio.Event()
        self._is_draining = self._has_sent_goaway = False
        self._idle_until = trio.current_time() + (settings.head_timeout if only is None else _SPARE_TIMEOUT)
        self._allowances = Allowances(trio.current_time)

    def drain(self) -> None:
        """End the connection after its current requests."""
        self._is_draining = True
        self._receiving.cancel()

    async def run(self) -> None:
        """Serve until the client leaves, is idle for too long, breaks the protocol or a limit, or a drain is complete.

        This task reads. The nursery has a task for each request, and one task that ends writes on cancellation. Closes the
        stream at the end.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_when_cancelled)
            with contextlib.suppress(*_GONE):
                try:
                    self._connection.initiate_connection()
                    await self._flush()
                    await self._read(nursery)
                except h2.exceptions.ProtocolError:
                    # The h2 package has prepared a GOAWAY with the reason.
                    await self._flush()
                except AllowanceExceeded:
                    log.debug("connection refused", reason="too many useless frames")
                    self._connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                    await self._flush()
                with trio.move_on_after(_LINGER):
                    await self._stream.aclose()
            await self._end_streams()
            nursery.cancel_scope.cancel()

    async def _end_streams(self) -> None:
        """Let the responses that last end, because the connection has ended."""
        while streams := [each for each in self._requests.values() if each.gone is not None]:
            for each in streams:
                each.leave()
            self._ended = trio.Event()
            await self._ended.wait()

    async def _close_when_cancelled(self) -> None:
        """Close the socket on cancellation. Writes are shielded, so they would otherwise last until their deadline."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope() as scope:
                scope.cancel()
                await self._stream.aclose()

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            if self._is_draining and not self._has_sent_goaway:
                await self._send_goaway()
            if not self._requests and (self._is_draining or trio.current_time() >= self._idle_until):
                if not self._has_sent_goaway:
                    await self._send_goaway()
                return
            data = None
            with trio.CancelScope(deadline=self._deadline) as self._receiving:
                if self._is_partly:
                    await self._standing.reads()
                else:
                    self._report_standing()
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
        """Whether the connection waits for its client: before the first request, and while no request is complete."""
        if not self._requests:
            return not self._last
        return not any(each.is_whole for each in self._requests.values())

    def _report_standing(self) -> None:
        if self._requests:
            self._standing.works()
        else:
            self._standing.idles()

    @property
    def _deadline(self) -> float:
        """The time at which an idle connection ends. Frames that begin no request, such as PING, don't postpone it."""
        if self._requests:
            return math.inf
        return -math.inf if self._is_draining else self._idle_until

    def _handle(self, event: h2.events.Event, nursery: trio.Nursery) -> None:
        request = self._requests.get(getattr(event, "stream_id", None) or 0)
        match event:
            case h2.events.RequestReceived():
                self._begin(event, nursery)
            case h2.events.DataReceived():
                # Many clients end a stream with an empty frame, once per stream. Other empty frames are useless, padded or not.
                if not event.data and event.stream_ended is None:
                    self._allowances.control.take()
                if request is not None:
                    request.received.append((event.data, event.flow_controlled_length))
                    request.arrived.set()
                else:
                    # The server has answered the request already.
                    self._acknowledge(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                if request is not None:
                    request.is_whole = True
                    request.arrived.set()
            case h2.events.StreamReset():
                self._allowances.resets.take()
                if request is not None:
                    request.leave()
            case h2.events.WindowUpdated():
                self._allowances.window_updates.take()
                self._wake()
            case h2.events.RemoteSettingsChanged():
                self._allowances.control.take()
                self._wake()
            case h2.events.ConnectionTerminated():
                raise trio.BrokenResourceError
            case h2.events.PingReceived() | h2.events.PriorityUpdated() | h2.events.UnknownFrameReceived():
                self._allowances.control.take()

    def _wake(self) -> None:
        self._window.set()
        self._window = trio.Event()

    def _begin(self, event: h2.events.RequestReceived, nursery: trio.Nursery) -> None:
        if self._has_sent_goaway or len(self._requests) >= _MAX_STREAMS:
            self._reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last = event.stream_id
        request = RequestStream(
            event.stream_id,
            [(bytes(name), bytes(value)) for name, value in event.headers],
            trio.current_time() + self._settings.request_timeout,
            partial(self._taken, event.stream_id),
            may_wait=self._may_wait,
        )
        self._requests[event.stream_id] = request
        nursery.start_soon(self._serve, request)

    def _may_wait(self) -> bool:
        return sum(each.is_waiting for each in self._requests.values()) < _MAX_WAITING

    async def _serve(self, request: RequestStream) -> None:
        """Serve one request until its response is sent. Unexpected errors end here: they are logged and reset the stream."""
        try:
            with request.scope:
                try:
                    status, headers, body, stream = await self._answer(request)
                    if stream is not None:
                        await self._send_stream(request, status, headers, stream)
                    else:
                        with self._outgoing.holding(body, request.scope.cancel):
                            await self._send(request, status, headers, body)
                except trio.TooSlowError:
                    self._reset(request.number, ErrorCodes.CANCEL)
                except h2.exceptions.ProtocolError:
                    # The client has closed the stream meanwhile, or the response isn't valid.
                    self._reset(request.number, ErrorCodes.INTERNAL_ERROR)
                except (*_GONE, PeerGone):
                    # The task that reads gets the same error, and ends the connection.
                    pass
                except Exception:
                    log.exception("request failed")
                    self._reset(request.number, ErrorCodes.INTERNAL_ERROR)
        finally:
            del self._requests[request.number]
            self._ended.set()
            for _, length in request.received:
                self._acknowledge(length, request.number)
            if request.scope.cancelled_caught:
                # The client or `Outgoing` has cancelled the request.
                self._reset(request.number, ErrorCodes.CANCEL)
            self._is_draining |= self._only is not None
            if not self._requests:
                self._idle_until = trio.current_time() + self._settings.keep_alive_timeout
            self._receiving.deadline = self._deadline
            if not self._is_partly:
                self._report_standing()
            if self._is_draining or self._is_partly:
                self._receiving.cancel()
        if not request.is_whole:
            # The rest of the body isn't read (RFC 9113 section 8.1).
            self._reset(request.number, ErrorCodes.NO_ERROR)
        with contextlib.suppress(*_GONE):
            await self._flush()

    async def _answer(self, request: RequestStream) -> tuple[int, list[tuple[bytes, bytes]], bytes, EventStream | None]:
        """Let the application respond.

        Raises:
            trio.TooSlowError: The client takes too long to send the request.
        """
        try:
            head = request.head(self._sender, self._proxies, self._only)
        except HeadRefused as refused:
            return refused.status, refused.headers, b"", None
        response = await self._respond(head, request)
        stream = response.stream
        if stream is not None:
            try:
                self._standing.enter_stream(stream.host)
            except RemoteError as error:
                stream.abandon()
                headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
                return error.status, headers, b"", None
        return response.status, response.head(), response.content(head.method), stream

    async def _send(self, request: RequestStream, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a response as fast as the client reads it.

        Raises:
            trio.TooSlowError: The client reads nothing for too long, or reads too slowly.
        """
        number, timeout = request.number, self._settings.write_timeout
        with trio.fail_after(timeout * (1 + math.ceil(len(body) / _PART_BYTES))):
            self._connection.send_headers(number, [(b":status", b"%d" % status), *headers], end_stream=not body)
            await self._send_data(number, body, timeout, is_last=True)
            if not body:
                await self._flush()

    async def _send_data(self, number: int, body: bytes, timeout: float, *, is_last: bool) -> None:
        """Send bytes of a body as fast as the client reads them.

        Args:
            timeout: The seconds to wait for the client to read something.
            is_last: Whether they end the body.

        Raises:
            trio.TooSlowError: The client reads nothing for too long.
        """
        sent = 0
        while sent < len(body):
            # Take the event before the window is read, because an update may come during a write.
            changed = self._window
            window = self._connection.local_flow_control_window(number)
            length = min(window, self._connection.max_outbound_frame_size, len(body) - sent)
            if length <= 0:
                await self._flush()
                with trio.fail_after(timeout):
                    await changed.wait()
                continue
            is_end = is_last and sent + length == len(body)
            self._connection.send_data(number, body[sent : sent + length], end_stream=is_end)
            sent += length
            await self._flush()

    async def _send_stream(
        self, request: RequestStream, status: int, headers: list[tuple[bytes, bytes]], stream: EventStream
    ) -> None:
        """Send a response that lasts, until the server or the client ends it. It counts as a connection already."""
        number = request.number
        request.gone = trio.Event()
        body = Http2Body(partial(self._send_part, number), request.gone)
        try:
            try:
                self._connection.send_headers(number, [(b":status", b"%d" % status), *headers])
            except h2.exceptions.ProtocolError:
                # The client has closed the stream meanwhile.
                stream.abandon()
                raise
            await stream.serve(body)
        finally:
            self._standing.leave_stream(stream.host)
        if not body.is_whole:
            self._reset(number, ErrorCodes.CANCEL)
        elif not request.gone.is_set():
            self._connection.end_stream(number)
        # In a drain, the connection may be closed as soon as this request has ended.
        await self._flush()

    async def _send_part(self, number: int, data: bytes) -> None:
        """Send bytes of a response that lasts. The writer of the stream has the deadline.

        Raises:
            trio.BrokenResourceError: The client has closed the stream, or the connection is broken.
        """
        try:
            await self._send_data(number, data, math.inf, is_last=False)
        except h2.exceptions.ProtocolError as error:
            raise trio.BrokenResourceError from error

    async def _taken(self, number: int, length: int) -> None:
        """Allow the client to send as many more bytes as the application has taken."""
        self._acknowledge(length, number)
        try:
            await self._flush()
        except _GONE as error:
            raise PeerGone from error

    def _acknowledge(self, length: int, number: int) -> None:
        # h2 refuses this on a closed connection, which then needs no acknowledgement.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.acknowledge_received_data(length, number)

    def _reset(self, number: int, code: ErrorCodes) -> None:
        # h2 refuses this if the stream is closed already.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.reset_stream(number, code)

    async def _send_goaway(self) -> None:
        """Ask the client to send further requests on another connection."""
        self._has_sent_goaway = True
        await self._flush(goaway(self._last))

    async def _flush(self, more: bytes = b"") -> None:
        """Write the bytes that h2 has prepared, in parts. Each part has the write timeout.

        The write is shielded. A cancelled request must not cut off a TLS record, because the connection could serve no
        other request after that.

        Raises:
            trio.BrokenResourceError: The client doesn't read, or the connection is broken.
        """
        async with self._sending:
            data = self._connection.data_to_send() + more
            for start in range(0, len(data), _PART_BYTES):
                with trio.move_on_after(self._settings.write_timeout, shield=True) as scope:
                    await self._stream.send_all(data[start : start + _PART_BYTES])
                if scope.cancelled_caught:
                    await trio.aclose_forcefully(self._stream)
                    raise trio.BrokenResourceError("the client doesn't read")
