"""The bytes before a request head, on real sockets: TLS, the slots for handshakes, and the state afterwards."""

import gc
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests import tls
from tests.certificates import make
from tests.fakes import wait_until
from tests.http.serving import parse, read_all
from tests.system.crowd import client_hello
from vortexd.net.arrivals import Arrival
from vortexd.net.listener import Accepted, Listener
from vortexd.net.opening import encrypt, release_frames
from vortexd.net.tls import Tls, load_context
from vortexd.net.tls_stream import TlsStream
from vortexd.settings.server import ServerSettings
from vortexd.settings.tls import TlsSettings

GET = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"


@attrs.define
class Serving:
    listener: Listener
    port: int
    connections: trio.Nursery
    context: ssl.SSLContext

    async def connect(self, data: bytes = b"") -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(data)
        return stream

    async def ask(self) -> int:
        """Ask for something by TLS, and return the status."""
        with trio.fail_after(10):
            stream = trio.SSLStream(
                await self.connect(), self.context, server_hostname="localhost", https_compatible=True
            )
            await stream.send_all(GET)
            answer = b""
            async for part in stream:
                answer += part
            await trio.aclose_forcefully(stream)
            return parse(answer).status


@asynccontextmanager
async def serving(directory: Path, **settings: float) -> AsyncIterator[Serving]:
    """A listener with TLS that answers each request with 404."""
    certificate, key = make(directory)
    context = load_context(TlsSettings(certificate=str(certificate), key=str(key)), {})
    listener = Listener(ServerSettings(bind=("127.0.0.1:0",), **settings), tls=Tls(context))  # type: ignore[arg-type]  # numbers of both kinds
    (url,) = await listener.bind()

    async def answer(accepted: Accepted) -> None:
        await accepted.stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async def no_websocket(accepted: Accepted) -> NoReturn:
        raise AssertionError

    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as connections:
            outer.start_soon(listener.serve, connections, no_websocket, answer)
            trusting = ssl.create_default_context(cafile=str(certificate))
            yield Serving(listener, int(url.rpartition(":")[2]), connections, trusting)
            connections.cancel_scope.cancel()
        outer.cancel_scope.cancel()


async def test_half_of_what_a_tls_client_says_first_takes_no_slot(tmp_path: Path) -> None:
    async with serving(tmp_path, handshakes=1) as made:
        silent, half = await made.connect(), await made.connect(client_hello()[:-1])
        await wait_until(lambda: made.listener.places.count == 2)

        assert 404 == await made.ask()
        await silent.aclose()
        await half.aclose()


async def test_H03_who_stops_in_the_handshake_gives_its_slot_away_after_a_second(
    socket_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path, handshakes=1) as made:
        stalled = await made.connect(client_hello())
        await wait_until(lambda: made.connections.child_tasks)
        began = trio.current_time()

        assert 404 == await made.ask()
        assert 0.7 < trio.current_time() - began < 5
        with trio.fail_after(5):
            await read_all(stalled)
        await stalled.aclose()


async def test_H03_who_is_silent_behind_its_handshake_gives_its_slot_away_too(
    socket_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path, handshakes=1) as made:
        silent = trio.SSLStream(await made.connect(), made.context, server_hostname="localhost", https_compatible=True)
        await silent.do_handshake()

        assert 404 == await made.ask()
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            while True:
                await silent.send_all(b"G")
                await trio.sleep(0.01)
        await trio.aclose_forcefully(silent)


async def test_a_slot_is_free_again_once_a_head_is_complete(tmp_path: Path) -> None:
    async with serving(tmp_path, handshakes=1) as made:
        began = trio.current_time()
        for _ in range(5):
            assert 404 == await made.ask()
        assert trio.current_time() - began < 1


@pytest.fixture
def without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> int:
    """What the interpreter has of OpenSSL's: of each connection that is the most."""
    return sum(type(each).__name__ == "_SSLSocket" for each in gc.get_objects())


@pytest.mark.parametrize("fate", ["served", "given up", "too late", "broken"])
@pytest.mark.usefixtures("without_collection")
async def test_nothing_of_tls_is_left_when_a_connection_has_ended(tmp_path: Path, fate: str) -> None:
    before = held()
    async with serving(tmp_path, head_timeout=0.3 if fate == "too late" else 10) as made:
        if fate == "served":
            context = ssl.create_default_context(cafile=str(tmp_path / "localhost.crt"))
            await trio.to_thread.run_sync(blocking, made.port, context)
        else:
            stalled = await made.connect(client_hello())
            await wait_until(lambda: held() > before)
            if fate == "given up":
                await stalled.aclose()
            elif fate == "broken":
                await stalled.send_all(b"nonsense" * 10)
            await wait_until(lambda: not made.connections.child_tasks)
            await stalled.aclose()
        await wait_until(lambda: not made.connections.child_tasks)

        assert before == held()


