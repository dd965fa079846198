"""The cost of clients that don't read: latency of the other clients, and the server's memory, compared with a run in which all clients read.

python -m tests.bench slow
"""

import argparse
import socket
import statistics
import tempfile
import time
from pathlib import Path

from vortexd.ctl.load import Clients

from ..system.process import Server
from .report import DEBOUNCE, percentiles, report

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[[source]]
path = "{source}"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bytes", type=int, default=100_000, help="size of the document")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    results: dict[int, list[float]] = {}
    # The runs alternate, because the machine's other load varies.
    for deaf in (0, 1, arguments.clients // 2) * arguments.rounds:
        times, growth = measure(arguments.clients, deaf, arguments.changes, arguments.bytes)
        report(f"{deaf} of {arguments.clients} don't read: rename to each of the others", times)
        print(f"    private memory of the server: {growth / 1e6:+.1f} MB")
        results.setdefault(deaf, []).append(percentiles(times)[1] - DEBOUNCE)
    undisturbed = statistics.median(results.pop(0))
    for deaf, values in results.items():
        ratio = statistics.median(values) / undisturbed
        print(f"p99 less the debounce with {deaf} who don't read, over the undisturbed: {ratio:.2f}")


def measure(count: int, deaf: int, changes: int, size: int) -> tuple[list[float], int]:
    """Return the times from rename to the clients that read, and the growth of the server's memory."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        write(source, 0, size)
        with Server(source, settings=SETTINGS.format(source=source)) as server:
            clients = Clients("127.0.0.1", server.port)
            clients.connect(count - deaf, lambda _: "/ws/billing/prod")
            others = [silent(server.port) for _ in range(deaf)]
            before = server.private_bytes()
            times: list[float] = []
            for number in range(1, changes + 1):
                began = write(source, number, size)
                times += [moment - began for moment in clients.wait(f'"last":{number}'.encode(), 30)]
            growth = server.private_bytes() - before
            for each in others:
                each.close()
            clients.close()
            server.stop()
    return times, growth


def write(source: Path, number: int, size: int) -> float:
    """Replace the whole document. Return the time of the rename."""
    temporary = source / ".billing.tmp"
    filler = f"{number:06}" * (size // 6)
    temporary.write_text(f"filler: x{filler}\nlast: {number}\n")
    temporary.rename(source / "billing.yml")
    return time.monotonic()


def silent(port: int) -> socket.socket:
    """A client that sends its request and never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect(("127.0.0.1", port))
    client.sendall(
        b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return client
