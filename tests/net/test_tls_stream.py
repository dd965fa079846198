"""TLS on a socket: the contract that it shares with a plain stream, short writes, and hostile peers."""

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, check_two_way_stream, wait_all_tasks_blocked

from tests import tls
from vortexd.net.tls_stream import RECORD_BYTES, TlsStream, close_now, read_now, write_now

Ends = tuple[trio.abc.Stream, trio.abc.Stream]
LARGE = bytes(range(256)) * 20_000


@pytest.fixture
def ends() -> Iterator[tuple[ssl.SSLSocket, tls.Peer]]:
    made = tls.with_peer()
    yield made
    made[0].close()
    made[1].socket.close()


@pytest.fixture
def stream(ends: tuple[ssl.SSLSocket, tls.Peer]) -> TlsStream:
    return TlsStream(ends[0])


@pytest.fixture
def peer(ends: tuple[ssl.SSLSocket, tls.Peer]) -> tls.Peer:
    return ends[1]


def fill(encrypted: ssl.SSLSocket) -> int:
    """Write until there is no room. Each record has a byte, and OpenSSL keeps the last one. Returns the bytes with it."""
    count = 1
    while write_now(encrypted, b"x"):
        count += 1
    return count


# The contract of a stream.


async def plain() -> Ends:
    ours, theirs = socket.socketpair()
    return tuple(trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (ours, theirs))  # type: ignore[return-value]  # these are two


async def encrypted() -> Ends:
    ours, theirs = tls.pair()
    return TlsStream(ours), TlsStream(theirs)


async def clogged() -> Ends:
    made = tls.pair()
    for each in made:
        fill(each)
    return TlsStream(made[0]), TlsStream(made[1])


@pytest.mark.parametrize(("make", "clogged"), [(plain, None), (encrypted, clogged)], ids=["plain", "tls"])
async def test_a_stream_keeps_the_contract_of_trio(
    make: Callable[[], Awaitable[Ends]], clogged: Callable[[], Awaitable[Ends]] | None
) -> None:
    await check_two_way_stream(make, clogged)


@pytest.mark.parametrize("make", [plain, encrypted])
async def test_both_sides_send_and_receive_much_at_once(make: Callable[[], Awaitable[Ends]]) -> None:
    async def receive(stream: trio.abc.Stream) -> None:
        received = bytearray()
        while len(received) < len(LARGE):
            received += await stream.receive_some(65_536)
        assert LARGE == received

    with trio.fail_after(20):
        first, second = await make()
        async with trio.open_nursery() as nursery:
            for each in (first, second):
                nursery.start_soon(each.send_all, LARGE)
                nursery.start_soon(receive, each)
        await first.aclose()
        assert b"" == await second.receive_some()
        await second.aclose()


