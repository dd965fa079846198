"""What comes before a request head: the header of a proxy, and TLS."""

import socket
import ssl
import traceback

import trio

from .head import Stream, refuse
from .proxy_protocol import MAX_BYTES, ProxyHeader, parse_proxy_header

# Of an error: the errors that it came of.
_MOST_CAUSES = 16


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """The socket below a stream."""
    return stream.transport_stream.socket if isinstance(stream, trio.SSLStream) else stream.socket


async def read_proxy_header(peer: trio.socket.SocketType) -> ProxyHeader | None:
    """Read a PROXY header and not a byte more; None where the peer went away.

    Raises:
        InvalidHeader: There is none.
    """
    received = b""
    while data := await peer.recv(MAX_BYTES - len(received), socket.MSG_PEEK):
        header = parse_proxy_header(received + data)
        rest = len(data) if header is None else header.length - len(received)
        # All of it is there already.
        received += await peer.recv(rest)
        if header is not None:
            return header
    return None


async def encrypt(
    stream: Stream, context: ssl.SSLContext, timeout: float
) -> "trio.SSLStream[trio.SocketStream] | None":
    """Shake hands; None where the peer takes too long, doesn't speak TLS, or trusts nobody like us."""
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
    """Free what TLS holds for a connection that nobody uses any more.

    Trio's stream refers to itself: its 45 KB of OpenSSL would stay until all garbage is collected, and peers can make more meanwhile.
    """
    vars(encrypted).clear()


def let_go(error: BaseException) -> None:
    """Free what an error holds: the frames that it came through, and what was in them. Some of these frames refer to the error again."""
    each: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if each is None:
            return
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
