"""Private memory of one idle connection: plain, with two patterns that all clients have, with two patterns of its own, and with TLS.

python -m tests.bench memory [--clients 5000] [--rounds 3] [--shape SHAPE] [--at-once]

The floor of TLS is the memory that OpenSSL alone keeps for one connection. Each figure comes from a server of its own, after
200 clients of the same shape. The clients come one after the other, or with --at-once all together.
"""

import argparse
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..certificates import make
from ..system.process import Server
from .tls import openssl

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
connections = 20000
connections_per_address = 20000
[realtime]
heartbeat_interval = 3600
distinct_patterns = 100000
distinct_patterns_per_owner = 100000
{tls}
[[source]]
path = "{source}"
"""
REQUEST = (
    b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_FIRST = 200
# The seconds until quiet connections are parked, and until the collector of the server has run.
_SETTLE_SECONDS = 3.0


def _none(_: int) -> list[str]:
    return []


def _equal(_: int) -> list[str]:
    return ["orders:*", "search:*"]


def _own(number: int) -> list[str]:
    return [f"orders*:*{number}", f"search*:*{number}"]


# Whether TLS is used, and the patterns of each client by its number.
SHAPES: dict[str, tuple[bool, Callable[[int], list[str]]]] = {
    "plain": (False, _none),
    "equal": (False, _equal),
    "own": (False, _own),
    "tls": (True, _none),
    "tls-equal": (True, _equal),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=SHAPES, action="append", help="only these shapes")
    parser.add_argument("--at-once", action="store_true", help="all clients connect, and subscribe, at the same time")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    figures: dict[str, list[float]] = {name: [] for name in arguments.shape or SHAPES}
    floors: list[float] = []
    for _ in range(arguments.rounds):
        for name, values in figures.items():
            values.append(measure(name, arguments.clients, at_once=arguments.at_once))
        if any(SHAPES[name][0] for name in figures):
            with tempfile.TemporaryDirectory() as directory:
                floors.append(openssl(*make(Path(directory)), 500))
    for name, values in (*figures.items(), *([("openssl alone", floors)] if floors else [])):
        print(f"{name:14} median {statistics.median(values):9,.0f} B, {min(values):,.0f} to {max(values):,.0f}")


def measure(shape: str, count: int, *, at_once: bool = False) -> float:
    """Return the private memory of one idle connection in bytes."""
    is_tls, patterns = SHAPES[shape]
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        for name in ("billing", "orders", "search"):
            (source / f"{name}.yml").write_text("pool:\n  size: 1\n")
        tls, context = "", None
        if is_tls:
            certificate, key = make(Path(directory))
            tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"'
            context = ssl.create_default_context(cafile=str(certificate))
        with Server(source, settings=SETTINGS.format(source=source, tls=tls)) as server:
            clients = [each for number in range(_FIRST) for each in connect(server.port, context, [patterns(number)])]
            time.sleep(_SETTLE_SECONDS)
            before = server.private_bytes()
            wanted = [patterns(_FIRST + number) for number in range(count)]
            for group in [wanted] if at_once else [[each] for each in wanted]:
                clients += connect(server.port, context, group)
            time.sleep(_SETTLE_SECONDS)
            bytes_each = (server.private_bytes() - before) / count
            for each in clients:
                each.close()
            server.stop()
    return bytes_each


def connect(port: int, context: ssl.SSLContext | None, wanted: list[list[str]]) -> list[socket.socket]:
    """Return clients with these patterns. Each has received its first message, and the confirmation of its patterns."""
    clients = [socket.create_connection(("127.0.0.1", port), 60) for _ in wanted]
    if context is not None:
        clients = [context.wrap_socket(each, server_hostname="localhost") for each in clients]
    for each in clients:
        each.sendall(REQUEST)
    for each in clients:
        read_until(each, b'"type":"')
    subscribing = [(each, patterns) for each, patterns in zip(clients, wanted, strict=True) if patterns]
    for each, patterns in subscribing:
        names = ",".join(f'"{name}"' for name in patterns)
        text = f'{{"type":"subscribe","patterns":[{names}]}}'.encode()
        each.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
    for each, _ in subscribing:
        read_until(each, b'"type":"subscribed"')
    return clients


def read_until(client: socket.socket, text: bytes) -> None:
    """Read until a text has arrived."""
    data = b""
    while text not in data:
        part = client.recv(65_536)
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
