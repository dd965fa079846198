"""Decides whether the first bytes of a connection suffice for a task. Pure.

`judge` takes bytes that are still in the kernel's buffer. The verdict says whether a task is worth its memory, and
whether the task must wait for the peer. Until then, a connection costs only a descriptor and a small object, however slow
its peer is.
"""

import enum
import re

import attrs

from .head import BARE_LF, EMPTY_LINE, MAX_TARGET_BYTES
from .proxy_protocol import InvalidHeader, parse_proxy_header

# The most bytes to examine. A TLS record and a usual head are shorter.
PEEK_BYTES = 20_480
# The paths of health checks. They are answered first, also beyond the limit of connections.
ALWAYS = frozenset({"/health", "/ready", "/metrics", "/status"})

_END = b"\r\n\r\n"
_LINE = re.compile(rb"(?:GET|HEAD) (/[!-~]*) HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\n(?:content-length:[ \t]*([0-9]{1,18})[ \t]*\r|(?:content-length|transfer-encoding):)", re.I)
# RFC 8446 section 5.1: the type, the version and the length of the record.
_RECORD_HEAD_BYTES = 5
_RECORD_BYTES = 16_384
_HANDSHAKE = b"\x16\x03"


class Verdict(enum.Enum):
    """What to do with a connection."""

    WAIT = "more bytes are needed"
    URGENT = "a health check"
    WHOLE = "a complete request, or a refusal: a task needn't wait for the peer"
    PARTLY = "a task must wait for the rest"


@attrs.frozen(slots=True)
class Expected:
    """The expected beginning of a connection.

    Attributes:
        proxy_header: Whether a header of the PROXY protocol comes first.
        tls: Whether TLS comes next.
        head_bytes: The largest size of a request head.
    """

    proxy_header: bool
    tls: bool
    head_bytes: int


def judge(data: bytes, expected: Expected) -> Verdict:
    """Decide whether the first bytes suffice for a task.

    Args:
        data: All bytes that have come, up to `PEEK_BYTES`.
    """
    is_all = len(data) < PEEK_BYTES
    if expected.proxy_header:
        try:
            header = parse_proxy_header(data)
        except InvalidHeader:
            return Verdict.WHOLE
        if header is None:
            return Verdict.WAIT
        data = data[header.length :]
    verdict = _judge_tls(data) if expected.tls else _judge_http(data, expected.head_bytes)
    return verdict if is_all or verdict is not Verdict.WAIT else Verdict.PARTLY


def _judge_tls(data: bytes) -> Verdict:
    """Wait for the first record, which holds the ClientHello. If the client speaks HTTP, it is refused at once."""
    if data[:1].isalpha():
        return Verdict.WHOLE
    if len(data) < _RECORD_HEAD_BYTES:
        return Verdict.WAIT if _HANDSHAKE.startswith(data[:2]) else Verdict.PARTLY
    length = int.from_bytes(data[3:5])
    is_record = data.startswith(_HANDSHAKE) and length <= _RECORD_BYTES
    return Verdict.WAIT if is_record and len(data) < _RECORD_HEAD_BYTES + length else Verdict.PARTLY


def _judge_http(data: bytes, most: int) -> Verdict:
    data = data.removeprefix(EMPTY_LINE)
    if not data or data == EMPTY_LINE[:1]:
        return Verdict.WAIT
    if not data[:1].isalpha() or data.startswith(b"PRI * HTTP/2.0"):
        return Verdict.WHOLE
    if _END in data:
        if not is_whole(data):
            return Verdict.PARTLY
        line = _LINE.match(data)
        is_urgent = line is not None and line[1].partition(b"?")[0].decode("ascii") in ALWAYS
        return Verdict.URGENT if is_urgent else Verdict.WHOLE
    # `head.read_head` refuses these requests.
    is_long = len(data) > most or len(data.partition(b"\r\n")[0]) > MAX_TARGET_BYTES
    return Verdict.WHOLE if is_long or BARE_LF.search(data) else Verdict.WAIT


def is_whole(data: bytes) -> bool:
    """Return whether the body of a request has come with its head. Without a known length, it hasn't."""
    head, _, body = data.partition(_END)
    length = _LENGTH.search(head + b"\r\n")
    return length is None or (length[1] is not None and len(body) >= int(length[1]))
