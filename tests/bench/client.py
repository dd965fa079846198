"""A small WebSocket client that counts the texts that it receives, so that it takes little of the machine that it measures."""

import json
import socket
import time

WAIT = 120.0
_HANDSHAKE = (
    "GET /ws/{application}/default HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Client:
    """A WebSocket client that counts texts."""

    def __init__(self, port: int, application: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), WAIT)
        self._data = b""
        self._socket.sendall(_HANDSHAKE.format(application=application).encode())
        self.wait(b'"type":"config_snapshot"', 1)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, message: object) -> None:
        """Send a text frame, masked with zeros."""
        payload = json.dumps(message).encode()
        assert len(payload) < 126
        self._socket.sendall(bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload)

    def ping(self) -> float:
        """Send a ping frame, and return the seconds until its answer."""
        began = time.monotonic()
        self._socket.sendall(b"\x89\x80\0\0\0\0")
        self.wait(b"\x8a\x00", 1)
        return time.monotonic() - began

    def wait(self, text: bytes, count: int) -> None:
        """Read until a text has come so often."""
        while count > 0:
            part = self._socket.recv(1_048_576)
            if not part:
                raise ConnectionError("the server closed the connection")
            data = self._data + part
            count -= data.count(text)
            # The text may be cut in two. Its earlier occurrences aren't counted again.
            self._data = data[max(data.rfind(text) + len(text), len(data) - len(text) + 1) :]
