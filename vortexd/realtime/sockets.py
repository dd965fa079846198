"""System calls on many non-blocking sockets, one call of `Sockets` for a batch.

There are two implementations: in C, without the interpreter lock, if vortexd-native is installed; else in Python. Both
pass the tests of tests/realtime/test_sockets.py. A call never waits. It returns only the exceptions to the common case,
by index. The caller must not close any of the descriptors during the call, so it calls on the event loop's thread.
"""

import errno
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Protocol

from ..aio.native import load_native, name_of
from ..protocol.frames import is_pong

# The most descriptors of one call. For so many, a call takes a few milliseconds.
MOST = 1_024
_RECEIVE_BYTES = 16_384
# Stands for the data of a TLS connection that must write before it can read, and can't write now. It is compared by identity.
NEEDS_TASK = b"only a task can go on"


class Sockets(Protocol):
    """One of the two implementations.

    Attributes:
        name: The name for `--version` and the metrics.
    """

    name: str

    def write_all(self, descriptors: "list[int] | array[int]", frame: bytes) -> list[tuple[int, int]]:
        """Write a frame to at most `MOST` sockets.

        Args:
            descriptors: A list, or an array of the type "i". Reading an array touches no objects.

        Returns:
            The index and the result of each socket that didn't take the whole frame: the number of written bytes, or the
            number of the error, below zero.
        """
        ...

    def write(self, descriptor: int, data: bytes, /) -> int:
        """Write to one socket, and return the number of bytes that it took.

        Raises:
            BlockingIOError: The socket has no room, and nothing was written.
            OSError: The connection is broken.
        """
        ...

    def receive(self, descriptor: int, /) -> bytes | None:
        """Receive from one socket.

        Returns None if there is nothing to read, empty data if the connection has ended, and `NEEDS_TASK` itself if only a
        task can go on.
        """
        ...

    def receive_pongs(self, descriptors: list[int], most: int) -> tuple[int, int, list[tuple[int, bytes | None]]]:
        """Receive from at most `MOST` sockets, from which pongs are expected.

        Args:
            most: No further socket is read after so many that had other data or have ended.

        Returns:
            How many sockets were read, from the first on; the bytes of all pongs; and the index and the data of each of
            these sockets that hadn't exactly one pong. The data is as in `receive`.
        """
        ...


class PythonSockets:
    """The implementation in Python: one system call after the other."""

    name = name_of(None)

    def write(self, descriptor: int, data: bytes, /) -> int:
        """See `Sockets`."""
        return os.write(descriptor, data)

    def receive(self, descriptor: int, /) -> bytes | None:
        """See `Sockets`."""
        return receive(descriptor)

    def write_all(self, descriptors: "list[int] | array[int]", frame: bytes) -> list[tuple[int, int]]:
        """See `Sockets`."""
        return write_each(os.write, descriptors, frame)

    def receive_pongs(self, descriptors: list[int], most: int) -> tuple[int, int, list[tuple[int, bytes | None]]]:
        """See `Sockets`."""
        return receive_each(receive, descriptors, most)


class NativeSockets:
    """The implementation in C.

    Args:
        module: The module of vortexd-native.
    """

    def __init__(self, module: ModuleType) -> None:
        self.name = name_of(module)
        self.write_all = module.write_all
        self.receive_pongs = module.receive_pongs

    def write(self, descriptor: int, data: bytes, /) -> int:
        """See `Sockets`."""
        return os.write(descriptor, data)

    def receive(self, descriptor: int, /) -> bytes | None:
        """See `Sockets`."""
        return receive(descriptor)


def receive(descriptor: int) -> bytes | None:
    """Receive from one socket. Returns None if there is nothing to read, and empty data if the connection has ended."""
    try:
        return os.read(descriptor, _RECEIVE_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def write_each(write: Callable[[int, bytes], int], descriptors: Iterable[int], frame: bytes) -> list[tuple[int, int]]:
    """Write a frame to sockets, one after the other; see `Sockets.write_all`."""
    exceptions = []
    size = len(frame)
    for index, descriptor in enumerate(descriptors):
        try:
            written = write(descriptor, frame)
        except OSError as error:
            written = -(error.errno or errno.EIO)
        if written != size:
            exceptions.append((index, written))
    return exceptions


def receive_each(
    receive: Callable[[int], bytes | None], descriptors: Sequence[int], most: int
) -> tuple[int, int, list[tuple[int, bytes | None]]]:
    """Receive from sockets, one after the other; see `Sockets.receive_pongs`."""
    exceptions: list[tuple[int, bytes | None]] = []
    taken = size = others = 0
    while taken < len(descriptors) and others < most:
        data = receive(descriptors[taken])
        if data is not None and is_pong(data):
            size += len(data)
        else:
            exceptions.append((taken, data))
            others += data is not None
        taken += 1
    return taken, size, exceptions


def choose_sockets() -> Sockets:
    """Return the implementation in C, if it is there."""
    module = load_native()
    return PythonSockets() if module is None else NativeSockets(module)
