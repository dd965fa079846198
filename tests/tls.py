"""Pairs of sockets that speak TLS with each other, made without any task."""

import contextlib
import functools
import socket
import ssl
import tempfile
from pathlib import Path

from vortexd.net.tls import load_context
from vortexd.settings.tls import TlsSettings

from .certificates import make


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context as the daemon makes it, and that of a client that trusts it."""
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = make(Path(directory))
        server = load_context(TlsSettings(certificate=str(certificate), key=str(key)), {})
        assert server is not None
        return server, ssl.create_default_context(cafile=str(certificate))


def pair() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """The server's end and the client's end after their handshake. Neither blocks."""
    ours, theirs = socket.socketpair()
    here = _begin(ours, contexts()[0])
    theirs.setblocking(False)
    there = contexts()[1].wrap_socket(theirs, server_hostname="localhost", do_handshake_on_connect=False)
    for _ in range(3):
        for end in (there, here):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    # Read the ticket, so that nothing is on its way.
    with contextlib.suppress(ssl.SSLWantReadError):
        there.recv(1)
    return here, there


def _begin(ours: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    ours.setblocking(False)
    return context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)


class Peer:
    """A client that speaks TLS in memory. So a test sees and changes what is sent below TLS.

    Attributes:
        socket: The plain socket.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.socket = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = (context or contexts()[1]).wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def shake(self) -> bytes:
        """Go on with the handshake, as far as the bytes go that have come. Returns the bytes to send."""
        self._receive()
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for this data: one record for up to 16,384."""
        assert len(data) == self._tls.write(data)
        return self._outgoing.read()

    def end(self) -> bytes:
        """The alert that ends what this side sends."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()

    def decrypt(self) -> tuple[bytes, bool]:
        """The data that has come, and whether the other side has said by an alert that there is no more."""
        self._receive()
        received = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self._tls.read(65_536):
                received += part
            return received, True
        return received, False

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while part := self.socket.recv(1_000_000, socket.MSG_DONTWAIT):
                self._incoming.write(part)


def with_peer(
    server: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
    sockets: tuple[socket.socket, socket.socket] | None = None,
) -> tuple[ssl.SSLSocket, Peer]:
    """The server's end, and a peer, after their handshake."""
    ours, theirs = sockets or socket.socketpair()
    here, peer = _begin(ours, server or contexts()[0]), Peer(theirs, client)
    for _ in range(3):
        theirs.sendall(peer.shake())
        with contextlib.suppress(ssl.SSLWantReadError):
            here.do_handshake()
    # Read the ticket, so that nothing is on its way.
    peer.decrypt()
    return here, peer
