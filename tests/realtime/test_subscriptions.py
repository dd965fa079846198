"""Patterns, rights, hello and compression on a connection."""

import json
import math
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.extensions import PerMessageDeflate

from tests.fakes import KEY, Client, timestamp
from tests.realtime.wire import Wire, frame, lockstep, socket_stream_pair
from vortexd.auth import Authority, Gate, Grant, Kind, Principal, Right
from vortexd.auth.tokens import Token, Tokens, digest_of
from vortexd.core.errors import RefusedLabel, RemoteError, UnknownLabel
from vortexd.core.model import Config, Key
from vortexd.core.patterns import parse_pattern
from vortexd.net.proxies import Sender
from vortexd.realtime.server import WebSocketServer
from vortexd.settings.auth import AuthSettings

BILLING = Key("billing", "dev", "main")
SEARCH = Key("search", "dev", "main")


@pytest.fixture(params=[0.0, 0.5, math.inf], ids=["parked at once", "parked after a while", "never parked"])
async def wire(autojump_clock: MockClock, request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """What a client sees must be the same, wherever its connection is."""
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, socket_stream_pair, park_after=request.param)
        await nursery.start(wire.server.park)
        yield wire
        for client in wire.clients:
            await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


async def ask(client: Client, **message: Any) -> dict[str, Any]:
    await client.send(message)
    return await client.message()


async def begun(wire: Wire, target: str = "/ws/orders/dev") -> Client:
    client = await wire.open(target)
    assert "config_snapshot" == (await client.message())["type"]
    return client


async def test_subscribing_is_confirmed_and_then_each_state_follows(wire: Wire) -> None:
    client = await begun(wire)
    confirmed = await ask(client, type="subscribe", patterns=["billing:*"])
    state = await client.message()

    assert ("subscribed", ["billing:*:*"]) == (confirmed["type"], confirmed["patterns"])
    assert ("config_snapshot", "billing", {"b": 1}) == (state["type"], state["app"], state["config"])
    wire.publish(1, BILLING)
    assert "billing" == (await client.message())["app"]


async def test_what_the_client_has_already_is_not_sent_again(wire: Wire) -> None:
    client = await begun(wire)
    assert "subscribed" == (await ask(client, type="subscribe", patterns=["*"]))["type"]
    assert "billing" == (await client.message())["app"]
    assert "subscribed" == (await ask(client, type="subscribe", patterns=["orders", "*"]))["type"]
    wire.publish(1)

    message = await client.message()
    assert ("config_change", "orders") == (message["type"], message["app"])


async def test_a_key_that_begins_later_is_sent_whole_then_by_its_changes_then_removed(wire: Wire) -> None:
    client = await begun(wire)
    await ask(client, type="subscribe", patterns=["search"])
    wire.publish(1, SEARCH)
    first = await client.message()
    wire.publish(2, SEARCH)
    second = await client.message()
    wire.line.publish(None, SEARCH)
    last = await client.message()

    assert ["config_snapshot", "config_change", "config_removed"] == [each["type"] for each in (first, second, last)]
    assert first["version"] == second["old_version"]
    assert second["new_version"] == last["old_version"]
    wire.publish(3, SEARCH)
    assert "config_snapshot" == (await client.message())["type"]


async def test_unsubscribing_ends_what_no_other_pattern_holds(wire: Wire) -> None:
    client = await begun(wire)
    await ask(client, type="subscribe", patterns=["billing", "bill*", "search"])
    await client.message()
    ended = await ask(client, type="unsubscribe", patterns=["billing", "search", "never"])
    assert ["billing:*:*", "search:*:*", "never:*:*"] == ended["patterns"]

    wire.publish(1, BILLING)
    assert "billing" == (await client.message())["app"]
    await ask(client, type="unsubscribe", patterns=["bill*"])
    wire.publish(2, BILLING)
    wire.publish(3)
    assert "orders" == (await client.message())["app"]


