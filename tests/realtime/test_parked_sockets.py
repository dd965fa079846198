"""The sockets of a lot: plain ones by each implementation, those with TLS, and both at once."""

import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio

from tests import tls
from vortexd.net import tls_stream
from vortexd.net.tls_stream import TlsStream
from vortexd.realtime import parked_sockets
from vortexd.realtime.parked_sockets import PARKABLE, ParkedSockets
from vortexd.realtime.sockets import NEEDS_TASK, Sockets

from . import both_sockets

PONG = b"\x8a\x80\0\0\0\0"
LARGE = bytes(range(256)) * 20_000


class Client:
    """The other end of a socket: what it sends comes in one record, if the connection has TLS."""

    def __init__(self, plain: socket.socket, peer: tls.Peer | None) -> None:
        self.socket, self._peer = plain, peer

    def send(self, data: bytes) -> None:
        self.socket.sendall(data if self._peer is None else self._peer.encrypt(data))

    def received(self) -> bytes:
        if self._peer is not None:
            return self._peer.decrypt()[0]
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := self.socket.recv(1_000_000, socket.MSG_DONTWAIT):
                data += part
        return data


@attrs.define
class Lot:
    sockets: ParkedSockets
    clients: list[Client]

    def add(self, *, has_tls: bool) -> int:
        """Take the socket of a new stream."""
        if has_tls:
            ours, peer = tls.with_peer()
            self.clients.append(Client(peer.socket, peer))
            return self.sockets.take(TlsStream(ours))
        pair = socket.socketpair()
        self.clients.append(Client(pair[1], None))
        return self.sockets.take(trio.SocketStream(trio.socket.from_stdlib_socket(pair[0])))


@pytest.fixture(params=both_sockets.NAMES)
def plain(request: pytest.FixtureRequest) -> Sockets:
    return both_sockets.made(request.param)


@pytest.fixture
async def lot(plain: Sockets) -> AsyncIterator[Lot]:
    made = Lot(ParkedSockets(plain), [])
    yield made
    for each in made.clients:
        each.socket.close()


KINDS = pytest.mark.parametrize("kinds", ["ppp", "ttt", "ptp", "tpt"])


def added(lot: Lot, kinds: str) -> list[int]:
    return [lot.add(has_tls=kind == "t") for kind in kinds]


def end(lot: Lot, descriptors: list[int]) -> None:
    for each in descriptors:
        lot.sockets.close(each)


async def test_it_has_the_name_of_the_way_in_which_plain_sockets_are_written(lot: Lot, plain: Sockets) -> None:
    assert plain.name == lot.sockets.name


@KINDS
async def test_a_frame_reaches_every_socket_of_either_kind(lot: Lot, kinds: str) -> None:
    descriptors = added(lot, kinds)

    assert [] == lot.sockets.write_all(descriptors, b"\x81\x02hi")
    assert [b"\x81\x02hi"] * 3 == [each.received() for each in lot.clients]
    assert 5 == lot.sockets.write(descriptors[1], b"later")
    assert [b"", b"later", b""] == [each.received() for each in lot.clients]
    end(lot, descriptors)


@KINDS
async def test_the_rest_of_a_short_write_goes_on_where_it_ended(lot: Lot, kinds: str) -> None:
    descriptors = added(lot, kinds)
    exceptions = lot.sockets.write_all(descriptors, LARGE)
    assert [0, 1, 2] == [index for index, _ in exceptions]
    for (_, written), descriptor, client in zip(exceptions, descriptors, lot.clients, strict=True):
        assert 0 < written < len(LARGE)
        received = client.received()
        while written < len(LARGE):
            written += lot.sockets.write(descriptor, LARGE[written:])
            received += client.received()
        assert LARGE == received
    end(lot, descriptors)


