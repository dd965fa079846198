"""Payloads as WebSocket frames: each is framed once, and compressed once for each window, for all clients together.

In come the payloads of the pipeline; out go `Frame`s, which the payload keeps, and their compressed forms, which the frame keeps.
"""

from functools import partial

import trio

from ..aio import threads
from ..pipeline.broadcast import Delivery
from ..protocol.frames import Frame, text_frame

# Up to this size a frame is compressed in well under a millisecond; a thread costs a tenth of one.
_SMALL_BYTES = 16_384


def frame_of(delivery: Delivery) -> Frame:
    """The frame of a delivery, which all its clients share."""
    return delivery.payload.framed(text_frame)


class Compressor:
    """Makes the forms of frames for clients that agreed on compression."""

    def __init__(self) -> None:
        self._flight = threads.SingleFlight()
        # The work is bound by the processor: more threads would only slow the loop down.
        self._threads = trio.CapacityLimiter(2)

    async def compress(self, frame: Frame, window_bits: int) -> bytes:
        """The form of a frame for a window, made once however many ask for it at a time."""
        if frame.is_ready(window_bits) or len(frame) <= _SMALL_BYTES:
            return frame.for_window(window_bits)
        return await self._flight.shared((id(frame), window_bits), partial(self._in_thread, frame, window_bits))

    async def _in_thread(self, frame: Frame, window_bits: int) -> bytes:
        # A pure function over immutable values: a thread that nobody waits for any more does no harm.
        return await threads.run_sync(frame.for_window, window_bits, abandon_on_cancel=True, limiter=self._threads)
