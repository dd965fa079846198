"""The cost of TLS: the memory of an idle connection, and the processor time of a handshake and of a message, beside OpenSSL alone.

python -m tests.bench tls [--clients 500] [--rounds 5]
"""

import argparse
import contextlib
import gc
import multiprocessing
import socket
import ssl
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attrs

from ..certificates import make
from ..system.process import Server, private_bytes
from .push import write

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[tls]
certificate = "{certificate}"
key = "{key}"
[[source]]
path = "{source}"
"""
REQUEST = (
    b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--changes", type=int, default=10, help="of the document, each sent to all clients")


@attrs.frozen
class _Figures:
    """The bytes of an idle connection, the processor time of a handshake, and that of a message, in microseconds."""

    memory: float
    handshake: float
    message: float


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    ours: list[_Figures] = []
    memory: list[float] = []
    handshakes: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = make(Path(directory))
        for _ in range(arguments.rounds):
            ours.append(measure(Path(directory), certificate, key, arguments.clients, arguments.changes))
            memory.append(openssl(certificate, key, arguments.clients))
            handshakes.append(handshake_of_openssl(certificate, key))
    report("private memory of an idle connection, in bytes", [each.memory for each in ours], memory)
    report("processor time of a handshake, in microseconds", [each.handshake for each in ours], handshakes)
    report("processor time of a message, in microseconds", [each.message for each in ours], [])


def report(name: str, ours: list[float], openssl: list[float]) -> None:
    """Print the medians with the ranges."""
    print(f"{name}: {statistics.median(ours):,.0f} ({min(ours):,.0f} to {max(ours):,.0f})")
    if openssl:
        print(f"    OpenSSL alone: {statistics.median(openssl):,.0f} ({min(openssl):,.0f} to {max(openssl):,.0f})")


def measure(directory: Path, certificate: Path, key: Path, count: int, changes: int) -> _Figures:
    """Measure one server."""
    source = directory / "config"
    source.mkdir(exist_ok=True)
    write(source, 0)
    text = SETTINGS.format(certificate=certificate, key=key, source=source)
    with Server(source, settings=text) as server:
        context = ssl.create_default_context(cafile=str(certificate))
        clients = [connect(server.port, context) for _ in range(50)]
        time.sleep(1)
        before, cpu = server.private_bytes(), server.cpu_nanoseconds()
        clients += [connect(server.port, context) for _ in range(count)]
        cpu = server.cpu_nanoseconds() - cpu
        time.sleep(2)
        memory = (server.private_bytes() - before) / count
        writing = server.cpu_nanoseconds()
        for number in range(1, changes + 1):
            write(source, number)
            for each in clients:
                receive(each, b'"new_version"')
        writing = server.cpu_nanoseconds() - writing
        for each in clients:
            each.close()
        server.stop()
    return _Figures(memory, cpu / count / 1e3, writing / len(clients) / max(changes, 1) / 1e3)


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a client that has received its first message."""
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="localhost")
    client.sendall(REQUEST)
    receive(client, b'"type":')
    return client


def receive(client: ssl.SSLSocket, text: bytes) -> None:
    """Receive until a text has come. The rest of what has come isn't needed."""
    data = b""
    while text not in data:
        part = client.recv(65_536)
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part


def openssl(certificate: Path, key: Path, count: int) -> float:
    """Return the memory per connection of server ends that have performed a handshake in memory, without any socket.

    This runs in a process of its own, because memory that the clients have freed would hide what OpenSSL takes.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure_openssl, certificate, key, count).result()


def measure_openssl(certificate: Path, key: Path, count: int) -> float:
    """See `openssl`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    peer = ssl.create_default_context(cafile=str(certificate))
    kept = [shake(context, peer) for _ in range(50)]
    gc.collect()
    before = private_bytes("self")
    kept += [shake(context, peer) for _ in range(count)]
    gc.collect()
    return (private_bytes("self") - before) / count


def handshake_of_openssl(certificate: Path, key: Path, count: int = 200) -> float:
    """Return the processor time that the server's end of a handshake takes in memory, in microseconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    peer = ssl.create_default_context(cafile=str(certificate))
    times: list[float] = []
    for _ in range(count):
        times.append(0.0)
        shake(context, peer, times)
    return statistics.median(times)


def shake(context: ssl.SSLContext, peer: ssl.SSLContext, times: list[float] | None = None) -> tuple[object, ...]:
    """Return the server's end of a handshake, and drop the client's end.

    Args:
        times: The processor time of the server's end, in microseconds, is added to the last of these.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = peer.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        began = time.thread_time_ns()
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        if times is not None:
            times[-1] += (time.thread_time_ns() - began) / 1e3
    return server, to_server, to_client
