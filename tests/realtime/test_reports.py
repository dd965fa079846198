"""Acks of clients reach the fleet, from parked and awake connections. They don't wake a parked connection."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from wsproto.events import TextMessage
from wsproto.extensions import PerMessageDeflate

from tests.fakes import KEY, Client
from vortexd.auth import Authority, Right
from vortexd.core.model import Key
from vortexd.fleet import KeyState, Question
from vortexd.settings.auth import AuthSettings

from .wire import Wire, socket_stream_pair

Start = Callable[..., Awaitable[Wire]]
BILLING = Key("billing", "dev", "main")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers that park at once what they can."""
    wires = []
    async with trio.open_nursery() as nursery:

        async def begin(pair: Any = socket_stream_pair, **limits: Any) -> Wire:
            wire = Wire(nursery, pair, **({"park_after": 0.0} | limits))
            await nursery.start(wire.server.park)
            wires.append(wire)
            return wire

        yield begin
        for wire in wires:
            for client in wire.clients:
                await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


async def opened(wire: Wire, target: str = "/ws/orders/dev") -> Client:
    client = await wire.open(target)
    assert (await client.message())["type"] in ("config_snapshot", "in_sync")
    await wait_all_tasks_blocked()
    return client


def state(wire: Wire, key: Key = KEY) -> KeyState | None:
    return next(iter(wire.fleet.page(Question((key,)), wire.now).keys), None)


def states(wire: Wire, key: Key = KEY) -> dict[str, str]:
    found = state(wire, key)
    return {each.name: each.state for each in found.instances} if found else {}


async def say(wire: Wire, client: Client, status: str = "applied", **members: Any) -> None:
    await client.send({"type": "ack", "version": wire.line.version_of(KEY), "status": status} | members)
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("pair", [socket_stream_pair, memory_stream_pair], ids=["parked", "awake"])
async def test_what_a_client_says_is_kept_by_its_name(autojump_clock: MockClock, start: Start, pair: Any) -> None:
    wire = await start(pair)
    one = await opened(wire, "/ws/orders/dev?instance=one")
    two = await opened(wire, "/ws/orders/dev?instance=two%20%C3%A9")
    three = wire.connect()
    connection = dict((await three.opened()).extra_headers)[b"x-connection-id"].decode()
    await say(wire, one)
    await say(wire, two, "rejected", error="no\nroom")

    assert {"one": "applied", "two é": "rejected", connection: "silent"} == states(wire)
    found = state(wire)
    assert found
    assert "no\\nroom" == next(each.ack.error for each in found.instances if each.ack and each.name == "two é")
    assert 2 == wire.metrics.counts["message_received ack"]
    wire.publish(1)
    await wait_all_tasks_blocked()
    assert {"silent"} == set(states(wire).values())
    for client in (one, two, three):
        await trio.aclose_forcefully(client.stream)
    await wait_all_tasks_blocked()
    assert {"one": "gone", "two é": "gone"} == states(wire)


