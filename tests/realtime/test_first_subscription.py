"""The first patterns of a parked connection are taken without its tasks, with the same messages and the same checks as by them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import TextMessage
from wsproto.extensions import PerMessageDeflate

from tests.fakes import KEY, Client, FakeLine
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery
from vortexd.realtime import first_subscription
from vortexd.realtime.forms import frame_of
from vortexd.realtime.parked_sockets import ParkedSockets
from vortexd.settings.auth import AuthSettings

from .test_subscriptions import TOKEN, authority
from .wire import PAIRS, Wire

BILLING, SEARCH = Key("billing", "dev", "main"), Key("search", "dev", "main")
Start = Callable[..., Awaitable[Wire]]


@pytest.fixture(params=PAIRS)
async def start(request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    """Starts servers that park a woken connection only after ten seconds. So a connection that was woken isn't parked."""
    async with trio.open_nursery() as nursery:
        wires = []

        async def begin(**limits: Any) -> Wire:
            wire = Wire(nursery, PAIRS[request.param], **({"park_after": 10.0} | limits))
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
    assert "config_snapshot" == (await client.message())["type"]
    await wait_all_tasks_blocked()
    assert wire.server.parked
    return client


async def subscribe(client: Client, *patterns: str) -> None:
    await client.send({"type": "subscribe", "patterns": list(patterns)})
    await wait_all_tasks_blocked()


def told(message: dict[str, Any]) -> tuple[Any, ...]:
    return message["type"], message.get("app"), message.get("patterns"), message.get("code")


@pytest.mark.parametrize(
    ("patterns", "kinds"),
    [
        (["billing:*"], ["subscribed", "config_snapshot"]),
        (["billing:*", "search"], ["subscribed", "config_snapshot", "config_snapshot"]),
        (["orders:*", "billing:*"], ["subscribed", "config_snapshot"]),
        (["orders"], ["subscribed"]),
        (["none", "none:*"], ["subscribed"]),
    ],
)
async def test_the_messages_are_those_that_the_tasks_write(
    autojump_clock: MockClock, start: Start, patterns: list[str], kinds: list[str]
) -> None:
    messages = []
    for is_matched in (True, False):
        wire = await start()
        wire.line.publish({"s": 1}, SEARCH)
        wire.line.is_matched = is_matched
        client = await opened(wire)
        await subscribe(client, *patterns)
        assert is_matched == bool(wire.server.parked)
        messages.append([await client.message() for _ in kinds])
        counts = wire.metrics.counts
        assert (1, 1 + kinds.count("config_snapshot")) == (
            counts["message_received subscribe"],
            counts["sent config_snapshot"],
        )
        # Each later change of each key is delivered, once.
        wire.publish(1, BILLING)
        wire.publish(1)
        if "billing:*" in patterns:
            assert ("config_change", "billing") == told(await client.message())[:2]
        assert ("config_change", "orders") == told(await client.message())[:2]
        assert is_matched == bool(wire.server.parked)

    assert kinds == [each["type"] for each in messages[0]]
    assert messages[0] == messages[1]


async def test_the_bytes_of_the_subscription_are_counted(autojump_clock: MockClock, start: Start) -> None:
    counts = []
    for is_matched in (True, False):
        wire = await start()
        wire.line.is_matched = is_matched
        client = await opened(wire)
        await subscribe(client, "billing:*")
        counts.append((wire.metrics.counts["bytes_read"], wire.metrics.counts["bytes_written"]))

    assert counts[0] == counts[1]
    assert all(counts[0])