async def test_the_main_subscription_outlives_every_pattern(wire: Wire) -> None:
    client = await begun(wire)
    await ask(client, type="subscribe", patterns=["orders"])
    await ask(client, type="unsubscribe", patterns=["orders"])
    wire.publish(1)

    message = await client.message()
    assert ("config_change", "orders") == (message["type"], message["app"])


@pytest.mark.parametrize("mode", [{}, {"mode": "diff"}])
@pytest.mark.parametrize("last_version", [None, "v"])
async def test_a_resync_of_a_key_that_ends_on_the_way_is_told_so(
    autojump_clock: MockClock, mode: dict[str, str], last_version: str | None
) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery)
        client = await lockstep(wire)
        await client.message()
        await ask(client, type="subscribe", patterns=["billing"])
        assert "billing" == (await client.message())["app"]
        await wait_all_tasks_blocked()
        wire.publish(1)
        await client.send({"type": "resync", "app": "billing", "last_version": last_version, **mode})
        await wait_all_tasks_blocked()
        wire.line.publish(None, BILLING)
        told = [await client.message(), await client.message()]
        nursery.cancel_scope.cancel()

    assert [("config_change", "orders"), ("config_removed", "billing")] == [
        (each["type"], each["app"]) for each in told
    ]
    assert last_version == told[1]["old_version"]


async def test_an_old_resync_says_nothing_of_a_subscription_that_is_new(autojump_clock: MockClock) -> None:
    """The key ends before the client, which has asked for it anew, is told that it is there."""
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery)
        client = await lockstep(wire)
        await client.message()
        await ask(client, type="subscribe", patterns=["billing"])
        await client.message()
        await wait_all_tasks_blocked()
        wire.publish(1)
        await client.send({"type": "resync", "app": "billing"})
        await client.send({"type": "unsubscribe", "patterns": ["billing"]})
        await client.send({"type": "subscribe", "patterns": ["billing"]})
        await wait_all_tasks_blocked()
        wire.line.publish(None, BILLING)
        told = [(await client.message())["type"] for _ in range(3)]
        wire.publish(2)
        last = await client.message()
        nursery.cancel_scope.cancel()

    assert ["config_change", "unsubscribed", "subscribed"] == told
    assert ("config_change", "orders") == (last["type"], last["app"])


async def test_a_subscription_may_be_resynced_and_others_may_not(wire: Wire) -> None:
    client = await begun(wire)
    refused = await ask(client, type="resync", app="billing")
    await ask(client, type="subscribe", patterns=["billing"])
    state = await client.message()
    again = await ask(client, type="resync", app="billing", last_version=state["version"])

    assert ("error", "SUBSCRIPTION_FAILED") == (refused["type"], refused["code"])
    assert ("in_sync", "billing") == (again["type"], again["app"])


async def test_a_client_that_lags_is_brought_up_to_date_with_every_key(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, queue_messages=2)
        client = await begun(wire)
        await ask(client, type="subscribe", patterns=["*"])
        await client.message()
        for number in range(1, 6):
            wire.publish(number)
            wire.publish(number, BILLING)
        newest = {wire.line.version_of(key) for key in (KEY, BILLING)}
        messages: list[dict[str, Any]] = []
        while not newest <= {each.get("new_version", each.get("version")) for each in messages}:
            messages.append(await client.message())
        nursery.cancel_scope.cancel()

    assert "lagged" in [each["type"] for each in messages]
    assert len(messages) < 10


async def test_a_connection_that_ends_leaves_no_pattern_behind(wire: Wire) -> None:
    client = await begun(wire)
    await ask(client, type="subscribe", patterns=["search"])
    await client.stream.aclose()
    await wait_all_tasks_blocked()
    wire.publish(1, SEARCH)

    assert not wire.line.registry.is_wanted(SEARCH)


async def test_more_keys_than_allowed_are_refused(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, keys=1)
        client = await begun(wire)
        refused = await ask(client, type="subscribe", patterns=["*"])
        nursery.cancel_scope.cancel()

    assert "SUBSCRIPTION_FAILED" == refused["code"]


# How many different patterns there may be.


