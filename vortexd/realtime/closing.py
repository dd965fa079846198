"""The end of a connection: our close frame, theirs, and the socket (RFC 6455 section 7.1.1)."""

import contextlib
import math

import trio
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection
from wsproto.utilities import RemoteProtocolError

from ..protocol.close import CloseReason
from .client import WebSocket

_RECEIVE_BYTES = 16_384
# Seconds that a close frame may wait when the server is being cancelled: the frame is a courtesy then, and a process waits to end.
_HURRIED_TIMEOUT = 0.5


async def close(
    stream: trio.abc.Stream,
    websocket: WebSocket,
    reason: CloseReason,
    timeout: float,
    *,
    is_writing: bool,
    is_garbled: bool,
) -> None:
    """Send our close frame, wait for theirs, and close the socket. Raises nothing that a peer can cause.

    Args:
        timeout: Seconds for all of it.
        is_writing: A frame is half written, so nothing may follow it.
        is_garbled: The input is no longer a sequence of frames.
    """
    is_cancelled = trio.current_effective_deadline() == -math.inf
    if is_cancelled:
        timeout = _HURRIED_TIMEOUT
    with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
            if websocket.state is ConnectionState.OPEN and reason.is_sent and not is_writing:
                await stream.send_all(websocket.send(CloseConnection(reason.code, reason.text)))
                if not is_cancelled:
                    await _wait_closed(stream, websocket, is_garbled=is_garbled)
    await trio.aclose_forcefully(stream)


async def _wait_closed(stream: trio.abc.Stream, websocket: WebSocket, *, is_garbled: bool) -> None:
    """Read until the client has closed, too: a socket that is closed on unread bytes takes the close frame with it."""
    if is_garbled:
        # wsproto would keep all that comes. The end of our half tells the client (section 7.1.7); where there are no
        # halves, as in TLS, nothing is left to wait for.
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
            while await stream.receive_some(_RECEIVE_BYTES):
                pass
        return
    while data := await stream.receive_some(_RECEIVE_BYTES):
        websocket.receive_data(bytes(data))
        if any(isinstance(event, CloseConnection) for event in websocket.events()):
            return