@pytest.mark.parametrize("wrong", [0, -1])
async def test_a_receiver_wants_at_least_one_byte(stream: TlsStream, wrong: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await stream.receive_some(wrong)


# Writing without a wait.


@pytest.mark.parametrize("size", [0, 1, RECORD_BYTES, RECORD_BYTES + 1, 100_000])
def test_all_is_written_if_there_is_room(ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer, size: int) -> None:
    assert size == write_now(ends[0], LARGE[:size])
    assert (LARGE[:size], False) == peer.decrypt()


def test_after_a_short_write_the_rest_follows(ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer) -> None:
    written: list[int] = []
    ours, received = ends[0], b""
    while sum(written) < len(LARGE):
        written.append(write_now(ours, memoryview(LARGE)[sum(written) :]))
        received += peer.decrypt()[0]

    assert LARGE == received
    assert len(written) > 3
    # Only whole records are counted. OpenSSL keeps the one that the socket took in part.
    assert {0} == {each % RECORD_BYTES for each in written[:-1]}


def test_a_frame_without_room_counts_as_not_written_and_comes_once(
    ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer
) -> None:
    count = fill(ends[0])
    assert 0 == write_now(ends[0], b"x")
    assert b"x" * (count - 1) == peer.decrypt()[0]

    assert 1 == write_now(ends[0], b"x")
    assert b"x" == peer.decrypt()[0]


def test_a_write_to_a_peer_that_has_gone_is_an_error(ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer) -> None:
    peer.socket.close()

    with pytest.raises(OSError, match="EOF|Broken pipe"):
        write_now(ends[0], b"frame")


# Reading without a wait.


def test_nothing_is_read_before_a_record_is_complete(ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer) -> None:
    record = peer.encrypt(b"whole")
    for byte in record:
        assert read_now(ends[0]) is None
        peer.socket.send(bytes([byte]))

    assert b"whole" == read_now(ends[0])
    assert read_now(ends[0]) is None


def test_one_record_is_read_at_a_time_and_the_other_stays_in_the_socket(
    ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer
) -> None:
    peer.socket.send(peer.encrypt(b"one") + peer.encrypt(b"two"))

    assert b"one" == read_now(ends[0])
    assert 0 == ends[0].pending()
    assert socket.socket.recv(ends[0], 1, socket.MSG_PEEK)
    assert b"two" == read_now(ends[0])


def test_the_largest_record_is_read_whole(ends: tuple[ssl.SSLSocket, tls.Peer], peer: tls.Peer) -> None:
    peer.socket.send(peer.encrypt(b"r" * RECORD_BYTES))

    assert b"r" * RECORD_BYTES == read_now(ends[0])
    assert 0 == ends[0].pending()


@pytest.mark.parametrize("end", ["alert", "truncated", "within a record", "garbage", "reset"])
def test_an_end_of_whatever_kind_reads_empty(end: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    ours, peer = tls.with_peer(sockets=(accepted, theirs))
    if end == "alert":
        theirs.sendall(peer.end())
    elif end == "within a record":
        theirs.sendall(peer.encrypt(b"whole")[:-1])
    elif end == "garbage":
        theirs.sendall(b"\x17\x03\x03\x00\x20" + b"g" * 32)
    elif end == "reset":
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if end in ("truncated", "within a record"):
        theirs.shutdown(socket.SHUT_WR)
    elif end == "reset":
        theirs.close()

    assert b"" == read_now(ours)
    ours.close()
    theirs.close()


# The handshake.


def accepted() -> tuple[TlsStream, tls.Peer]:
    ours, theirs = socket.socketpair()
    stream = TlsStream.accept(ours, tls.contexts()[0])
    assert -1 == ours.fileno()
    assert 0 == stream.tls_socket.gettimeout()
    return stream, tls.Peer(theirs)


async def test_a_handshake_in_single_bytes_succeeds(autojump_clock: MockClock) -> None:
    stream, peer = accepted()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.do_handshake)
        for _ in range(2):
            for byte in peer.shake():
                peer.socket.send(bytes([byte]))
                await wait_all_tasks_blocked()
    peer.socket.send(peer.encrypt(b"hello"))

    assert b"hello" == await stream.receive_some()
    assert "TLSv1.3" == stream.tls_socket.version()
    await stream.aclose()
    peer.socket.close()


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff"]
)
async def test_a_handshake_with_nonsense_fails(data: bytes) -> None:
    stream, peer = accepted()
    peer.socket.send(data)
    peer.socket.shutdown(socket.SHUT_WR)

    with pytest.raises(trio.BrokenResourceError):
        await stream.do_handshake()
    # Nothing is sent in plain text afterwards.
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"secret")
    received = b""
    with contextlib.suppress(BlockingIOError):
        received = peer.socket.recv(1_000, socket.MSG_DONTWAIT)
    await stream.aclose()
    peer.socket.close()
    # Nothing, or an alert that says what is wrong.
    assert received[:1] in (b"", b"\x15")


async def test_a_peer_that_left_before_the_handshake_gets_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(OSError, match="not connected"):
        TlsStream.accept(ours, tls.contexts()[0])
    assert -1 == ours.fileno()


async def test_a_peer_that_left_at_the_begin_of_the_handshake_gets_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    stream = TlsStream.accept(ours, tls.contexts()[0])
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()

    with pytest.raises(trio.BrokenResourceError):
        await stream.do_handshake()
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"secret")
    await stream.aclose()


