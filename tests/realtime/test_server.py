import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator
from random import Random
from typing import NoReturn

import attrs
import pytest
import trio
import wsproto.events
from structlog.testing import capture_logs
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from tests import tls
from tests.fakes import KEY, Client, FakeLine, FakeMetrics, StreamSpy, open_gate, timestamp
from vortexd.auth import Authority, Gate, Right
from vortexd.auth.tokens import Tokens
from vortexd.core.errors import FormatError, ResolveError, UnknownLabel
from vortexd.core.model import Config, Key
from vortexd.net.tls_stream import TlsStream
from vortexd.realtime.parked_sockets import PARKABLE
from vortexd.realtime.server import WebSocketServer
from vortexd.settings.auth import AuthSettings
from vortexd.settings.realtime import RealtimeSettings

from .test_subscriptions import TOKEN, authority
from .wire import PAIRS, Wire, frame


@pytest.fixture
async def nursery_of_peers() -> AsyncIterator[trio.Nursery]:
    """Where servers run; what is still running at the end of a test is cancelled."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@pytest.fixture
def wire(nursery_of_peers: trio.Nursery) -> Wire:
    return Wire(nursery_of_peers)


async def answer(wire: Wire, head: bytes, target: str = "/ws/orders/dev") -> bytes:
    """Everything the server says to a request head, up to its end."""
    ours, theirs = memory_stream_pair()
    wire.nursery.start_soon(wire.server.serve, ours, head, target)
    said = bytearray()
    while data := await theirs.receive_some():
        said += data
    return bytes(said)


def request(*lines: str, target: str = "/ws/orders/dev", version: str = "13") -> bytes:
    usual = [
        f"GET {target} HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Version: {version}",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    return "\r\n".join((*usual, *lines, "", "")).encode()


# The handshake.


async def test_the_connection_has_an_id_of_its_own(autojump_clock: MockClock, wire: Wire) -> None:
    ids = [dict((await wire.connect().opened()).extra_headers)[b"x-connection-id"] for _ in range(2)]

    assert all(re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in ids)
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ws", 404),
        ("/ws/orders", 404),
        ("/ws/orders/dev/main", 404),
        ("/wss/orders/dev", 404),
        ("/ws//dev", 400),
        ("/ws/orders/..", 400),
        ("/ws/%2e%2e/dev", 400),
        ("/ws/orders/dev?label=..", 400),
        ("/ws/orders/dev?label=a&label=b", 400),
        ("/ws/orders/dev?last_version=" + "x" * 65, 400),
        ("/ws/orders/dev?label=nowhere", 404),
    ],
)
async def test_what_cannot_be_served_is_refused_with_a_whole_answer(
    autojump_clock: MockClock, wire: Wire, target: str, status: int
) -> None:
    client = wire.connect(target)
    refused, body = await client.refused()

    assert status == refused == body["status"]
    assert b"" == await client.stream.receive_some()
    assert 0 == len(wire.server) == wire.line.held.total()


async def test_a_refusal_says_how_long_it_is(autojump_clock: MockClock, wire: Wire) -> None:
    head, _, body = (await answer(wire, request(), "/ws/orders")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert b"Connection: close" in head.split(b"\r\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(request(version="8"), b"426", id="W02 version 8"),
        pytest.param(request().replace(b"Sec-WebSocket-Key", b"X-Key"), b"400", id="W02 no key"),
        pytest.param(request().replace(b"ub25jZQ==", b""), b"400", id="W02 short key"),
        pytest.param(request().replace(b": Upgrade", b": close"), b"400", id="W02 no upgrade"),
        pytest.param(request().replace(b"GET", b"POST"), b"400", id="W02 POST"),
        pytest.param(request("Content-Length: 5"), b"400", id="W02 a body"),
        pytest.param(b"\x16\x03\x01\x02\x00\r\n\r\n", b"400", id="W15 TLS"),
        pytest.param(b"GET /ws/orders/dev HTTP/1.1\r\n", b"400", id="W15 half a head"),
    ],
)
async def test_a_malformed_handshake_is_refused_with_a_whole_answer(
    autojump_clock: MockClock, wire: Wire, head: bytes, status: bytes
) -> None:
    said = await answer(wire, head)

    assert said.startswith(b"HTTP/1.1 " + status)
    assert said.endswith(b"}")
    assert 0 == len(wire.server)


async def test_a_client_that_may_not_read_learns_no_names_of_files(
    autojump_clock: MockClock, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(key: Key) -> Config:
        raise FormatError("orders.yml", "no", 3)

    wire.gate.replace(AuthSettings(), Authority(anonymous=frozenset({Right.SUBSCRIBE})))
    monkeypatch.setattr(wire.line, "read", read)
    said = await answer(wire, request())

    assert said.startswith(b"HTTP/1.1 500")
    assert b"orders.yml" not in said


async def test_before_the_first_state_clients_are_told_to_come_back(autojump_clock: MockClock, wire: Wire) -> None:
    wire.line.default_label = None
    said = await answer(wire, request())

    assert said.startswith(b"HTTP/1.1 503")
    assert b"\r\nRetry-After: 1\r\n" in said


@pytest.mark.parametrize(
    ("error", "item"),
    [
        (FormatError("orders.yml", "no", 3), b'"orders.yml";line=3;served=nothing'),
        (ResolveError("no", "orders.yml"), b'"orders.yml";served=nothing'),
    ],
)
async def test_a_key_that_cannot_be_resolved_is_a_500_that_names_the_file_only_in_a_header(
    autojump_clock: MockClock, wire: Wire, monkeypatch: pytest.MonkeyPatch, error: Exception, item: bytes
) -> None:
    async def read(key: Key) -> Config:
        raise error

    sound = wire.line.read
    monkeypatch.setattr(wire.line, "read", read)
    with capture_logs() as logs:
        for _ in range(2):
            said = await answer(wire, request())

            assert said.startswith(b"HTTP/1.1 500")
            head, _, body = said.partition(b"\r\n\r\n")
            assert b"\r\nX-Vortex-Broken: " + item + b"\r\n" in head + b"\r\n"
            assert b"orders.yml" not in body
        assert [
            {
                "event": "handshake not served",
                "log_level": "warning",
                "method": "GET",
                "route": "/ws/{application}/{profile}",
                "key": str(KEY),
                "reason": str(error),
            }
        ] == [each for each in logs if each["log_level"] != "debug"]

        # Once it is over, it is told again.
        monkeypatch.setattr(wire.line, "read", sound)
        client = wire.connect()
        await client.opened()
        monkeypatch.setattr(wire.line, "read", read)
        await answer(wire, request())
        assert 2 == sum(each["event"] == "handshake not served" for each in logs)


async def test_a_label_that_ends_while_it_is_read_is_refused_before_the_upgrade(
    autojump_clock: MockClock, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(key: Key) -> None:
        raise UnknownLabel("no such label")

    monkeypatch.setattr(wire.line, "hold", hold)

    assert (await answer(wire, request())).startswith(b"HTTP/1.1 404")
    assert 0 == len(wire.server)


@pytest.mark.parametrize("target", ["/ws/orders/dev", "/ws/orders"])
async def test_who_does_not_read_the_answer_is_let_go_in_time(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery, wire: Wire, target: str
) -> None:
    wire.connect(target, lockstep_stream_pair)
    await trio.sleep(wire.settings.write_timeout + 0.1)

    assert 0 == len(wire.server) == wire.line.held[KEY]
    assert 0 == len(nursery_of_peers.child_tasks)


@pytest.mark.parametrize("target", ["/ws/orders/dev", "/ws/orders"])
async def test_W15_who_is_gone_before_the_answer_is_no_error(
    autojump_clock: MockClock, wire: Wire, target: str
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    await wire.server.serve(ours, request(), target)

    assert 0 == len(wire.server) == wire.line.held[KEY]


# From the handshake to the first state nothing falls between.


@pytest.mark.parametrize("awaited", ["the answer", "the first frame"])
async def test_M17_what_is_published_during_the_opening_arrives(
    autojump_clock: MockClock, wire: Wire, awaited: str
) -> None:
    versions: list[str] = []

    def publish(data: bytes) -> None:
        if data.startswith(b"HTTP/1.1") == (awaited == "the answer") and not versions:
            versions.append(wire.publish(1))

    client = await wire.open(wrap=lambda stream: StreamSpy(stream, publish))
    message = await client.message()
    if awaited == "the answer":
        assert ("config_snapshot", versions[0]) == (message["type"], message["version"])
    else:
        change = await client.message()
        assert (message["version"], versions[0]) == (change["old_version"], change["new_version"])


# One connection among others.


async def test_R18_an_error_in_one_connection_ends_that_one_and_cleans_up(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers)
    witness = await wire.open()
    had = (await witness.message())["version"]
    ours, theirs = memory_stream_pair()
    client = Client(theirs)

    def fail(data: bytes) -> None:
        if not data.startswith(b"HTTP"):
            raise ZeroDivisionError

    async def answer_the_close() -> None:
        await client.opened()
        assert 1006 == (await client.closed()).code

    nursery_of_peers.start_soon(answer_the_close)
    with pytest.RaisesGroup(ZeroDivisionError):
        await wire.server.serve(StreamSpy(ours, fail), client.head(), client.target)

    assert 1 == len(wire.server) == wire.line.held[KEY]
    assert 1 == wire.metrics.counts["connection_closed internal"]
    version = wire.publish(1)
    message = await witness.message()
    assert (had, version) == (message["old_version"], message["new_version"])


async def test_everything_is_released_when_connections_end(autojump_clock: MockClock, wire: Wire) -> None:
    for ending in ("/ws/orders/dev", "/ws/billing/dev", "/ws/new/dev"):
        client = await wire.open(ending)
        await client.message()
        await client.stream.aclose()
    await wait_all_tasks_blocked()

    assert 0 == len(wire.server) == wire.line.held.total()
    assert 3 == wire.metrics.counts["connection_opened"] == wire.metrics.counts["connection_closed lost"]
    assert not any(wire.line.registry.is_wanted(key) for key in wire.line.held)


# The drain.


async def test_a_drain_is_spread_over_its_time_in_no_order(autojump_clock: MockClock, wire: Wire) -> None:
    ended: list[tuple[float, int, int]] = []

    async def stay(number: int, client: Client) -> None:
        while (message := await client.message())["type"] != "connection_closing":
            pass
        assert 1001 == (await client.closed()).code
        ended.append((trio.current_time(), number, message["reconnect_after_ms"]))

    for number in range(50):
        wire.nursery.start_soon(stay, number, await wire.open())
    await wait_all_tasks_blocked()
    start = trio.current_time()
    await wire.server.drain(0.25)
    await wait_all_tasks_blocked()
    times = [time - start for time, _, _ in ended]

    assert 50 == len(ended)
    assert times == sorted(times)
    assert 0.2 < times[-1] <= 0.25
    assert [number for _, number, _ in ended] != list(range(50))
    assert len({after for _, _, after in ended}) > 40
    assert 0 == len(wire.server)


async def test_a_short_drain_of_few_takes_no_longer_than_needed(autojump_clock: MockClock, wire: Wire) -> None:
    await wire.open()
    await wire.server.drain(20)

    assert trio.current_time() < 0.1


async def test_while_draining_nobody_is_let_in(autojump_clock: MockClock, wire: Wire) -> None:
    await wire.server.drain(0)
    said = await answer(wire, request())

    assert said.startswith(b"HTTP/1.1 503")
    assert b"stopping" in said


async def test_who_waits_for_its_configuration_when_the_drain_begins_is_turned_away(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    class SlowLine(FakeLine):
        async def read(self, key: Key) -> Config:
            await trio.sleep(5)
            return await super().read(key)

    metrics = FakeMetrics()
    line = SlowLine({KEY: {}})
    server = WebSocketServer(line, line.registry, RealtimeSettings(), metrics, timestamp, Random(1), open_gate())
    ours, theirs = memory_stream_pair()
    nursery_of_peers.start_soon(server.serve, ours, request(), "/ws/orders/dev")
    await wait_all_tasks_blocked()
    await server.drain(0)

    assert (await theirs.receive_some()).startswith(b"HTTP/1.1 503")
    assert 0 == line.held[KEY]


@pytest.mark.parametrize(
    ("known", "seconds", "status"),
    [
        (authority("*", expires_at=1_003.0), 5.0, 401),
        (Authority(Tokens([])), 0.0, 401),
        (authority("billing"), 0.0, 403),
        (authority("*", expires_at=1_006.0), 5.0, 101),
    ],
    ids=["expired", "withdrawn", "narrowed", "still good"],
)
async def test_rights_that_are_lost_while_the_configuration_is_awaited_are_lost(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery, known: Authority, seconds: float, status: int
) -> None:
    class SlowLine(FakeLine):
        async def read(self, key: Key) -> Config:
            await trio.sleep(5)
            return await super().read(key)

    now = 1_000.0
    line = SlowLine({KEY: {}})
    gate = Gate(AuthSettings(), authority("*"), [], lambda: now, trio.current_time)
    server = WebSocketServer(line, line.registry, RealtimeSettings(), FakeMetrics(), timestamp, Random(1), gate)
    ours, theirs = memory_stream_pair()
    target = f"/ws/orders/dev?token={TOKEN}"
    nursery_of_peers.start_soon(server.serve, ours, Client(theirs, target).head(), target)
    await wait_all_tasks_blocked()
    gate.replace(AuthSettings(), known)
    now += seconds

    assert (await theirs.receive_some()).startswith(b"HTTP/1.1 %d" % status)
    assert (status == 101) == line.held[KEY]
    await theirs.aclose()


async def test_a_drain_ends_whatever_clients_do(autojump_clock: MockClock, wire: Wire) -> None:
    """Some answer, some never answer the close frame, some never read, some are in the middle of a message."""
    for _ in range(10):
        client = await wire.open()
        wire.nursery.start_soon(client.closed)
        silent = await wire.open()
        await silent.message()
        await wire.open(pair=lockstep_stream_pair)
        half = await wire.open()
        await half.stream.send_all(b"\x01\x81\0\0\0\0{")
    await wire.server.drain(5)
    await trio.sleep(wire.settings.write_timeout + wire.settings.close_timeout)

    assert 0 == len(wire.server) == wire.line.held[KEY]
    assert trio.current_time() < 25


async def test_L06_who_comes_and_goes_leaves_nothing_behind(autojump_clock: MockClock, wire: Wire) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    for number in range(200):
        client = wire.connect()
        await client.opened()
        await client.message()
        if number % 2:
            await client.send_event(wsproto.events.CloseConnection(1000))
            await client.closed()
        await client.stream.aclose()
    await trio.sleep(20)

    assert before == trio.lowlevel.current_statistics().tasks_living
    assert 0 == len(wire.server) == wire.line.held.total()
    assert not wire.line.registry.is_wanted(KEY)
    counts = wire.metrics.counts
    assert (
        200
        == counts["connection_opened"]
        == sum(count for name, count in counts.items() if name.startswith("connection_closed"))
    )


async def test_R12_goodbyes_are_spread_over_the_drain(autojump_clock: MockClock, wire: Wire) -> None:
    """No window of 100 ms has more than 5 % of them: who is sent away together comes back together."""
    clients = [await wire.open() for _ in range(300)]
    told: list[float] = []

    async def listen(client: Client) -> None:
        while (await client.message())["type"] != "connection_closing":
            pass
        told.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(listen, client)
        await wire.server.drain(6.0)
    windows = [sum(begin <= moment < begin + 0.1 for moment in told) for begin in told]

    assert len(clients) == len(told)
    assert max(windows) <= 0.05 * len(clients)
    assert max(told) - min(told) <= 6.0


async def test_other_settings_are_for_connections_to_come(autojump_clock: MockClock, wire: Wire) -> None:
    """One that is there keeps its heartbeat, which it was told."""
    first = await wire.open()
    await first.message()
    wire.server.replace(attrs.evolve(wire.settings, heartbeat_interval=1.0, heartbeat_timeout=0.5), 0)
    second = await wire.open()
    await second.message()
    began = trio.current_time()
    ping = await second.message()
    took = trio.current_time() - began
    await first.message()

    assert "ping" == ping["type"]
    assert took <= 1.0 < trio.current_time() - began


# The first write, without tasks.


@attrs.define
class Lone:
    """One connection on sockets, which the server may park at once."""

    wire: Wire
    ours: trio.SocketStream | TlsStream
    theirs: trio.SocketStream | TlsStream

    def below(self, stream: trio.SocketStream | TlsStream) -> socket.socket:
        """The plain socket of one end."""
        return socket.socket(
            fileno=os.dup((stream.tls_socket if isinstance(stream, TlsStream) else stream.socket).fileno())
        )

    def connect(self) -> Client:
        return self.wire.connect(pair=lambda: (self.ours, self.theirs))


@pytest.fixture(params=[("plain", False), ("tls", False), ("tls", True)], ids=["plain", "tls", "tls of a key in use"])
async def lone(request: pytest.FixtureRequest, nursery_of_peers: trio.Nursery) -> AsyncIterator[Lone]:
    kind, is_in_use = request.param
    ours, theirs = PAIRS[kind]()
    wire = Wire(nursery_of_peers, park_after=0.0)
    if is_in_use:
        wire.line.hold(KEY)
    await nursery_of_peers.start(wire.server.park)
    assert isinstance(ours, PARKABLE)
    assert isinstance(theirs, PARKABLE)
    yield Lone(wire, ours, theirs)
    await trio.aclose_forcefully(theirs)


async def test_a_client_without_room_gets_its_first_state_once_there_is_some(
    autojump_clock: MockClock, lone: Lone
) -> None:
    count = 0
    with lone.below(lone.ours) as ours, contextlib.suppress(BlockingIOError):
        while True:
            count += ours.send(b"x" * 4_096, socket.MSG_DONTWAIT)
    client = lone.connect()
    await wait_all_tasks_blocked()
    assert (1, 0) == (len(lone.wire.server), lone.wire.server.parked)
    with lone.below(lone.theirs) as theirs:
        while count:
            count -= len(theirs.recv(count, socket.MSG_DONTWAIT))
    await client.opened()

    assert "config_snapshot" == (await client.message())["type"]
    await trio.sleep(5)
    assert (1, 1) == (lone.wire.metrics.counts["sent config_snapshot"], lone.wire.server.parked)
    lone.wire.publish(1)
    assert "config_change" == (await client.message())["type"]


async def test_a_first_state_that_has_room_in_part_is_written_whole(autojump_clock: MockClock, lone: Lone) -> None:
    """A plain socket takes a part of it, and OpenSSL whole records."""
    lone.wire.line.publish({"filler": "f" * 2_000_000}, KEY)
    client = lone.connect()
    await wait_all_tasks_blocked()
    assert (1, 0) == (len(lone.wire.server), lone.wire.server.parked)
    await client.opened()
    first = await client.message()

    assert ("config_snapshot", 2_000_000) == (first["type"], len(first["config"]["filler"]))
    await trio.sleep(5)
    assert (1, 1) == (lone.wire.metrics.counts["sent config_snapshot"], lone.wire.server.parked)


async def test_a_client_that_has_gone_before_its_first_state_is_lost(autojump_clock: MockClock, lone: Lone) -> None:
    held = lone.wire.line.held[KEY]
    client = lone.connect()
    await trio.aclose_forcefully(client.stream)
    await trio.sleep(5)

    assert (0, held) == (len(lone.wire.server), lone.wire.line.held[KEY])
    assert 1 == lone.wire.metrics.counts["connection_closed lost"]


async def test_bytes_inside_openssl_are_handled_though_the_socket_has_none(
    autojump_clock: MockClock, lone: Lone
) -> None:
    await lone.theirs.send_all(b"h" + frame(0x89, b"behind the head"))
    if isinstance(lone.ours, TlsStream):
        await lone.ours.receive_some(1)
        assert lone.ours.has_unread
    else:
        await lone.ours.receive_some(1)
    client = lone.connect()
    await client.opened()
    while not isinstance(event := await client.event(), wsproto.events.Pong):
        pass

    assert b"behind the head" == event.payload
    await trio.sleep(5)
    assert 1 == lone.wire.server.parked


async def test_a_record_that_comes_in_pieces_wakes_a_parked_connection_only_when_it_is_whole(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, park_after=0.0)
    await nursery_of_peers.start(wire.server.park)
    ours, peer = tls.with_peer()
    nursery_of_peers.start_soon(wire.server.serve, TlsStream(ours), request(), "/ws/orders/dev")
    await wait_all_tasks_blocked()
    assert b"config_snapshot" in peer.decrypt()[0]
    for byte in peer.encrypt(frame(0x89, b"hello")):
        assert b"" == peer.decrypt()[0]
        peer.socket.send(bytes([byte]))
        await wait_all_tasks_blocked()
    assert b"\x8a\x05hello" == peer.decrypt()[0]
    await trio.sleep(5)
    assert 1 == wire.server.parked

    # Half of a record, and no more.
    peer.socket.send(peer.encrypt(frame(0x89, b"again"))[:-1])
    peer.socket.close()
    await trio.sleep(5)
    assert 0 == len(wire.server)
    assert 1 == wire.metrics.counts["connection_closed lost"]


async def test_a_tls_client_of_a_key_in_use_is_answered_without_waiting(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(nursery_of_peers, PAIRS["tls"], park_after=0.0)
    await nursery_of_peers.start(wire.server.park)
    first = await wire.open()
    before = await first.message()
    await wait_all_tasks_blocked()

    async def never(*_: object) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(wire.server._opener, "open", never)
    second = await wire.open()
    await wait_all_tasks_blocked()
    message = await second.message()

    assert before["config"] == message["config"]
    assert (2, 2, 2) == (wire.server.parked, wire.line.held[KEY], wire.metrics.counts["sent config_snapshot"])
    for client in (first, second):
        await trio.aclose_forcefully(client.stream)
    await wait_all_tasks_blocked()
    assert 0 == wire.server.parked == wire.line.held[KEY]


@pytest.mark.parametrize("has_room", [True, False])
async def test_a_large_first_state_of_a_key_in_use_is_written_whole_over_tls(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery, has_room: bool
) -> None:
    wire = Wire(nursery_of_peers, PAIRS["tls"], park_after=0.0)
    await nursery_of_peers.start(wire.server.park)
    wire.line.publish({"filler": "f" * (2_000_000 if not has_room else 20_000)}, KEY)
    await (await wire.open()).message()
    await trio.sleep(5)
    client = wire.connect()
    await wait_all_tasks_blocked()
    assert (2, 2 if has_room else 1) == (len(wire.server), wire.server.parked)
    await client.opened()

    assert "config_snapshot" == (await client.message())["type"]
    await trio.sleep(5)
    assert (2, 2) == (wire.server.parked, wire.metrics.counts["sent config_snapshot"])
    for each in wire.clients:
        await trio.aclose_forcefully(each.stream)


# A client with a newer state.


async def test_a_client_that_is_ahead_waits_awake_and_is_parked_with_the_newer_state(
    autojump_clock: MockClock, lone: Lone
) -> None:
    level = lone.wire.line.level = trio.Event()
    client = lone.wire.connect("/ws/orders/dev?last_version=newer&generation=ab.9", lambda: (lone.ours, lone.theirs))
    await client.opened()
    await trio.sleep(1)
    assert (1, 0) == (len(lone.wire.server), lone.wire.server.parked)
    version = lone.wire.publish(1)
    level.set()

    first = await client.message()
    assert ("config_snapshot", version) == (first["type"], first["version"])
    assert "stale" not in first
    await trio.sleep(5)
    assert (1, 1) == (len(lone.wire.server), lone.wire.server.parked)


async def test_a_client_that_stays_ahead_is_sent_on_and_then_served(autojump_clock: MockClock, lone: Lone) -> None:
    lone.wire.line.level = trio.Event()
    target = "/ws/orders/dev?last_version=newer&generation=ab.9"
    client = lone.wire.connect(target, lambda: (lone.ours, lone.theirs))
    await client.opened()
    assert "connection_closing" == (await client.message())["type"]
    assert 4421 == (await client.closed()).code
    await wait_all_tasks_blocked()
    assert 1 == lone.wire.metrics.counts["connection_closed behind"]

    again = lone.wire.connect(f"{target}&sent_on=1")
    await again.opened()
    first = await again.message()
    assert ("config_snapshot", True) == (first["type"], first["stale"])
