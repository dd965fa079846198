"""The options of accepted TCP sockets."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vortexd.net.socket_options import needs_options, set_options

OPTIONS = {socket.TCP_NODELAY: 1, socket.TCP_NOTSENT_LOWAT: 16_384}


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def test_connections_get_the_options_of_their_listening_socket(bound: socket.socket) -> None:
    set_options(bound)
    bound.listen()
    with socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
    with accepted:
        assert OPTIONS == {each: accepted.getsockopt(socket.IPPROTO_TCP, each) for each in OPTIONS}


@pytest.mark.parametrize("present", [(), (socket.TCP_NODELAY,), (socket.TCP_NOTSENT_LOWAT,)])
def test_connections_of_a_socket_without_all_options_need_them(bound: socket.socket, present: tuple[int, ...]) -> None:
    for each in present:
        bound.setsockopt(socket.IPPROTO_TCP, each, OPTIONS[each])

    assert needs_options(bound)
    set_options(bound)
    assert not needs_options(bound)


def test_connections_of_a_unix_socket_need_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))

        assert not needs_options(bound)
