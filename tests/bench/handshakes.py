"""WebSocket handshakes: the server's processor time for each, and the time until a crowd that comes back is in sync.

The clients of the crowd have the current version.

python -m tests.bench handshakes
"""

import argparse
import errno
import os
import selectors
import socket
import statistics
import tempfile
import time
from pathlib import Path

from ..system.process import Server
from .compiler import CLIENT_CORE, SERVER_CORE, on_core
from .push import write
from .storm import current_version

_REQUEST = (
    "GET /ws/billing/prod?instance=client-{}{} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: vortex.v1\r\n\r\n"
)
_PATIENCE = 60.0
# ip(7): choose the port when connecting, so that connections to other servers may have the same one.
_BIND_ADDRESS_NO_PORT = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--at-once", type=int, default=200, help="handshakes in progress, for the processor time")
    parser.add_argument("--rounds", type=int, default=5)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark. The server has the first processor, and the clients have the last one."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        write(source, 0)
        with Server(source, prefix=on_core(SERVER_CORE)) as server:
            os.sched_setaffinity(0, [CLIENT_CORE])
            steady = [_measure(server, arguments.clients, arguments.at_once) for _ in range(arguments.rounds)]
            more = f"&last_version={current_version(server.port)}"
            crowd = [_measure(server, arguments.clients, arguments.clients, more) for _ in range(arguments.rounds)]
            server.stop()
    costs = [1e6 * each[1] / arguments.clients for each in steady]
    print(f"processor time: {_shown(costs)} us for each handshake, {1e6 / statistics.median(costs):,.0f} in a second")
    print(f"{arguments.clients} clients at once: in sync after {_shown([each[0] for each in crowd])} s", end=", ")
    print(f"{sum(each[2] for each in crowd)} refused in {arguments.rounds} rounds")


def _shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _measure(server: Server, count: int, at_once: int, more: str = "") -> tuple[float, float, int]:
    """Connect clients until each has its first message. Returns the seconds, the processor time, and those refused.

    Args:
        more: Added to the query of each client.
    """
    peers: list[socket.socket] = []
    refused = 0
    with selectors.DefaultSelector() as selector:
        cost, began = server.cpu_seconds(), time.perf_counter()
        waiting = 0
        while len(peers) < count or waiting:
            while len(peers) < count and waiting < at_once:
                peer = socket.socket()
                peer.setblocking(False)
                # Several addresses have more ports than one, which other programs use as well.
                peer.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                peer.bind((f"127.0.1.{len(peers) % 200 + 1}", 0))
                code = peer.connect_ex(("127.0.0.1", server.port))
                if code not in (0, errno.EINPROGRESS):
                    raise OSError(code, os.strerror(code))
                selector.register(peer, selectors.EVENT_WRITE, len(peers))
                peers.append(peer)
                waiting += 1
            for ready, events in selector.select(_PATIENCE):
                assert isinstance(ready.fileobj, socket.socket)
                if events & selectors.EVENT_WRITE:
                    ready.fileobj.send(_REQUEST.format(ready.data, more).encode())
                    selector.modify(ready.fileobj, selectors.EVENT_READ, ready.data)
                elif b"HTTP/1.1 101" in (data := ready.fileobj.recv(65_536)) or not data.startswith(b"HTTP"):
                    selector.unregister(ready.fileobj)
                    waiting -= 1
                else:
                    selector.unregister(ready.fileobj)
                    waiting -= 1
                    refused += 1
        seconds = time.perf_counter() - began
    cost = server.cpu_seconds() - cost
    for peer in peers:
        peer.close()
    _wait_gone(server)
    return seconds, cost, refused


def _wait_gone(server: Server) -> None:
    """Wait until the server has noticed that all clients have left."""
    deadline = time.monotonic() + _PATIENCE
    while len(os.listdir(f"/proc/{server.process.pid}/fd")) > 100 and time.monotonic() < deadline:
        time.sleep(0.05)
