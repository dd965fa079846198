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
from trio.testing import MockClock

from tests.certificates import make
from tests.fakes import wait_until
from tests.http.serving import parse, read_all
from tests.system.crowd import client_hello
from vortexd.net.listener import Accepted, Listener
from vortexd.net.opening import release_frames
from vortexd.net.tls import Tls, load_context
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
    async with serving(tmp_path, handshakes=1) as tls:
        silent, half = await tls.connect(), await tls.connect(client_hello()[:-1])
        await wait_until(lambda: tls.listener.places.count == 2)

        assert 404 == await tls.ask()
        await silent.aclose()
        await half.aclose()


async def test_H03_who_stops_in_the_handshake_gives_its_slot_away_after_a_second(
    socket_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path, handshakes=1) as tls:
        stalled = await tls.connect(client_hello())
        await wait_until(lambda: tls.connections.child_tasks)
        began = trio.current_time()

        assert 404 == await tls.ask()
        assert 0.7 < trio.current_time() - began < 5
        with trio.fail_after(5):
            await read_all(stalled)
        await stalled.aclose()


async def test_H03_who_is_silent_behind_its_handshake_gives_its_slot_away_too(
    socket_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path, handshakes=1) as tls:
        silent = trio.SSLStream(await tls.connect(), tls.context, server_hostname="localhost", https_compatible=True)
        await silent.do_handshake()

        assert 404 == await tls.ask()
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            while True:
                await silent.send_all(b"G")
                await trio.sleep(0.01)
        await trio.aclose_forcefully(silent)


async def test_a_slot_is_free_again_once_a_head_is_complete(tmp_path: Path) -> None:
    async with serving(tmp_path, handshakes=1) as tls:
        began = trio.current_time()
        for _ in range(5):
            assert 404 == await tls.ask()
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
    async with serving(tmp_path, head_timeout=0.3 if fate == "too late" else 10) as tls:
        if fate == "served":
            context = ssl.create_default_context(cafile=str(tmp_path / "localhost.crt"))
            await trio.to_thread.run_sync(blocking, tls.port, context)
        else:
            stalled = await tls.connect(client_hello())
            await wait_until(lambda: held() > before)
            if fate == "given up":
                await stalled.aclose()
            elif fate == "broken":
                await stalled.send_all(b"nonsense" * 10)
            await wait_until(lambda: not tls.connections.child_tasks)
            await stalled.aclose()
        await wait_until(lambda: not tls.connections.child_tasks)

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
    async with serving(tmp_path, handshakes=1) as tls:
        stalled = await tls.connect(client_hello())
        await wait_until(lambda: tls.connections.child_tasks)
        plain = await tls.connect(GET)
        with trio.fail_after(0.7):
            assert 400 == parse(await read_all(plain)).status
        await stalled.aclose()
        await plain.aclose()
