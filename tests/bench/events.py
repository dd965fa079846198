"""Server-Sent Events beside WebSockets at one server: p50 and p99 of a change for both, the memory of a parked client, and CPU per message.

One process has all clients of both kinds. It reads the sockets in the order in which the kernel reports them, so its own
time is a part of each figure, and the same for both. The time of a change begins with the rename of the file. The CPU per
message of one kind comes from two further servers that have only clients of that kind, in the same rounds. The memory is that
of these servers, after the first 200 clients.

python -m tests.bench events [--events 9000] [--websockets 1000] [--each 4000] [--rounds 9]
"""

import argparse
import resource
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from ..system.process import Server
from .compiler import SERVER_CORE, on_core
from .fanout import save

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
connections = 20000
connections_per_address = 0
[realtime]
heartbeat_interval = 3600.0
[[source]]
path = "{source}"
"""
REQUESTS = {
    "events": b"GET /api/v1/events/billing/prod HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "websockets": b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}
_FIRST = 200
_PAUSE = 0.4
_SETTLE = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--events", type=int, default=9_000)
    parser.add_argument("--websockets", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=4_000, help="the clients of the servers with one kind")
    parser.add_argument("--rounds", type=int, default=9)


class Crowd:
    """Clients of a server, of one kind or both."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, str]] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def connect(self, kind: str, count: int) -> None:
        """Connect clients one after the other. Each has its first state afterwards."""
        for _ in range(count):
            made = socket.create_connection(("127.0.0.1", self._port))
            made.sendall(REQUESTS[kind])
            read = b""
            while b"config_snapshot" not in read or b'"config":{' not in read:
                read += made.recv(65_536)
            made.setblocking(False)
            self._poll.register(made.fileno(), select.EPOLLIN)
            self._sockets[made.fileno()] = made, kind

    def reached(self, text: bytes, began: float) -> dict[str, list[float]]:
        """Read until each client has got a text. Returns the seconds of each client, by kind."""
        found: dict[str, list[float]] = {"events": [], "websockets": []}
        missing = set(self._sockets)
        while missing:
            ready = self._poll.poll(10, 512)
            if not ready:
                raise TimeoutError(f"{len(missing)} clients were not reached")
            for descriptor, _ in ready:
                connection, kind = self._sockets[descriptor]
                data = connection.recv(65_536)
                assert data, "a client was closed"
                if text in data and descriptor in missing:
                    missing.discard(descriptor)
                    found[kind].append(time.monotonic() - began)
        return found

    def close(self) -> None:
        """Close all clients."""
        for connection, _ in self._sockets.values():
            connection.close()
        self._poll.close()


@attrs.frozen
class Part:
    """A server with its clients.

    Attributes:
        bytes_each: The private memory of one client, or None if it has clients of both kinds.
    """

    server: Server
    crowd: Crowd
    source: Path
    bytes_each: float | None

    def change(self, text: str) -> tuple[dict[str, list[float]], float]:
        """Make one change. Returns the seconds of each client by kind, and the processor's seconds of the server."""
        time.sleep(_PAUSE)
        before = self.server.cpu_nanoseconds()
        found = self.crowd.reached(text.encode(), save(self.source, text))
        time.sleep(_PAUSE)
        return found, (self.server.cpu_nanoseconds() - before) / 1e9


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = {"events": arguments.events, "websockets": arguments.websockets}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = {"one": {"events": 1}, "both": wanted, **{kind: {kind: arguments.each} for kind in REQUESTS}}
        parts = {name: begin(stack, directory / name, counts) for name, counts in kinds.items()}
        seconds: dict[str, list[list[float]]] = {kind: [] for kind in REQUESTS}
        processor: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(arguments.rounds + 1):
            for name, part in parts.items():
                found, cpu = part.change(f"round{number:04}")
                if number == 0:
                    continue
                processor[name].append(cpu)
                if name == "both":
                    for kind, values in found.items():
                        seconds[kind].append(sorted(values))
        report(seconds, processor, parts, wanted)
        for part in parts.values():
            part.crowd.close()


def begin(stack: ExitStack, directory: Path, counts: dict[str, int]) -> Part:
    """Start a server, and connect its clients."""
    source = directory / "config"
    source.mkdir(parents=True)
    save(source, "begin")
    settings = SETTINGS.format(source=source)
    server = stack.enter_context(Server(source, settings=settings, prefix=on_core(SERVER_CORE)))
    crowd = Crowd(server.port)
    if len(counts) > 1 or sum(counts.values()) <= _FIRST:
        for kind, count in counts.items():
            crowd.connect(kind, count)
        return Part(server, crowd, source, None)
    [(kind, count)] = counts.items()
    crowd.connect(kind, _FIRST)
    time.sleep(_SETTLE)
    before = server.private_bytes()
    crowd.connect(kind, count)
    time.sleep(_SETTLE)
    return Part(server, crowd, source, (server.private_bytes() - before) / count)


def report(
    seconds: dict[str, list[list[float]]],
    processor: dict[str, list[float]],
    parts: dict[str, Part],
    wanted: dict[str, int],
) -> None:
    """Print the figures, and their ratios."""
    print(f"{wanted['events']} event streams beside {wanted['websockets']} WebSockets, {len(processor['both'])} rounds")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        show(name, "ms", lambda kind, share=share: [1e3 * at(each, share) for each in seconds[kind]])  # type: ignore[misc]
    fixed = statistics.median(processor["one"])
    show(
        "CPU per message",
        "us",
        lambda kind: [1e6 * (each - fixed) / len(parts[kind].crowd) for each in processor[kind]],
    )
    show("memory of a parked client", "B", lambda kind: [parts[kind].bytes_each or 0.0])
    total = [1e6 * (each - fixed) / sum(wanted.values()) for each in processor["both"]]
    print(f"    CPU per message of all {sum(wanted.values())}: {spread(total)} us")


def show(name: str, unit: str, values: Callable[[str], Sequence[float]]) -> None:
    """Print one figure of both kinds, and their ratio."""
    events, websockets = values("events"), values("websockets")
    ratio = statistics.median(events) / statistics.median(websockets)
    print(f"    {name}: events {spread(events)} {unit}, WebSockets {spread(websockets)} {unit}, ratio {ratio:.2f}")


def at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def spread(values: Sequence[float]) -> str:
    """Return the median, with the quartiles if there are enough values."""
    if len(values) < 3:
        return f"{statistics.median(values):.0f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"
