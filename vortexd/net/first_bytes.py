"""What the first bytes of a connection are enough for. Pure.

In come bytes that are still in the kernel's hands, out goes a verdict: whether a task is worth its memory by now, and what it will have to wait
for. As long as more has to come, a connection is a descriptor and a small object, however long its peer takes.
"""

import enum
import re

import attrs

from .head import EMPTY_LINE, MAX_TARGET_BYTES
from .proxy_protocol import InvalidHeader, parse_proxy_header

# More isn't looked at; a TLS record and a usual head have less.
PEEK_BYTES = 20_480
# Paths that ask how the daemon does: they are answered first, and beyond the limit of connections.
ALWAYS = frozenset({"/health", "/ready", "/metrics", "/status"})

_END = b"\r\n\r\n"
_LINE = re.compile(rb"(?:GET|HEAD) (/[!-~]*) HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\n(?:content-length:[ \t]*([0-9]{1,18})[ \t]*\r|(?:content-length|transfer-encoding):)", re.I)
# RFC 8446 section 5.1: the type, the version and the length of what follows.
_RECORD_HEAD_BYTES = 5
_RECORD_BYTES = 16_384
_HANDSHAKE = b"\x16\x03"


class Verdict(enum.Enum):
    """What to do with a connection."""

    WAIT = "more has to come"
    URGENT = "it asks how the daemon does"
    WHOLE = "a request, or something that is refused: a task needn't wait for the peer"
    PARTLY = "a task has to wait for the rest"


@attrs.frozen(slots=True)
class Expected:
    """What a connection begins with.

    Attributes:
        proxy_header: A header of the PROXY protocol comes first.
        tls: Then comes TLS.
        head_bytes: What a request head may have.
    """

    proxy_header: bool
    tls: bool
    head_bytes: int


def judge(data: bytes, expected: Expected) -> Verdict:
    """What the first bytes are enough for.

    Args:
        data: All that has come, up to `PEEK_BYTES`.
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
    """Wait for the first record, which holds what a client says first; it is refused at once where it speaks HTTP."""
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
    # These are refused by `head.read_head`.
    is_refused = len(data) > most or len(data.partition(b"\r\n")[0]) > MAX_TARGET_BYTES
    return Verdict.WHOLE if is_refused else Verdict.WAIT


def is_whole(data: bytes) -> bool:
    """Whether the body of a request has come with its head; a body whose length isn't told hasn't."""
    head, _, body = data.partition(_END)
    length = _LENGTH.search(head + b"\r\n")
    return length is None or (length[1] is not None and len(body) >= int(length[1]))