class Held:
    pass


@pytest.mark.usefixtures("without_collection")
def test_an_error_that_is_let_go_holds_nothing_nor_do_those_that_it_came_of() -> None:
    def first(held: Held) -> None:
        raise ValueError

    def second(held: Held) -> None:
        try:
            first(Held())
        except ValueError as error:
            raise KeyError from error

    def third(held: Held) -> None:
        try:
            second(Held())
        except KeyError:
            raise OSError  # noqa: B904 - it came of the other one, and doesn't say so

    def alive() -> int:
        return sum(type(each) is Held for each in gc.get_objects())

    error: BaseException | None = None
    try:
        third(Held())
    except OSError as caught:
        error = caught
    assert error is not None
    assert 3 == alive()
    release_frames(error)
    assert 0 == alive()


def blocking(port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as stream:
            stream.sendall(GET)
            assert stream.recv(100).startswith(b"HTTP/1.1 404")


async def test_plain_http_on_a_port_with_tls_is_told_so_without_a_slot(tmp_path: Path) -> None:
    async with serving(tmp_path, handshakes=1) as made:
        stalled = await made.connect(client_hello())
        await wait_until(lambda: made.connections.child_tasks)
        plain = await made.connect(GET)
        with trio.fail_after(0.7):
            assert 400 == parse(await read_all(plain)).status
        await stalled.aclose()
        await plain.aclose()


# The handshake of one connection.


def arrived() -> tuple[Arrival, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    arrival = Arrival(ours, "a", 1, True, None, 0, 0)
    arrival.stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    return arrival, theirs


async def test_a_handshake_gives_the_connection_its_tls_stream(autojump_clock: MockClock) -> None:
    arrival, theirs = arrived()
    peer = tls.Peer(theirs)
    found: list[TlsStream | None] = []

    async def shake() -> None:
        found.append(await encrypt(arrival, tls.contexts()[0], 5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake)
        for _ in range(2):
            theirs.sendall(peer.shake())
            await wait_all_tasks_blocked()
    theirs.sendall(peer.encrypt(b"hello"))
    stream = found[0]

    assert stream is not None
    assert (arrival.stream, arrival.socket) == (stream, stream.tls_socket)
    assert b"hello" == await stream.receive_some()
    await stream.aclose()
    theirs.close()


async def test_a_handshake_that_takes_too_long_is_given_up_and_can_be_closed(autojump_clock: MockClock) -> None:
    arrival, theirs = arrived()
    theirs.sendall(tls.Peer(theirs).shake()[:-1])
    assert await encrypt(arrival, tls.contexts()[0], 5) is None

    assert 5 == trio.current_time()
    arrival.close()
    assert b"" == theirs.recv(1)
    theirs.close()


async def test_a_connection_that_is_closed_in_its_handshake_ends_it(autojump_clock: MockClock) -> None:
    """The listener does that to make room."""
    arrival, theirs = arrived()
    theirs.sendall(tls.Peer(theirs).shake())
    async with trio.open_nursery() as nursery:

        async def shake() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await encrypt(arrival, tls.contexts()[0], 5)

        nursery.start_soon(shake)
        await wait_all_tasks_blocked()
        arrival.close()
    assert 0 == trio.current_time()
    theirs.close()


async def test_http_gets_an_answer_in_place_of_a_handshake(autojump_clock: MockClock) -> None:
    arrival, theirs = arrived()
    theirs.sendall(GET)
    theirs.shutdown(socket.SHUT_WR)
    before = arrival.stream

    assert await encrypt(arrival, tls.contexts()[0], 5) is None
    assert before is arrival.stream
    assert b"https://" in theirs.recv(1_000)
    arrival.close()
    theirs.close()


@pytest.mark.parametrize("data", [b"", client_hello(), b"\x16\x03\x01nonsense"], ids=["nothing", "hello", "nonsense"])
async def test_a_peer_that_leaves_breaks_the_handshake(autojump_clock: MockClock, data: bytes) -> None:
    arrival, theirs = arrived()
    theirs.sendall(data)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()

    with pytest.raises(trio.BrokenResourceError):
        await encrypt(arrival, tls.contexts()[0], 5)
    arrival.close()
    assert -1 == arrival.socket.fileno()


async def test_a_client_learns_from_an_alert_why_its_handshake_fails(tmp_path: Path) -> None:
    async with serving(tmp_path) as made:
        made.context.maximum_version = ssl.TLSVersion.TLSv1_2
        made.context.set_ciphers("DHE-RSA-AES256-SHA256")
        stream = trio.SSLStream(await made.connect(), made.context, server_hostname="localhost")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)

    assert "HANDSHAKE_FAILURE" in str(caught.value.__cause__)
