"""The beginning of a connection, before the request head: the PROXY header, and TLS."""

import socket
import ssl
import traceback

import trio

from .head import Stream, refuse
from .proxy_protocol import MAX_BYTES, ProxyHeader, parse_proxy_header

# The longest chain of causes of an error to follow.
_MOST_CAUSES = 16


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """Return the socket below a stream."""
    return stream.transport_stream.socket if isinstance(stream, trio.SSLStream) else stream.socket


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


async def encrypt(
    stream: Stream, context: ssl.SSLContext, timeout: float
) -> "trio.SSLStream[trio.SocketStream] | None":
    """Do the TLS handshake. Returns None if the peer is too slow, doesn't speak TLS, or doesn't trust our certificate."""
    assert isinstance(stream, trio.SocketStream)
    with trio.move_on_after(timeout):
        first = await stream.socket.recv(1, socket.MSG_PEEK)
        if first.isalpha():
            await refuse(stream, 400, "this port speaks TLS: use https:// or wss://")
            return None
        encrypted = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        is_done = False
        try:
            await encrypted.do_handshake()
            is_done = True
        finally:
            if not is_done:
                forget(encrypted)
        return encrypted
    return None


def forget(encrypted: "trio.SSLStream[trio.SocketStream]") -> None:
    """Free the TLS state of a connection that isn't used any more.

    Trio's stream refers to itself. So its 45 KB of OpenSSL would stay until the garbage collector runs, and peers could
    create more of them meanwhile.
    """
    vars(encrypted).clear()


def release_frames(error: BaseException) -> None:
    """Free the frames of an error and their local variables. Some of these frames refer to the error again."""
    each: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if each is None:
            return
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
