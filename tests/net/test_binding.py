"""Sockets that listen, for one process or several. tests/net/test_listener.py tests the sockets that one process binds."""

import socket
from pathlib import Path

import pytest

from vortexd.core.errors import StartError
from vortexd.net.binding import bind
from vortexd.net.inherited import Inherited


async def test_each_process_has_a_socket_of_its_own_on_the_same_port() -> None:
    bound = await bind(["127.0.0.1:0"], Inherited(), processes=3)
    shares = [bound.share(number) for number in range(3)]

    assert 3 == len({each.fileno() for (each,) in shares})
    assert 1 == len({each.getsockname() for (each,) in shares})
    stored = bound.storable()
    assert 3 == len(stored)
    for each in stored:
        each.close()
    bound.close()


async def test_stored_sockets_are_taken_up_and_what_is_missing_is_bound_beside_them() -> None:
    first = await bind(["127.0.0.1:0"], Inherited(), processes=2)
    address = "127.0.0.1:%d" % first.share()[0].getsockname()[1]
    stored = first.storable()
    first.close()
    second = await bind([address], Inherited(stored=tuple(stored)), processes=3)

    descriptors = [second.share(number)[0].fileno() for number in range(3)]
    assert [each.fileno() for each in stored] == descriptors[:2]
    assert 3 == len(set(descriptors))
    second.close()


async def test_a_stored_socket_that_was_for_one_process_is_shared() -> None:
    first = await bind(["127.0.0.1:0"], Inherited())
    address = "127.0.0.1:%d" % first.share()[0].getsockname()[1]
    stored = first.storable()
    first.close()
    second = await bind([address], Inherited(stored=tuple(stored)), processes=2)

    assert second.share(0) == second.share(1)
    second.close()


async def test_a_unix_socket_and_those_of_socket_units_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    bound = await bind([f"unix:{path}"], Inherited(), processes=2)
    assert bound.share(0) == bound.share(1)
    bound.close()
    assert not path.exists()

    with socket.create_server(("127.0.0.1", 0)) as activated:
        given = await bind(["127.0.0.1:1"], Inherited((activated.dup(),)), processes=2)
        assert given.share(0) == given.share(1)
        assert [] == given.storable()
        assert ["https://127.0.0.1:%d" % activated.getsockname()[1]] == given.urls("https")
        given.close()


async def test_to_share_a_port_is_not_to_join_somebody_else_who_does() -> None:
    first = await bind(["127.0.0.1:0"], Inherited(), processes=2)
    address = "127.0.0.1:%d" % first.share()[0].getsockname()[1]

    with pytest.raises(StartError, match="another process listens there"):
        await bind([address], Inherited(), processes=2)
    first.close()


async def test_the_connections_of_a_tcp_socket_have_its_options_whenever_they_are_accepted() -> None:
    bound = await bind(["127.0.0.1:0"], Inherited())
    (listening,) = bound.share()
    with socket.create_connection(listening.getsockname()):
        accepted, _ = await listening.accept()

    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert 16_384 == accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    accepted.close()
    bound.close()
