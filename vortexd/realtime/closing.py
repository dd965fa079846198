"""Ends a connection: sends a close frame, waits for the client's, and closes the socket (RFC 6455 section 7.1.1)."""

import contextlib
import math
from collections.abc import Iterator

import trio
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection
from wsproto.utilities import RemoteProtocolError

from ..protocol.close import CloseReason
from .client import WebSocket

_RECEIVE_BYTES = 16_384
# The seconds that a close frame may take if the server is being cancelled. The process must end soon, and the client can do
# without the frame.
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
    """Send a close frame, wait for the client's close frame, and close the socket. No action of a client makes this raise.

    Args:
        timeout: The seconds for all of this.
        is_writing: Whether a frame is only partly written. If so, no close frame may follow it.
        is_garbled: Whether the input is no longer a valid sequence of frames.
    """
    with farewell(timeout) as is_cancelled:
        with contextlib.suppress(RemoteProtocolError):
            if websocket.state is ConnectionState.OPEN and reason.is_sent and not is_writing:
                await stream.send_all(websocket.send(CloseConnection(reason.code, reason.text)))
                if not is_cancelled:
                    await _wait_closed(stream, websocket, is_garbled=is_garbled)
    await trio.aclose_forcefully(stream)


@contextlib.contextmanager
def farewell(timeout: float) -> Iterator[bool]:
    """Shield the last words to a client, within this many seconds. Errors of the connection end the block.

    Yields whether the server is being cancelled. Then there is less time.
    """
    is_cancelled = trio.current_effective_deadline() == -math.inf
    deadline = trio.current_time() + (_HURRIED_TIMEOUT if is_cancelled else timeout)
    with trio.CancelScope(shield=True, deadline=deadline):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            yield is_cancelled


async def _wait_closed(stream: trio.abc.Stream, websocket: WebSocket, *, is_garbled: bool) -> None:
    """Read until the client closes, too. If a socket is closed with unread bytes, the client may lose the close frame."""
    if is_garbled:
        # wsproto would keep all received bytes. Closing the sending half tells the client (section 7.1.7). TLS can't close
        # one half, so there is nothing to wait for.
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
            while await stream.receive_some(_RECEIVE_BYTES):
                pass
        return
    while data := await stream.receive_some(_RECEIVE_BYTES):
        websocket.receive_data(bytes(data))
        if any(isinstance(event, CloseConnection) for event in websocket.events()):
            return
