"""A thousand clients and more, against the real process: no change is lost, memory stays small, and no client delays the drain."""

import itertools
import json
import random
import re
import selectors
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vortexd.ctl.load import Clients

from .process import Server

pytestmark = pytest.mark.alone

CLOSE = b"\x03\xe9the server is stopping"
ANSWER = b"\x88\x82\x00\x00\x00\x00\x03\xe9"
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
drain_timeout = 10.0
[[source]]
path = "{source}"
quiet = 0.02
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "billing.yml", f"number: 0\nfiller: {'x' * 300}\n")
    save(directory / "heavy.yml", "number: 0\n")
    return directory


@pytest.fixture
def server(source: Path) -> Iterator[Server]:
    with Server(source, settings=SETTINGS.format(source=source)) as server:
        yield server


def save(path: Path, text: str) -> None:
    temporary = path.with_name(".new")
    temporary.write_text(text)
    temporary.rename(path)


def ask(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def fleet(server: Server) -> dict[str, Any]:
    """Return the only key of the fleet, without its instances."""
    (key,) = json.loads(ask(server, "/api/v1/fleet?state=rejected"))["keys"]
    return dict(key)


class Reader:
    """A client that keeps its messages, and answers a close frame if it is polite."""

    def __init__(self, port: int, path: str, *, is_polite: bool = True, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.is_polite = is_polite
        self.data = b""
        self.has_ended = False

    def receive(self) -> None:
        """Read the bytes that have arrived."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        self.data += data
        self.has_ended = not data
        if self.is_polite and CLOSE in data:
            self.socket.sendall(ANSWER)

    def messages(self) -> list[dict[str, object]]:
        """The JSON messages so far."""
        frames = self.data.partition(b"\r\n\r\n")[2]
        messages = []
        while len(frames) >= 2:
            size, head = frames[1], 2
            if size == 126:
                size, head = int.from_bytes(frames[2:4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(frames[2:10], "big"), 10
            if len(frames) < head + size:
                break
            if frames[0] == 0x81:
                messages.append(json.loads(frames[head : head + size]))
            frames = frames[head + size :]
        return messages


def has_any(wanted: list[bytes], reader: Reader, last: int = 2_000) -> bool:
    """Return whether one of these texts is in the last bytes that a client has received."""
    return any(each in reader.data[-last:] for each in wanted)


def read_until(readers: list[Reader], is_done: Callable[[Reader], bool], timeout: float = 30.0) -> None:
    """Read from all of them until each is done or has ended."""
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        left = 0
        for reader in readers:
            if not is_done(reader):
                selector.register(reader.socket, selectors.EVENT_READ, reader)
                left += 1
        while left:
            ready = selector.select(max(deadline - time.monotonic(), 0))
            assert ready, f"{left} clients are still waiting"
            for key, _ in ready:
                key.data.receive()
                if key.data.has_ended or is_done(key.data):
                    selector.unregister(key.data.socket)
                    left -= 1


def test_a_thousand_clients_lose_nothing_and_see_every_step_in_order(server: Server, source: Path) -> None:
    readers = [Reader(server.port, "/ws/billing/prod") for _ in range(1_000)]
    read_until(readers, lambda reader: b'"type":"' in reader.data)
    chosen = random.Random(1)
    for number in range(1, 11):
        save(source / "billing.yml", f"number: {number}\nfiller: {'x' * 300}\n")
        if number % 3 == 0:
            # In the meantime, clients connect and disconnect.
            gone = readers.pop(chosen.randrange(len(readers)))
            gone.socket.close()
            readers.append(Reader(server.port, "/ws/billing/prod"))
        wanted = [f'"value":{number}'.encode(), f'"number":{number},'.encode(), f'"number":{number}}}'.encode()]
        read_until(readers, partial(has_any, wanted))

    for reader in readers:
        first, *changes = reader.messages()
        assert "config_snapshot" == first["type"]
        had = first["version"]
        for change in changes:
            assert ("config_change", had) == (change["type"], change["old_version"])
            had = change["new_version"]
    assert 1 == len(
        {str(reader.messages()[-1].get("new_version", reader.messages()[-1].get("version"))) for reader in readers}
    )
    for reader in readers:
        reader.socket.close()


def test_an_idle_connection_costs_less_than_a_kilobyte_of_private_memory(server: Server) -> None:
    clients = Clients("127.0.0.1", server.port)
    clients.connect(200, lambda _: "/ws/billing/prod")  # what is made once for all is made
    before = server.private_bytes()
    clients.connect(5_000, lambda _: "/ws/billing/prod")
    each = (server.private_bytes() - before) / 5_000
    clients.close()

    assert each < 1_024


def test_a_connection_that_has_acked_once_costs_less_than_a_kilobyte_and_is_parked_again(server: Server) -> None:
    clients = Clients("127.0.0.1", server.port)
    number = itertools.count()
    clients.connect(200, lambda _: f"/ws/billing/prod?instance=host-{next(number)}:12345")
    fleet(server)
    before = server.private_bytes()
    clients.connect(5_000, lambda _: f"/ws/billing/prod?instance=host-{next(number)}:12345")
    version = fleet(server)["version"]
    clients.send(f'{{"type":"ack","version":"{version}","status":"applied"}}')
    while fleet(server)["percent"] < 100:
        time.sleep(0.05)
    each = (server.private_bytes() - before) / 5_000
    parked = re.search(r'vortexd_connections{state="parked"} (\S+)', ask(server, "/metrics"))
    clients.close()

    assert each < 1_024
    assert parked
    assert 5_200 == float(parked[1])


def test_R12_a_drain_of_a_thousand_is_held_up_by_nobody(server: Server, source: Path) -> None:
    polite = [Reader(server.port, "/ws/billing/prod") for _ in range(890)]
    silent = [Reader(server.port, "/ws/billing/prod", is_polite=False) for _ in range(100)]
    deaf = [Reader(server.port, "/ws/heavy/prod", receive_bytes=4_096) for _ in range(10)]
    readers = [*polite, *silent]
    read_until([*readers, *deaf], lambda reader: b'"type":"' in reader.data)
    watching = Reader(server.port, "/ws/heavy/prod")
    for number in range(1, 9):
        filler = "".join(random.Random(number).choices("abcdefgh", k=900_000))
        save(source / "heavy.yml", f"number: {number}\nfiller: {filler}\n")
        read_until(
            [watching],
            partial(has_any, [f'"path":"/number","value":{number}}}'.encode()], last=2_000_000),
        )
    half = socket.create_connection(("127.0.0.1", server.port))
    half.sendall(b"GET /ws/billing/prod HTTP/1.1\r\nHost: loc")
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    read_until([*readers, watching], lambda reader: False)
    status = server.stop()

    assert (0, True) == (status, time.monotonic() - began < 30)
    for reader in readers:
        *_, last = reader.messages()
        assert "connection_closing" == last["type"]
        assert 0 < int(str(last["reconnect_after_ms"])) <= 3_000
        assert CLOSE in reader.data
    for each in (*readers, *deaf, watching):
        each.socket.close()
    half.close()
    assert '"level":"error"' not in Path(source.parent / "vortexd.log").read_text()
