"""Many bare WebSocket clients in one process and one thread: what they cost must not hide what the server costs.

One epoll, no parsing beyond the frame header; a client counts as reached when the bytes it was waiting for have arrived.
"""

import selectors
import socket
import time
from collections.abc import Callable

import attrs

_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@attrs.define(eq=False)
class _Client:
    socket: socket.socket
    data: bytes = b""


class Clients:
    """Connected WebSocket clients of one server on this machine."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._selector = selectors.EpollSelector()
        self._clients: list[_Client] = []

    def __len__(self) -> int:
        return len(self._clients)

    def connect(self, count: int, path: Callable[[int], str], timeout: float = 60.0) -> float:
        """Connect this many more, and wait until each has its first message. Returns the seconds it took."""
        began = time.monotonic()
        # In batches, so that the listen queue isn't what is measured.
        for start in range(0, count, 200):
            batch = []
            for number in range(start, min(start + 200, count)):
                client = _Client(socket.create_connection(self._address, timeout=timeout))
                client.socket.sendall(_REQUEST.format(path=path(number)).encode())
                client.socket.setblocking(False)
                self._selector.register(client.socket, selectors.EVENT_READ, client)
                batch.append(client)
            self._clients += batch
            self.wait(b'"type":"', timeout, set(batch))
        return time.monotonic() - began

    def wait(self, text: bytes, timeout: float, waiting: "set[_Client] | None" = None) -> list[float]:
        """Read until this text has reached every client (or those given). Returns the time of each, by time.monotonic().

        Raises:
            TimeoutError: Says how many it didn't reach.
        """
        missing = set(self._clients) if waiting is None else set(waiting)
        times: list[float] = []
        deadline = time.monotonic() + timeout
        while missing:
            ready = self._selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"{len(missing)} clients were not reached within {timeout} s")
            for key, _ in ready:
                client: _Client = key.data
                data = client.socket.recv(65_536)
                now = time.monotonic()
                if not data:
                    raise ConnectionError("the server closed a connection")
                client.data = (client.data + data)[-65_536:]
                if client in missing and text in client.data:
                    missing.discard(client)
                    client.data = b""
                    times.append(now)
        return times

    def close(self) -> None:
        """Close them all at once, without a closing handshake."""
        for client in self._clients:
            self._selector.unregister(client.socket)
            client.socket.close()
        self._clients.clear()