class Few(Wire):
    """A server with a quota of patterns, and clients of several addresses.

    Attributes:
        park_after: As the tests of this module have it.
    """

    async def begin(self, host: str = "192.0.2.1") -> Client:
        ours, theirs = self.pair()
        client = Client(theirs, "/ws/orders/dev")
        self.clients.append(client)
        self.nursery.start_soon(self.server.serve, ours, client.head(), client.target, None, Sender(host))
        await client.opened()
        assert "config_snapshot" == (await client.message())["type"]
        return client

    async def end(self, client: Client) -> None:
        await trio.aclose_forcefully(client.stream)
        await trio.sleep(15)


@pytest.fixture(params=[0.0, 0.5, math.inf], ids=["parked at once", "parked after a while", "never parked"])
async def few(autojump_clock: MockClock, request: pytest.FixtureRequest) -> AsyncIterator[Few]:
    async with trio.open_nursery() as nursery:
        few = Few(
            nursery,
            socket_stream_pair,
            park_after=request.param,
            heartbeat_interval=10_000.0,
            distinct_patterns=5,
            distinct_patterns_per_owner=3,
        )
        await nursery.start(few.server.park)
        yield few
        for client in few.clients:
            await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


async def is_subscribed(client: Client, *patterns: str) -> bool:
    answer = await ask(client, type="subscribe", patterns=patterns)
    await trio.sleep(15)
    assert answer["type"] == "subscribed" or answer["code"] == "SUBSCRIPTION_FAILED"
    return bool(answer["type"] == "subscribed")


async def test_the_connections_of_an_address_share_its_patterns_and_others_have_their_own(
    autojump_clock: MockClock, few: Few
) -> None:
    one, two, other = await few.begin(), await few.begin(), await few.begin("192.0.2.2")
    assert await is_subscribed(one, "a", "b")
    refused = await ask(two, type="subscribe", patterns=["c", "d"])
    assert "SUBSCRIPTION_FAILED" == refused["code"]
    assert "at most 3 different patterns for all connections of this address" == refused["message"]
    assert await is_subscribed(two, "c", "b")
    assert not await is_subscribed(one, "d")
    assert await is_subscribed(other, "d", "e")
    assert not await is_subscribed(other, "f")
    few.publish(1)

    # Nobody has lost anything by a refusal.
    for client in (one, two, other):
        assert "config_change" == (await client.message())["type"]


async def test_what_was_refused_is_not_in_force(autojump_clock: MockClock, few: Few) -> None:
    client = await few.begin()
    assert not await is_subscribed(client, "a", "b", "c", "billing")
    few.publish(1, BILLING)
    few.publish(1)

    assert "orders" == (await client.message())["app"]
    assert await is_subscribed(client, "a", "b", "c")


@pytest.mark.parametrize("end", ["unsubscribe", "leave"])
async def test_patterns_that_end_leave_room_for_others_but_not_those_of_another_connection(
    autojump_clock: MockClock, few: Few, end: str
) -> None:
    one, two = await few.begin(), await few.begin()
    assert await is_subscribed(one, "a", "b", "c")
    assert await is_subscribed(two, "a")
    if end == "unsubscribe":
        # What isn't in force, or stands there twice, counts for nothing.
        assert "unsubscribed" == (await ask(one, type="unsubscribe", patterns=["a", "b", "c"]))["type"]
        assert "unsubscribed" == (await ask(one, type="unsubscribe", patterns=["a", "a", "never"]))["type"]
    else:
        await few.end(one)
    assert not await is_subscribed(two, "d", "e", "f")
    assert await is_subscribed(two, "d", "e")
    await few.end(two)
    await few.end(one)

    assert 0 == len(few.server._quota)
    assert {} == few.server._quota._owners


async def test_a_subscription_that_fails_for_another_reason_takes_no_room(autojump_clock: MockClock, few: Few) -> None:
    client = await few.begin()
    for _ in range(3):
        few.line.refusal = RemoteError("too many keys")
        assert not await is_subscribed(client, "a", "b", "c")
        few.line.refusal = None
        assert await is_subscribed(client, "d", "e", "f")
        assert "unsubscribed" == (await ask(client, type="unsubscribe", patterns=["d", "e", "f"]))["type"]


