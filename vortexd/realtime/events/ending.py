"""Ends an event stream: writes the last event and the end of the body, lets the client read them, and closes the connection."""

import trio

from ..closing import farewell

_RECEIVE_BYTES = 16_384


async def end(stream: trio.abc.Stream, last: bytes, timeout: float, *, is_writing: bool) -> None:
    """End the stream, and close its connection. No action of a client makes this raise.

    Args:
        last: The last event and the end of the body; empty if only the end of the connection ends the body.
        timeout: The seconds for all of this.
        is_writing: Whether an event is only partly written. If so, nothing may follow it.
    """
    with farewell(timeout) as is_cancelled:
        if not is_writing:
            await stream.send_all(last)
            # If a socket is closed with unread bytes, the client may lose the last event. TLS can't close one half.
            if not is_cancelled and isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()
                while await stream.receive_some(_RECEIVE_BYTES):
                    pass
    await trio.aclose_forcefully(stream)
