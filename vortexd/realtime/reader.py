"""The reader of an awake connection: parses bytes from the socket into messages, and answers control frames.

It reads the socket, and first the bytes that arrived while the connection was parked. It passes on whole messages, and
reports signs of life. The input is bounded: the reader waits for a turn before each message, and for room in the queue
before each reply.
"""

import math
from collections.abc import Awaitable, Callable

import trio
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import RemoteProtocolError

from ..aio.fair_queue import FairQueue
from ..protocol.close import CloseReason
from ..protocol.frames import Boundary
from ..settings.realtime import RealtimeSettings
from .chain import Reply
from .client import Counters, WebSocket
from .heartbeat import Heartbeat
from .inbound import Inbound
from .lifecycle import Lifecycle

_RECEIVE_BYTES = 16_384


class Reader:
    """Reads from one client.

    Args:
        fair_queue: Each message waits for a turn, so that a burst of messages doesn't delay other clients.
        take: Executes the command in a message.
        take_control: Counts a ping or pong frame.
        reply: Queues a reply, and waits for room.

    Attributes:
        received: Bytes that arrived while the connection was parked or was being parked.
        is_listening: Whether the reader waits for bytes and handles none.
        is_garbled: Whether the input is no longer a valid sequence of frames.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        websocket: WebSocket,
        settings: RealtimeSettings,
        counters: Counters,
        lifecycle: Lifecycle,
        heartbeat: Heartbeat,
        fair_queue: FairQueue,
        take: Callable[[str | bytes], Awaitable[None]],
        take_control: Callable[[], Awaitable[None]],
        reply: Callable[[Reply], Awaitable[None]],
    ) -> None:
        self._stream = stream
        self._websocket = websocket
        self._settings = settings
        self._counters = counters
        self._lifecycle = lifecycle
        self._heartbeat = heartbeat
        self._fair_queue = fair_queue
        self._take = take
        self._take_control = take_control
        self._reply = reply
        self._inbound = Inbound(settings.message_bytes, settings.message_fragments)
        self._boundary = Boundary()
        self._message_deadline = math.inf
        self.received = b""
        self.is_listening = False
        self.is_garbled = False

    @property
    def is_between(self) -> bool:
        """Whether all received bytes are handled, and no frame or message is incomplete."""
        is_open = self._websocket.state is ConnectionState.OPEN
        return is_open and not self.received and self._boundary.is_between and not self._inbound.is_open

    async def run(self) -> CloseReason | None:
        """Read until the connection ends, and return the reason.

        If the connection is being parked, return None. `received` then has the bytes that arrived meanwhile.

        Raises:
            Unacceptable: The client has sent something that ends the connection.
            trio.BrokenResourceError, trio.ClosedResourceError: The socket is broken.
        """
        self.is_listening = False
        self._message_deadline = math.inf
        try:
            while True:
                if self.received:
                    data, self.received = self.received, b""
                    self._feed(data)
                for event in self._websocket.events():
                    reason = await self._receive(event)
                    if reason is not None:
                        return reason
                if self._inbound.is_open and self._message_deadline == math.inf:
                    self._message_deadline = trio.current_time() + self._settings.message_timeout
                self.is_listening = True
                with trio.CancelScope(deadline=self._message_deadline) as scope:
                    data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
                if scope.cancelled_caught:
                    return CloseReason.POLICY
                if not data:
                    return CloseReason.LOST
                if self._lifecycle.is_parking:
                    # The other tasks are ending. If these bytes were handled now, the work could be cancelled halfway.
                    self.received = data
                    return None
                self.is_listening = False
                self._feed(data)
        except RemoteProtocolError:
            return CloseReason.PROTOCOL

    def _feed(self, data: bytes) -> None:
        self._heartbeat.seen()
        self._counters.bytes_read(len(data))
        self._boundary.feed(data)
        self._websocket.receive_data(data)

    async def _receive(self, event: Event) -> CloseReason | None:
        """Handle an event of wsproto. If it ends the connection, return the reason."""
        match event:
            case TextMessage() | BytesMessage():
                message = self._inbound.receive(event)
                if message is not None:
                    self._message_deadline = math.inf
                    await self._fair_queue.take()
                    await self._take(message)
            case Ping():
                await self._take_control()
                await self._reply(Reply(self._websocket.send(event.response())))
            case Pong():
                await self._take_control()
                seconds = self._heartbeat.seconds_to_answer
                if seconds is not None:
                    self._counters.heartbeat_answered(seconds)
            case CloseConnection(code=code):
                if self._websocket.state is ConnectionState.OPEN:
                    # This isn't the client's close frame. wsproto reports in this way that the input isn't a valid frame.
                    self.is_garbled = True
                    return _reason_of(code)
                # Answer after the queued frames, because the client has only announced that it sends nothing more.
                await self._reply(Reply(self._websocket.send(event.response()), ends=CloseReason.CLIENT))
                await trio.sleep(self._settings.close_timeout)
                return CloseReason.CLIENT
        return None


def _reason_of(code: int) -> CloseReason:
    return next((reason for reason in CloseReason if reason.code == code), CloseReason.PROTOCOL)
