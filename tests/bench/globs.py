"""Clients with globs: many applications, 64 patterns for each client, and resyncs. Measures how long the server takes to answer an undisturbed client.

python -m tests.bench globs --shape issue

The clients run in a separate process and connect from several loopback addresses. The whole run takes less than a minute.
"""

import argparse
import json
import multiprocessing
import re
import selectors
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import permutations
from multiprocessing.connection import Connection
from pathlib import Path

import attrs

from ..system.process import Server
from .report import DEBOUNCE, report

_PATTERNS = 64
_PER_ADDRESS = 100
# Handshakes are spread out, because the benchmark doesn't measure a storm of handshakes.
_CONNECTS_PER_SECOND = 400
_LETTERS = "abcdefghij"
_HANDSHAKE = (
    "GET /ws/{application}/dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PING = b"\x89\x00"
_PONG = b"\x8a\x80\0\0\0\0"
# The server's messages to count.
_SAID = re.compile(rb'"type":"(\w+)"(?:[^}]*?"code":"(\w+)")?')


# The shapes: for each client's number, its application and its patterns.


def _issue(number: int) -> tuple[str, list[str]]:
    return f"a{number}-b{number % _PATTERNS}-c", [f"*a{number}*b{each}*c*" for each in range(_PATTERNS)]


def _letters(number: int) -> tuple[str, list[str]]:
    """Single letters with globs: each name contains all of them, and hardly any glob matches."""
    orders = list(_some(permutations(_LETTERS, 6), number * _PATTERNS, _PATTERNS))
    return _LETTERS[::-1] * 6 + str(number), ["*" + "*".join(order) + "*" for order in orders]


def _everything(number: int) -> tuple[str, list[str]]:
    """Each glob matches every name."""
    orders = list(_some(permutations(_LETTERS, 6), number * _PATTERNS, _PATTERNS))
    return _LETTERS * 6 + str(number), ["*" + "*".join(order) + "*" for order in orders]


def _some(values: Iterator[tuple[str, ...]], start: int, count: int) -> Iterator[tuple[str, ...]]:
    for index, value in enumerate(values):
        if index >= start + count:
            return
        if index >= start:
            yield value


SHAPES = {"issue": _issue, "letters": _letters, "everything": _everything}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000, help="at most 1,000")
    parser.add_argument("--shape", choices=SHAPES, default="issue", help="what their globs look like")
    parser.add_argument("--resyncs", type=float, default=1.0, help="of each client, a second")
    parser.add_argument("--churn", action="store_true", help="end all subscriptions and begin them again, each second")
    parser.add_argument("--seconds", type=float, default=35.0, help="from the first client on, at most 45")
    parser.add_argument("--bytes", type=int, default=0, help="size of what every application shares")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    clients, seconds = min(arguments.clients, 1_000), min(arguments.seconds, 45.0)
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        (source / "application.yml").write_text(f"filler: {'x' * arguments.bytes}\n")
        _write(source, 0)
        with Server(source) as server:
            alone = Witness(server.port, source)
            alone.watch(4.0)
            alone.report("alone")
            before = server.private_bytes()
            ours, theirs = multiprocessing.Pipe()
            attack = multiprocessing.get_context("spawn").Process(
                target=attack_from,
                args=(server.port, clients, arguments.shape, arguments.resyncs, arguments.churn, seconds, theirs),
            )
            attack.start()
            ours.recv()
            witness = Witness(server.port, source, first=1_000)
            witness.watch(seconds)
            memory, cpu = server.private_bytes(), server.cpu_seconds()
            lag = _lag(server.port)
            counts = ours.recv() if ours.poll(10) else Counter()
            attack.join(5)
            if attack.is_alive():
                attack.terminate()
            witness.report(f"beside {clients} clients with {_PATTERNS} globs each ({arguments.shape})")
            print(f"loop lag p99: {lag}; processor time of the server: {cpu:.1f} s")
            print(f"private memory of the server: {before / 1e6:.1f} MB before, {memory / 1e6:.1f} MB with the clients")
            print("the clients:", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
            # A busy server needs more time to drain.
            server.stop(signal.SIGKILL)


# The undisturbed clients.


def _write(source: Path, number: int) -> float:
    temporary = source / ".witness.tmp"
    temporary.write_text(f"number: {number}\n")
    temporary.rename(source / "witness.yml")
    return time.monotonic()


class Witness:
    """One plain client, one that sends `ping`, a supervisor that requests /health, and the machine's own delays. Each is a thread.

    Args:
        first: The number before its first change.
    """

    def __init__(self, port: int, source: Path, first: int = 0) -> None:
        self._port = port
        self._source = source
        self._number = first
        self._end = 0.0
        self.changes: list[float] = []
        self.pongs: list[float] = []
        self.health: list[float] = []
        self.naps: list[float] = []

    def watch(self, seconds: float) -> None:
        """Take samples for so many seconds. An answer that hasn't arrived at the end counts as if it arrived then."""
        self._end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._sample, args=(times, make, pause), daemon=True)
            for times, make, pause in (
                (self.changes, self._change, 0.3),
                (self.pongs, self._pong, 0.05),
                (self.health, self._ask_health, 0.05),
                (self.naps, self._nap, 0.0),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 2)

    def report(self, name: str) -> None:
        """Print the results."""
        print(f"witness {name}:")
        report(f"  change, less the debounce of {DEBOUNCE * 1000:.0f} ms ({len(self.changes)})", self.changes)
        report(f"  ping to pong ({len(self.pongs)})", self.pongs)
        report(f"  /health ({len(self.health)})", self.health)
        report("  floor: how late a thread of the witness wakes up", self.naps)

    def _sample(self, times: list[float], make: Callable[[], Callable[[], float]], pause: float) -> None:
        take = None
        while (now := time.monotonic()) < self._end:
            try:
                take = take or make()
                times.append(take())
            except OSError:
                take = None
                times.append(time.monotonic() - now)
            time.sleep(pause)

    def _left(self) -> float:
        return max(self._end - time.monotonic(), 0.01)

    def _connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), self._left())
        client.sendall(_HANDSHAKE.format(application="witness").encode())
        self._read_until(client, b'"config_snapshot"')
        return client

    def _read_until(self, client: socket.socket, text: bytes) -> None:
        data = b""
        while text not in data:
            client.settimeout(self._left())
            part = client.recv(65_536)
            if not part:
                raise ConnectionError("the server closed the connection")
            if part.endswith(_PING):
                client.sendall(_PONG)
            data = (data + part)[-65_536:]

    def _change(self) -> Callable[[], float]:
        client = self._connect()

        def take() -> float:
            self._number += 1
            began = _write(self._source, self._number)
            # This text ends both a snapshot of this document and a patch.
            self._read_until(client, f":{self._number}}}".encode())
            return max(time.monotonic() - began - DEBOUNCE, 0.0)

        return take

    def _pong(self) -> Callable[[], float]:
        client = self._connect()

        def take() -> float:
            began = time.monotonic()
            client.sendall(_frame({"type": "ping"}))
            self._read_until(client, b'"pong"')
            return time.monotonic() - began

        return take

    def _ask_health(self) -> Callable[[], float]:
        def take() -> float:
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", self._port), self._left()) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                client.settimeout(self._left())
                if not client.recv(65_536).startswith(b"HTTP/1.1 200"):
                    raise ConnectionError("not healthy")
            return time.monotonic() - began

        return take

    def _nap(self) -> Callable[[], float]:
        def take() -> float:
            began = time.monotonic()
            time.sleep(0.02)
            return time.monotonic() - began - 0.02

        return take


