"""The data that a worker receives from its supervisor."""

import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import orjson
import pytest

from vortexd.process.assignment import VARIABLE, WorkerAssignment, encode, take_assignment
from vortexd.process.peers import WorkerSlot
from vortexd.settings.root import Settings
from vortexd.settings.server import ServerSettings

SETTINGS = Settings(server=ServerSettings(connections=10, drain_timeout=7.0))


@contextmanager
def assigned(number: int = 1, count: int = 3, settings: Settings = SETTINGS) -> Iterator[WorkerAssignment]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield WorkerAssignment(WorkerSlot(number, count, theirs, 6.0), (), settings)


def in_memory(settings: Settings) -> int:
    fd = os.memfd_create("settings")
    os.write(fd, pickle.dumps(settings))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


# Taking it.


def test_a_worker_takes_its_place_its_sockets_and_its_settings() -> None:
    ours, theirs = socket.socketpair()
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [each.getsockname() for each in listening]
    settings = in_memory(SETTINGS)
    fds = [each.detach() for each in (*listening, theirs)]
    for fd in fds:
        os.set_inheritable(fd, True)
    members = {"number": 1, "count": 3, "link": fds[2], "watchdog": 6.5, "listening": fds[:2], "settings": settings}
    environment = {VARIABLE: orjson.dumps(members).decode(), "HOME": "/root"}
    taken = take_assignment(environment)
    with ours, taken.slot.link, taken.listening[0], taken.listening[1]:
        assert (1, 3, 6.5) == (taken.slot.number, taken.slot.count, taken.slot.watchdog)
        assert addresses == [each.getsockname() for each in taken.listening]
        assert SETTINGS == taken.settings
        ours.send(b"hello")
        assert b"hello" == taken.slot.link.recv(5)
        # The programs that a worker starts inherit nothing of this.
        assert {"HOME": "/root"} == environment
        assert not any(os.get_inheritable(fd) for fd in fds)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(settings)


def test_a_worker_may_have_no_sockets_to_listen_on() -> None:
    ours, theirs = socket.socketpair()
    settings = in_memory(Settings())
    link = theirs.detach()
    members = {"number": 0, "count": 1, "link": link, "watchdog": 30, "listening": [], "settings": settings}
    taken = take_assignment({VARIABLE: orjson.dumps(members).decode()})
    with ours, taken.slot.link:
        assert () == taken.listening
        assert not os.get_inheritable(link)


def test_a_process_without_a_supervisor_has_no_assignment() -> None:
    with pytest.raises(KeyError, match=VARIABLE):
        take_assignment({"HOME": "/root"})


# The settings of one worker.


@pytest.mark.parametrize(
    ("connections", "count", "share"), [(9, 3, 3), (10, 3, 4), (11, 3, 4), (12, 3, 4), (1, 3, 1), (7, 1, 7)]
)
def test_a_worker_has_its_share_of_the_connections_rounded_up(connections: int, count: int, share: int) -> None:
    settings = attrs.evolve(SETTINGS, server=ServerSettings(connections=connections))
    with assigned(0, count, settings) as one:
        assert share == one.own(settings).server.connections


@pytest.mark.parametrize(
    ("number", "directory"), [(0, "/srv/state"), (1, "/srv/state/worker-1"), (2, "/srv/state/worker-2")]
)
def test_each_worker_but_the_first_has_a_directory_of_its_own(
    number: int, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/other")
    settings = attrs.evolve(SETTINGS, server=attrs.evolve(SETTINGS.server, state_directory="/srv/state"))
    with assigned(number) as one:
        assert directory == one.own(settings).server.state_directory


def test_the_directory_may_be_that_of_systemd_or_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with assigned(1) as one:
        monkeypatch.delenv("STATE_DIRECTORY", raising=False)
        assert str(tmp_path / "vortexd/worker-1") == one.own(SETTINGS).server.state_directory
        monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/vortexd:/var/lib/more")
        assert "/var/lib/vortexd/worker-1" == one.own(SETTINGS).server.state_directory


def test_all_other_settings_are_those_that_are_given_now() -> None:
    # After a reload, these aren't those of the assignment.
    given = attrs.evolve(SETTINGS, overrides={"a": "b"})
    with assigned(1) as one:
        own = one.own(given)

    assert own == attrs.evolve(given, server=own.server)
    server = given.server
    assert server == attrs.evolve(own.server, state_directory=server.state_directory, connections=server.connections)


def test_an_encoded_assignment_names_the_link_the_settings_and_the_sockets() -> None:
    encoded = orjson.loads(encode({"number": 2, "count": 3, "watchdog": 6.0}, [7, 8, 9, 10]))

    assert {"number": 2, "count": 3, "watchdog": 6.0, "link": 7, "settings": 8, "listening": [9, 10]} == encoded