async def test_an_ack_leaves_a_parked_connection_parked(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    for number in range(3):
        wire.now += 1.0
        await say(wire, client, number=number)
        assert (1, 1) == (wire.server.parked, len(wire.server))
        assert "applied" in states(wire).values()
        wire.publish(number + 1)
        assert "config_change" == (await client.message())["type"]


async def test_acks_one_after_the_other_are_counted_as_messages(autojump_clock: MockClock, start: Start) -> None:
    """M02: what is taken without waking is no way around the limit."""
    wire = await start(messages_per_second=5)
    client = await opened(wire)
    for _ in range(30):
        await say(wire, client)

    assert "RATE_LIMITED" == (await client.message())["code"]
    assert 1008 == (await client.closed()).code
    assert wire.metrics.counts["acknowledged applied"] <= 7


async def test_an_ack_that_is_compressed_is_taken_like_any_other(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    ours, theirs = socket_stream_pair()
    client = Client(theirs, "/ws/orders/dev?instance=one")
    wire.clients.append(client)
    head = client.head(extensions=[PerMessageDeflate(client_no_context_takeover=True)])
    wire.nursery.start_soon(wire.server.serve, ours, head, client.target)
    await client.opened()
    assert "config_snapshot" == (await client.message())["type"]
    await wait_all_tasks_blocked()
    await say(wire, client, "rejected", error="no" * 100)

    assert {"one": "rejected"} == states(wire)
    assert 1 == wire.server.parked


async def test_an_ack_in_two_pieces_wakes_and_counts(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire, "/ws/orders/dev?instance=one")
    text = '{"type":"ack","status":"applied","version":"%s"}' % wire.line.version_of(KEY)
    data = client.websocket.send(TextMessage(text))
    await client.stream.send_all(data[:20])
    await wait_all_tasks_blocked()
    assert {"one": "silent"} == states(wire)
    await client.stream.send_all(data[20:])
    await trio.sleep(1)

    assert {"one": "applied"} == states(wire)
    assert 1 == wire.server.parked


async def test_an_ack_is_a_sign_of_life(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    assert "ping" == (await client.message())["type"]
    await say(wire, client)
    await trio.sleep(15)

    assert (1, 1) == (wire.server.parked, len(wire.server))


async def test_a_key_of_a_pattern_is_acked_beside_the_main_one(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire, "/ws/orders/dev?instance=one")
    wire.line.publish({"b": 2}, BILLING)
    await client.send({"type": "subscribe", "patterns": ["billing:dev"]})
    assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
    await trio.sleep(1)
    version = wire.line.version_of(BILLING)
    await say(wire, client, version=version, app="billing")
    assert {"one": "applied"} == states(wire, BILLING)
    assert {"one": "silent"} == states(wire)
    await client.send({"type": "unsubscribe", "patterns": ["billing:dev"]})
    assert "unsubscribed" == (await client.message())["type"]
    assert {} == states(wire, BILLING)


async def test_a_key_that_the_client_is_not_sent_cannot_be_acked(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    for _ in range(20):
        await say(wire, client, app="billing")
        assert "SUBSCRIPTION_FAILED" == (await client.message())["code"]

    assert {} == states(wire, BILLING)


@pytest.mark.parametrize("status", ["applied", "rejected"])
async def test_M12_an_ack_needs_the_right_to_report_whatever_else_one_may(
    autojump_clock: MockClock, start: Start, status: str
) -> None:
    wire = await start()
    client = await opened(wire, "/ws/orders/dev?instance=one")
    rights = frozenset(set(Right) - {Right.REPORT})
    wire.gate.replace(AuthSettings(), Authority(anonymous=rights))
    wire.server.recheck()
    await say(wire, client, status)

    assert "FORBIDDEN" == (await client.message())["code"]
    assert {"one": "silent"} == states(wire)
    assert 0 == wire.metrics.counts[f"acknowledged {status}"]


async def test_who_only_watches_is_no_instance(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire, "/ws/orders/dev?instance=")
    await say(wire, client)

    assert {} == states(wire)


@pytest.mark.parametrize("name", ["x" * 129, "%0A", "%E2%80%AE", "%20padded", "a&instance=b", "%ff"])
async def test_a_name_that_people_could_misread_is_refused(autojump_clock: MockClock, start: Start, name: str) -> None:
    wire = await start()
    client = wire.connect(f"/ws/orders/dev?instance={name}")
    status, _ = await client.refused()

    assert (400, {}) == (status, states(wire))


async def test_two_connections_of_one_name_are_two_and_marked(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    one = await opened(wire, "/ws/orders/dev?instance=one")
    await opened(wire, "/ws/orders/dev?instance=one")
    await say(wire, one)
    found = state(wire)

    assert found
    assert [("one", True), ("one", True)] == [(each.name, each.is_shared) for each in found.instances]
    assert {"applied", "silent"} == {each.state for each in found.instances}


async def test_a_connection_that_never_came_to_be_is_no_instance(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = wire.connect("/ws/orders/dev?label=nowhere&instance=one")
    await client.refused()

    assert [] == list(wire.fleet.keys())


async def test_M14_who_subscribes_acks_and_unsubscribes_again_and_again_leaves_nothing(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await opened(wire, "/ws/orders/dev?instance=one")
    wire.line.publish({"b": 2}, BILLING)
    for _ in range(50):
        await client.send({"type": "subscribe", "patterns": ["billing:dev"]})
        assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
        await say(wire, client, app="billing")
        await client.send({"type": "unsubscribe", "patterns": ["billing:dev"]})
        assert "unsubscribed" == (await client.message())["type"]

    assert [KEY] == list(wire.fleet.keys())
    assert 1 == wire.fleet._listed
