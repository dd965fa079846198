"""All clients connect at once: the time, and the server's cost at its peak and afterwards. Then all clients reconnect with their versions.

python -m tests.bench storm
"""

import argparse
import json
import socket
import tempfile
import threading
import time
from pathlib import Path

from vortexd.ctl.load import Clients

from ..system.process import Server
from .push import write

_KEY = b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=9_500)
    parser.add_argument("--returning", type=int, default=1_000)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        write(source, 0)
        with Server(source) as server:
            before = server.private_bytes()
            peaks = [before]
            is_over = threading.Event()
            watcher = threading.Thread(target=_watch, args=(server, peaks, is_over))
            watcher.start()
            clients = Clients("127.0.0.1", server.port)
            seconds = clients.connect(arguments.clients, lambda _: "/ws/billing/prod")
            is_over.set()
            watcher.join()
            time.sleep(2)
            count = arguments.clients
            print(f"{count} clients in {seconds:.2f} s")
            print(f"private memory for each: peak {(max(peaks) - before) / count:.0f} B, settled", end=" ")
            print(f"{(server.private_bytes() - before) / count:.0f} B")
            clients.close()
            version = current_version(server.port)
            path = f"/ws/billing/prod?last_version={version}"
            sent = server.private_bytes()
            seconds = clients.connect(arguments.returning, lambda _: path)
            print(f"{arguments.returning} come back with their version in {seconds:.2f} s", end=", ")
            print(f"private memory {(server.private_bytes() - sent) / 1e6:+.1f} MB")
            clients.close()
            server.stop()


def _watch(server: Server, peaks: list[int], is_over: threading.Event) -> None:
    while not is_over.wait(0.02):
        peaks.append(server.private_bytes())


def current_version(port: int) -> str:
    """Connect a client, and return the version in its snapshot."""
    with socket.create_connection(("127.0.0.1", port), 10) as one:
        one.sendall(_KEY + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        data = b""
        while b'"config_snapshot"' not in data or not data.endswith(b"}"):
            data += one.recv(65_536)
    return str(json.loads(data[data.index(b"{") :])["version"])
