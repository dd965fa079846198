"""Reads and parses request heads strictly, within limits of size and time, and answers if there is no valid head.

The input is the bytes of a connection. The output is the request, or a whole HTTP answer that names the error. A peer that
speaks another protocol gets its answer at once, not after the timeout. `end_of_head` and `parse_head` are the only judges of
a head: of the first on a connection and of all later ones, whichever code answers them. Where RFC 9112 lets a server
choose, they refuse, because a proxy in front of the server may have chosen otherwise.
"""

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeAlias

import attrs
import orjson
import trio

from .tls_stream import TlsStream

Stream: TypeAlias = trio.SocketStream | TlsStream

_RECEIVE_BYTES = 16_384
MAX_TARGET_BYTES = 8_192
_REFUSAL_TIMEOUT = 1.0
# RFC 9112 section 3.2.2: the scheme, the authority, and the rest, which is the target in origin form.
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
EMPTY_LINE = b"\r\n"
_END = b"\r\n\r\n"
BARE_LF = re.compile(rb"(?<!\r)\n")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# A value may have control characters, because some clients send them in cookies, but none that ends a line or a text.
_FIELD = _TOKEN + rb":[^\x00\n\v\f\r]*+\r\n"
_HEAD = re.compile(rb"(" + _TOKEN + rb") ([!-~]++) HTTP/([0-9])\.([0-9])\r\n((?:" + _FIELD + rb")*+)\r\n")
_HOST_LINE = re.compile(rb"^host:[^\n]*\n", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"[0-9]{1,20}")
# The headers that decide where a request ends, what follows it, and who answers it.
_DECISIVE = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"})


class Refused(Exception):
    """The connection is answered with an HTTP status and closed.

    Args:
        headers: Whole header lines.
    """

    def __init__(self, status: int, reason: str, *headers: str) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers


@attrs.frozen(slots=True, eq=False)
class Head:
    """A valid request head.

    Attributes:
        http_version: "1.0", or "1.1" and later.
        headers: Pairs of a name in lower case and a value. At most one of them is `content-length`.
        fields: The lines of the headers as the client sent them.
        size: The number of bytes of the head, with the empty line at its end.
        closes: Whether the connection ends after this request.
        is_plain: Whether the request has no body, asks for no upgrade, and waits for no interim response.
    """

    method: bytes
    target: bytes
    http_version: bytes
    headers: Sequence[tuple[bytes, bytes]]
    fields: bytes
    size: int
    closes: bool
    is_plain: bool


async def read_head(stream: Stream, timeout: float, most: int) -> bytes | None:
    """Read until the head is complete. An empty line before it is removed.

    Returns None if the peer closed the connection or sent nothing.

    Args:
        timeout: Seconds.
        most: The largest size of a head in bytes.

    Raises:
        Refused: The bytes can't become a head, or the head came too late.
    """
    received = head = b""
    with trio.move_on_after(timeout):
        while not end_of_head(head, most):
            data = await stream.receive_some(_RECEIVE_BYTES)
            if not data:
                return None
            received += data
            head = without_empty_line(received)
        return head
    if head:
        raise Refused(408, "the request head took too long")
    return None


def without_empty_line(received: bytes) -> bytes:
    """Remove one empty line before a head, complete or not (RFC 9112 section 2.2). Some clients send it after a body."""
    return b"" if received == EMPTY_LINE[:1] else received.removeprefix(EMPTY_LINE)


def end_of_head(data: bytes, most: int) -> int:
    """Return the size of the head that the data begins with, or 0 if it isn't complete yet.

    Args:
        most: The largest size of a head in bytes.

    Raises:
        Refused: The data can't become a head, or the head is too large.
    """
    if not data:
        return 0
    if not data[:1].isalpha():
        is_tls = data.startswith(b"\x16\x03")
        raise Refused(400, "this port speaks plain HTTP, not TLS" if is_tls else "this isn't an HTTP request")
    if data.startswith(b"PRI * HTTP/2.0"):
        raise Refused(400, "this port speaks HTTP/1.1; HTTP/2 needs TLS")
    end, line = data.find(_END), data.find(b"\r\n")
    if (len(data) if line < 0 else line) > MAX_TARGET_BYTES:
        raise Refused(414, f"a request line must have at most {MAX_TARGET_BYTES} bytes")
    size = 0 if end < 0 else end + len(_END)
    if (size or len(data)) > most:
        raise Refused(431, f"a request head must have at most {most} bytes")
    if not size and BARE_LF.search(data):
        raise Refused(400, "each line of a request head must end in CR LF")
    return size


