"""Idle event streams over HTTP/1.1, TLS and HTTP/2: the private memory of one, and the processor time of a change.

HTTP/2 comes with a connection for each stream, as from browsers, and with several streams on a connection, as from a proxy.
Each round has a server for each kind, one after the other. The first 50 clients aren't counted.

python -m tests.bench event_transports [--streams 500] [--shared 50] [--rounds 5] [--changes 10]
"""

import argparse
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from ..certificates import make
from ..system.process import Server
from .fanout import save

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[realtime]
heartbeat_interval = 3600.0
[[source]]
path = "{source}"
"""
TLS = '[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
_PATH = "/api/v1/events/billing/prod"
_REQUEST = f"GET {_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
_FIRST = 50
_SETTLE = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--shared", type=int, default=50, help="the streams of one connection that has several")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--changes", type=int, default=10, help="of the document, each sent to all streams")


class Plain:
    """A connection of HTTP/1.1 with one stream, which has received its first state.

    Args:
        context: The context for TLS, or None.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        made = socket.create_connection(("127.0.0.1", port), 20)
        self._socket = made if context is None else context.wrap_socket(made, server_hostname="localhost")
        self._socket.sendall(_REQUEST)
        self.receive(b"event: config_snapshot")

    def receive(self, text: bytes) -> None:
        """Receive until the stream has sent a text."""
        data = b""
        while text not in data:
            part = self._socket.recv(65_536)
            assert part, "the server has closed the connection"
            data += part

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Multiplexed:
    """A connection of HTTP/2 with several streams, each of which has received its first state."""

    def __init__(self, port: int, context: ssl.SSLContext, streams: int) -> None:
        made = socket.create_connection(("127.0.0.1", port), 20)
        self._socket = context.wrap_socket(made, server_hostname="localhost")
        assert "h2" == self._socket.selected_alpn_protocol()
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._connection.initiate_connection()
        headers = [(":method", "GET"), (":path", _PATH), (":scheme", "https"), (":authority", "localhost")]
        self._streams = range(1, 2 * streams, 2)
        for number in self._streams:
            self._connection.send_headers(number, headers, end_stream=True)
        self._socket.sendall(self._connection.data_to_send())
        self.receive(b"event: config_snapshot")

    def receive(self, text: bytes) -> None:
        """Receive until each stream has sent a text."""
        data = dict.fromkeys(self._streams, b"")
        while any(text not in each for each in data.values()):
            part = self._socket.recv(65_536)
            assert part, "the server has closed the connection"
            for event in self._connection.receive_data(part):
                assert not isinstance(event, h2.events.StreamEnded | h2.events.StreamReset), event
                if isinstance(event, h2.events.DataReceived):
                    data[event.stream_id] += event.data
                    self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._socket.sendall(self._connection.data_to_send())

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    shared = arguments.shared
    assert arguments.streams % shared == _FIRST % shared == 0, "--shared must divide --streams and 50"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        certificate, key = make(directory)
        plain = ssl.create_default_context(cafile=str(certificate))
        multiplexed = ssl.create_default_context(cafile=str(certificate))
        multiplexed.set_alpn_protocols(["h2"])
        tls = TLS.format(certificate=certificate, key=key)
        kinds: dict[str, tuple[str, int, Callable[[int], Plain | Multiplexed]]] = {
            "HTTP/1.1": ("", 1, lambda port: Plain(port, None)),
            "HTTP/1.1 with TLS": (tls, 1, lambda port: Plain(port, plain)),
            "HTTP/2, one stream each": (tls, 1, lambda port: Multiplexed(port, multiplexed, 1)),
            f"HTTP/2, {shared} streams each": (tls, shared, lambda port: Multiplexed(port, multiplexed, shared)),
        }
        figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind, (settings, each, connect) in kinds.items():
                counts = arguments.streams // each, _FIRST // each, each
                figures[kind].append(measure(directory, settings, connect, *counts, arguments.changes))
    print(f"{arguments.streams} streams, {arguments.rounds} rounds: median (lowest to highest)")
    for kind, found in figures.items():
        memory, processor = ([each[index] for each in found] for index in (0, 1))
        print(f"    {kind}: {spread(memory, '.0f')} B of memory; {spread(processor, '.1f')} us of CPU per message")


def measure(
    directory: Path,
    settings: str,
    connect: Callable[[int], Plain | Multiplexed],
    count: int,
    first: int,
    streams: int,
    changes: int,
) -> tuple[float, float]:
    """Return the bytes of one stream, and the processor time of a message in microseconds.

    Args:
        count, first: The connections that are counted, and those before them.
        streams: The streams of a connection.
    """
    source = directory / "config"
    source.mkdir(exist_ok=True)
    save(source, "begin")
    with Server(source, settings=SETTINGS.format(source=source) + settings) as server:
        clients = [connect(server.port) for _ in range(first)]
        time.sleep(_SETTLE)
        before = server.private_bytes()
        clients += [connect(server.port) for _ in range(count)]
        time.sleep(_SETTLE)
        memory = (server.private_bytes() - before) / (count * streams)
        processor = server.cpu_nanoseconds()
        for number in range(changes):
            save(source, f"round{number:04}")
            for each in clients:
                each.receive(f"round{number:04}".encode())
        processor = server.cpu_nanoseconds() - processor
        for each in clients:
            each.close()
        server.stop()
    return memory, processor / (len(clients) * streams * max(changes, 1)) / 1e3


def spread(values: list[float], form: str) -> str:
    """Return the median with the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
