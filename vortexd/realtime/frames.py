"""Outbound data frames of RFC 6455. Server frames are unmasked (section 5.1), so one frame serves every client."""

TEXT = 0x1
_FIN = 0x80
_RSV1 = 0x40


def text_frame(payload: bytes, *, is_compressed: bool = False) -> bytes:
    """Make one unfragmented text frame (section 5.2). `payload` is UTF-8, or its permessage-deflate form (RFC 7692)."""
    first = _FIN | TEXT | (_RSV1 if is_compressed else 0)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