async def test_other_limits_of_patterns_hold_at_once(autojump_clock: MockClock, few: Few) -> None:
    client = await few.begin()
    assert await is_subscribed(client, "a", "b", "c")
    few.server.replace(attrs.evolve(few.settings, distinct_patterns=5, distinct_patterns_per_owner=4), 0)
    assert await is_subscribed(client, "d")
    few.server.replace(attrs.evolve(few.settings, distinct_patterns=4, distinct_patterns_per_owner=9), 0)
    assert not await is_subscribed(client, "e")


async def test_the_operator_is_told_which_setting_refuses(autojump_clock: MockClock, few: Few) -> None:
    clients = [await few.begin(f"192.0.2.{number}") for number in range(2)]
    with capture_logs() as logs:
        assert not await is_subscribed(clients[0], "a", "b", "c", "d")
        assert await is_subscribed(clients[0], "a", "b", "c")
        assert not await is_subscribed(clients[1], "d", "e", "f")

    event = {"event": "patterns refused", "log_level": "warning"}
    assert [
        {"setting": "realtime.distinct_patterns_per_owner", "limit": 3, "patterns": 0, **event},
        {"setting": "realtime.distinct_patterns", "limit": 5, "patterns": 3, **event},
    ] == [each for each in logs if each["event"] == "patterns refused"]