async def test_a_tls_socket_that_must_write_before_it_reads_needs_a_task(
    lot: Lot, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = added(lot, "ptt")
    lot.clients[2].send(PONG)

    def read_now(encrypted: ssl.SSLSocket) -> bytes | None:
        if encrypted.fileno() == descriptors[1]:
            raise ssl.SSLWantWriteError
        return tls_stream.read_now(encrypted)

    monkeypatch.setattr(parked_sockets, "read_now", read_now)
    assert lot.sockets.receive(descriptors[1]) is NEEDS_TASK
    assert lot.sockets.receive(descriptors[0]) is None
    taken, size, exceptions = lot.sockets.receive_pongs(descriptors, 9)
    assert (3, len(PONG), [(0, None), (1, NEEDS_TASK)]) == (taken, size, exceptions)
    end(lot, descriptors)


def test_no_data_of_a_client_is_taken_for_the_need_of_a_task() -> None:
    assert len(NEEDS_TASK) > 1
    assert bytes(bytearray(NEEDS_TASK)) is not NEEDS_TASK


async def test_a_tls_socket_without_room_is_a_short_write_because_openssl_keeps_the_frame(lot: Lot) -> None:
    """If it were EAGAIN, as of a plain socket, the connection would write something else after the half of a record."""
    descriptors = added(lot, "pt")
    for index, descriptor in enumerate(descriptors):
        with pytest.raises(BlockingIOError) if index == 0 else contextlib.nullcontext():
            while lot.sockets.write(descriptor, b"x"):
                pass
    assert [(0, -errno.EAGAIN), (1, 0)] == lot.sockets.write_all(descriptors, b"x")
    for each in lot.clients:
        assert {*each.received()} == {ord("x")}

    # It is written once.
    assert [] == lot.sockets.write_all(descriptors, b"x")
    assert [b"x", b"x"] == [each.received() for each in lot.clients]
    end(lot, descriptors)


@KINDS
async def test_a_connection_that_has_gone_is_an_error_and_the_others_get_the_frame(lot: Lot, kinds: str) -> None:
    descriptors = added(lot, kinds)
    lot.clients[1].socket.close()
    [(index, error)] = lot.sockets.write_all(descriptors, b"frame")

    assert index == 1
    assert error < 0
    assert error != -errno.EAGAIN
    assert [b"frame"] * 2 == [lot.clients[number].received() for number in (0, 2)]
    with pytest.raises(OSError, match="EOF|Broken pipe"):
        lot.sockets.write(descriptors[1], b"frame")
    end(lot, descriptors)


@KINDS
async def test_pongs_are_counted_and_anything_else_is_reported(lot: Lot, kinds: str) -> None:
    descriptors = added(lot, kinds)
    lot.clients[0].send(PONG)
    lot.clients[2].send(b"other")

    assert (3, 6, [(1, None), (2, b"other")]) == lot.sockets.receive_pongs(descriptors, 8)
    assert (3, 0, [(0, None), (1, None), (2, None)]) == lot.sockets.receive_pongs(descriptors, 8)
    end(lot, descriptors)


@KINDS
async def test_no_further_socket_is_read_after_the_most_with_other_data(lot: Lot, kinds: str) -> None:
    descriptors = added(lot, kinds)
    for each in lot.clients:
        each.send(b"other")

    assert (2, 0, [(0, b"other"), (1, b"other")]) == lot.sockets.receive_pongs(descriptors, 2)
    assert b"other" == lot.sockets.receive(descriptors[2])
    end(lot, descriptors)


@KINDS
async def test_one_socket_is_received_from(lot: Lot, kinds: str) -> None:
    descriptors = added(lot, kinds)
    lot.clients[1].send(b"message")

    assert [None, b"message", None] == [lot.sockets.receive(each) for each in descriptors]
    for each in lot.clients:
        each.socket.close()
    assert [b"", b"", b""] == [lot.sockets.receive(each) for each in descriptors]
    end(lot, descriptors)


@pytest.mark.parametrize("has_tls", [True, False])
async def test_a_socket_becomes_a_stream_again(lot: Lot, has_tls: bool) -> None:
    descriptor = lot.add(has_tls=has_tls)
    stream = lot.sockets.give_back(descriptor)

    assert isinstance(stream, PARKABLE)
    assert has_tls == isinstance(stream, TlsStream)
    await stream.send_all(b"hello")
    assert b"hello" == lot.clients[0].received()
    assert descriptor == lot.sockets.take(stream)
    assert 5 == lot.sockets.write(descriptor, b"again")
    assert b"again" == lot.clients[0].received()
    lot.sockets.close(descriptor)
    assert b"" == lot.clients[0].socket.recv(10)


async def test_a_descriptor_that_is_used_again_has_forgotten_its_tls(lot: Lot) -> None:
    for ended in ("closed", "given back"):
        descriptor = lot.add(has_tls=True)
        if ended == "closed":
            lot.sockets.close(descriptor)
        else:
            await trio.aclose_forcefully(lot.sockets.give_back(descriptor))
        pair = socket.socketpair()
        stream: Any = trio.SocketStream(trio.socket.from_stdlib_socket(pair[0]))
        assert lot.sockets.take(stream) == descriptor
        assert 5 == lot.sockets.write(descriptor, b"plain")
        assert b"plain" == pair[1].recv(10)
        lot.sockets.close(descriptor)
        pair[1].close()


async def test_without_tls_a_batch_is_one_call_of_the_implementation(lot: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, encrypted = added(lot, "pt")
    calls: list[tuple[str, list[int]]] = []

    class Noting:
        name = "noting"

        def write_all(self, descriptors: list[int], frame: bytes) -> list[tuple[int, int]]:
            calls.append(("write", descriptors))
            return []

        def receive_pongs(self, descriptors: list[int], most: int) -> tuple[int, int, list[tuple[int, bytes | None]]]:
            calls.append(("receive", descriptors))
            return 0, 0, []

    monkeypatch.setattr(lot.sockets, "_plain", Noting())
    lot.sockets.write_all([plain], b"frame")
    lot.sockets.receive_pongs([plain], 8)
    assert [("write", [plain]), ("receive", [plain])] == calls
    end(lot, [plain, encrypted])
