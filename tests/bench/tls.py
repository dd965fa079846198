"""The cost of one idle TLS connection, compared with the memory that OpenSSL alone keeps for one.

python -m tests.bench tls
"""

import argparse
import gc
import multiprocessing
import socket
import ssl
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

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


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        write(source, 0)
        certificate, key = make(Path(directory))
        text = SETTINGS.format(certificate=certificate, key=key, source=source)
        with Server(source, settings=text) as server:
            context = ssl.create_default_context(cafile=str(certificate))
            first = [connect(server.port, context) for _ in range(50)]
            before = server.private_bytes()
            others = [connect(server.port, context) for _ in range(arguments.clients)]
            time.sleep(2)
            ours = (server.private_bytes() - before) / arguments.clients
            for each in (*first, *others):
                each.close()
            server.stop()
        floor = openssl(certificate, key, arguments.clients)
        print(f"private memory of an idle TLS connection: {ours:,.0f} B; of that OpenSSL's own: {floor:,.0f} B")


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a client that has received its first message."""
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="localhost")
    client.sendall(REQUEST)
    data = b""
    while b'"type":"' not in data:
        data += client.recv(65_536)
    return client


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


def shake(context: ssl.SSLContext, peer: ssl.SSLContext) -> tuple[object, ...]:
    """Return the server's end of a handshake, and drop the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = peer.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server, to_server, to_client
