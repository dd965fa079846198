"""permessage-deflate (RFC 7692) for a server that shares its frames. Pure.

Neither side keeps a context from one message to the next: a shared frame can't depend on what a client had before, and a client that
has to keep none costs us none. What comes in is inflated only up to the message limit, chunk by chunk, so a bomb costs its limit.
"""

import zlib
from typing import Any

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

# RFC 7692 section 7.2.1: the last four bytes of a sync flush are left out on the wire.
_TAIL = b"\x00\x00\xff\xff"
_MIN_BITS, _MAX_BITS = 8, 15
# zlib makes no raw stream with a window of 256 bytes: it would use 512 and a client could not read it.
_MIN_OUTBOUND_BITS = 9


def deflate(payload: bytes, window_bits: int = _MAX_BITS) -> bytes:
    """Compress one message, without context (section 7.2.1)."""
    # Level 6 costs half of what 9 does, and configuration is text: the difference in size is below a per cent.
    compressor = zlib.compressobj(6, zlib.DEFLATED, -window_bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


class Deflate(Extension):
    """The extension as wsproto calls it, for one connection.

    Args:
        message_bytes: Size of an inbound message, inflated.
        window_bits: What was agreed on already, for a connection that goes on.

    Attributes:
        window_bits: The window of outbound messages once an offer was accepted, else None.
    """

    name = "permessage-deflate"

    def __init__(self, message_bytes: int, window_bits: int | None = None) -> None:
        self._message_bytes = message_bytes
        self.window_bits = window_bits
        self._inflater: Any = None
        self._inflated = 0
        self._is_data = False

    def enabled(self) -> bool:
        """Whether an offer was accepted."""
        return self.window_bits is not None

    def offer(self) -> bool | str:
        """A server offers nothing."""
        return False

    def accept(self, offer: str) -> bool | str | None:
        """Answer one offer (section 7.1); None declines it, and wsproto tries the client's next one."""
        if self.enabled():
            return None
        try:
            parameters = _parameters(offer)
        except ValueError:
            return None
        bits = parameters.get("server_max_window_bits")
        outbound = _MAX_BITS if bits is None else bits
        if outbound < _MIN_OUTBOUND_BITS:
            return None
        self.window_bits = outbound
        answer = ["server_no_context_takeover", "client_no_context_takeover"]
        if bits is not None:
            answer.append(f"server_max_window_bits={bits}")
        return "; ".join(answer)

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Take note of a frame's head: RSV1 stands on the first frame of a message alone (section 6.1)."""
        if rsv.rsv1 and (opcode.iscontrol() or opcode is Opcode.CONTINUATION):
            return CloseReason.PROTOCOL_ERROR
        self._is_data = not opcode.iscontrol()
        if self._is_data and opcode is not Opcode.CONTINUATION:
            self._inflater = zlib.decompressobj(-_MAX_BITS) if rsv.rsv1 else None
            self._inflated = 0
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate a part of a frame."""
        if not self._is_data or self._inflater is None:
            return data
        return self._inflate(bytes(data))

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """End a message."""
        if not fin or not self._is_data or self._inflater is None:
            return None
        rest = self._inflate(_TAIL)
        self._inflater = None
        return rest

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        try:
            # One byte over the limit is enough to know: nothing beyond it is ever inflated.
            part: bytes = self._inflater.decompress(data, self._message_bytes - self._inflated + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(part)
        return CloseReason.MESSAGE_TOO_BIG if self._inflated > self._message_bytes else part

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Leave wsproto's own frames (control frames) as they are; data frames are made in `frames`."""
        return rsv, data


def _parameters(offer: str) -> dict[str, int | None]:
    """Parse an offer; ValueError for what section 7.1 says to decline: unknown, twice, or with a wrong value."""
    parameters: dict[str, int | None] = {}
    for text in offer.split(";")[1:]:
        name, has_value, value = (part.strip() for part in text.partition("="))
        if name in parameters:
            raise ValueError(name)
        match name, bool(has_value):
            case ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", False):
                parameters[name] = None
            case ("server_max_window_bits" | "client_max_window_bits", True):
                parameters[name] = _bits(value.strip('"'))
            case _:
                raise ValueError(name)
    return parameters


def _bits(text: str) -> int:
    # Section 7.1.2: no leading zeros.
    if not text.isascii() or not text.isdigit() or text.startswith("0"):
        raise ValueError(text)
    bits = int(text)
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise ValueError(text)
    return bits
