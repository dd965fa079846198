"""Reads a request head within limits of size and time, and answers if there is no valid head.

The input is the first bytes of a connection. The output is the request, or a whole HTTP answer that names the error. A
peer that speaks another protocol gets its answer at once, not after the timeout.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

import h11
import orjson
import trio

Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"

_RECEIVE_BYTES = 16_384
MAX_TARGET_BYTES = 8_192
_REFUSAL_TIMEOUT = 1.0
# RFC 9112 section 3.2.2: the scheme, the authority, and the rest, which is the target in origin form.
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
EMPTY_LINE = b"\r\n"


class Refused(Exception):
    """The connection is answered with an HTTP status and closed.

    Args:
        headers: Whole header lines.
    """

    def __init__(self, status: int, reason: str, *headers: str) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers


async def read_head(stream: Stream, timeout: float, most: int) -> bytes | None:
    """Read until the head is complete. An empty line before it is removed.

    Returns None if the peer closed the connection or sent nothing.

    Args:
        timeout: Seconds.
        most: The largest size of a head in bytes.

    Raises:
        Refused: The bytes can't become a head, or the head came too late.
    """
    head = b""
    has_begun = False
    with trio.move_on_after(timeout):
        while b"\r\n\r\n" not in head:
            data = await stream.receive_some(_RECEIVE_BYTES)
            if not data:
                return None
            head += data
            if head == EMPTY_LINE[:1]:
                continue
            if not has_begun:
                head, has_begun = head.removeprefix(EMPTY_LINE), True
            if head:
                _check_beginning(head)
            if head.find(b"\r\n\r\n") < 0 and len(head) > most:
                raise Refused(431, f"a request head must have at most {most} bytes")
        return head
    if head:
        raise Refused(408, "the request head took too long")
    return None


def _check_beginning(head: bytes) -> None:
    if head.startswith(b"\x16\x03"):
        raise Refused(400, "this port speaks plain HTTP, not TLS")
    if not head[:1].isalpha():
        raise Refused(400, "this isn't an HTTP request")
    if head.startswith(b"PRI * HTTP/2.0"):
        raise Refused(400, "this port speaks HTTP/1.1; HTTP/2 needs TLS")
    line = head.partition(b"\r\n")[0]
    if len(line) > MAX_TARGET_BYTES:
        raise Refused(414, f"a request line must have at most {MAX_TARGET_BYTES} bytes")


class Http1(h11.Connection):
    """h11 as a server that ignores one empty line before each request (RFC 9112 section 2.2).

    Some clients send an empty line after a body. h11 takes it for a request line. h11 has no public way to remove bytes
    from its buffer.

    Args:
        whole: Called when a request is complete.
    """

    _may_be_empty = True

    def __init__(self, max_incomplete_event_size: int, whole: Callable[[], None] = lambda: None) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._whole = whole

    @property
    def is_partly(self) -> bool:
        """Whether a request has arrived partly."""
        return self.their_state is h11.SEND_BODY or (self.their_state is h11.IDLE and bool(self.trailing_data[0]))

    @property
    def is_unfinished(self) -> bool:
        """Whether the client has more of a request to send, or has broken the protocol."""
        return self.their_state in (h11.SEND_BODY, h11.ERROR)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event, as `h11.Connection` does."""
        if self.their_state is h11.IDLE and self._may_be_empty:
            received, is_closed = self.trailing_data
            if received == EMPTY_LINE[:1] and not is_closed:
                return h11.NEED_DATA
            if received.startswith(EMPTY_LINE):
                self._receive_buffer.maybe_extract_at_most(len(EMPTY_LINE))
                self._may_be_empty = False
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._may_be_empty = True
        elif isinstance(event, h11.EndOfMessage):
            self._whole()
        return event


def parse_head(head: bytes) -> h11.Request:
    """Parse a complete head.

    Raises:
        Refused: The head isn't a valid request.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        connection.receive_data(head)
        request = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint, "this isn't a valid HTTP request") from None
    if not isinstance(request, h11.Request):
        raise Refused(400, "this isn't a valid HTTP request")
    if b"\n" in head.partition(b"\r\n\r\n")[0].replace(b"\r\n", b""):
        raise Refused(400, "each line of a request head must end in CR LF")
    if has_two_lengths(request):
        raise Refused(400, "a request must not have both Content-Length and Transfer-Encoding")
    return request


def origin_form(request: h11.Request) -> h11.Request:
    """Convert a request with an absolute target (RFC 9112 section 3.2.2). The target's host replaces the Host header.

    Clients send such targets to proxies, and some proxies forward them. The host is checked later, like any Host header.

    Raises:
        Refused: The target names no host, or its scheme isn't HTTP's.
    """
    match = _ABSOLUTE.fullmatch(request.target)
    if match is None:
        return request
    scheme, authority, target = match.groups()
    if scheme.lower() not in (b"http", b"https"):
        # The answer is the same as for a Host that isn't ours.
        raise Refused(403, "the Host isn't allowed")
    if not authority or b"@" in authority:
        raise Refused(400, "an absolute target must name a host, without a user")
    headers = [each for each in request.headers.raw_items() if each[0].lower() != b"host"]
    return h11.Request(
        method=request.method,
        target=target if target.startswith(b"/") else b"/" + target,
        headers=[(b"Host", authority), *headers],
        http_version=request.http_version,
    )


def in_origin_form(head: bytes) -> tuple[bytes, h11.Request]:
    """Parse a complete head by `parse_head` and `origin_form`. Returns the bytes, with all that follows the head, and the request.

    Raises:
        Refused: The head isn't a valid request.
    """
    parsed = parse_head(head)
    request = origin_form(parsed)
    if request is parsed:
        return head, request
    return to_bytes(request) + head.partition(b"\r\n\r\n")[2], request


def to_bytes(request: h11.Request) -> bytes:
    """Encode a request head for the wire."""
    lines = [b"%s %s HTTP/%s" % (request.method, request.target, request.http_version)]
    lines += [b"%s: %s" % header for header in request.headers.raw_items()]
    return b"\r\n".join([*lines, b"", b""])


def has_two_lengths(request: h11.Request) -> bool:
    """Return whether a request states its length in two ways.

    A proxy in front of the server may have used the other of the two (RFC 9112 section 6.3).
    """
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}


def wants_websocket(request: h11.Request) -> bool:
    """Return whether a request asks for a WebSocket, whether the handshake is valid or not."""
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.headers)


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
