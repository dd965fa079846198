"""The real process with systemd's environment: inherited sockets, and notifications of its state."""

import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "application.yml").write_text("shared: 1\n")
    return directory


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(20)
        yield receiver


def words(supervisor: socket.socket, until: str) -> list[str]:
    """Return the first lines of the notifications, up to the first that is `until`."""
    said: list[str] = []
    while not said or said[-1] != until:
        said.append(supervisor.recv(1_000).decode().partition("\n")[0])
    return said


def test_the_supervisor_is_told_of_every_turn(source: Path, supervisor: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "300000"}
    with Server(source, environment=environment) as server:
        started = words(supervisor, "WATCHDOG=1")
        server.process.send_signal(signal.SIGHUP)
        reloaded = [word for word in words(supervisor, "READY=1") if word != "WATCHDOG=1"]
        assert 0 == server.stop()
        stopped = words(supervisor, "STOPPING=1")

    assert ["READY=1", "FDSTOREREMOVE=1", "FDSTORE=1", "WATCHDOG=1"] == started
    assert ["RELOADING=1", "READY=1"] == reloaded
    assert {"WATCHDOG=1", "STOPPING=1"} >= set(stopped)


def test_a_restart_behind_a_socket_that_stays_open_refuses_nobody(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        address = listening.getsockname()
        with Server(source, "--bind", "127.0.0.1:1", listening=listening) as first:
            assert first.port == address[1]
            assert 0 == first.stop()
        waiting = [socket.create_connection(address, timeout=20) for _ in range(20)]
        for each in waiting:
            each.sendall(b"GET /billing/dev HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with Server(source, "--bind", "127.0.0.1:1", listening=listening) as second:
            answers = [each.recv(1_000) for each in waiting]
            with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}/billing/dev", timeout=10) as response:
                assert 200 == response.status
            assert 0 == second.stop()
    for each in waiting:
        each.close()

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
