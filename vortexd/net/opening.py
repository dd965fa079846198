"""The beginning of a connection, before the request head: the PROXY header, and TLS."""

import socket
import ssl
import traceback

import trio

from .arrivals import Arrival
from .head import refuse
from .proxy_protocol import MAX_BYTES, ProxyHeader, parse_proxy_header
from .tls_stream import TlsStream

# The longest chain of causes of an error to follow.
_MOST_CAUSES = 16


async def read_proxy_header(peer: trio.socket.SocketType) -> ProxyHeader | None:
    """Read a PROXY header, and no further byte. Returns None if the peer closed the connection.

    Raises:
        InvalidHeader: The connection doesn't begin with a PROXY header.
    """
    received = b""
    while data := await peer.recv(MAX_BYTES - len(received), socket.MSG_PEEK):
        header = parse_proxy_header(received + data)
        rest = len(data) if header is None else header.length - len(received)
        # All of these bytes have arrived already.
        received += await peer.recv(rest)
        if header is not None:
            return header
    return None


async def encrypt(arrival: Arrival, context: ssl.SSLContext, timeout: float) -> TlsStream | None:
    """Do the TLS handshake of a connection. From its begin, the arrival has the TLS stream and its socket.

    Returns None if the peer is too slow, or if it speaks HTTP. In the latter case, it has got an answer.

    Raises:
        trio.BrokenResourceError: The peer has gone, doesn't speak TLS, or doesn't trust our certificate.
        trio.ClosedResourceError: The connection was closed to make room for others.
    """
    stream = arrival.stream
    assert isinstance(stream, trio.SocketStream)
    with trio.move_on_after(timeout):
        try:
            first = await stream.socket.recv(1, socket.MSG_PEEK)
            encrypted = None if first.isalpha() else TlsStream.accept(arrival.socket, context)
        except OSError as error:
            raise trio.BrokenResourceError from error
        if encrypted is None:
            await refuse(stream, 400, "this port speaks TLS: use https:// or wss://")
            return None
        arrival.stream, arrival.socket = encrypted, encrypted.tls_socket
        await encrypted.do_handshake()
        return encrypted
    return None


def release_frames(error: BaseException) -> None:
    """Free the frames of an error and their local variables. Some of these frames refer to the error again."""
    each: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if each is None:
            return
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
