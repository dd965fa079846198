"""A request head: read within a size and a time, and what is answered where it is none.

In come the first bytes of a connection, out goes the request in them, or a whole HTTP answer that says what is wrong with them. Who speaks something
else is told at once, rather than when the head's time is over.
"""

from http import HTTPStatus
from typing import TypeAlias

import h11
import orjson
import trio

Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"

_RECEIVE_BYTES = 16_384
MAX_TARGET_BYTES = 8_192
_REFUSAL_TIMEOUT = 1.0


class Refused(Exception):
    """The connection is answered with an HTTP status, and closed.

    Args:
        headers: Whole lines.
    """

    def __init__(self, status: int, reason: str, *headers: str) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers


async def read_head(stream: Stream, timeout: float, most: int) -> bytes | None:
    """Read until the head is whole; None where the peer went away, or never said a word.

    Args:
        timeout: Seconds.
        most: Bytes that a head may have.

    Raises:
        Refused: It can't become a head, or not in time.
    """
    head = b""
    with trio.move_on_after(timeout):
        while b"\r\n\r\n" not in head:
            data = await stream.receive_some(_RECEIVE_BYTES)
            if not data:
                return None
            head += data
            _check_beginning(head)
            if head.find(b"\r\n\r\n") < 0 and len(head) > most:
                raise Refused(431, f"a request head has at most {most} bytes")
        return head
    if head:
        raise Refused(408, "the request head took too long")
    return None


def _check_beginning(head: bytes) -> None:
    if head.startswith(b"\x16\x03"):
        raise Refused(400, "this port speaks plain HTTP, not TLS")
    if not head[:1].isalpha():
        raise Refused(400, "this is no HTTP request")
    if head.startswith(b"PRI * HTTP/2.0"):
        raise Refused(400, "this port speaks HTTP/1.1; HTTP/2 needs TLS")
    line = head.partition(b"\r\n")[0]
    if len(line) > MAX_TARGET_BYTES:
        raise Refused(414, f"a request line has at most {MAX_TARGET_BYTES} bytes")


def parse_head(head: bytes) -> h11.Request:
    """The request of a whole head.

    Raises:
        Refused: It is none.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        connection.receive_data(head)
        request = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint, "this is no valid HTTP request") from None
    if not isinstance(request, h11.Request):
        raise Refused(400, "this is no valid HTTP request")
    if b"\n" in head.partition(b"\r\n\r\n")[0].replace(b"\r\n", b""):
        raise Refused(400, "lines end in CR LF")
    if has_two_lengths(request):
        raise Refused(400, "a request has a Content-Length or a Transfer-Encoding, not both")
    return request


def has_two_lengths(request: h11.Request) -> bool:
    """Whether a request says in two ways how long it is: a proxy in front may have gone by the other one (RFC 9112 section 6.3)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}


def wants_websocket(request: h11.Request) -> bool:
    """Whether a request asks for a WebSocket, well or badly."""
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.headers)


async def refuse(stream: Stream, status: int, reason: str, *headers: str) -> None:
    """Answer, and wait for a moment until the peer has read it."""
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
        # Closing with unread bytes would reset the connection, and with it the answer on its way.
        while await stream.receive_some(_RECEIVE_BYTES):
            pass
