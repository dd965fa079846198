"""permessage-deflate (RFC 7692) for a server that sends the same frame to many clients. Pure.

Neither side keeps a compression context from one message to the next. A shared frame can't depend on earlier messages
of one client. If the client keeps no context either, the server needs no memory for it. The server inflates a message
chunk by chunk, and only up to the message limit. So a decompression bomb costs at most the limit.
"""

import zlib
from typing import Any

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

# RFC 7692 section 7.2.1: the sender leaves out the last four bytes of a sync flush.
_TAIL = b"\x00\x00\xff\xff"
_MIN_BITS, _MAX_BITS = 8, 15
# zlib can't make a raw stream with a window of 256 bytes. It would use 512 bytes, and the client couldn't read that.
_MIN_OUTBOUND_BITS = 9


def deflate(payload: bytes, window_bits: int = _MAX_BITS) -> bytes:
    """Compress one message, without context (section 7.2.1)."""
    # Level 6 takes half the time of level 9. Configuration is text, so the sizes differ by less than one per cent.
    compressor = zlib.compressobj(6, zlib.DEFLATED, -window_bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


class Deflate(Extension):
    """The extension of one connection, in the form that wsproto calls.

    Args:
        message_bytes: The largest size of an inbound message, inflated, in bytes.
        window_bits: The window that was negotiated already, if the connection was open before; else None.

    Attributes:
        window_bits: The window of outbound messages, if the server has accepted an offer; else None.
    """

    name = "permessage-deflate"

    def __init__(self, message_bytes: int, window_bits: int | None = None) -> None:
        self._message_bytes = message_bytes
        self.window_bits = window_bits
        self._inflater: Any = None
        self._inflated = 0
        self._is_data = False

    def enabled(self) -> bool:
        """Whether the server has accepted an offer."""
        return self.window_bits is not None

    def offer(self) -> bool | str:
        """Return False, because a server makes no offer."""
        return False

    def accept(self, offer: str) -> bool | str | None:
        """Answer one offer (section 7.1).

        Returns None to decline the offer. wsproto then tries the client's next offer.
        """
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
        """Read the header of a frame. Only the first frame of a message may set RSV1 (section 6.1)."""
        if rsv.rsv1 and (opcode.iscontrol() or opcode is Opcode.CONTINUATION):
            return CloseReason.PROTOCOL_ERROR
        self._is_data = not opcode.iscontrol()
        if self._is_data and opcode is not Opcode.CONTINUATION:
            self._inflater = zlib.decompressobj(-_MAX_BITS) if rsv.rsv1 else None
            self._inflated = 0
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate a part of a frame, if its message is compressed."""
        if not self._is_data or self._inflater is None:
            return data
        return self._inflate(bytes(data))

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """Return the rest of a compressed message, if this frame ends it."""
        if not fin or not self._is_data or self._inflater is None:
            return None
        rest = self._inflate(_TAIL)
        self._inflater = None
        return rest

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        try:
            # One byte over the limit shows that the message is too big. Nothing beyond that byte is inflated.
            part: bytes = self._inflater.decompress(data, self._message_bytes - self._inflated + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(part)
        return CloseReason.MESSAGE_TOO_BIG if self._inflated > self._message_bytes else part

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Leave the frames of wsproto as they are. These are control frames; `frames` makes the data frames."""
        return rsv, data


def _parameters(offer: str) -> dict[str, int | None]:
    """Parse the parameters of an offer.

    Raises:
        ValueError: A parameter is unknown, occurs twice or has a wrong value. Section 7.1 says to decline such offers.
    """
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
    # Section 7.1.2 forbids leading zeros.
    if not text.isascii() or not text.isdigit() or text.startswith("0"):
        raise ValueError(text)
    bits = int(text)
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise ValueError(text)
    return bits
