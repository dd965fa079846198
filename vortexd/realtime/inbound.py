"""Assembles inbound frames into messages, within limits of bytes and frames. Pure.

wsproto passes on the parts of messages as they arrive, and keeps nothing. So these limits bound the memory that a client
can make the server use.
"""

from collections.abc import Sequence

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, TextMessage
from wsproto.extensions import Extension
from wsproto.utilities import RemoteProtocolError

from ..protocol.close import CloseReason
from ..protocol.frames import Boundary


class Unacceptable(Exception):
    """The client has sent something that ends the connection, with this reason."""

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason.text)
        self.reason = reason


class Inbound:
    """Assembles one message at a time.

    Args:
        message_bytes: The largest size of a message as UTF-8, in bytes.
        message_fragments: The most frames of a message. Empty frames count, too.
    """

    def __init__(self, message_bytes: int, message_fragments: int) -> None:
        self._message_bytes = message_bytes
        self._message_fragments = message_fragments
        self._parts: list[str | bytes | bytearray] = []
        self._bytes = 0
        self._fragments = 0
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._is_open

    def receive(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        """Take a part of a message. When the message is complete, return it: a text message as str, a binary one as bytes.

        Raises:
            Unacceptable: The message is too large, or has too many frames.
        """
        self._is_open = True
        # Count bytes, not characters. An emoji is one character, but four bytes.
        self._bytes += len(event.data.encode()) if isinstance(event.data, str) else len(event.data)
        self._fragments += event.frame_finished
        if self._bytes > self._message_bytes:
            raise Unacceptable(CloseReason.TOO_BIG)
        if self._fragments > self._message_fragments:
            raise Unacceptable(CloseReason.POLICY)
        if event.data:
            self._parts.append(event.data)
        if not event.message_finished:
            return None
        whole = "".join(self._parts) if isinstance(event, TextMessage) else b"".join(self._parts)  # type: ignore[arg-type]  # of one kind
        self._parts.clear()
        self._bytes = self._fragments = 0
        self._is_open = False
        return whole


def sole_text(data: bytes, extensions: Sequence[Extension]) -> str | None:
    """Return the text of a message, if these bytes are exactly one text message in one frame.

    For any other bytes, valid or not, return None.
    """
    boundary = Boundary()
    boundary.feed(data)
    if not boundary.is_between:
        return None
    websocket = Connection(ConnectionType.SERVER, list(extensions))
    try:
        websocket.receive_data(data)
        events = list(websocket.events())
    except RemoteProtocolError:
        return None
    match events:
        case [TextMessage(data=text, message_finished=True)]:
            return text
    return None
