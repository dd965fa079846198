"""The NATS server with WebSocket clients. Its messages carry NATS's own protocol."""

import socket
from pathlib import Path

from . import go
from .base import Conversation, Peer, Program, Unavailable, free_port

_VERSION = "v2.15.2"
_SETTINGS = """
listen: "127.0.0.1:{plain}"
ping_interval: "{heartbeat}s"
max_connections: 20000
websocket {{
    listen: "127.0.0.1:{port}"
    no_tls: true
}}
"""


class Nats(Peer):
    name = "NATS"
    conversation = Conversation(
        hello='CONNECT {"verbose":false,"pedantic":false}\r\nSUB news 1\r\nPING\r\n',
        ready="PONG\r\n",
        ping="PING\r\n",
        pong="PONG\r\n",
    )

    def install(self, cache: Path) -> str:
        self._program = go.install("github.com/nats-io/nats-server/v2", _VERSION, cache)
        return _VERSION

    def start(self, directory: Path, heartbeat: float) -> Program:
        port, plain = free_port(), free_port()
        settings = _SETTINGS.format(plain=plain, port=port, heartbeat=heartbeat)
        (directory / "nats.conf").write_text(settings)

        def publish(text: str) -> None:
            with socket.create_connection(("127.0.0.1", plain), 20) as one:
                one.sendall(f'CONNECT {{"verbose":false}}\r\nPUB news {len(text)}\r\n{text}\r\nPING\r\n'.encode())
                answer = b""
                while b"PONG" not in answer:
                    part = one.recv(4_096)
                    if not part:
                        raise Unavailable(f"it didn't publish: {answer!r}")
                    answer += part

        return Program([self._program, "--config", directory / "nats.conf"], port, publish, directory)
