"""A handshake that needs no waiting is served without a task, with the same bytes and the same checks as any other."""

import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.fakes import KEY, Client
from vortexd.auth import ALL_RIGHTS, Authority, Right
from vortexd.fleet import Question
from vortexd.net.head import parse_head
from vortexd.net.proxies import Sender
from vortexd.realtime import recognition, server
from vortexd.settings.auth import AuthSettings

from .test_subscriptions import TOKEN, authority
from .wire import Wire, refusing, socket_stream_pair

ID = "an-id"


class Quick:
    """A server whose lot is open, and clients that have sent their handshakes already."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.left: list[str] = []
        self.sockets: list[socket.socket] = []
        wire.server._leave = self.left.append

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """The server's end and the client's end of a connection. Both are closed after the test."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.sockets += [ours, theirs]
        return ours, theirs

    def knock(self, target: str = "/ws/orders/dev", **members: Any) -> tuple[bool, Client, socket.socket]:
        """Send a handshake and let the server serve it at once. Returns whether it did, and both ends."""
        ours, theirs = self.pair()
        client = Client(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)), target)
        data = client.head(**members)
        theirs.send(data)
        served = self.wire.server.serve_now(ours, data, ID, Sender("192.0.2.1"))
        return served, client, ours

    async def use(self) -> Client:
        """Bring the key into use, and its first messages into the cache."""
        client = await self.wire.open()
        await client.message()
        return client


@pytest.fixture
async def quick(autojump_clock: MockClock) -> AsyncIterator[Quick]:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery)
        await nursery.start(wire.server.park)
        made = Quick(wire)
        yield made
        nursery.cancel_scope.cancel()
    for each in made.sockets:
        each.close()


