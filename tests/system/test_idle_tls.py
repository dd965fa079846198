"""Idle TLS clients of the real process: little memory each, changes, heartbeats, a drain, and what TLS does below HTTP."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.certificates import make

from .fleet import save
from .process import Server

pytestmark = pytest.mark.alone

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
drain_timeout = 5.0
[realtime]
heartbeat_interval = 2.0
heartbeat_timeout = 5.0
[tls]
certificate = "{certificate}"
key = "{key}"
[[source]]
path = "{source}"
quiet = 0.02
quiet_one_file = 0.02
"""
REQUEST = (
    b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING, PONG = b"\x89\x00", b"\x8a\x80\0\0\0\0"


@attrs.define
class Running:
    server: Server
    source: Path
    context: ssl.SSLContext

    def change(self, number: int, filler: int = 300) -> None:
        save(self.source / "billing.yml", f"number: {number}\nfiller: {'x' * filler}\n")

    def ask(self, path: str) -> str:
        address = f"https://localhost:{self.server.port}{path}"
        with urllib.request.urlopen(address, timeout=20, context=self.context) as answer:
            text: str = answer.read().decode()
            return text

    def parked(self) -> int:
        found = re.search(r'^vortexd_connections\{.*state="parked"\} (\d+)', self.ask("/metrics"), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def wait_parked(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while self.parked() != count:
            assert time.monotonic() < deadline, f"{self.parked()} are parked, not {count}"
            time.sleep(0.1)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    source = tmp_path / "config"
    source.mkdir()
    save(source / "billing.yml", f"number: 0\nfiller: {'x' * 300}\n")
    certificate, key = make(tmp_path)
    with Server(source, settings=SETTINGS.format(certificate=certificate, key=key, source=source)) as server:
        yield Running(server, source, ssl.create_default_context(cafile=str(certificate)))


class Client:
    """A client that answers heartbeats while it reads."""

    def __init__(self, running: Running) -> None:
        plain = socket.create_connection(("127.0.0.1", running.server.port), 20)
        self.socket = running.context.wrap_socket(plain, server_hostname="localhost")
        self._received = b""
        self.socket.sendall(REQUEST)
        self.wait(b"config_snapshot")

    def wait(self, text: bytes) -> None:
        """Read until this text has come."""
        while text not in self._received:
            data = self.socket.recv(65_536)
            assert data
            for _ in range(data.count(PING)):
                self.socket.sendall(PONG)
            self._received = self._received[-len(text) :] + data
        self._received = self._received.partition(text)[2]


@pytest.mark.slow
def test_an_idle_tls_client_takes_less_than_20_kb_and_misses_nothing(running: Running) -> None:
    clients = [Client(running) for _ in range(50)]
    running.wait_parked(50)
    before = running.server.private_bytes()
    clients += [Client(running) for _ in range(250)]
    running.wait_parked(300)
    assert (running.server.private_bytes() - before) / 250 < 20_000

    for number in range(1, 6):
        running.change(number)
        for each in clients:
            each.wait(b'"value":%d' % number)
    # All of them have answered heartbeats meanwhile, without a task.
    for each in clients:
        each.wait(PING)
    running.wait_parked(300)
    assert (running.server.private_bytes() - before) / 250 < 20_000

    # A frame that no socket takes at once. Only some of them read it.
    running.change(6, 900_000)
    for each in clients[:10]:
        each.wait(b'"value":6')
    for each in clients:
        each.socket.close()
    assert 0 == running.server.stop()
    assert "Traceback" not in running.server.output()


def test_a_drain_tells_parked_tls_clients(running: Running) -> None:
    clients = [Client(running) for _ in range(20)]
    running.wait_parked(20)
    running.server.process.send_signal(signal.SIGTERM)
    for each in clients:
        each.wait(b'"type":"connection_closing"')
        each.wait(b"\x03\xe9")
        each.socket.close()

    assert 0 == running.server.process.wait(20)
    assert "Traceback" not in running.server.output()


@pytest.fixture
def openssl(running: Running, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts `openssl s_client`, which knows commands that Python doesn't have."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl isn't installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(version: str) -> subprocess.Popen[bytes]:
        address = f"127.0.0.1:{running.server.port}"
        command = [program, "s_client", "-connect", address, "-CAfile", str(tmp_path / "localhost.crt"), version]
        made = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        started.append(made)
        return made

    yield start
    for each in started:
        each.kill()
        each.communicate(timeout=10)


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """The output up to this text."""
    assert process.stdout is not None
    timer = threading.Timer(20, process.kill)
    timer.start()
    output = b""
    while text not in output:
        data = process.stdout.read(65_536)
        assert data, output
        output += data
    timer.cancel()
    return output


def test_a_parked_client_may_change_its_keys(
    running: Running, openssl: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    client = openssl("-tls1_3")
    assert client.stdin is not None
    client.stdin.write(REQUEST)
    read_until(client, b"config_snapshot")
    running.wait_parked(1)
    for number in range(1, 6):
        # It asks that the server changes its keys, too. The server answers that with its next record.
        client.stdin.write(b"K\n")
        read_until(client, b"KEYUPDATE")
        running.change(number)
        read_until(client, b'"value":%d' % number)
        assert 1 == running.parked()


def test_a_parked_client_may_not_renegotiate_and_harms_nobody(
    running: Running, openssl: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    other = Client(running)
    client = openssl("-tls1_2")
    assert client.stdin is not None
    client.stdin.write(REQUEST)
    read_until(client, b"config_snapshot")
    running.wait_parked(2)
    client.stdin.write(b"R\n")
    read_until(client, b"no renegotiation")
    running.wait_parked(1)
    running.change(1)
    other.wait(b'"value":1')
    other.socket.close()
    assert 0 == running.server.stop()
    assert "Traceback" not in running.server.output()
