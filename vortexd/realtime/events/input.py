"""The reader of an awake event stream. The client has nothing to send, so any byte and the end of its input end the stream."""

from collections.abc import Awaitable, Callable

import trio

from ...protocol.close import CloseReason
from ..client import Counters

_RECEIVE_BYTES = 1_024


class EventReader:
    """Waits for the end of one client; in place of `reader.Reader`.

    Args:
        subscribe: Subscribes to the patterns of the request, if there are any. Awaited once, before the wait.
        has_spoken: Whether bytes have already followed the request.

    Attributes:
        received: Bytes that arrived while the stream was parked.
        is_listening: Whether the reader waits for the client, and does nothing else.
        is_garbled: As in `reader.Reader`.
    """

    is_garbled = False

    def __init__(
        self,
        stream: trio.abc.Stream,
        counters: Counters,
        subscribe: Callable[[], Awaitable[None]] | None,
        *,
        has_spoken: bool,
    ) -> None:
        self._stream = stream
        self._counters = counters
        self._subscribe = subscribe
        self._has_spoken = has_spoken
        self.received = b""
        self.is_listening = False

    @property
    def is_between(self) -> bool:
        """Whether nothing was received."""
        return not self.received and not self._has_spoken

    async def run(self) -> CloseReason | None:
        """Wait until the client ends the stream, and return the reason.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: The connection is broken.
        """
        self.is_listening = False
        if not self.is_between:
            return CloseReason.CLIENT
        if self._subscribe is not None:
            await self._subscribe()
            self._subscribe = None
        self.is_listening = True
        data = await self._stream.receive_some(_RECEIVE_BYTES)
        self._counters.bytes_read(len(data))
        return CloseReason.CLIENT
