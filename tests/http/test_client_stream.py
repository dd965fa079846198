"""The stream of an HTTP/1.1 connection: each wait for the client has a deadline."""

import socket
import ssl

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, lockstep_stream_pair, memory_stream_pair

from tests import tls
from vortexd.http.client_stream import ClientStream
from vortexd.net.outgoing import Outgoing
from vortexd.net.places import Standing
from vortexd.net.tls_stream import TlsStream
from vortexd.settings.server import ServerSettings

SETTINGS = ServerSettings(request_timeout=30, keep_alive_timeout=60, write_timeout=10)
Client = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def stream(head: bytes = b"", outgoing: Outgoing | None = None) -> tuple[ClientStream, Client]:
    ours, theirs = memory_stream_pair()
    return ClientStream(ours, head, SETTINGS, outgoing or Outgoing(), Standing()), theirs  # type: ignore[arg-type]  # a memory stream in place of a socket


async def test_what_was_read_comes_first() -> None:
    ours, client = stream(b"head")
    await client.send_all(b"body")

    assert [b"head", b"body"] == [await ours.receive_some(), await ours.receive_some()]


async def test_a_request_that_does_not_go_on_is_ended(autojump_clock: MockClock) -> None:
    ours, _ = stream()
    began = trio.current_time()

    assert b"" == await ours.receive_some()
    assert 30 == trio.current_time() - began


@pytest.mark.parametrize(
    ("comes", "seconds"),
    [([], 60), ([b"\r\n"], 60), ([b"G"], 30 + 20), ([b"\r\n", b"G"], 30 + 40)],
    ids=["nothing", "an empty line", "a request", "a request behind an empty line"],
)
async def test_an_idle_connection_is_ended_unless_a_request_begins(
    autojump_clock: MockClock, comes: list[bytes], seconds: float
) -> None:
    ours, client = stream()
    await ours.send_all(b"response")
    began = trio.current_time()

    async def send() -> None:
        for part in comes:
            await trio.sleep(20)
            await client.send_all(part)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert comes == [await ours.receive_some() for _ in comes]
        assert b"" == await ours.receive_some()

    assert seconds == pytest.approx(trio.current_time() - began)


@pytest.mark.parametrize("is_idle", [True, False])
async def test_in_a_drain_an_idle_connection_ends_soon_and_another_one_has_its_time(
    autojump_clock: MockClock, is_idle: bool
) -> None:
    ours, _ = stream()
    if is_idle:
        await ours.send_all(b"response")
    ours.drain()
    began = trio.current_time()
    assert b"" == await ours.receive_some()
    assert (0.5 if is_idle else 30) == pytest.approx(trio.current_time() - began)

    began = trio.current_time()
    await ours.send_all(b"response")
    assert b"" == await ours.receive_some()
    assert 0.5 == pytest.approx(trio.current_time() - began)


@pytest.mark.parametrize(("size", "seconds"), [(1, 10), (65_536, 10), (200_000, 10)])
async def test_a_client_that_does_not_read_is_cut_off(autojump_clock: MockClock, size: int, seconds: float) -> None:
    ours, _ = lockstep_stream_pair()
    sending = ClientStream(ours, b"", SETTINGS, Outgoing(), Standing())  # type: ignore[arg-type]  # a memory stream in place of a socket
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await sending.send_all(b"x" * size)

    assert seconds == trio.current_time() - began


async def test_each_part_of_a_large_body_has_the_write_deadline(autojump_clock: MockClock) -> None:
    ours, theirs = lockstep_stream_pair()
    sending = ClientStream(ours, b"", SETTINGS, Outgoing(), Standing())  # type: ignore[arg-type]  # a memory stream in place of a socket
    received = b""

    async def read() -> None:
        nonlocal received
        while len(received) < 150_000:
            await trio.sleep(9)
            received += await theirs.receive_some(65_536)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await sending.send_all(b"x" * 150_000)

    assert 150_000 == len(received)
    assert 27 == pytest.approx(trio.current_time(), abs=1)