async def test_a_right_that_is_withdrawn_while_a_subscription_waits_takes_it_along(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    wire = Guarded(nursery, authority("*"))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    wire.line.entrance = trio.Event()
    await client.send({"type": "subscribe", "patterns": ["billing", "search"]})
    await wait_all_tasks_blocked()
    wire.reload(authority("orders", "search"))
    lost = await client.message()
    wire.line.entrance.set()
    confirmed = await client.message()
    wire.publish(1, BILLING)
    wire.publish(1, SEARCH)

    assert ("unsubscribed", ["billing:*:*"]) == (lost["type"], lost["patterns"])
    assert ("subscribed", ["search:*:*"]) == (confirmed["type"], confirmed["patterns"])
    assert "search" == (await client.message())["app"]
    assert not wire.line.registry.is_matched(BILLING)
    assert 1 == len(wire.server._quota)


async def test_a_right_that_is_withdrawn_while_a_subscription_fails_gives_its_room_back_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    wire = Guarded(nursery, authority("*"))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    wire.line.entrance, wire.line.refusal = trio.Event(), RemoteError("too many keys")
    await client.send({"type": "subscribe", "patterns": ["billing", "search"]})
    await wait_all_tasks_blocked()
    wire.reload(authority("orders", "search"))
    assert "unsubscribed" == (await client.message())["type"]
    wire.line.entrance.set()
    assert "SUBSCRIPTION_FAILED" == (await client.message())["code"]

    assert (0, {}) == (len(wire.server._quota), wire.server._quota._owners)


@pytest.mark.parametrize(("change", "status"), [("revoked", 401), ("narrowed", 403), ("stopping", 503)])
async def test_a_handshake_is_judged_by_what_is_in_force_when_its_key_has_been_matched(
    autojump_clock: MockClock, nursery: trio.Nursery, change: str, status: int
) -> None:
    wire = Guarded(nursery, authority("*"))
    wire.line.doorway = trio.Event()
    ours, theirs = wire.pair()
    client = Client(theirs, f"/ws/orders/dev?token={TOKEN}")
    nursery.start_soon(wire.server.serve, ours, client.head(), client.target)
    await wait_all_tasks_blocked()
    if change == "revoked":
        wire.reload(Authority(Tokens([])))
    elif change == "narrowed":
        wire.reload(authority("billing"))
    else:
        nursery.start_soon(wire.server.drain, 1)
        await wait_all_tasks_blocked()
    wire.line.doorway.set()

    assert status == (await client.refused())[0]
    assert 0 == wire.line.held.total()


async def test_patterns_count_for_the_token_wherever_its_connections_come_from(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    wire = Guarded(nursery, authority("*"))
    wire.server.replace(attrs.evolve(wire.settings, distinct_patterns_per_owner=2), 0)
    clients = []
    for host in ("192.0.2.1", "192.0.2.2"):
        ours, theirs = wire.pair()
        clients.append(client := Client(theirs, f"/ws/orders/dev?token={TOKEN}"))
        nursery.start_soon(wire.server.serve, ours, client.head(), client.target, None, Sender(host))
        await client.opened()
        assert "config_snapshot" == (await client.message())["type"]
    assert "subscribed" == (await ask(clients[0], type="subscribe", patterns=["a", "b"]))["type"]
    refused = await ask(clients[1], type="subscribe", patterns=["c"])

    assert "at most 2 different patterns for all connections of this token" == refused["message"]


# The subprotocol and compression.


async def test_a_client_of_the_subprotocol_is_told_first_what_it_talks_to(wire: Wire) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client = Client(theirs, "/ws/orders/dev")
    wire.nursery.start_soon(wire.server.serve, ours, client.head(subprotocols=["vortex.v1"]), client.target, "an-id")
    accepted = await client.opened()
    hello, state = await client.message(), await client.message()

    assert "vortex.v1" == accepted.subprotocol
    assert (b"x-connection-id", b"an-id") in [(name.lower(), value) for name, value in accepted.extra_headers]
    assert {
        "type": "hello",
        "schema": 1,
        "timestamp": hello["timestamp"],
        "connection_id": "an-id",
        "server": hello["server"],
        "protocol": 1,
        "heartbeat_interval_ms": 30_000,
        "heartbeat_timeout_ms": 10_000,
        "resume": "snapshot",
    } == hello
    assert "config_snapshot" == state["type"]


async def greeted(wire: Wire, target: str, *said: bytes) -> Client:
    """A client of the subprotocol that says something right behind its handshake."""
    ours, theirs = socket_stream_pair()
    client = Client(theirs, target)
    wire.clients.append(client)
    head = client.head(subprotocols=["vortex.v1"])
    wire.nursery.start_soon(wire.server.serve, ours, head + b"".join(said), target)
    return client


ONES, TWOS = ({f"k{number}": value for number in range(200)} for value in (1, 2))


@pytest.mark.parametrize(
    ("had", "kind", "resume"),
    [
        ("nothing", "config_snapshot", "snapshot"),
        ("what nobody knows", "config_snapshot", "snapshot"),
        ("the newest", "in_sync", "in_sync"),
        ("a former one", "config_change", "diff"),
        ("one from which the patch is too long", "config_snapshot", "snapshot"),
    ],
)
async def test_what_hello_announces_is_what_comes_and_what_is_counted(
    wire: Wire, had: str, kind: str, resume: str
) -> None:
    documents = {"one from which the patch is too long": ONES, "a former one": TWOS | {"k0": 1}, "the newest": TWOS}
    versions = {"what nobody knows": "0123456789abcdef"}
    for name, document in documents.items():
        published = wire.line.publish(dict(document))
        assert published is not None
        versions[name] = published.version
    asked = f"?last_version={versions[had]}" if had in versions else ""
    client = await greeted(wire, f"/ws/orders/dev{asked}")
    await client.opened()
    hello, state = await client.message(), await client.message()
    await wait_all_tasks_blocked()

    assert ("hello", resume, kind) == (hello["type"], hello["resume"], state["type"])
    assert [f"sent {kind}"] == [name for name in wire.metrics.counts if name.startswith("sent ")]
    assert 1 == wire.metrics.counts[f"sent {kind}"]


async def test_hello_announces_what_comes_if_that_changes_on_the_way(wire: Wire) -> None:
    version = wire.line.version_of(KEY)
    gate = wire.line.gate = trio.Event()
    client = await greeted(wire, f"/ws/orders/dev?last_version={version}")
    await wait_all_tasks_blocked()
    newest = wire.publish(1)
    gate.set()
    await client.opened()
    hello, state = await client.message(), await client.message()

    # With tasks the client is first told that it had the state from before.
    assert (hello["resume"], state["type"]) in (("diff", "config_change"), ("in_sync", "in_sync"))
    if state["type"] == "in_sync":
        state = await client.message()
    assert ("config_change", version, newest) == (state["type"], state["old_version"], state["new_version"])


async def test_hello_announces_that_the_key_has_ended(wire: Wire) -> None:
    gate = wire.line.gate = trio.Event()
    client = await greeted(wire, "/ws/orders/dev?last_version=v")
    await wait_all_tasks_blocked()
    wire.line.gate = None
    wire.line.publish(None)
    gate.set()
    await client.opened()
    told = [await client.message(), await client.message()]

    assert "hello" == told[0]["type"]
    assert (told[0]["resume"], told[1]["type"]) in (("removed", "config_removed"), ("snapshot", "config_snapshot"))


async def test_nothing_is_said_before_hello(wire: Wire) -> None:
    gate = wire.line.gate = trio.Event()
    client = await greeted(wire, "/ws/orders/dev", frame(0x81, b'{"type":"dance"}'), frame(0x81, b'{"type":"resync"}'))
    await client.opened()
    await wait_all_tasks_blocked()
    wire.nursery.start_soon(wire.server.drain, 0.0)
    await wait_all_tasks_blocked()
    gate.set()

    assert ["hello", "config_snapshot", "connection_closing"] == [(await client.message())["type"] for _ in range(3)]


async def test_hello_comes_once_where_the_first_state_is_too_long_for_one_write(wire: Wire) -> None:
    wire.line.publish({"padding": "p" * 3_000_000})
    client = await greeted(wire, "/ws/orders/dev")
    await client.opened()
    hello, state = await client.message(), await client.message()
    wire.line.publish({"padding": ""})
    change = await client.message()

    assert ["hello", "config_snapshot", "config_change"] == [each["type"] for each in (hello, state, change)]
    assert 3_000_000 == len(state["config"]["padding"])
    assert 1 == wire.metrics.counts["sent config_snapshot"]


async def test_a_client_that_compresses_is_sent_less_and_reads_the_same(wire: Wire) -> None:
    class Counting(trio.abc.Stream):
        def __init__(self, inner: trio.abc.Stream) -> None:
            self.inner, self.count = inner, 0

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await self.inner.send_all(data)

        async def wait_send_all_might_not_block(self) -> None:
            await self.inner.wait_send_all_might_not_block()

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            data = bytes(await self.inner.receive_some(max_bytes))
            self.count += len(data)
            return data

        async def aclose(self) -> None:
            await self.inner.aclose()

    wire.line.publish({"padding": "p" * 5_000, "number": 0})
    counts = []
    for extensions in ([], [PerMessageDeflate()]):
        ours, theirs = trio.testing.memory_stream_pair()
        stream = Counting(theirs)
        client = Client(stream, "/ws/orders/dev")
        head = client.head(extensions=extensions)
        wire.nursery.start_soon(wire.server.serve, ours, head, client.target)
        await client.opened()
        assert 5_000 == len((await client.message())["config"]["padding"])
        await client.send({"type": "ping", "padding": "p" * 200})
        assert "pong" == (await client.message())["type"]
        counts.append(stream.count)

    assert counts[1] < counts[0] / 5


# Rights.

TOKEN, OTHER = "vt_" + "a" * 43, "vt_" + "b" * 43


def authority(*patterns: str, expires_at: float | None = None, rights: frozenset[Right] | None = None) -> Authority:
    """One that knows TOKEN, with the right to subscribe to some patterns."""
    grants = (Grant(rights or frozenset({Right.SUBSCRIBE}), tuple(map(parse_pattern, patterns))),)
    digest = digest_of(TOKEN)
    return Authority(Tokens([Token(digest, Principal("ci", Kind.TOKEN, grants, expires_at, digest))]))


class Guarded(Wire):
    """A server that asks for a token; its clock is `now`."""

    def __init__(self, nursery: trio.Nursery, known: Authority, **settings: Any) -> None:
        super().__init__(nursery)
        self.now = 0.0
        auth = AuthSettings(**settings)
        self.gate = Gate(auth, known, [], lambda: self.now, trio.current_time)
        self.server = WebSocketServer(
            self.line,
            self.line.registry,
            self.settings,
            self.metrics,
            timestamp,
            Random(1),
            self.gate,
            auth.connections_per_token,
        )

    def reload(self, known: Authority) -> None:
        self.gate.replace(AuthSettings(), known)
        self.server.recheck()

    async def refused(self, target: str = "/ws/orders/dev", **members: Any) -> tuple[int, dict[str, Any]]:
        ours, theirs = trio.testing.memory_stream_pair()
        client = Client(theirs, target)
        self.nursery.start_soon(self.server.serve, ours, client.head(**members), target)
        return await client.refused()


@pytest.fixture
async def nursery(autojump_clock: MockClock) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("target", "members"),
    [
        (f"/ws/orders/dev?token={TOKEN}", {}),
        ("/ws/orders/dev", {"subprotocols": ["vortex.v1", f"bearer.{TOKEN}"]}),
        ("/ws/orders/dev", {"extra_headers": [(b"Authorization", b"Bearer " + TOKEN.encode())]}),
    ],
)
async def test_a_token_opens_wherever_it_is(nursery: trio.Nursery, target: str, members: dict[str, Any]) -> None:
    wire = Guarded(nursery, authority("*"))
    ours, theirs = trio.testing.memory_stream_pair()
    client = Client(theirs, target)
    nursery.start_soon(wire.server.serve, ours, client.head(**members), target)
    accepted = await client.opened()

    assert not any(TOKEN.encode() in value for _, value in accepted.extra_headers)
    assert (accepted.subprotocol or "vortex.v1") == "vortex.v1"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param("/ws/orders/dev", 401, id="W03 none"),
        pytest.param(f"/ws/orders/dev?token={OTHER}", 401, id="W03 wrong"),
        pytest.param("/ws/orders/dev?token=", 401, id="T04 empty"),
        pytest.param(f"/ws/orders/dev?token={TOKEN}&token={OTHER}", 401, id="T04 two"),
        pytest.param(f"/ws/billing/dev?token={TOKEN}", 403, id="M12 another application"),
        pytest.param(f"/ws/orders,billing/dev?token={TOKEN}", 403, id="T09 several applications"),
        pytest.param(f"/ws/orders/dev,prod?token={TOKEN}", 403, id="T09 several profiles"),
        pytest.param(f"/ws/made-up/dev?token={TOKEN}", 403, id="M13 unknown application"),
        pytest.param("/ws/..%2Fetc/dev", 401, id="P17 who isn't let in learns nothing"),
    ],
)
async def test_who_may_not_is_refused_before_the_upgrade(nursery: trio.Nursery, target: str, status: int) -> None:
    wire = Guarded(nursery, authority("orders:dev"))
    found, body = await wire.refused(target)

    assert status == found
    assert TOKEN not in json.dumps(body)