async def test_a_key_in_use_is_served_at_once_and_the_connection_is_parked(quick: Quick) -> None:
    await quick.use()
    served, client, ours = quick.knock(subprotocols=["vortex.v1"])

    assert served
    assert 1 == quick.wire.server.parked
    assert -1 == ours.fileno()
    assert 2 == quick.wire.line.held[KEY]
    accepted = await client.opened()
    assert "vortex.v1" == accepted.subprotocol
    assert [(b"x-connection-id", ID.encode())] == [*accepted.extra_headers]
    assert ["hello", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
    version = quick.wire.publish(1)
    assert version == (await client.message())["new_version"]


async def test_it_is_logged_counted_listed_and_released_as_any_other_connection(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    await quick.use()
    logged: list[tuple[str, dict[str, Any]]] = []
    # Other tests in this process may have set a level that leaves out this event.
    monkeypatch.setattr(server.log, "debug", lambda event, **values: logged.append((event, values)), raising=False)
    _, client, _ = quick.knock("/ws/orders/dev?instance=one")
    one = next(each for each in quick.wire.server.connected() if each.is_parked)

    assert (KEY, "one", "192.0.2.1", ID) == (one.key, one.instance.name, one.instance.host, one.instance.connection)
    said = {"key": str(KEY), "principal": "anonymous", "connection": ID, "peer": "192.0.2.1"}
    assert ("connection opening", said) == logged[0]
    assert 2 == quick.wire.metrics.counts["connection_opened"]
    assert 2 == quick.wire.metrics.counts["sent config_snapshot"]
    await client.stream.aclose()
    await wait_all_tasks_blocked()
    assert ["192.0.2.1"] == quick.left
    assert 1 == quick.wire.line.held[KEY] == len(quick.wire.server)
    assert 1 == sum(quick.wire.metrics.counts[f"connection_closed {reason}"] for reason in ("lost", "internal"))


async def test_a_client_that_returns_gets_what_it_missed(quick: Quick) -> None:
    await quick.use()
    version = quick.wire.line.version_of(KEY)
    served, client, _ = quick.knock(f"/ws/orders/dev?last_version={version}")

    assert served
    await client.opened()
    assert "in_sync" == (await client.message())["type"]


async def test_the_message_is_compressed_for_a_client_that_asks_for_it(quick: Quick) -> None:
    await quick.use()
    ours, theirs = quick.pair()
    data = Client(memory_stream_pair()[0]).head()
    data = data[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    theirs.send(data)

    assert quick.wire.server.serve_now(ours, data, ID, Sender("192.0.2.1"))
    answer, _, frame = theirs.recv(65_536).partition(b"\r\n\r\n")
    assert b"Sec-WebSocket-Extensions: permessage-deflate" in answer
    # FIN, RSV1 and a text frame.
    assert 0xC1 == frame[0]


@pytest.mark.parametrize(
    "target",
    [
        "/ws/billing/dev",
        "/ws/orders/dev?label=other",
        "/ws/orders/dev/extra",
        "/ws/orders/dev?label=main&label=main",
        "/ws/orders/dev?instance=%20x",
    ],
    ids=["not in use", "unknown label", "no such path", "a parameter twice", "invalid instance"],
)
async def test_everything_else_is_left_to_the_task_and_has_had_no_effect(quick: Quick, target: str) -> None:
    await quick.use()
    before = dict(quick.wire.metrics.counts)
    served, _, ours = quick.knock(target)

    assert not served
    assert before == dict(quick.wire.metrics.counts)
    assert 1 == len(quick.wire.server)
    # The head is still there for the task.
    assert ours.recv(4, socket.MSG_PEEK) == b"GET "


@pytest.mark.parametrize(
    "change",
    [
        (b"Host:", b"Host: localhost\r\nHost:"),
        (b"Host:", b"Host: evil.example\r\nX:"),
        (b"Host:", b"Origin: http://evil.example\r\nHost:"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
    ],
    ids=["two Hosts", "another Host", "another Origin", "no WebSocket"],
)
async def test_a_head_that_must_be_refused_is_left_to_the_task(quick: Quick, change: tuple[bytes, bytes]) -> None:
    await quick.use()
    quick.wire.gate.replace(AuthSettings(hosts=("localhost",)), Authority(anonymous=ALL_RIGHTS))
    data = Client(memory_stream_pair()[0]).head()
    for each, is_served in ((data, True), (data.replace(*change), False)):
        ours, theirs = quick.pair()
        theirs.send(each)

        assert is_served == quick.wire.server.serve_now(ours, each, ID, Sender("192.0.2.1"))


async def test_the_bytes_before_the_head_are_discarded_and_those_behind_it_are_kept(quick: Quick) -> None:
    await quick.use()
    ours, theirs = quick.pair()
    data = Client(memory_stream_pair()[0]).head()
    ping = b"\x89\x80\0\0\0\0"
    theirs.send(b"before" + data + ping)

    assert quick.wire.server.serve_now(ours, data, ID, Sender("192.0.2.1"), None, len(b"before"))
    assert theirs.recv(65_536).startswith(b"HTTP/1.1 101 ")
    await wait_all_tasks_blocked()
    # The answer to the ping.
    assert b"\x8a\x00" == theirs.recv(65_536)


async def test_a_head_that_the_caller_has_parsed_is_not_parsed_again(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    await quick.use()
    ours, theirs = quick.pair()
    data = Client(memory_stream_pair()[0]).head()
    theirs.send(data)
    head = parse_head(data)
    monkeypatch.setattr(recognition, "parse_head", None)

    assert quick.wire.server.serve_now(ours, data, ID, Sender("192.0.2.1", "https"), head)
    assert theirs.recv(65_536).startswith(b"HTTP/1.1 101 ")


async def test_a_first_message_that_must_be_made_is_left_to_the_task(quick: Quick) -> None:
    await quick.use()
    quick.wire.line.is_ready = False

    assert not quick.knock()[0]
    assert 1 == quick.wire.line.held[KEY]


async def test_a_removed_key_is_left_to_the_task(quick: Quick) -> None:
    await quick.use()
    quick.wire.line.publish(None)
    quick.wire.line.in_use = lambda key: KEY  # type: ignore[method-assign]

    assert not quick.knock()[0]


async def test_without_a_parking_lot_and_in_a_drain_nothing_is_served_at_once(quick: Quick) -> None:
    await quick.use()
    await quick.wire.server.drain(0)

    assert not quick.knock()[0]


async def test_connections_that_are_never_parked_need_a_task(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, park_after=float("inf"))
        await nursery.start(wire.server.park)
        quick = Quick(wire)
        await quick.use()

        assert not quick.knock()[0]
        nursery.cancel_scope.cancel()
    for each in quick.sockets:
        each.close()


async def test_before_the_first_state_it_is_left_to_the_task(quick: Quick) -> None:
    await quick.use()
    quick.wire.line.default_label = None

    assert not quick.knock()[0]


async def test_a_client_that_has_left_is_counted_out(quick: Quick) -> None:
    await quick.use()
    ours, theirs = quick.pair()
    data = Client(memory_stream_pair()[0]).head()
    theirs.send(data)
    ours.shutdown(socket.SHUT_WR)

    assert quick.wire.server.serve_now(ours, data, ID, Sender("192.0.2.1"))
    assert -1 == ours.fileno()
    assert ["192.0.2.1"] == quick.left
    assert 1 == quick.wire.line.held[KEY] == len(quick.wire.server)


async def test_the_rest_of_a_message_that_does_not_fit_is_written_by_a_task(quick: Quick) -> None:
    quick.wire.line.publish({"long": "x" * 1_000_000})
    await quick.use()
    served, client, _ = quick.knock()

    assert served
    assert 0 == quick.wire.server.parked
    await client.opened()
    assert 1_000_000 == len((await client.message())["config"]["long"])


# If the system can't watch the socket of a connection, a task serves the connection.


@pytest.mark.parametrize("length", [10, 1_000_000])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
async def test_a_connection_that_can_not_be_watched_is_served_by_a_task(quick: Quick, length: int, number: int) -> None:
    quick.wire.line.publish({"long": "x" * length})
    await quick.use()
    _, parked, _ = quick.knock()
    await parked.opened()
    await parked.message()
    await trio.sleep(3)
    assert (1, 2) == (quick.wire.server.parked, len(quick.wire.server))
    epoll = refusing(quick.wire)
    epoll.error = OSError(number, "no")
    with capture_logs() as logs:
        served, client, ours = quick.knock()
        again, other, _ = quick.knock()
    assert (True, True, -1) == (served, again, ours.fileno())
    warnings = [each for each in logs if each["log_level"] == "warning"]
    assert [("connections not parked", f"[Errno {number}] no")] == [
        (each["event"], each["reason"]) for each in warnings
    ]
    assert "keep their tasks" in warnings[0]["consequence"]
    for each in (client, other):
        await each.opened()
        assert length == len((await each.message())["config"]["long"])
    await trio.sleep(3)
    # Neither of them is parked later, and the others stay parked.
    assert (1, 4) == (quick.wire.server.parked, len(quick.wire.server))

    quick.wire.publish(1)
    for each in (parked, client, other):
        assert "config_change" == (await each.message())["type"]
    await client.stream.aclose()
    await wait_all_tasks_blocked()
    assert ["192.0.2.1"] == quick.left
    assert 3 == len(quick.wire.server) == quick.wire.line.held[KEY]


async def test_the_log_names_the_first_connection_in_a_row_that_can_not_be_watched(quick: Quick) -> None:
    await quick.use()
    epoll = refusing(quick.wire)
    error = epoll.error
    with capture_logs() as logs:
        for epoll.error in (error, error, None, error, None):
            assert quick.knock()[0]
    assert 2 == sum(each["event"] == "connections not parked" for each in logs)


# With tokens. The parametrized reasons are those of `authority`.


async def guarded(quick: Quick, known: Authority, limit: int = 0) -> None:
    """Use the key first, then require a token."""
    await quick.use()
    quick.wire.gate.replace(AuthSettings(failure_burst=1), known)
    quick.wire.server.replace(quick.wire.settings, limit)


@pytest.mark.parametrize(
    ("known", "token", "is_served"),
    [
        (authority("*"), TOKEN, True),
        (authority("orders"), TOKEN, True),
        (authority("billing"), TOKEN, False),
        (authority("*", rights=frozenset({Right.READ})), TOKEN, False),
        (authority("*", expires_at=999.0), TOKEN, False),
        (authority("*"), "vt_" + "w" * 43, False),
        (authority("*"), "", False),
    ],
    ids=["all", "its application", "another application", "another right", "expired", "wrong token", "no token"],
)
async def test_only_a_client_with_the_right_is_served_at_once(
    quick: Quick, known: Authority, token: str, is_served: bool
) -> None:
    await guarded(quick, known)

    assert is_served == quick.knock(f"/ws/orders/dev?token={token}")[0]


@pytest.mark.parametrize(
    ("rights", "query", "is_mute"),
    [
        ({Right.SUBSCRIBE, Right.REPORT}, "&instance=one", False),
        ({Right.SUBSCRIBE}, "&instance=one", True),
        ({Right.SUBSCRIBE}, "", False),
    ],
)
async def test_the_fleet_knows_whether_an_instance_may_acknowledge(
    quick: Quick, rights: set[Right], query: str, is_mute: bool
) -> None:
    await guarded(quick, authority("*", rights=frozenset(rights)))
    assert quick.knock(f"/ws/orders/dev?token={TOKEN}{query}")[0]
    page = quick.wire.fleet.page(Question((KEY,)), 0.0)

    assert is_mute == any(each.is_mute for each in page.keys[0].instances)


async def test_a_wrong_token_is_counted_once_by_the_task_that_refuses_it(quick: Quick) -> None:
    await guarded(quick, authority("*"))
    target = "/ws/orders/dev?token=vt_" + "w" * 43
    for _ in range(3):
        assert not quick.knock(target)[0]
    statuses = []
    for _ in range(2):
        client = quick.wire.connect(target, socket_stream_pair)
        statuses.append((await client.refused())[0])
        await client.stream.aclose()

    assert [401, 429] == statuses


async def test_connections_beyond_the_limit_of_a_token_are_left_to_the_task(quick: Quick) -> None:
    await guarded(quick, authority("*"), limit=2)
    target = f"/ws/orders/dev?token={TOKEN}"

    assert [True, True, False] == [quick.knock(target)[0] for _ in range(3)]
