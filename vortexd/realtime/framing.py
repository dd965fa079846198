"""Compresses WebSocket frames. A compressed form is made once for each window, and the frame keeps it."""

from functools import partial

import trio

from ..aio import threads
from ..protocol.frames import Frame

# Compressing a frame up to this size takes much less than a millisecond. Using a thread takes a tenth of a millisecond.
_SMALL_BYTES = 16_384


def is_quick(frame: Frame, window_bits: int) -> bool:
    """Return whether the compressed form of a frame exists, or is made in much less than a millisecond."""
    return frame.is_ready(window_bits) or len(frame) <= _SMALL_BYTES


class Compressor:
    """Makes the compressed forms of frames for clients that have negotiated compression."""

    def __init__(self) -> None:
        self._flight = threads.SingleFlight()
        # The processor limits this work, so more threads would only slow down the event loop.
        self._threads = trio.CapacityLimiter(2)

    async def compress(self, frame: Frame, window_bits: int) -> bytes:
        """Return the form of a frame for a window. If several callers need it at a time, it is made once."""
        if is_quick(frame, window_bits):
            return frame.for_window(window_bits)
        return await self._flight.shared((id(frame), window_bits), partial(self._in_thread, frame, window_bits))

    async def _in_thread(self, frame: Frame, window_bits: int) -> bytes:
        # This is a pure function of immutable values. So an abandoned thread does no harm.
        return await threads.run_sync(frame.for_window, window_bits, abandon_on_cancel=True, limiter=self._threads)