@pytest.mark.parametrize(
    ("patterns", "named"),
    [(["orders:dev"], "; there are dev, trunk"), (["orders:dev:main", "orders:dev:trunk"], "; there are trunk")],
)
async def test_H12_without_a_default_label_those_are_named_that_the_token_may_have(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, patterns: list[str], named: str
) -> None:
    wire = Guarded(nursery, authority(*patterns))

    async def read(key: Key) -> Config:
        others = [attrs.evolve(key, label=label) for label in ("dev", "trunk")]
        raise UnknownLabel("there is no default label", alternatives=others)

    monkeypatch.setattr(wire.line, "read", read)
    status, body = await wire.refused(f"/ws/orders/dev?token={TOKEN}")

    assert (404, "there is no default label" + named) == (status, body["message"])


async def test_a_label_that_was_never_served_because_of_the_gate_is_refused_with_503(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Guarded(nursery, authority("orders"))

    async def read(key: Key) -> Config:
        raise RefusedLabel(key, {"X-Vortex-Held-Back": "x"})

    monkeypatch.setattr(wire.line, "read", read)
    status, body = await wire.refused(f"/ws/orders/dev?token={TOKEN}")

    assert (503, "the gate holds this label back, and no earlier state of it is known") == (status, body["message"])


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://good.example.evil.com", "http://good.example"]
)
async def test_W01_pages_of_other_origins_are_refused(nursery: trio.Nursery, origin: str) -> None:
    wire = Guarded(nursery, authority("*"), origins=("https://good.example",))
    status, _ = await wire.refused(f"/ws/orders/dev?token={TOKEN}", extra_headers=[(b"Origin", origin.encode())])

    assert 403 == status


