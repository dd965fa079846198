"""One end of the pair of sockets between a supervisor and a worker, the same on both sides.

To say something never waits: what the other end doesn't take, because it is stopped or stuck, is dropped, and who waits for an answer has a deadline.
"""

from collections.abc import Callable

import trio

from .wire import MOST, Decoder, Frame, encode

_MOST_WAITING = 1_024
_RECEIVE_BYTES = 65_536


class Link:
    """See the module.

    Args:
        stream: One of the pair.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._send, self._waiting = trio.open_memory_channel[bytes](_MOST_WAITING)
        self._bytes = 0

    def say(self, frame: Frame) -> bool:
        """Send a frame once the other end takes it. Returns whether there was room for it.

        What waits has no more than `wire.MOST` bytes, so that no frame is longer, either: the other end would take that for a defect.
        """
        data = encode(frame)
        if self._bytes + len(data) > MOST:
            return False
        try:
            self._send.send_nowait(data)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        self._bytes += len(data)
        return True

    async def run(self, hear: Callable[[Frame], None]) -> None:
        """Send what is said, and pass on what is heard, until the other end is gone; then the link is closed."""
        async with self._stream, self._waiting, trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            decoder = Decoder()
            try:
                while data := await self._stream.receive_some(_RECEIVE_BYTES):
                    for frame in decoder.receive(data):
                        hear(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

    async def aclose(self) -> None:
        """Close it at once, with what hasn't been sent."""
        await trio.aclose_forcefully(self._stream)

    async def _write(self) -> None:
        # Without a deadline, for half a frame would be the end of the link: a process that doesn't read is the watchdog's.
        async for data in self._waiting:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            self._bytes -= len(data)