def parse_head(head: bytes) -> Head:
    """Parse a complete head. More bytes may follow it.

    Raises:
        Refused: The head isn't a valid request.
    """
    match = _HEAD.match(head)
    if match is None:
        if BARE_LF.search(head.partition(_END)[0]):
            raise Refused(400, "each line of a request head must end in CR LF")
        raise Refused(400, "this isn't a valid HTTP request")
    method, target, major, minor, fields = match.groups()
    if major != b"1":
        raise Refused(505, "this server speaks HTTP/1.1")
    headers: list[tuple[bytes, bytes]] = []
    decisive: list[tuple[bytes, bytes]] = []
    for line in fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        header = name.lower(), value.strip(b" \t")
        headers.append(header)
        if header[0] in _DECISIVE:
            decisive.append(header)
    version = b"1.0" if minor == b"0" else b"1.1"
    closes, is_plain = _decide(decisive, version)
    length = content_length(decisive)
    if length is not None:
        headers = [each for each in headers if each[0] != b"content-length"] + [(b"content-length", length)]
    return Head(method, target, version, headers, fields, match.end(), closes, is_plain and method != b"CONNECT")


def _decide(decisive: Sequence[tuple[bytes, bytes]], version: bytes) -> tuple[bool, bool]:
    """Check the headers that decide how a request is framed. Returns `Head.closes` and `Head.is_plain`.

    Raises:
        Refused: The request has no Host or several, or its length is ambiguous.
    """
    hosts, codings, is_plain = 0, [], True
    closes = version == b"1.0"
    for name, value in decisive:
        if name == b"host":
            hosts += 1
        elif name == b"connection":
            closes = closes or any(each.strip() == b"close" for each in value.lower().split(b","))
        else:
            is_plain = is_plain and name == b"content-length" and value == b"0"
            if name == b"transfer-encoding":
                codings.append(value.lower())
    if hosts > 1 or (not hosts and version != b"1.0"):
        raise Refused(400, "this isn't a valid HTTP request")
    if codings and codings != [b"chunked"]:
        raise Refused(501, "this isn't a valid HTTP request")
    if codings and version == b"1.0":
        # RFC 9112 section 6.1: a proxy that speaks HTTP/1.0 may have ignored the coding.
        raise Refused(400, "a request of HTTP/1.0 must not have Transfer-Encoding")
    if codings and any(name == b"content-length" for name, _ in decisive):
        # A proxy in front of the server may have used the other of the two (RFC 9112 section 6.3).
        raise Refused(400, "a request must not have both Content-Length and Transfer-Encoding")
    return closes, is_plain


def content_length(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the only length that Content-Length states, however often, or None without that header.

    Raises:
        Refused: It states different lengths, or something else.
    """
    stated = [each.strip(b" \t") for name, value in headers if name == b"content-length" for each in value.split(b",")]
    if not stated:
        return None
    if len({*stated}) > 1 or not _LENGTH.fullmatch(stated[0]):
        raise Refused(400, "this isn't a valid HTTP request")
    return stated[0]


def origin_form(head: Head) -> Head:
    """Convert a request with an absolute target (RFC 9112 section 3.2.2). The target's host replaces the Host header.

    Clients send such targets to proxies, and some proxies forward them. The host is checked later, like any Host header.

    Raises:
        Refused: The target names no host, or its scheme isn't HTTP's.
    """
    if head.target.startswith(b"/"):
        return head
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None:
        return head
    scheme, authority, target = match.groups()
    if scheme.lower() not in (b"http", b"https"):
        # The answer is the same as for a Host that isn't ours.
        raise Refused(403, "the Host isn't allowed")
    if not authority or b"@" in authority:
        raise Refused(400, "an absolute target must name a host, without a user")
    made = attrs.evolve(
        head,
        target=target if target.startswith(b"/") else b"/" + target,
        headers=[(b"host", authority), *(each for each in head.headers if each[0] != b"host")],
        fields=b"Host: " + authority + b"\r\n" + _HOST_LINE.sub(b"", head.fields),
    )
    return attrs.evolve(made, size=len(to_bytes(made)))


def in_origin_form(head: bytes) -> tuple[bytes, Head]:
    """Parse a complete head by `parse_head` and `origin_form`. Returns the bytes, with all that follows the head, and the request.

    Raises:
        Refused: The head isn't a valid request.
    """
    parsed = parse_head(head)
    request = origin_form(parsed)
    if request is parsed:
        return head, request
    return to_bytes(request) + head[parsed.size :], request


def to_bytes(head: Head) -> bytes:
    """Encode a request head for the wire."""
    return b"%s %s HTTP/%s\r\n%s\r\n" % (head.method, head.target, head.http_version, head.fields)


def wants_websocket(head: Head) -> bool:
    """Return whether a request asks for a WebSocket, whether the handshake is valid or not."""
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in head.headers)


async def refuse(
    stream: Stream, status: int, reason: str, *headers: str, on_written: Callable[[], None] = lambda: None
) -> None:
    """Send an error answer, and wait briefly until the peer has read it.

    Args:
        on_written: Called when the answer has been written.
    """
    phrase = HTTPStatus(status).phrase
    body = orjson.dumps({"status": status, "error": phrase, "message": reason})
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *headers,
        "Connection: close",
    ]
    with trio.move_on_after(_REFUSAL_TIMEOUT):
        await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if isinstance(stream, trio.SocketStream):
            await stream.send_eof()
        on_written()
        # If unread bytes remained, closing would reset the connection, and the answer could be lost.
        while await stream.receive_some(_RECEIVE_BYTES):
            pass