@pytest.mark.parametrize(("size", "is_ended"), [(65_536, False), (65_537, True)])
async def test_a_large_body_counts_for_what_all_may_hold(autojump_clock: MockClock, size: int, is_ended: bool) -> None:
    outgoing = Outgoing(100_000)
    ours, _ = lockstep_stream_pair()
    sending = ClientStream(ours, b"", SETTINGS, outgoing, Standing())  # type: ignore[arg-type]  # a memory stream in place of a socket
    began = trio.current_time()

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await sending.send_all(b"x" * size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(1)
        with outgoing.holding(b"y" * 100_000, lambda: None):
            await trio.sleep(1)
            assert is_ended == (not [*nursery.child_tasks])

    assert (2 if is_ended else 10) == trio.current_time() - began


async def test_an_ended_stream_neither_sends_nor_receives(autojump_clock: MockClock) -> None:
    ours, _ = stream()

    async def end() -> None:
        await trio.sleep(5)
        ours.end()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some()
    assert 5 == trio.current_time() - began
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()


async def test_it_lingers_until_the_client_has_said_all_or_for_a_second(autojump_clock: MockClock) -> None:
    ours, client = stream()
    await client.send_all(b"more")
    client.send_stream.close()
    began = trio.current_time()
    await ours.linger()
    assert 0 == trio.current_time() - began

    other, _ = stream()
    await other.linger()
    assert 1 == trio.current_time() - began


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx", True),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxy", False),
    ],
)
async def test_a_client_has_more_to_send_until_its_request_is_whole(received: bytes, expected: bool) -> None:
    ours, _ = stream()
    ours.parser.receive_data(received)
    for _ in range(3):
        ours.parser.next_event()

    assert expected == ours.has_unread


# Interim responses.

EXPECTS = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


