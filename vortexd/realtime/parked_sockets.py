"""The sockets of parked connections: plain ones, of which only the descriptor is kept, and those with TLS.

The server takes the socket out of the stream of a quiet connection, and makes a stream of it again when the connection is
woken. In between, the parts of the lot write and read by descriptor, and needn't know which connections have TLS.
"""

import os
import socket
import ssl
from array import array

import trio

from ..net.head import Stream
from ..net.tls_stream import TlsStream, read_now, write_now
from .sockets import NEEDS_TASK, Sockets, receive_each, write_each

# The streams whose sockets can be parked. Tests have others.
PARKABLE = (trio.SocketStream, TlsStream)


class ParkedSockets:
    """Implements `Sockets` for plain and TLS sockets.

    If a TLS socket has no room for a frame, OpenSSL keeps its first record. So that is a short write of no bytes, and the
    rest of the frame must follow. It is never reported as EAGAIN.

    Args:
        plain: The implementation for plain sockets. Without TLS, this adds nothing to it.
    """

    def __init__(self, plain: Sockets) -> None:
        self._plain = plain
        self._encrypted: dict[int, ssl.SSLSocket] = {}
        self.name = plain.name

    def take(self, stream: Stream) -> int:
        """Take the socket out of a stream, and return its descriptor. No task may use the stream."""
        if not isinstance(stream, TlsStream):
            return stream.socket.detach()
        encrypted = stream.detach()
        self._encrypted[encrypted.fileno()] = encrypted
        return encrypted.fileno()

    def give_back(self, descriptor: int) -> Stream:
        """Make a stream of a socket again. It has its owner from now on."""
        encrypted = self._encrypted.pop(descriptor, None)
        if encrypted is not None:
            return TlsStream(encrypted)
        return trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))

    def close(self, descriptor: int) -> None:
        """Close a socket."""
        encrypted = self._encrypted.pop(descriptor, None)
        if encrypted is not None:
            encrypted.close()
        else:
            os.close(descriptor)

    def write(self, descriptor: int, data: bytes, /) -> int:
        """See `Sockets`."""
        encrypted = self._encrypted.get(descriptor)
        return self._plain.write(descriptor, data) if encrypted is None else write_now(encrypted, data)

    def receive(self, descriptor: int, /) -> bytes | None:
        """See `Sockets`."""
        encrypted = self._encrypted.get(descriptor)
        if encrypted is None:
            return self._plain.receive(descriptor)
        try:
            return read_now(encrypted)
        except ssl.SSLWantWriteError:
            return NEEDS_TASK

    def write_all(self, descriptors: "list[int] | array[int]", frame: bytes) -> list[tuple[int, int]]:
        """See `Sockets`."""
        if self._are_plain(descriptors):
            return self._plain.write_all(descriptors, frame)
        return write_each(self.write, descriptors, frame)

    def receive_pongs(self, descriptors: list[int], most: int) -> tuple[int, int, list[tuple[int, bytes | None]]]:
        """See `Sockets`."""
        if self._are_plain(descriptors):
            return self._plain.receive_pongs(descriptors, most)
        return receive_each(self.receive, descriptors, most)

    def _are_plain(self, descriptors: "list[int] | array[int]") -> bool:
        return not self._encrypted or self._encrypted.keys().isdisjoint(descriptors)
