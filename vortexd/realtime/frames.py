"""Outbound data frames of RFC 6455. Server frames are unmasked (section 5.1), so one frame serves every client.

Each frame also has its compressed forms, made when the first client wants one and shared like the frame itself.
"""

from .deflate import deflate

TEXT = 0x1
_FIN = 0x80
_RSV1 = 0x40


# Below this a compressed frame is hardly ever shorter.
_MIN_COMPRESSED_BYTES = 128


class Frame(bytes):
    """One whole text frame, ready for the wire, that knows its compressed forms.

    Bytes like any other to who doesn't care; never changed, whatever forms are kept in it.
    """

    _compressed: dict[int, bytes]

    def is_ready(self, window_bits: int) -> bool:
        """Whether the form for this window is known, so that `for_window` costs nothing."""
        return len(self) < _MIN_COMPRESSED_BYTES or window_bits in self.__dict__.get("_compressed", ())

    def for_window(self, window_bits: int) -> bytes:
        """The frame for a client that agreed on permessage-deflate with this window; itself where that is no longer.

        Takes about 20 ms per megabyte the first time; large frames belong into a thread. Two threads at once make the
        same form twice, which does no harm.
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
    """The size of the header of an unmasked frame, told by the size of the whole."""
    if frame_bytes < 2 + 126:
        return 2
    return 4 if frame_bytes < 4 + 65_536 else 10


def text_frame(payload: bytes) -> Frame:
    """Make one unfragmented text frame (section 5.2) of UTF-8."""
    return Frame(_frame(payload, _FIN | TEXT))


def _frame(payload: bytes, first: int) -> bytes:
    """Put the header before a payload (section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
