"""The benchmark: its figures against a server that loses messages, and a file that is always restored."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vortexd.ctl import bench, cli
from vortexd.ctl.errors import CtlError
from vortexd.ctl.floor import ANSWER
from vortexd.ctl.load import Clients

CONTENT = b"a: 1\nb: 2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.yml"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    return path


def test_a_change_is_a_line_more_and_the_file_is_put_back(file: Path) -> None:
    with bench._changing(file) as save:
        save(1)
        save(2)
        changed = file.read_bytes()

    assert CONTENT + b"vortexctlbench: change-2-of-vortexctl\n" == changed
    assert (CONTENT, 0o640) == (file.read_bytes(), file.stat().st_mode & 0o777)
    assert [file] == list(file.parent.iterdir())


def test_the_file_is_put_back_however_it_ends(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), bench._changing(file) as save:
        save(1)
        raise KeyboardInterrupt

    assert CONTENT == file.read_bytes()


@pytest.mark.parametrize("name", ["orders.json", "orders", "missing.yml"])
def test_a_file_that_can_not_be_changed_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    if name != "missing.yml":
        (tmp_path / name).write_text("{}")

    with pytest.raises(CtlError, match=name.replace(".", r"\.")) as caught, bench._changing(tmp_path / name):
        pass
    assert 2 == caught.value.status


class Peer:
    """A server that sends given messages to clients, but only to so many of them."""

    def __init__(self, count: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, args=(count,))
        self._thread.start()

    def _accept(self, count: int) -> None:
        for _ in range(count):
            client, _ = self._listening.accept()
            self.clients.append(client)
            client.recv(4_096)
            client.sendall(ANSWER)

    def close(self) -> None:
        self._thread.join()
        for each in (*self.clients, self._listening):
            each.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(3)
    yield peer
    peer.close()


def test_who_was_not_reached_is_counted(peer: Peer) -> None:
    clients = Clients("127.0.0.1", peer.port)
    clients.connect(3, lambda _: "/")
    for each in peer.clients[:2]:
        each.sendall(b'{"timestamp":"2030-01-01T00:00:00.000Z","x":"change-1')
    reached = clients.reach(b"change-1", 0.2)
    clients.close()

    assert (2, 1) == (len(reached.times), reached.missing)
    assert reached.published is not None


def test_a_server_that_closes_is_an_error_with_its_status(peer: Peer) -> None:
    clients = Clients("127.0.0.1", peer.port)
    clients.connect(3, lambda _: "/")
    peer.clients[0].sendall(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    peer.clients[0].shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionError, match="refused a connection: 401"):
        clients.reach(b"never", 5)
    clients.close()


def test_heartbeats_are_answered(peer: Peer) -> None:
    clients = Clients("127.0.0.1", peer.port)
    clients.connect(3, lambda _: "/")
    peer.clients[0].sendall(b"\x89\x00")
    clients.idle(0.1)

    assert b"\x8a\x80\0\0\0\0" == peer.clients[0].recv(100)
    clients.close()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["http://127.0.0.1/ws/a/b", "--file", "x.yml"], 2),
        (["ws://127.0.0.1:1/other", "--file", "x.yml"], 2),
        (["ws://127.0.0.1:1/ws/a/b"], 2),
        (["ws://127.0.0.1:1/ws/a/b", "--file", "FILE"], 3),
    ],
)
def test_what_can_not_be_measured_is_one_line(
    arguments: list[str], status: int, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(file) if each == "FILE" else each for each in arguments]

    assert status == cli.main(["bench", *given])
    assert 1 == len(capsys.readouterr().err.splitlines())
    assert CONTENT == file.read_bytes()


def test_a_daemon_of_its_own_is_measured_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == cli.main(["bench", "--connections", "120", "--changes", "2", "--idle", "0.1", "--json"])
    figures = json.loads(capsys.readouterr().out)

    assert (120, 2, 0) == (figures["connections"], figures["changes"], figures["lost"])
    assert set(bench._ROWS) == set(figures)
    assert None not in figures.values()
    assert 0 < figures["publish_to_client_ms"]["p50"] < figures["save_to_client_ms"]["p50"]
