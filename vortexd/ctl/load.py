"""Many bare WebSocket clients in one process and one thread, so cheap that their cost doesn't hide the server's.

There is one epoll. Clients parse only the text that they wait for; a client counts as reached when that text has arrived.
"""

import ipaddress
import selectors
import socket
import time
from collections.abc import Callable

import attrs

_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
# A frame may arrive in parts. A client never needs more earlier bytes than this.
_KEPT_BYTES = 65_536
# Connect so many at a time, so that the benchmark doesn't measure the listen queue.
_BATCH = 200
# One address has fewer ports than a process may have descriptors. Loopback has many addresses.
_PER_ADDRESS = 20_000
# The server's ping frame, and a client's answer to it, masked with zeros.
_PING = b"\x89\x00"
_PONG = b"\x8a\x80\0\0\0\0"


@attrs.define(eq=False)
class _Client:
    socket: socket.socket
    data: bytes = b""


@attrs.frozen
class Reached:
    """The result of a wait.

    Attributes:
        times: When each client was reached, by time.monotonic().
        missing: How many clients were not reached.
    """

    times: tuple[float, ...]
    missing: int


class Clients:
    """WebSocket clients that are connected to one server.

    Args:
        token: Sent as `Authorization: Bearer`.
    """

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self._address = (host, port)
        self._more = f"Authorization: Bearer {token}\r\n" if token else ""
        self._selector = selectors.EpollSelector()
        self._clients: list[_Client] = []

    def __len__(self) -> int:
        return len(self._clients)

    def connect(
        self,
        count: int,
        path: Callable[[int], str],
        timeout: float = 60.0,
        progress: Callable[[int], None] = lambda _: None,
    ) -> float:
        """Connect this many more clients, and wait until each has its first message. Return the seconds that it took.

        Raises:
            OSError: A client can't connect, or the server refused it.
            TimeoutError: Some clients have no first message; the text says how many.
        """
        began = time.monotonic()
        for start in range(0, count, _BATCH):
            batch = set()
            for number in range(start, min(start + _BATCH, count)):
                client = _Client(self._open(timeout))
                client.socket.sendall(
                    _REQUEST.format(path=path(number), host=self._address[0], more=self._more).encode()
                )
                client.socket.setblocking(False)
                self._selector.register(client.socket, selectors.EVENT_READ, client)
                self._clients.append(client)
                batch.add(client)
            self.wait(b'"type":"', timeout, batch)
            progress(len(self._clients))
        return time.monotonic() - began

    def _open(self, timeout: float) -> socket.socket:
        source = None
        if _is_loopback(self._address[0]):
            source = (f"127.0.0.{1 + len(self._clients) // _PER_ADDRESS}", 0)
        return socket.create_connection(self._address, timeout, source)

    def wait(self, text: bytes, timeout: float, waiting: "set[_Client] | None" = None) -> list[float]:
        """Read until this text has reached every client (or those given). Return the time of each, by time.monotonic().

        Raises:
            TimeoutError: The text didn't reach some clients; the message says how many.
        """
        reached = self.reach(text, timeout, waiting)
        if reached.missing:
            raise TimeoutError(f"{reached.missing} clients were not reached within {timeout} s")
        return list(reached.times)

    def reach(self, text: bytes, timeout: float, waiting: "set[_Client] | None" = None) -> Reached:
        """Read until this text has reached every client (or those given), or the timeout has passed.

        Raises:
            ConnectionError: The server closed a connection.
        """
        missing = set(self._clients) if waiting is None else set(waiting)
        times: list[float] = []
        deadline = time.monotonic() + timeout
        while missing and (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                client: _Client = key.data
                if self._receive(client) and client in missing and text in client.data:
                    times.append(time.monotonic())
                    missing.discard(client)
                    client.data = b""
        return Reached(tuple(times), len(missing))

    def send(self, text: str) -> None:
        """Make each client send this text, a short message in ASCII."""
        frame = bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text.encode("ascii")
        for client in self._clients:
            client.socket.send(frame)

    def idle(self, seconds: float) -> None:
        """Only answer heartbeats for so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                self._receive(key.data)

    def _receive(self, client: _Client) -> bool:
        try:
            data = client.socket.recv(65_536)
        except BlockingIOError:
            return False
        if not data:
            raise ConnectionError(_refusal(client.data))
        client.data = (client.data + data)[-_KEPT_BYTES:]
        if data.endswith(_PING):
            client.socket.send(_PONG)
        return True

    def close(self) -> None:
        """Close all connections at once, without a closing handshake."""
        for client in self._clients:
            self._selector.unregister(client.socket)
            client.socket.close()
        self._clients.clear()
        self._selector.close()
        self._selector = selectors.EpollSelector()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ipaddress.AddressValueError:
        return False


def _refusal(data: bytes) -> str:
    """Return the reason for the end of a connection, if the server gave one."""
    line = data.partition(b"\r\n")[0]
    if line.startswith(b"HTTP/1.1 ") and b" 101 " not in line:
        return f"the server refused a connection: {line.decode('latin-1')[9:]}"
    return "the server closed a connection"