class Recorded(Standing):
    """A connection that keeps what was said of it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def works(self) -> None:
        self.said.append("works")

    def idles(self) -> None:
        self.said.append("idles")

    async def reads(self) -> None:
        self.said.append("reads")


async def test_an_interim_response_makes_no_connection_idle(autojump_clock: MockClock) -> None:
    standing = Recorded()
    ours, theirs = memory_stream_pair()
    sending = ClientStream(ours, b"", SETTINGS, Outgoing(), standing)  # type: ignore[arg-type]
    sending.parser.receive_data(EXPECTS)
    sending.parser.next_event()
    await trio.sleep(10)
    await sending.send_all(b"HTTP/1.1 100 \r\n\r\n")
    assert ["works"] == standing.said

    sending.drain()
    await theirs.send_all(b"x")
    assert b"x" == await sending.receive_some()
    assert b"" == await sending.receive_some()
    # The request has its own time, whatever was sent and received meanwhile.
    assert 30 == trio.current_time()
    assert ["works", "reads", "reads"] == standing.said


# Plain sockets.


def sockets() -> tuple[ClientStream, socket.socket]:
    ours, theirs = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    return ClientStream(stream, b"", SETTINGS, Outgoing(), Standing()), theirs


async def test_a_socket_is_read_as_soon_as_it_can_be() -> None:
    ours, theirs = sockets()
    with theirs:
        theirs.send(b"data")
        assert b"data" == await ours.receive(is_partly=False)
        theirs.shutdown(socket.SHUT_WR)
        assert b"" == await ours.receive(is_partly=False)
    ours.close()


async def test_a_socket_that_is_readable_without_bytes_is_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = sockets()
    reads = iter([b"", b"data"])

    def read(descriptor: int, size: int) -> bytes:
        found = next(reads)
        if not found:
            raise BlockingIOError
        return found

    monkeypatch.setattr("vortexd.http.client_stream.os.read", read)
    with theirs:
        theirs.send(b"x")
        assert b"data" == await ours.receive(is_partly=False)
    ours.close()


async def test_a_socket_has_its_deadline(autojump_clock: MockClock) -> None:
    ours, theirs = sockets()
    with theirs:
        assert b"" == await ours.receive_some()
    assert 30 == trio.current_time()
    ours.close()


RESET = b"\1\0\0\0\0\0\0\0"


async def test_a_broken_socket_is_broken_for_reading_and_writing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    ours = ClientStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(accepted)), b"", SETTINGS, Outgoing(), Standing()
    )
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()

    with pytest.raises(trio.BrokenResourceError):
        await ours.receive(is_partly=False)
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")
    ours.close()


async def test_a_closed_socket_is_closed_for_reading() -> None:
    """The listener closes sockets to make room."""
    ours, theirs = sockets()
    ours.close()
    with theirs, pytest.raises(trio.ClosedResourceError):
        await ours.receive(is_partly=False)
    with theirs, pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")


async def test_a_socket_that_is_closed_while_it_is_waited_for_ends_the_wait() -> None:
    ours, theirs = sockets()
    with theirs, trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await trio.testing.wait_all_tasks_blocked()
                ours.close()

            nursery.start_soon(close)
            with pytest.raises(trio.ClosedResourceError):
                await ours.receive(is_partly=False)


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [10, 60_000, 1_000_000])
async def test_what_the_kernel_does_not_take_at_once_follows(size: int, has_tls: bool) -> None:
    ours, theirs = tls.pair() if has_tls else socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    sending = ClientStream(to_stream(ours), b"", SETTINGS, Outgoing(), Standing())
    data = bytes(number % 251 for number in range(size))
    received = b""
    reading = to_stream(theirs)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sending.send_all, data)
            while len(received) < size:
                received += await reading.receive_some()
    assert data == received
    sending.close()
    await reading.aclose()


def to_stream(made: socket.socket) -> trio.SocketStream | TlsStream:
    return (
        TlsStream(made) if isinstance(made, ssl.SSLSocket) else trio.SocketStream(trio.socket.from_stdlib_socket(made))
    )


def encrypted() -> tuple[ClientStream, tls.Peer]:
    ours, peer = tls.with_peer()
    return ClientStream(TlsStream(ours), b"", SETTINGS, Outgoing(), Standing()), peer


async def test_tls_is_written_and_read_like_a_plain_socket(autojump_clock: MockClock) -> None:
    ours, peer = encrypted()
    peer.socket.send(peer.encrypt(b"request"))
    assert b"request" == await ours.receive(is_partly=False)
    await ours.send_all(b"response")
    assert (b"response", False) == peer.decrypt()
    ours.close()
    assert b"" == peer.socket.recv(1)
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive(is_partly=False)
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")
    peer.socket.close()


async def test_a_tls_client_that_does_not_read_is_cut_off(autojump_clock: MockClock) -> None:
    ours, peer = encrypted()
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x" * 10_000_000)

    assert 10 == trio.current_time()
    received, is_ended = peer.decrypt()
    assert {*received} == {ord("x")}
    # An alert would say that this is all.
    assert not is_ended
    peer.socket.close()


async def test_a_tls_client_that_has_gone_is_broken_for_writing(autojump_clock: MockClock) -> None:
    ours, peer = encrypted()
    peer.socket.close()
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")
    ours.close()


async def test_a_socket_whose_client_does_not_read_is_cut_off(autojump_clock: MockClock) -> None:
    ours, theirs = sockets()
    with theirs, pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x" * 10_000_000)

    assert 10 == trio.current_time()


async def test_a_finished_stream_has_ended_both_ways() -> None:
    ours, theirs = sockets()
    with theirs:
        ours.finish()
        assert b"" == theirs.recv(1)
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive(is_partly=False)
    ours.finish()
    ours.close()
    ours.finish()


async def test_what_is_given_back_is_received_first() -> None:
    ours, client = stream()
    ours.give_back(b"head")
    await client.send_all(b"body")

    assert [b"head", b"body"] == [await ours.receive_some(), await ours.receive_some()]


async def test_a_partial_request_waits_for_a_slot_before_it_is_read() -> None:
    standing = Recorded()
    ours, theirs = memory_stream_pair()
    receiving = ClientStream(ours, b"", SETTINGS, Outgoing(), standing)  # type: ignore[arg-type]
    await theirs.send_all(b"x")
    assert b"x" == await receiving.receive(is_partly=False)
    await theirs.send_all(b"y")
    assert b"y" == await receiving.receive(is_partly=True)

    assert ["reads"] == standing.said


async def test_a_stream_without_a_parser_has_nothing_unread() -> None:
    ours, _ = stream()

    assert not ours.has_unread


async def test_a_request_that_waits_has_no_deadline_and_then_its_whole_time_again(autojump_clock: MockClock) -> None:
    ours, _ = stream()
    with ours.timed() as scope:
        with ours.waiting():
            await trio.sleep(3_600)
        await trio.sleep(29)
        assert 3_629 == trio.current_time()
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert 3_630 == trio.current_time()


async def test_a_wait_that_fails_has_a_deadline_again(autojump_clock: MockClock) -> None:
    ours, _ = stream()
    with ours.timed():
        with pytest.raises(ValueError), ours.waiting():
            raise ValueError
        await trio.sleep_forever()
    assert 30 == trio.current_time()
