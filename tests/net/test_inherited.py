"""Sockets that systemd passes to the process, with real descriptors."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from vortexd.net import inherited
from vortexd.net.inherited import STORED, inherit


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """A listening socket, one that isn't, and a stored one, at descriptors in a row."""
    made = [socket.create_server(("127.0.0.1", 0)), socket.socket(), socket.create_server(("127.0.0.1", 0))]
    base = 900
    for index, each in enumerate(made):
        os.dup2(each.fileno(), base + index)
    monkeypatch.setattr(inherited, "_FIRST_FD", base)
    yield made
    for each in made:
        each.close()
    for index in range(len(made)):
        with contextlib.suppress(OSError):
            os.close(base + index)


def test_sockets_of_units_and_stored_ones_are_told_apart(handed: list[socket.socket]) -> None:
    environment = {
        "LISTEN_PID": "7",
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": f"vortexd.socket:x:{STORED}",
        "HOME": "/",
    }
    found = inherit(environment, 7)

    assert {"HOME": "/"} == environment
    assert [handed[0].getsockname()] == [each.getsockname() for each in found.activated]
    assert [handed[2].getsockname()] == [each.getsockname() for each in found.stored]
    assert not any(os.get_inheritable(each.fileno()) for each in (*found.activated, *found.stored))
    for each in (*found.activated, *found.stored):
        each.close()


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_FDS": "3"}, {"LISTEN_FDS": "3", "LISTEN_PID": "8"}, {"LISTEN_FDS": "x", "LISTEN_PID": "7"}],
)
def test_sockets_for_somebody_else_are_left_alone(handed: list[socket.socket], environment: dict[str, str]) -> None:
    found = inherit(dict(environment), 7)

    assert ((), ()) == (found.activated, found.stored)
