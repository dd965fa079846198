"""Server-Sent Events and long polls beside WebSockets at one server: p50 and p99 of a change, the memory of a quiet client, and CPU per message.

One process has all clients of all kinds. It reads the sockets in the order in which the kernel reports them, so its own
time is a part of each figure, and the same for all. The time of a change begins with the rename of the file. The CPU per
message of one kind comes from further servers that have only clients of that kind, in the same rounds. The memory is that
of these servers, after the first 200 clients. A client that polls sends its next request once all clients have the change.
The processor time of this request is a part of its CPU per message.

python -m tests.bench events [--events 9000] [--websockets 1000] [--polls 0] [--each 4000] [--rounds 9]
"""

import argparse
import re
import resource
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
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
[http]
watches = 20000
watches_per_client = 20000
[realtime]
heartbeat_interval = 3600.0
[[source]]
path = "{source}"
"""
REQUESTS = {
    "events": b"GET /api/v1/events/billing/prod HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "websockets": b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "polls": b"GET /api/v1/watch/billing/prod HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
_AGAIN = b"GET /api/v1/watch/billing/prod?wait=10m&version=%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
# The last bytes of the first state that a client gets.
_FIRST_STATES = {"events": b'"config":{', "websockets": b'"config":{', "polls": b'"propertySources":'}
_VERSION = re.compile(rb"(?i)x-vortex-version: (\S+)")
_FIRST = 200
_PAUSE = 0.4
_SETTLE = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--events", type=int, default=9_000)
    parser.add_argument("--websockets", type=int, default=1_000)
    parser.add_argument("--polls", type=int, default=0)
    parser.add_argument("--each", type=int, default=4_000, help="the clients of the servers with one kind")
    parser.add_argument("--rounds", type=int, default=9)


class Crowd:
    """Clients of a server, of one kind or several."""

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
            while _FIRST_STATES[kind] not in read:
                read += made.recv(65_536)
            if kind == "polls":
                made.sendall(_AGAIN % _version_in(read))
            made.setblocking(False)
            self._poll.register(made.fileno(), select.EPOLLIN)
            self._sockets[made.fileno()] = made, kind

    def reached(self, text: bytes, began: float) -> dict[str, list[float]]:
        """Read until each client has got a text. Returns the seconds of each client, by kind."""
        found: dict[str, list[float]] = {kind: [] for kind in REQUESTS}
        missing, polls = set(self._sockets), list[tuple[socket.socket, bytes]]()
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
                    if kind == "polls":
                        polls.append((connection, data))
        for connection, data in polls:
            connection.sendall(_AGAIN % _version_in(data))
        return found

    def close(self) -> None:
        """Close all clients."""
        for connection, _ in self._sockets.values():
            connection.close()
        self._poll.close()


def _version_in(response: bytes) -> bytes:
    """Return the version of a response. Its head and its body arrive together, because both are small."""
    found = _VERSION.search(response)
    assert found is not None, response
    return found[1]


@attrs.frozen
class Part:
    """A server with its clients.

    Attributes:
        bytes_each: The private memory of one client, or None if it has clients of several kinds.
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
    wanted = {"events": arguments.events, "websockets": arguments.websockets, "polls": arguments.polls}
    wanted = {kind: count for kind, count in wanted.items() if count or kind != "polls"}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = {"one": {"events": 1}, "all": wanted, **{kind: {kind: arguments.each} for kind in wanted}}
        parts = {name: begin(stack, directory / name, counts) for name, counts in kinds.items()}
        seconds: dict[str, list[list[float]]] = {kind: [] for kind in wanted}
        processor: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(arguments.rounds + 1):
            for name, part in parts.items():
                found, cpu = part.change(f"round{number:04}")
                if number == 0:
                    continue
                processor[name].append(cpu)
                if name == "all":
                    for kind in wanted:
                        seconds[kind].append(sorted(found[kind]))
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
    print(", ".join(f"{count} {kind}" for kind, count in wanted.items()) + f", {len(processor['all'])} rounds")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        show(name, "ms", {kind: [1e3 * at(each, share) for each in rounds] for kind, rounds in seconds.items()})
    fixed = statistics.median(processor["one"])
    each_kind = {kind: [1e6 * (each - fixed) / len(parts[kind].crowd) for each in processor[kind]] for kind in wanted}
    show("CPU per message", "us", each_kind)
    show("memory of a quiet client", "B", {kind: [parts[kind].bytes_each or 0.0] for kind in wanted})
    total = [1e6 * (each - fixed) / sum(wanted.values()) for each in processor["all"]]
    print(f"    CPU per message of all {sum(wanted.values())}: {spread(total)} us")


def show(name: str, unit: str, values: Mapping[str, Sequence[float]]) -> None:
    """Print one figure of each kind, and its ratio to that of WebSockets."""
    floor = statistics.median(values["websockets"])
    shown = [f"{kind} {spread(each)} {unit} ({statistics.median(each) / floor:.2f})" for kind, each in values.items()]
    print(f"    {name}: {', '.join(shown)}")


def at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def spread(values: Sequence[float]) -> str:
    """Return the median, with the quartiles if there are enough values."""
    if len(values) < 3:
        return f"{statistics.median(values):.0f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"