def _lag(port: int) -> str:
    """Return the bucket of the metrics that contains the p99 of the loop's lag."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    except OSError:
        return "no answer"
    buckets = re.findall(r'vortexd_loop_lag_seconds_bucket\{le="([^"]+)"\} ([\d.]+)', text)
    total = float(buckets[-1][1])
    return next(f"at most {float(edge) * 1000:.0f} ms" for edge, count in buckets if float(count) >= 0.99 * total)


# The clients.


@attrs.define(eq=False)
class _Client:
    socket: socket.socket
    number: int
    patterns: list[str]
    unsent: bytes
    is_open: bool = False
    next: float = 0.0


def _frame(message: object) -> bytes:
    """A client's text frame, masked with zeros."""
    payload = json.dumps(message).encode()
    if len(payload) < 126:
        return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload
    return bytes((0x81, 0x80 | 126)) + len(payload).to_bytes(2, "big") + bytes(4) + payload


def attack_from(
    port: int, count: int, shape: str, resyncs: float, churn: bool, seconds: float, pipe: Connection
) -> None:
    """Run all clients for so many seconds, then print the messages that they received."""
    clients = [_client(number, shape, port) for number in range(count)]
    pipe.send("ready")
    end = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    selector = selectors.EpollSelector()
    waiting = deque(clients)
    connect = time.monotonic()
    while (now := time.monotonic()) < end:
        while waiting and connect <= now:
            client = waiting.popleft()
            client.socket.connect_ex(("127.0.0.1", port))
            selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
            connect += 1 / _CONNECTS_PER_SECOND
        for key, events in selector.select(0.02):
            client = key.data
            try:
                if events & selectors.EVENT_WRITE and client.unsent:
                    client.unsent = client.unsent[client.socket.send(client.unsent) :]
                if events & selectors.EVENT_READ and not _read(client, counts):
                    raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                counts["closed"] += 1
                selector.unregister(client.socket)
                clients.remove(client)
                client.socket.close()
                continue
            _interest(selector, client)
        for client in clients:
            if client.is_open and client.next <= now:
                _talk(client, resyncs, churn, now)
                _interest(selector, client)
    counts["open at the end"] = sum(client.is_open for client in clients)
    pipe.send(counts)
    for client in clients:
        client.socket.close()


def _client(number: int, shape: str, port: int) -> _Client:
    client = socket.socket()
    client.bind((f"127.0.0.{2 + number // _PER_ADDRESS}", 0))
    client.setblocking(False)
    application, patterns = SHAPES[shape](number)
    return _Client(client, number, patterns, _HANDSHAKE.format(application=application).encode())


def _interest(selector: selectors.BaseSelector, client: _Client) -> None:
    selector.modify(client.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0), client)


def _read(client: _Client, counts: Counter[str]) -> bool:
    data = client.socket.recv(1_048_576)
    if data.endswith(_PING):
        client.unsent += _PONG
    for kind, code in _SAID.findall(data):
        counts[(kind + b" " + code if code else kind).decode()] += 1
    if not client.is_open and b'"config_snapshot"' in data:
        client.is_open = True
        client.unsent += _frame({"type": "subscribe", "patterns": client.patterns})
    return bool(data)


def _talk(client: _Client, resyncs: float, churn: bool, now: float) -> None:
    # Spread over one second.
    client.next = now + 1 / resyncs if client.next else now + (client.number % 97) / 97 / resyncs
    if len(client.unsent) > 100_000:
        return
    client.unsent += _frame({"type": "resync"})
    if churn:
        client.unsent += _frame({"type": "unsubscribe", "patterns": client.patterns})
        client.unsent += _frame({"type": "subscribe", "patterns": client.patterns})