async def test_M11_a_pattern_wider_than_the_right_is_refused_and_subscribes_to_nothing(nursery: trio.Nursery) -> None:
    wire = Guarded(nursery, authority("orders"))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    for pattern in ("*", "billing", "order*", "orders*"):
        assert "FORBIDDEN" == (await ask(client, type="subscribe", patterns=[pattern]))["code"]
    wire.publish(1, BILLING)
    wire.publish(1)

    assert "orders" == (await client.message())["app"]


async def test_R23_rights_that_are_lost_end_what_they_allowed(nursery: trio.Nursery) -> None:
    wire = Guarded(nursery, authority("*"))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    await ask(client, type="subscribe", patterns=["billing", "search"])
    await client.message()
    wire.reload(authority("orders", "search"))
    lost = await client.message()
    wire.publish(1, BILLING)
    wire.publish(1, SEARCH)

    assert ("unsubscribed", ["billing:*:*"]) == (lost["type"], lost["patterns"])
    assert "search" == (await client.message())["app"]
    # Not FORBIDDEN: the key is none of the client's any more.
    assert "SUBSCRIPTION_FAILED" == (await ask(client, type="resync", app="billing"))["code"]


@pytest.mark.parametrize(
    ("known", "code"), [(authority("billing"), 4403), (Authority(Tokens([])), 4401)], ids=["right", "token"]
)
async def test_W16_who_lost_the_right_or_the_token_is_closed_at_the_reload(
    nursery: trio.Nursery, known: Authority, code: int
) -> None:
    wire = Guarded(nursery, authority("*"))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    wire.reload(known)

    assert code == (await client.closed()).code


