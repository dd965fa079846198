"""Notifications to systemd, and sockets from systemd, with a socket in place of systemd."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vortexd.core.model import BrokenFile, Served, SourceReport
from vortexd.net.inherited import STORED
from vortexd.process.systemd import Notifier, describe


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def notifier(supervisor: socket.socket, **environment: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": supervisor.getsockname(), **environment}, 7)


def test_each_word_is_one_datagram(supervisor: socket.socket) -> None:
    one = notifier(supervisor)
    one.ready("serving\nhere")
    one.reloading(123)
    one.status("2 connections")
    one.stopping()
    one.status("1 connection")

    assert [
        b"READY=1\nSTATUS=serving here",
        b"RELOADING=1\nMONOTONIC_USEC=123\nSTATUS=reloading",
        b"STATUS=2 connections",
        b"STOPPING=1\nSTATUS=draining",
        b"STATUS=draining: 1 connection",
    ] == [supervisor.recv(1_000) for _ in range(5)]


def test_the_watchdog_is_fed_with_the_status(supervisor: socket.socket) -> None:
    one = notifier(supervisor, WATCHDOG_USEC="30000000", WATCHDOG_PID="7")
    one.status("well")

    assert (30.0, b"WATCHDOG=1\nSTATUS=well") == (one.watchdog, supervisor.recv(1_000))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
    ],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(supervisor: socket.socket, environment: dict[str, str]) -> None:
    assert notifier(supervisor, **environment).watchdog is None


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@vortexd-nobody"])
def test_a_supervisor_that_is_not_there_is_no_trouble(address: str) -> None:
    one = Notifier({"NOTIFY_SOCKET": address}, 7)
    one.ready("serving")
    one.store([])


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0vortexd-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@vortexd-{os.getpid()}"}, 7).ready("x")

        assert b"READY=1\nSTATUS=x" == receiver.recv(1_000)


def test_a_supervisor_that_does_not_read_holds_nobody_up(supervisor: socket.socket) -> None:
    one = notifier(supervisor)
    for _ in range(10_000):
        one.status("x" * 100)

    assert b"STATUS=" + b"x" * 100 == supervisor.recv(1_000)


def test_stored_sockets_take_the_place_of_those_before(supervisor: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        notifier(supervisor).store([listening])
        forgotten, _, _, _ = socket.recv_fds(supervisor, 1_000, 1)
        kept, fds, _, _ = socket.recv_fds(supervisor, 1_000, 1)
        with socket.socket(fileno=fds[0]) as copy:
            assert listening.getsockname() == copy.getsockname()

    assert (f"FDSTOREREMOVE=1\nFDNAME={STORED}".encode(), f"FDSTORE=1\nFDNAME={STORED}".encode()) == (forgotten, kept)


@pytest.mark.parametrize(
    ("is_failing", "broken", "reload", "text"),
    [
        (False, 0, "", "3 WebSocket connections, 2 of them parked; all sources fresh"),
        (True, 0, "", "3 WebSocket connections, 2 of them parked; files:/x stale for 35 s"),
        (False, 1, "", "3 WebSocket connections, 2 of them parked; all sources fresh; 1 broken file: a0.yml:3"),
        (
            False,
            3,
            "",
            "3 WebSocket connections, 2 of them parked; all sources fresh; 3 broken files: a0.yml:3, a1.yml:3, a2.yml:3",
        ),
        (
            True,
            4,
            "refused",
            "3 WebSocket connections, 2 of them parked; files:/x stale for 35 s; "
            "4 broken files: a0.yml:3, a1.yml:3, a2.yml:3, …; refused",
        ),
        (
            False,
            0,
            "restart needed for server.bind",
            "3 WebSocket connections, 2 of them parked; all sources fresh; restart needed for server.bind",
        ),
    ],
)
def test_the_status_says_how_many_are_connected_how_old_it_is_and_what_became_of_a_reload(
    is_failing: bool, broken: int, reload: str, text: str
) -> None:
    files = [BrokenFile("main", "", f"a{number}.yml", 3, 1, "", Served.NOTHING) for number in range(broken)]
    reports = [
        SourceReport("files:/x", "files", None, 1.0, None, None, is_failing, 35.2, False),
        SourceReport("files:/y", "files", None, 1.0, None, None, False, 0.0, False),
    ]

    assert text == describe(3, 2, reports, files, reload)