async def test_more_patterns_take_the_tasks(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    wire.line.publish({"s": 1}, SEARCH)
    client = await opened(wire)
    await subscribe(client, "billing:*")
    assert 1 == wire.server.parked
    await subscribe(client, "search")

    assert 0 == wire.server.parked
    kinds = [told(await client.message())[:2] for _ in range(4)]
    assert [("subscribed", None), ("config_snapshot", "billing")] == kinds[:2]
    assert [("subscribed", None), ("config_snapshot", "search")] == kinds[2:]


async def test_a_connection_that_parks_sooner_than_two_messages_are_due_takes_the_tasks(
    autojump_clock: MockClock, start: Start
) -> None:
    for messages_per_second, is_possible in ((19, False), (20, True)):
        wire = await start(messages_per_second=messages_per_second, park_after=0.1)
        client = await opened(wire)
        await subscribe(client, "billing:*")

        assert is_possible == bool(wire.server.parked)


async def test_a_delivery_that_waits_when_the_first_patterns_arrive_is_not_missed(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client, other = await opened(wire), await opened(wire)
    parked, _ = wire.server._lot
    first, second = wire.publish(1), wire.publish(2)
    # The message is received before the deliveries are written.
    message = client.websocket.send(TextMessage('{"type": "subscribe", "patterns": ["none"]}'))
    wire.server._lot._receiving._handle(parked, message)
    kinds = [(each["type"], each.get("new_version")) for each in [await client.message() for _ in range(3)]]
    await wait_all_tasks_blocked()

    assert [("subscribed", None), ("config_change", first), ("config_change", second)] == kinds
    assert [first, second] == [(await other.message())["new_version"] for _ in range(2)]
    assert 2 == wire.server.parked
    assert second == parked.version


async def test_first_states_that_are_not_made_yet_are_written_by_the_tasks(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await opened(wire)
    wire.line.is_ready = False
    await subscribe(client, "billing:*")

    assert 0 == wire.server.parked
    assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
    wire.publish(1, BILLING)
    assert "config_change" == (await client.message())["type"]


async def begun(start: Start, *names: str, **limits: Any) -> Wire:
    """A server whose client has subscribed to these keys and has received the confirmation and their states in order."""
    wire = await start(**limits)
    for name in names:
        wire.line.publish({"a": 1}, Key(name, "dev", "main"))
    client = await opened(wire)
    await subscribe(client, "a*")
    assert "subscribed" == (await client.message())["type"]
    assert list(names) == [(await client.message())["app"] for _ in names]
    return wire


@pytest.mark.parametrize(("most", "is_parked"), [(3, True), (2, False)])
async def test_patterns_that_match_more_keys_take_the_tasks(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch, most: int, is_parked: bool
) -> None:
    monkeypatch.setattr(first_subscription, "_MOST_KEYS", most)

    assert is_parked == bool((await begun(start, "a1", "a2", "a3")).server.parked)


async def test_the_limit_of_keys_of_a_client_holds_without_tasks_too(autojump_clock: MockClock, start: Start) -> None:
    wire = await start(keys=1)
    wire.line.publish({"s": 1}, SEARCH)
    client = await opened(wire)
    await subscribe(client, "billing", "search")

    assert 0 == wire.server.parked
    wire = await start(keys=1)
    await subscribe(await opened(wire), "billing")
    assert 1 == wire.server.parked


@pytest.mark.parametrize(("less", "is_parked", "written"), [(0, True, 3), (1, False, 2)])
async def test_only_so_many_bytes_of_first_states_are_written_without_tasks(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch, less: int, is_parked: bool, written: int
) -> None:
    states = [Key(name, "dev", "main") for name in ("a1", "a2", "a3")]
    wire = await begun(start, *(each.application for each in states))
    frames = [delivery for each in states if (delivery := wire.line.ready(each, None)) is not None]
    size = sum(len(frame_of(each)) for each in frames)
    monkeypatch.setattr(first_subscription, "_MOST_BYTES", size - less)
    catch_ups: list[Key] = []
    catch_up = FakeLine.catch_up

    async def counted(self: FakeLine, key: Key, version: str | None) -> Delivery:
        catch_ups.append(key)
        return await catch_up(self, key, version)

    monkeypatch.setattr(FakeLine, "catch_up", counted)
    wire = await begun(start, *(each.application for each in states))

    assert is_parked == bool(wire.server.parked)
    assert states[written:] == [each for each in catch_ups if each in states]


async def test_the_tasks_write_the_first_state_that_is_not_made_yet_and_all_after_it(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the states come in the order of the keys."""
    ready = FakeLine.ready
    late = Key("a2", "dev", "main")
    monkeypatch.setattr(
        FakeLine, "ready", lambda line, key, version: None if key == late else ready(line, key, version)
    )
    wire = await begun(start, "a1", "a2", "a3")

    assert 0 == wire.server.parked
    assert 4 == wire.metrics.counts["sent config_snapshot"]


async def test_a_key_that_has_ended_meanwhile_is_left_to_the_tasks(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start()
    client = await opened(wire)
    ready = wire.line.ready
    ended = wire.line._delivery(BILLING, None, None)
    monkeypatch.setattr(wire.line, "ready", lambda key, version: ended if key == BILLING else ready(key, version))
    await subscribe(client, "billing:*")

    assert 0 == wire.server.parked
    assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]


async def test_a_pattern_without_the_right_is_refused_and_nothing_of_the_message_is_in_force(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    wire.gate.replace(AuthSettings(), authority("billing:*", "orders"))
    client = await opened(wire, f"/ws/orders/dev?token={TOKEN}")
    await subscribe(client, "billing:*", "search:*")

    assert ("error", "FORBIDDEN") == ((message := await client.message())["type"], message["code"])
    assert not wire.line.registry.is_matched(BILLING)
    assert 0 == len(wire.server._quota)


async def test_patterns_above_the_limit_are_refused_and_reported_once(autojump_clock: MockClock, start: Start) -> None:
    wire = await start(distinct_patterns_per_owner=1)
    client = await opened(wire)
    with capture_logs() as logs:
        await subscribe(client, "billing:*", "search:*")

    assert "SUBSCRIPTION_FAILED" == (await client.message())["code"]
    assert ["patterns refused"] == [each["event"] for each in logs if each["log_level"] == "warning"]
    assert 0 == len(wire.server._quota)
    other = await opened(wire)
    await subscribe(other, "billing:*")
    assert (1, 1) == (len(wire.server._quota), wire.server.parked)


async def test_the_patterns_count_for_the_owner_until_the_connection_ends(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    wire.gate.replace(AuthSettings(), authority("**"))
    for each in (clients := [await opened(wire, f"/ws/orders/dev?token={TOKEN}") for _ in range(2)]):
        await subscribe(each, "billing:*", "search:*")
    (owner,) = wire.server._quota._owners
    assert (2, "ci") == (len(wire.server._quota), owner[1])
    await trio.aclose_forcefully(clients[0].stream)
    await wait_all_tasks_blocked()
    assert 2 == len(wire.server._quota)
    await trio.aclose_forcefully(clients[1].stream)
    await wait_all_tasks_blocked()

    assert (0, 0) == (len(wire.server._quota), len(wire.server))
    assert not wire.line.registry.is_matched(BILLING)


async def test_connections_with_equal_patterns_share_them_and_their_versions(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    for each in (clients := [await opened(wire) for _ in range(3)]):
        await subscribe(each, *(["billing:*"] if each is not clients[2] else ["billing:dev"]))
    one, other, third = wire.server._lot

    assert one.more is other.more is not third.more
    assert one._versions is other._versions is not third._versions
    wire.publish(1, BILLING)
    await wait_all_tasks_blocked()
    assert one._versions is other._versions is not third._versions
    assert one.had(BILLING) == third.had(BILLING) == wire.line.version_of(BILLING)


async def test_a_connection_that_wakes_and_is_parked_again_shares_as_before(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(heartbeat_interval=1_000)
    for each in (clients := [await opened(wire) for _ in range(2)]):
        await subscribe(each, "billing:*")
    await clients[0].send({"type": "ping"})
    await trio.sleep(30)
    one, other = wire.server._lot

    assert one.more is other.more
    assert one._versions is other._versions


async def test_a_delivery_that_was_queued_before_the_subscription_is_written_once(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await opened(wire)
    await client.send({"type": "subscribe", "patterns": ["*"]})
    # The delivery is queued for the group of its main key. The same connection subscribes before it is written.
    wire.publish(1)
    (parked,) = wire.server._lot
    wire.server._lot._receiving.receive(parked)
    wire.publish(2)
    await wait_all_tasks_blocked()

    assert 1 == wire.server.parked
    messages = [told(await client.message())[:2] for _ in range(4)]
    assert [("subscribed", None), ("config_snapshot", "billing")] == messages[:2]
    assert [("config_change", "orders")] * 2 == messages[2:]
    assert parked.version == wire.line.version_of(KEY)
    with trio.move_on_after(1) as scope:
        await client.message()
    assert scope.cancelled_caught


async def test_a_connection_with_patterns_leaves_the_group_of_its_main_key(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await opened(wire)
    await subscribe(client, "billing:*")

    assert tuple(wire.server._lot) == tuple(wire.line.registry.subscribers(KEY))
    await trio.aclose_forcefully(client.stream)
    await wait_all_tasks_blocked()
    assert [] == [*wire.line.registry.subscribers(KEY), *wire.line.registry.subscribers(BILLING)]


async def test_rights_that_are_lost_end_patterns_that_were_taken_without_tasks(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    wire.gate.replace(AuthSettings(), authority("**"))
    client = await opened(wire, f"/ws/orders/dev?token={TOKEN}")
    await subscribe(client, "billing:*")
    assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
    wire.gate.replace(AuthSettings(), authority("orders"))
    wire.server.recheck()

    assert ("unsubscribed", None, ["billing:*:*"], None) == told(await client.message())
    assert not wire.line.registry.is_matched(BILLING)


async def test_what_the_socket_does_not_take_is_written_by_the_tasks(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ParkedSockets.write
    for taken in (0, 1, 150):
        wire = await start()
        client = await opened(wire)

        def write(sockets: ParkedSockets, fd: int, data: bytes, taken: int = taken) -> int:
            if not taken:
                raise BlockingIOError
            return real(sockets, fd, data[:taken])

        with monkeypatch.context() as patch:
            patch.setattr(ParkedSockets, "write", write)
            await subscribe(client, "billing:*")

        assert 0 == wire.server.parked
        assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
        wire.publish(1, BILLING)
        assert "config_change" == (await client.message())["type"]


async def test_a_socket_that_breaks_gives_everything_back(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start()
    client = await opened(wire)

    def write(sockets: ParkedSockets, fd: int, data: bytes) -> int:
        raise ConnectionResetError

    monkeypatch.setattr(ParkedSockets, "write", write)
    await subscribe(client, "billing:*")

    assert (0, 0, 0) == (len(wire.server), len(wire.server._quota), wire.line.held.total())
    assert not wire.line.registry.is_matched(BILLING)
    assert 1 == wire.metrics.counts["connection_closed lost"]
    assert 1 == wire.metrics.counts["sent config_snapshot"]


async def test_a_subscription_is_a_sign_of_life(autojump_clock: MockClock, start: Start) -> None:
    wire = await start(heartbeat_interval=30.0, heartbeat_timeout=10.0)
    client = await opened(wire)
    (parked,) = wire.server._lot
    await trio.sleep_until(parked.next_ping + 1)
    assert parked.pinged is not None
    await subscribe(client, "billing:*")

    assert parked.pinged is None
    await trio.sleep(8)
    assert 1 == wire.server.parked


async def compressing(wire: Wire) -> Client:
    """A parked client that compresses."""
    ours, theirs = wire.pair()
    client = Client(theirs)
    wire.clients.append(client)
    wire.nursery.start_soon(wire.server.serve, ours, client.head(extensions=[PerMessageDeflate()]), client.target)
    await client.opened()
    assert "config_snapshot" == (await client.message())["type"]
    await wait_all_tasks_blocked()
    return client


async def test_clients_that_compress_get_compressed_first_states(autojump_clock: MockClock, start: Start) -> None:
    for size, is_parked in ((5_000, True), (50_000, False)):
        wire = await start()
        wire.line.publish({"padding": "p" * size}, BILLING)
        client = await compressing(wire)
        before = wire.metrics.counts["bytes_written"]
        await subscribe(client, "billing:*")

        assert is_parked == bool(wire.server.parked)
        assert ["subscribed", "config_snapshot"] == [(await client.message())["type"] for _ in range(2)]
        assert 1_000 > wire.metrics.counts["bytes_written"] - before


async def test_an_ack_that_comes_too_soon_takes_the_tasks_even_if_a_subscription_would_not(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await opened(wire)
    acks = [{"type": "ack", "version": wire.line.version_of(KEY), "status": "applied"} for _ in range(2)]
    await client.send(acks[0])
    await wait_all_tasks_blocked()
    assert 1 == wire.server.parked
    await client.send(acks[1])
    await wait_all_tasks_blocked()

    assert 0 == wire.server.parked
    assert 2 == wire.metrics.counts["message_received ack"]


async def test_a_subscription_that_is_larger_than_two_kilobytes_takes_the_tasks(
    autojump_clock: MockClock, start: Start
) -> None:
    for size, is_parked in ((2_048, True), (2_049, False)):
        wire = await start()
        client = await opened(wire)
        text = '{"type":"subscribe","patterns":["billing:*"]}'
        # A frame of this size has a header of 8 bytes with its mask.
        data = client.websocket.send(TextMessage(text[:-1] + " " * (size - 8 - len(text)) + "}"))
        assert size == len(data)
        await client.stream.send_all(data)
        await wait_all_tasks_blocked()

        assert is_parked == bool(wire.server.parked)
        assert "subscribed" == (await client.message())["type"]