async def test_a_token_that_expires_gets_nothing_more_and_is_closed(nursery: trio.Nursery) -> None:
    wire = Guarded(nursery, authority("*", expires_at=100.0))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    wire.now = 100.0
    wire.publish(1)

    assert 4401 == (await client.closed()).code


async def test_an_ack_needs_its_own_right(nursery: trio.Nursery) -> None:
    ack = {"type": "ack", "version": "v", "status": "applied"}
    wire = Guarded(nursery, authority("*"))
    client = await begun(wire, f"/ws/orders/dev?token={TOKEN}")
    assert "FORBIDDEN" == (await ask(client, **ack))["code"]

    wire.reload(authority("*", rights=frozenset({Right.SUBSCRIBE, Right.REPORT})))
    await client.send(ack)
    await ask(client, type="ping")
    assert 1 == wire.metrics.counts["acknowledged applied"]


async def test_W14_one_token_has_so_many_connections(nursery: trio.Nursery) -> None:
    wire = Guarded(nursery, authority("*"), connections_per_token=2)
    target = f"/ws/orders/dev?token={TOKEN}"
    first = await begun(wire, target)
    await begun(wire, target)
    assert 429 == (await wire.refused(target))[0]

    await first.stream.aclose()
    await wait_all_tasks_blocked()
    await begun(wire, target)


async def test_T07_wrong_tokens_make_an_address_wait_and_right_ones_pass(nursery: trio.Nursery) -> None:
    wire = Guarded(nursery, authority("*"), failure_burst=3, failures_per_second=0.001)
    statuses = [(await wire.refused(f"/ws/orders/dev?token={OTHER}"))[0] for _ in range(5)]

    assert [401, 401, 401, 429, 429] == statuses
    await begun(wire, f"/ws/orders/dev?token={TOKEN}")


async def test_credentials_that_nobody_asked_for_are_ignored(nursery: trio.Nursery) -> None:
    wire = Wire(nursery)

    await begun(wire, "/ws/orders/dev?token=%00nonsense")
