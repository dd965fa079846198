"""The forms in which clients get messages: plain and compressed WebSocket frames here, events in `events.form`. Pure.

Connections of one form share the bytes of a delivery. So the parts of the parking lot compare forms, and never know the
transport. A form is made once and compared by identity.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..core.model import Key
from ..pipeline.broadcast import Delivery
from ..protocol import messages
from ..protocol.frames import PING, Frame, text_frame

if TYPE_CHECKING:
    from .events.form import EventForm

# permessage-deflate knows windows of 8 to 15 bits.
_WINDOWS = 16


class Form(Protocol):
    """The form of the messages to one kind of client."""

    @property
    def transport(self) -> str:
        """The name of the transport for operators: "websocket" or "events"."""
        ...

    @property
    def window_bits(self) -> int | None:
        """The window of permessage-deflate; None without compression."""
        ...

    @property
    def events(self) -> "EventForm | None":
        """This form, if it is one of events; None for a WebSocket."""
        ...

    def shared(self, delivery: Delivery) -> bytes:
        """Return the bytes of a delivery, before compression. They are made once, and all clients share them."""
        ...

    def message(self, text: bytes) -> bytes:
        """Make the bytes of a message for one client."""
        ...

    def heartbeat(self, key: Key, version: str | None, timestamp: str) -> bytes:
        """Make the bytes of a heartbeat for a parked client with this version of its main key."""
        ...


class WebSocketForm:
    """Frames of RFC 6455. Don't make one; use `PLAIN` or `deflated`."""

    transport: ClassVar = "websocket"
    events: ClassVar = None

    def __init__(self, window_bits: int | None) -> None:
        self.window_bits = window_bits

    def shared(self, delivery: Delivery) -> Frame:
        """See `Form`."""
        return frame_of(delivery)

    def message(self, text: bytes) -> bytes:
        """See `Form`."""
        return text_frame(text)

    def heartbeat(self, key: Key, version: str | None, timestamp: str) -> bytes:
        """See `Form`. It is the message with the version, and a ping frame, which the client answers."""
        return text_frame(messages.ping(key, version, timestamp)) + PING


PLAIN = WebSocketForm(None)


def web_socket_form(window_bits: int | None) -> WebSocketForm:
    """Return the form for a window of permessage-deflate; None means no compression."""
    return PLAIN if window_bits is None else _deflated(window_bits)


@lru_cache(_WINDOWS)
def _deflated(window_bits: int) -> WebSocketForm:
    return WebSocketForm(window_bits)


def frame_of(delivery: Delivery) -> Frame:
    """Return the WebSocket frame of a delivery. All its clients share it."""
    return delivery.payload.framed(text_frame)
