"""Handshakes that need no task: which the listener offers to the server at once, and what becomes of their places."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from tests.certificates import make
from tests.fakes import wait_until
from tests.http.serving import read_all
from vortexd.net.head import Head
from vortexd.net.listener import Accepted, Listener
from vortexd.net.proxies import Sender
from vortexd.net.tls import Tls, load_context
from vortexd.settings.server import ServerSettings
from vortexd.settings.tls import TlsSettings

HANDSHAKE = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@attrs.define
class Hall:
    """A listener, and what it has passed on.

    Attributes:
        answer: What the server returns for a handshake that is offered to it. An exception is raised.
        offered: The handshakes that were offered at once.
        tasks: The targets of connections that got a task.
    """

    listener: Listener
    address: Any = None
    answer: bool | Exception = True
    offered: list[tuple[bytes, Head, str, Sender]] = attrs.field(factory=list)
    sockets: list[socket.socket] = attrs.field(factory=list)
    tasks: list[str] = attrs.field(factory=list)

    def serve_now(self, peer: socket.socket, data: bytes, head: Head, connection_id: str, sender: Sender) -> bool:
        self.offered.append((data, head, connection_id, sender))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer:
            self.sockets.append(socket.socket(fileno=peer.detach()))
        return self.answer

    async def websocket(self, accepted: Accepted) -> bool:
        self.tasks.append(accepted.target)
        return False

    async def http(self, accepted: Accepted) -> bytes | None:
        self.tasks.append(accepted.target)
        return None

    async def connect(self, data: bytes) -> trio.SocketStream:
        if isinstance(self.address, Path):
            stream = await trio.open_unix_socket(self.address)
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", self.address)
        await stream.send_all(data)
        return stream


@asynccontextmanager
async def listening(settings: ServerSettings | None = None, tls: Tls | None = None) -> AsyncIterator[Hall]:
    settings = settings or ServerSettings()
    if not settings.bind[0].startswith("unix:"):
        settings = attrs.evolve(settings, bind=("127.0.0.1:0",))
    listener = Listener(settings, tls=tls)
    (url,) = await listener.bind()
    path = settings.bind[0].removeprefix("unix:")
    hall = Hall(listener, Path(path) if path != settings.bind[0] else int(url.rpartition(":")[2]))
    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as connections:
            first = trio.lowlevel.checkpoint
            outer.start_soon(listener.serve, connections, hall.websocket, hall.http, first, hall.serve_now)
            yield hall
            connections.cancel_scope.cancel()
        outer.cancel_scope.cancel()
    for each in hall.sockets:
        each.close()


async def test_a_whole_handshake_is_offered_with_its_head_an_id_and_the_address() -> None:
    async with listening() as hall:
        stream = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.offered)
        ((data, head, connection_id, sender),) = hall.offered

        assert (HANDSHAKE, b"/ws/shop/dev", "127.0.0.1", 36) == (data, head.target, sender.host, len(connection_id))
        assert [] == hall.tasks
        # The head is read by the server, and the socket has the options of any other.
        assert HANDSHAKE == hall.sockets[0].recv(1_000)
        assert not os.get_blocking(hall.sockets[0].fileno())
        assert hall.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await stream.aclose()


async def test_what_is_served_keeps_its_place_until_the_server_says_that_it_has_left() -> None:
    async with listening() as hall:
        stream = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.offered)
        assert 1 == hall.listener.places.count
        hall.listener.leave("127.0.0.1")

        assert 0 == hall.listener.places.count
        assert {} == hall.listener.places.by_address
        await stream.aclose()


async def test_what_the_server_does_not_take_gets_a_task_with_every_byte() -> None:
    async with listening() as hall:
        hall.answer = False
        stream = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.tasks)

        assert (1, ["/ws/shop/dev"]) == (len(hall.offered), hall.tasks)
        await wait_until(lambda: not hall.listener.places.count)
        await stream.aclose()


async def test_an_unexpected_error_ends_that_connection_alone() -> None:
    async with listening() as hall:
        hall.answer = RuntimeError("a fault")
        with capture_logs() as logs:
            stream = await hall.connect(HANDSHAKE)
            assert (await read_all(stream)) in (b"", b"<reset>")
        hall.answer = True
        other = await hall.connect(HANDSHAKE)
        await wait_until(lambda: len(hall.offered) == 2)

        assert [("connection failed", "error")] == [(each["event"], each["log_level"]) for each in logs]
        assert logs[0]["peer"].startswith("127.0.0.1:")
        assert 1 == hall.listener.places.count
        await stream.aclose()
        await other.aclose()


@pytest.mark.parametrize(
    "data",
    [
        HANDSHAKE.replace(b"/ws/", b"/"),
        HANDSHAKE.replace(b"GET", b"HEAD"),
        HANDSHAKE + b"\x81\x80\0\0\0\0",
        b"\r\n" + HANDSHAKE,
        HANDSHAKE.replace(b"Host: localhost", b"Host: localhost\r\nHost: localhost"),
        HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"),
    ],
    ids=["another path", "another method", "bytes behind it", "an empty line", "two Hosts", "too long"],
)
async def test_everything_but_a_usual_head_gets_a_task(data: bytes) -> None:
    async with listening() as hall:
        stream = await hall.connect(data)
        await read_all(stream)
        await stream.aclose()
        await wait_until(lambda: not hall.listener.places.count)

        assert [] == hall.offered


async def test_a_unix_socket_is_served_at_once_without_an_address(tmp_path: Path) -> None:
    async with listening(ServerSettings(bind=(f"unix:{tmp_path / 'socket'}",))) as hall:
        stream = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.offered)

        assert "" == hall.offered[0][3].host
        await stream.aclose()


@pytest.mark.parametrize(
    "settings",
    [
        ServerSettings(trusted_proxies=("127.0.0.1",)),
        ServerSettings(trusted_proxies=("127.0.0.1",), proxy_protocol=True),
    ],
    ids=["a proxy names the client in headers", "a proxy names the client in a PROXY header"],
)
async def test_a_client_behind_a_proxy_is_named_by_a_task(settings: ServerSettings) -> None:
    async with listening(settings) as hall:
        proxied = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" if settings.proxy_protocol else b""
        stream = await hall.connect(proxied + HANDSHAKE)
        await wait_until(lambda: hall.tasks)

        assert [] == hall.offered
        await stream.aclose()


async def test_with_tls_nothing_is_plain_enough(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    tls = Tls(load_context(TlsSettings(certificate=str(certificate), key=str(key)), {}))
    async with listening(tls=tls) as hall:
        stream = await hall.connect(HANDSHAKE)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")

        assert [] == hall.offered
        await stream.aclose()


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        pytest.param(ServerSettings(connections_per_address=1), 429, id="too many of its address"),
        pytest.param(ServerSettings(connections=1), 503, id="in a spare place"),
    ],
)
async def test_a_connection_beyond_a_limit_is_refused_by_a_task(settings: ServerSettings, status: int) -> None:
    async with listening(settings) as hall:
        first = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.offered)
        second = await hall.connect(HANDSHAKE)
        assert (await second.receive_some()).startswith(b"HTTP/1.1 %d" % status)

        assert 1 == len(hall.offered)
        await first.aclose()
        await second.aclose()
