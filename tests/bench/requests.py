"""Sends the same GET request over keep-alive connections, as fast as the server answers, and prints the times. The benchmark `http` runs it.

python -m tests.bench.requests PORT[,PORT] SECONDS CONNECTIONS STATUS TARGET [HEADER]...

The connections go to the ports in turn.
"""

import json
import re
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from itertools import cycle

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection:
    """One connection with one request in progress."""

    def __init__(self, port: int, request: bytes, status: bytes) -> None:
        self._port = port
        self._request = request
        self._status = status
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self._data = b""
        self._sent = 0.0

    def ask(self) -> None:
        self._data = b""
        self._sent = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> float | None:
        """Return the seconds since the request was sent, after the answer is complete."""
        part = self.socket.recv(65_536)
        if not part:
            raise RuntimeError(f"closed behind {self._data!r}")
        self._data += part
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return None
        if not head.startswith(b"HTTP/1.1 " + self._status):
            raise RuntimeError(repr(head))
        return time.perf_counter() - self._sent

    def is_last(self) -> bool:
        """Whether the server closes the connection after this answer."""
        return b"\r\nconnection: close" in self._data.partition(b"\r\n\r\n")[0].lower()


def drive(ports: Sequence[int], seconds: float, connections: int, status: bytes, request: bytes) -> list[float]:
    """Return the latencies of all requests answered within this time."""
    latencies: list[float] = []
    turns = cycle(ports)
    with selectors.DefaultSelector() as selector:

        def connect() -> None:
            connection = Connection(next(turns), request, status)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.ask()

        for _ in range(connections):
            connect()
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            for ready, _ in selector.select(1.0):
                connection: Connection = ready.data
                latency = connection.receive()
                if latency is None:
                    continue
                latencies.append(latency)
                if connection.is_last():
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    connect()
                else:
                    connection.ask()
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    return latencies


def main(arguments: Sequence[str]) -> None:
    """Print the latencies as JSON."""
    ports, seconds, connections, status, target, *headers = arguments
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", *headers]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n"
    numbers = [int(port) for port in ports.split(",")]
    print(json.dumps(drive(numbers, float(seconds), int(connections), status.encode(), request)))


if __name__ == "__main__":
    main(sys.argv[1:])
