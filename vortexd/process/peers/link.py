"""One end of the socket pair between a supervisor and a worker. Both ends use the same code.

Sending never waits. If the other end is stopped or stuck and doesn't read, frames are dropped. So every wait for an
answer has a deadline.
"""

from collections.abc import Callable

import trio

from .wire import MOST, Decoder, Frame, encode

_MOST_WAITING = 1_024
_RECEIVE_BYTES = 65_536


class Link:
    """Sends and receives frames.

    Args:
        stream: One socket of the pair.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._send, self._waiting = trio.open_memory_channel[bytes](_MOST_WAITING)
        self._bytes = 0

    def say(self, frame: Frame) -> bool:
        """Queue a frame for sending. Returns whether there was room for it.

        The queue has at most `wire.MOST` bytes. This also bounds each frame, because the other end refuses longer frames.
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
        """Send queued frames, and pass received frames to `hear`, until the other end has gone. Then close the link."""
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
        """Close the link at once. Frames in the queue are lost."""
        await trio.aclose_forcefully(self._stream)

    async def _write(self) -> None:
        # There is no deadline, because half a frame would break the link. The watchdog handles a process that doesn't read.
        async for data in self._waiting:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            self._bytes -= len(data)
