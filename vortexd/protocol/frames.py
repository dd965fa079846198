"""Outbound data frames of RFC 6455. A server doesn't mask its frames (section 5.1), so all clients can share a frame.

A frame also holds its compressed forms. A form is made for the first client that needs it. All later clients share it.
"""

from .deflate import deflate

TEXT = 0x1
_FIN = 0x80
_RSV1 = 0x40


# The control frame of a heartbeat, without a payload (section 5.5.2).
PING = b"\x89\x00"
_PONG = 0x8A
_MASKED = 0x80

# If a frame is smaller than this, its compressed form is hardly ever shorter.
_MIN_COMPRESSED_BYTES = 128


class Frame(bytes):
    """One complete text frame, ready to be sent, with its compressed forms.

    Callers that need no compression use it as plain bytes. Adding a form never changes these bytes.
    """

    _compressed: dict[int, bytes]

    def is_ready(self, window_bits: int) -> bool:
        """Whether the form for this window is made already, so that `for_window` returns at once."""
        return len(self) < _MIN_COMPRESSED_BYTES or window_bits in self.__dict__.get("_compressed", ())

    def for_window(self, window_bits: int) -> bytes:
        """Return the frame for a client that has negotiated permessage-deflate with this window.

        If the compressed form isn't shorter, this is the frame itself. The first call takes about 20 ms per megabyte,
        so call it in a thread for a large frame. Two threads may make the same form at once, which does no harm.
        """
        if len(self) < _MIN_COMPRESSED_BYTES:
            return self
        forms: dict[int, bytes] = self.__dict__.setdefault("_compressed", {})
        form = forms.get(window_bits)
        if form is None:
            compressed = _frame(deflate(self[_header_bytes(len(self)) :], window_bits), _FIN | _RSV1 | TEXT)
            form = forms[window_bits] = compressed if len(compressed) < len(self) else self
        return form


def _header_bytes(frame_bytes: int) -> int:
    """Compute the size of the header of an unmasked frame from the size of the whole frame."""
    if frame_bytes < 2 + 126:
        return 2
    return 4 if frame_bytes < 4 + 65_536 else 10


def text_frame(payload: bytes) -> Frame:
    """Make one unfragmented text frame (section 5.2) from UTF-8."""
    return Frame(_frame(payload, _FIN | TEXT))


def _frame(payload: bytes, first: int) -> bytes:
    """Put the header before a payload (section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def is_pong(data: bytes) -> bool:
    """Whether these bytes are exactly one pong frame of a client, with nothing after it."""
    return (
        len(data) >= 6
        and data[0] == _PONG
        and _MASKED <= data[1] <= _MASKED + 125
        and len(data) == 6 + data[1] - _MASKED
    )


class Boundary:
    """Follows the frames that a client sends, to know whether the last frame has ended. wsproto doesn't report this."""

    def __init__(self) -> None:
        self._head = b""
        self._payload = 0

    @property
    def is_between(self) -> bool:
        """Whether the last frame has ended."""
        return not self._head and not self._payload

    def feed(self, data: bytes) -> None:
        """Take received bytes, in pieces of any size."""
        position = 0
        while position < len(data):
            if self._payload:
                step = min(self._payload, len(data) - position)
                self._payload -= step
                position += step
                continue
            self._head += data[position : position + 1]
            position += 1
            if len(self._head) >= 2 and len(self._head) == _client_header_bytes(self._head[1]):
                size = self._head[1] & 0x7F
                if size >= 126:
                    size = int.from_bytes(self._head[2 : 4 if size == 126 else 10], "big")
                self._head, self._payload = b"", size


def _client_header_bytes(second: int) -> int:
    extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
    return 2 + extended + (4 if second & _MASKED else 0)
