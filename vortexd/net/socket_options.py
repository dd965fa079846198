"""The options of TCP connections. The kernel copies them from a listening socket to the sockets that it accepts."""

import socket

import trio

# The options that `trio.SocketStream` sets. The second is the number of bytes that may wait in the kernel before a socket
# counts as writable. It exists on Linux and macOS.
_OPTIONS = [(socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_NOTSENT_LOWAT"):
    _OPTIONS.append((socket.TCP_NOTSENT_LOWAT, 16_384))


def set_options(peer: socket.socket | trio.socket.SocketType) -> None:
    """Set the options of a TCP socket. A socket that accepts connections must have them before it listens."""
    for option, value in _OPTIONS:
        peer.setsockopt(socket.IPPROTO_TCP, option, value)


def needs_options(listening: socket.socket) -> bool:
    """Return whether each accepted socket needs `set_options`, because another program has bound the listening socket."""
    if listening.family == socket.AF_UNIX:
        return False
    return any(listening.getsockopt(socket.IPPROTO_TCP, option) != value for option, value in _OPTIONS)