def test_a_socket_that_is_closed_already_cannot_be_accepted() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()

    with pytest.raises(OSError, match="descriptor"):
        TlsStream.accept(ours, tls.contexts()[0])


async def test_a_handshake_that_is_given_up_can_be_closed(autojump_clock: MockClock) -> None:
    stream, peer = accepted()
    with trio.move_on_after(5) as scope:
        await stream.do_handshake()

    assert scope.cancelled_caught
    await stream.aclose()
    assert b"" == peer.socket.recv(100)
    peer.socket.close()


# Receiving.


async def test_bytes_that_wait_inside_openssl_are_received_next(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    peer.socket.send(peer.encrypt(b"abc"))
    assert not stream.has_unread
    assert b"a" == await stream.receive_some(1)
    assert stream.has_unread
    with trio.fail_after(1):
        assert b"bc" == await stream.receive_some(100)
    assert not stream.has_unread


async def test_a_record_that_comes_in_single_bytes_is_received(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for byte in peer.encrypt(b"whole"):
            assert [] == received
            peer.socket.send(bytes([byte]))
            await wait_all_tasks_blocked()

    assert [b"whole"] == received


async def test_the_end_is_received_again_and_again_and_sending_goes_on(stream: TlsStream, peer: tls.Peer) -> None:
    peer.socket.send(peer.end())
    for _ in range(3):
        assert b"" == await stream.receive_some()
    await stream.send_all(b"still here")

    # This peer can't read any more, but the record is there.
    assert len(b"still here") < len(peer.socket.recv(1_000))


async def test_a_receiver_that_is_cancelled_loses_nothing(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    record = peer.encrypt(b"whole")
    peer.socket.send(record[:7])
    with trio.move_on_after(1):
        await stream.receive_some()
    peer.socket.send(record[7:])

    assert b"whole" == await stream.receive_some()


async def test_garbage_breaks_the_stream_for_good(stream: TlsStream, peer: tls.Peer) -> None:
    peer.socket.send(b"\x17\x03\x03\x00\x20" + b"g" * 32)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        stream.write_now(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await stream.wait_send_all_might_not_block()


# Sending.


async def test_a_peer_that_never_reads_is_waited_for_and_then_the_stream_is_broken(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    with trio.move_on_after(5) as scope:
        await stream.send_all(LARGE)
    assert scope.cancelled_caught

    # OpenSSL keeps a record. Other bytes would be taken for it.
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x" * RECORD_BYTES)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.aclose()
    received, is_ended = peer.decrypt()
    assert received == LARGE[: len(received)]
    assert not is_ended


async def test_a_sender_that_is_cancelled_before_the_first_byte_breaks_nothing(
    stream: TlsStream, peer: tls.Peer
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.send_all(b"never")
    await stream.send_all(b"first")

    assert b"first" == peer.decrypt()[0]


async def test_a_send_after_a_short_write_goes_on_with_the_rest(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    written = stream.write_now(LARGE)
    assert 0 < written < len(LARGE)
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, LARGE[written:])
        while len(received) < len(LARGE):
            received += peer.decrypt()[0]
            await trio.lowlevel.checkpoint()

    assert LARGE == received


async def test_a_write_to_a_broken_connection_breaks_the_stream(stream: TlsStream, peer: tls.Peer) -> None:
    peer.socket.close()
    with pytest.raises(trio.BrokenResourceError) as caught:
        stream.write_now(b"x")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()


async def test_sending_nothing_is_a_checkpoint(stream: TlsStream, peer: tls.Peer) -> None:
    with assert_checkpoints():
        await stream.send_all(b"")

    assert (b"", False) == peer.decrypt()


# Closing.


async def test_a_close_is_told_by_an_alert_and_waits_for_nothing(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    began = trio.current_time()
    await stream.send_all(b"last")
    await stream.aclose()
    await stream.aclose()

    assert began == trio.current_time()
    assert (b"last", True) == peer.decrypt()
    assert b"" == peer.socket.recv(1)


async def test_a_close_while_receiving_is_told_too(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer
) -> None:
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await stream.aclose()

    assert (b"", True) == peer.decrypt()


@pytest.mark.parametrize("way", ["sender is cancelled", "at once", "without room"])
async def test_a_close_by_force_is_no_alert(
    autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer, way: str
) -> None:
    """Otherwise, a peer could take half of an answer for all of it."""
    began = trio.current_time()
    if way == "sender is cancelled":
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, LARGE)
                await wait_all_tasks_blocked()
                scope.cancel()
        await trio.aclose_forcefully(stream)
    elif way == "at once":
        stream.close()
    else:
        fill(stream.tls_socket)
        await stream.aclose()

    assert began == trio.current_time()
    assert not peer.decrypt()[1]
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        stream.write_now(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await stream.do_handshake()


async def test_a_close_while_sending_is_no_alert(autojump_clock: MockClock, stream: TlsStream, peer: tls.Peer) -> None:
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(LARGE)

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await stream.aclose()
    received, is_ended = peer.decrypt()

    assert received == LARGE[: len(received)]
    assert not is_ended


async def test_a_close_that_is_cancelled_closes(stream: TlsStream, peer: tls.Peer) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()

    assert scope.cancelled_caught
    assert (b"", True) == peer.decrypt()
    assert b"" == peer.socket.recv(1)


async def test_a_close_that_is_cancelled_is_told_by_an_alert(stream: TlsStream, peer: tls.Peer) -> None:
    await stream.send_all(b"whole")
    await trio.aclose_forcefully(stream)

    assert (b"whole", True) == peer.decrypt()
    assert b"" == peer.socket.recv(1)


async def test_a_close_that_is_cancelled_waits_for_no_room(
    sockets: tuple[socket.socket, socket.socket], autojump_clock: MockClock
) -> None:
    script = Script(sockets[0], unwrap=[WANTS_WRITE()])
    await trio.aclose_forcefully(TlsStream(cast(Any, script)))

    assert (["unwrap"], -1) == (script.calls, sockets[0].fileno())


async def test_a_closed_stream_is_closed_again_at_a_checkpoint(stream: TlsStream) -> None:
    for _ in range(2):
        with assert_checkpoints():
            await stream.aclose()


async def test_a_detached_socket_outlives_its_stream(stream: TlsStream, peer: tls.Peer) -> None:
    ours = stream.detach()
    await stream.aclose()
    stream.close()
    with pytest.raises(trio.ClosedResourceError):
        stream.detach()
    again = TlsStream(ours)
    await again.send_all(b"still here")

    assert (b"still here", False) == peer.decrypt()


@pytest.mark.parametrize("make", [plain, encrypted])
async def test_either_kind_of_stream_is_closed_at_once(make: Callable[[], Awaitable[Ends]]) -> None:
    ours, theirs = await make()
    close_now(cast(Any, ours))

    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some(1)
    assert b"" == await theirs.receive_some(1)
    await trio.aclose_forcefully(theirs)


# Reading that needs to write, and the other way round.


class Script:
    """A TLS socket whose calls do what a script says: raise an error, or return a value."""

    def __init__(self, below: socket.socket, **script: list[Any]) -> None:
        self._below, self._script = below, script
        self.fileno = below.fileno
        self.close = below.close
        self.calls: list[str] = []

    def _next(self, name: str) -> Any:
        self.calls.append(name)
        step = self._script[name].pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def recv(self, most: int) -> Any:
        return self._next("recv")

    def send(self, data: memoryview) -> Any:
        return self._next("send")

    def unwrap(self) -> Any:
        return self._next("unwrap")


WANTS_WRITE, WANTS_READ = ssl.SSLWantWriteError, ssl.SSLWantReadError


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    made = socket.socketpair()
    for each in made:
        each.setblocking(False)
    yield made
    for each in made:
        each.close()


def clog(one: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            one.send(b"x" * 65_536)


def drain(one: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            one.recv(1_000_000)


async def test_a_reader_and_a_writer_may_both_wait_for_room(
    autojump_clock: MockClock, sockets: tuple[socket.socket, socket.socket]
) -> None:
    """An update of keys needs that: the answer to it is written while a record is read."""
    ours, theirs = sockets
    clog(ours)
    script = Script(ours, recv=[WANTS_WRITE(), b"read"], send=[WANTS_WRITE(), 3, 2])
    stream = TlsStream(cast(Any, script))
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"bytes")
        await wait_all_tasks_blocked()
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert ["send", "recv"] == script.calls
        drain(theirs)

    assert [b"read"] == received
    assert {"recv": 2, "send": 3} == {name: script.calls.count(name) for name in ("recv", "send")}


async def test_a_reader_and_a_writer_may_both_wait_for_bytes(
    autojump_clock: MockClock, sockets: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = sockets
    script = Script(ours, recv=[WANTS_READ(), b"read"], send=[WANTS_READ(), 5])
    stream = TlsStream(cast(Any, script))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        nursery.start_soon(stream.send_all, b"bytes")
        await wait_all_tasks_blocked()
        assert ["recv", "send"] == script.calls
        theirs.send(b"x")

    assert {"recv": 2, "send": 2} == {name: script.calls.count(name) for name in ("recv", "send")}


async def test_a_task_goes_on_waiting_when_the_other_one_is_cancelled(
    autojump_clock: MockClock, sockets: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = sockets
    script = Script(ours, recv=[WANTS_READ()], send=[WANTS_READ(), WANTS_READ(), 5])
    stream = TlsStream(cast(Any, script))
    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as inner:
            inner.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            outer.start_soon(stream.send_all, b"bytes")
            await wait_all_tasks_blocked()
            inner.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert ["recv", "send", "send"] == script.calls
        theirs.send(b"x")

    assert ["recv", "send", "send", "send"] == script.calls


async def test_a_task_that_waits_behind_another_one_learns_that_the_stream_is_closed(
    autojump_clock: MockClock, sockets: tuple[socket.socket, socket.socket]
) -> None:
    script = Script(sockets[0], recv=[WANTS_READ()], send=[WANTS_READ()])
    stream = TlsStream(cast(Any, script))
    ended: list[str] = []

    async def end(name: str, call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call()
        ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end, "receiver", stream.receive_some)
        await wait_all_tasks_blocked()
        nursery.start_soon(end, "sender", lambda: stream.send_all(b"x"))
        await wait_all_tasks_blocked()
        stream.close()

    assert {"receiver", "sender"} == {*ended}


@pytest.mark.parametrize("error", [OSError(), ssl.SSLError(), ssl.SSLZeroReturnError()])
async def test_after_an_error_openssl_is_not_asked_for_an_alert(
    sockets: tuple[socket.socket, socket.socket], error: OSError
) -> None:
    script = Script(sockets[0], recv=[error])
    stream = TlsStream(cast(Any, script))
    with pytest.raises(trio.BrokenResourceError) as caught:
        await stream.receive_some()
    await stream.aclose()

    assert error is caught.value.__cause__
    assert ["recv"] == script.calls
    assert -1 == sockets[0].fileno()


@pytest.mark.parametrize("error", [WANTS_READ(), WANTS_WRITE(), OSError(), ValueError()])
async def test_an_alert_that_fails_does_not_keep_a_stream_from_closing(
    sockets: tuple[socket.socket, socket.socket], error: Exception
) -> None:
    script = Script(sockets[0], unwrap=[error])
    await TlsStream(cast(Any, script)).aclose()

    assert ["unwrap"] == script.calls
    assert -1 == sockets[0].fileno()


@pytest.mark.parametrize("wants", [WANTS_READ, WANTS_WRITE])
def test_a_write_that_openssl_cannot_do_now_is_short(
    sockets: tuple[socket.socket, socket.socket], wants: type[Exception]
) -> None:
    assert 5 == write_now(cast(Any, Script(sockets[0], send=[2, 3, wants()])), b"bytes and more")


def test_a_read_that_needs_to_write_is_not_the_end(sockets: tuple[socket.socket, socket.socket]) -> None:
    """Nothing waits to be written to a parked connection. So its descriptor stays readable, and the lot has to wake it."""
    with pytest.raises(ssl.SSLWantWriteError):
        read_now(cast(Any, Script(sockets[0], recv=[WANTS_WRITE()])))
