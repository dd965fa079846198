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
from vortexd.net.arrivals import Arrival
from vortexd.net.head import Head
from vortexd.net.inherited import Inherited
from vortexd.net.listener import Accepted, Listener
from vortexd.net.offers import Offers
from vortexd.net.places import Places
from vortexd.net.proxies import Proxies, Sender
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
        heads: What the heads of these mean, as far as they were parsed.
        befores: The number of bytes before each of these heads.
        counted: The addresses that connections counted for when each of these was offered.
        tasks: The targets of connections that got a task.
        senders: The senders of the WebSockets among these.
    """

    listener: Listener
    address: Any = None
    answer: bool | Exception = True
    offered: list[tuple[bytes, str, Sender]] = attrs.field(factory=list)
    heads: list[Head | None] = attrs.field(factory=list)
    befores: list[int] = attrs.field(factory=list)
    counted: list[dict[str, int]] = attrs.field(factory=list)
    sockets: list[socket.socket] = attrs.field(factory=list)
    tasks: list[str] = attrs.field(factory=list)
    senders: list[Sender] = attrs.field(factory=list)

    def serve_now(
        self, peer: socket.socket, data: bytes, connection_id: str, sender: Sender, head: Head | None, before: int
    ) -> bool:
        self.offered.append((data, connection_id, sender))
        self.heads.append(head)
        self.befores.append(before)
        self.counted.append(dict(self.listener.places.by_address))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer:
            self.sockets.append(socket.socket(fileno=peer.detach()))
        return self.answer

    async def websocket(self, accepted: Accepted) -> bool:
        self.tasks.append(accepted.target)
        self.senders.append(accepted.sender)
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
async def listening(
    settings: ServerSettings | None = None, tls: Tls | None = None, inherited: Inherited | None = None
) -> AsyncIterator[Hall]:
    settings = settings or ServerSettings()
    if not settings.bind[0].startswith("unix:"):
        settings = attrs.evolve(settings, bind=("127.0.0.1:0",))
    listener = Listener(settings, inherited, tls)
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
        ((data, connection_id, sender),) = hall.offered

        assert (HANDSHAKE, Sender("127.0.0.1"), 36) == (data, sender, len(connection_id))
        assert ([None], [0]) == (hall.heads, hall.befores)
        assert [] == hall.tasks
        # The head is read by the server, and the socket has the options of any other.
        assert HANDSHAKE == hall.sockets[0].recv(1_000)
        assert not os.get_blocking(hall.sockets[0].fileno())
        assert hall.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert 16_384 == hall.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        await stream.aclose()


async def test_a_connection_of_a_socket_that_another_program_has_bound_has_the_options_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        async with listening(inherited=Inherited((bound.dup(),))) as hall:
            stream = await hall.connect(HANDSHAKE)
            await wait_until(lambda: hall.offered)

            assert hall.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert 16_384 == hall.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
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
        HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"),
    ],
    ids=["another path", "another method", "bytes behind it", "an empty line", "too long"],
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

        assert "" == hall.offered[0][2].host
        await stream.aclose()


async def test_a_long_handshake_is_offered_whole() -> None:
    data = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 4_000 + b"\r\n\r\n")
    async with listening() as hall:
        stream = await hall.connect(data)
        await wait_until(lambda: hall.offered)

        assert data == hall.offered[0][0]
        await stream.aclose()


async def test_an_address_whose_handshake_is_served_is_known_from_then_on() -> None:
    async with listening() as hall:
        stream = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.offered)

        assert hall.listener.places._known.has("127.0.0.1", trio.current_time())
        await stream.aclose()


# Handshakes that a trusted proxy passes on.

PROXY = ("127.0.0.1",)
FORWARDED = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n")
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"


async def test_the_headers_of_a_proxy_name_the_client() -> None:
    async with listening(ServerSettings(trusted_proxies=PROXY)) as hall:
        stream = await hall.connect(FORWARDED)
        await wait_until(lambda: hall.offered)
        ((data, _, sender),) = hall.offered
        (head,) = hall.heads

        assert (FORWARDED, Sender("192.0.2.7", "https")) == (data, sender)
        assert head is not None
        assert (b"/ws/shop/dev", [0]) == (head.target, hall.befores)
        assert [{"192.0.2.7": 1}] == hall.counted
        assert [] == hall.tasks
        hall.listener.leave("192.0.2.7")
        assert (0, {}) == (hall.listener.places.count, hall.listener.places.by_address)
        # The proxy has completed a request, and the client may not even exist.
        known = hall.listener.places._known
        assert [True, False] == [known.has(each, trio.current_time()) for each in ("127.0.0.1", "192.0.2.7")]
        await stream.aclose()


async def test_a_proxy_that_names_nobody_is_the_sender_itself() -> None:
    async with listening(ServerSettings(trusted_proxies=PROXY)) as hall:
        stream = await hall.connect(HANDSHAKE)
        await wait_until(lambda: hall.offered)

        assert (Sender("127.0.0.1"), [{"127.0.0.1": 1}]) == (hall.offered[0][2], hall.counted)
        await stream.aclose()


@pytest.mark.parametrize(
    ("header", "data", "sender"),
    [
        (HEADER, HANDSHAKE, Sender("192.0.2.1")),
        (HEADER, FORWARDED, Sender("192.0.2.1")),
        (b"PROXY UNKNOWN\r\n", FORWARDED, Sender("127.0.0.1")),
        (HEADER.replace(b"192.0.2.1", b"127.0.0.1"), FORWARDED, Sender("192.0.2.7", "https")),
    ],
    ids=["a client", "a client that sends headers", "nobody", "another proxy"],
)
async def test_a_PROXY_header_names_the_client(header: bytes, data: bytes, sender: Sender) -> None:
    async with listening(ServerSettings(trusted_proxies=PROXY, proxy_protocol=True)) as hall:
        stream = await hall.connect(header + data)
        await wait_until(lambda: hall.offered)

        assert (data, sender, [len(header)]) == (hall.offered[0][0], hall.offered[0][2], hall.befores)
        assert [{sender.host: 1}] == hall.counted
        # Whoever serves it removes the header, too.
        assert header + data == hall.sockets[0].recv(1_000)
        assert hall.listener.places._known.has("127.0.0.1" if sender.scheme else sender.host, trio.current_time())
        await stream.aclose()


@pytest.mark.parametrize("header", [b"", HEADER], ids=["headers", "a PROXY header"])
async def test_what_a_proxy_passes_on_and_the_server_does_not_take_gets_a_task_with_every_byte(header: bytes) -> None:
    async with listening(ServerSettings(trusted_proxies=PROXY, proxy_protocol=bool(header))) as hall:
        hall.answer = False
        stream = await hall.connect(header + FORWARDED)
        await wait_until(lambda: hall.tasks)

        assert (1, ["/ws/shop/dev"]) == (len(hall.offered), hall.tasks)
        assert [hall.offered[0][2]] == hall.senders
        await wait_until(lambda: not hall.listener.places.count)
        assert {} == hall.listener.places.by_address
        await stream.aclose()


async def test_a_fault_in_a_proxied_handshake_ends_that_connection_alone() -> None:
    async with listening(ServerSettings(trusted_proxies=PROXY)) as hall:
        hall.answer = RuntimeError("a fault")
        with capture_logs() as logs:
            stream = await hall.connect(FORWARDED)
            assert (await read_all(stream)) in (b"", b"<reset>")

        assert [("connection failed", "192.0.2.7")] == [(each["event"], each["peer"]) for each in logs]
        assert (0, {}) == (hall.listener.places.count, hall.listener.places.by_address)
        await stream.aclose()


@pytest.mark.parametrize(
    ("settings", "data", "status"),
    [
        (
            ServerSettings(trusted_proxies=PROXY),
            FORWARDED.replace(b"\r\n\r\n", b"\r\nForwarded: for=192.0.2.8\r\n\r\n"),
            400,
        ),
        (ServerSettings(trusted_proxies=PROXY), FORWARDED.replace(b"Host: localhost\r\n", b""), 400),
        (ServerSettings(trusted_proxies=PROXY, proxy_protocol=True), HANDSHAKE, 400),
        (ServerSettings(trusted_proxies=("192.0.2.9",), proxy_protocol=True), HEADER + HANDSHAKE, 403),
        (ServerSettings(trusted_proxies=PROXY, proxy_protocol=True), HEADER + HANDSHAKE.replace(b"\r\n", b"\n"), 400),
    ],
    ids=["contradictory headers", "no Host", "no PROXY header", "a peer that isn't trusted", "an invalid head"],
)
async def test_a_proxied_handshake_that_must_be_refused_is_refused_by_a_task(
    settings: ServerSettings, data: bytes, status: int
) -> None:
    async with listening(settings) as hall:
        stream = await hall.connect(data)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 %d" % status)

        assert [] == hall.offered
        await stream.aclose()
        await wait_until(lambda: not hall.listener.places.count)
        assert {} == hall.listener.places.by_address


@pytest.mark.parametrize("header", [b"", HEADER], ids=["headers", "a PROXY header"])
async def test_a_client_behind_a_proxy_with_too_many_connections_is_refused_by_a_task(header: bytes) -> None:
    settings = ServerSettings(trusted_proxies=PROXY, connections_per_address=1, proxy_protocol=bool(header))
    async with listening(settings) as hall:
        first = await hall.connect(header + FORWARDED)
        await wait_until(lambda: hall.offered)
        second = await hall.connect(header + FORWARDED)
        assert (await second.receive_some()).startswith(b"HTTP/1.1 429")

        assert 1 == len(hall.offered)
        await second.aclose()
        await wait_until(lambda: hall.listener.places.count == 1)
        assert {hall.offered[0][2].host: 1} == hall.listener.places.by_address
        await first.aclose()


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


# The decisions for one arrival, without a listener.


class Desk:
    """Offers, with one arrival that has sent a handshake."""

    def __init__(self, settings: ServerSettings | None = None, tls: Tls | None = None, data: bytes = HANDSHAKE) -> None:
        settings = settings or ServerSettings()
        self.places = Places(settings, lambda _: None)
        self.offers = Offers(self.places, tls or Tls())
        proxies = Proxies(settings.trusted_proxies)
        self.offers.replace(settings, proxies)
        self.offered: list[bytes] = []
        self.answer = True
        self.offers.serve_now = self._serve
        self.theirs, ours = socket.socketpair()
        self.theirs.send(data)
        host = "192.0.2.1"
        self.arrival = Arrival(ours, host, 1, True, proxies if proxies.has(host) else None, 0.0, 10.0)
        self.places.enter(self.arrival)

    def _serve(
        self, peer: socket.socket, data: bytes, connection_id: str, sender: Sender, head: Head | None, before: int
    ) -> bool:
        self.offered.append(data)
        return self.answer

    def offer(self) -> bool:
        is_served = self.offers.offer(self.arrival)
        self.theirs.close()
        self.arrival.socket.close()
        return is_served

    @property
    def is_known(self) -> bool:
        return self.places._known.has("192.0.2.1", trio.current_time())


@pytest.mark.parametrize("is_served", [True, False])
async def test_an_address_is_known_by_its_handshake_only_if_it_was_served(is_served: bool) -> None:
    desk = Desk()
    desk.answer = is_served

    assert is_served == desk.offer()
    assert ([HANDSHAKE], is_served) == (desk.offered, desk.is_known)


async def test_the_bytes_that_were_kept_are_not_read_again() -> None:
    desk = Desk(data=b"GET")
    desk.arrival.request = HANDSHAKE

    assert desk.offer()
    assert [HANDSHAKE] == desk.offered


@pytest.mark.parametrize("state", ["is_beyond", "is_late"])
async def test_what_a_task_must_refuse_is_not_offered(state: str) -> None:
    desk = Desk()
    setattr(desk.arrival, state, True)

    assert not desk.offer()
    assert [] == desk.offered


async def test_without_a_server_nothing_is_served() -> None:
    desk = Desk()
    desk.offers.serve_now = None

    assert not desk.offer()


async def test_an_address_with_too_many_connections_is_not_offered() -> None:
    desk = Desk(ServerSettings(connections_per_address=1))
    desk.places.by_address["192.0.2.1"] += 1

    assert not desk.offer()
    assert [] == desk.offered


@pytest.mark.parametrize("is_tcp", [True, False])
async def test_with_tls_only_unix_sockets_are_plain(tmp_path: Path, is_tcp: bool) -> None:
    certificate, key = make(tmp_path)
    desk = Desk(tls=Tls(load_context(TlsSettings(certificate=str(certificate), key=str(key)), {})))
    desk.arrival.is_tcp = is_tcp

    assert is_tcp != desk.offer()


@pytest.mark.parametrize("length", [0, 5, len(HEADER) - 1, len(HEADER), len(HEADER) + len(HANDSHAKE) - 1])
async def test_before_all_of_it_has_come_nothing_is_offered_and_nothing_changes(length: int) -> None:
    settings = ServerSettings(trusted_proxies=("192.0.2.1",), proxy_protocol=True)
    desk = Desk(settings, data=(HEADER.replace(b"192.0.2.1", b"192.0.2.7") + HANDSHAKE)[:length] or b" ")
    desk.arrival.has_proxy_header = True
    proxies = desk.arrival.proxies

    assert not desk.offer()
    assert [] == desk.offered
    assert ("192.0.2.1", 1, proxies) == (desk.arrival.host, desk.arrival.port, desk.arrival.proxies)
    assert {"192.0.2.1": 1} == desk.places.by_address


async def test_other_limits_and_proxies_hold_from_a_reload_on() -> None:
    desk = Desk()
    desk.offers.replace(ServerSettings(head_bytes=1_024), Proxies())
    long = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 1_024 + b"\r\n\r\n")
    desk.arrival.request = long
    assert not desk.offers.offer(desk.arrival)
    desk.arrival.request = HANDSHAKE

    assert desk.offer()
    desk.offers.replace(ServerSettings(), Proxies(["192.0.2.9"]))
    for host, is_proxy in (("192.0.2.9", True), ("192.0.2.8", False)):
        desk.offers.count_for(desk.arrival, host, 7)
        assert (host, 7, is_proxy) == (desk.arrival.host, desk.arrival.port, desk.arrival.proxies is not None)
