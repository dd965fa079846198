"""The parking lot: connections that are parked, stay parked or wake. No delivery and no byte is lost."""

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from random import Random
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import Ping, Pong

from tests.fakes import KEY, Client, Closed, Rounds
from vortexd.auth import Authority, Right
from vortexd.core.model import Config, Key
from vortexd.core.patterns import Pattern
from vortexd.pipeline.broadcast import Delivery, Subscriber
from vortexd.pipeline.encoder import Payload
from vortexd.protocol import messages
from vortexd.protocol.close import CloseReason
from vortexd.protocol.frames import Boundary, is_pong
from vortexd.realtime import outgoing, receiving
from vortexd.realtime.connection import Connection
from vortexd.realtime.parked import WOKEN_AT_ONCE, Parked
from vortexd.realtime.parked_sockets import ParkedSockets
from vortexd.settings.auth import AuthSettings

from . import both_sockets
from .test_subscriptions import TOKEN, authority
from .wire import FIRST, PAIRS, Pair, Wire, end_sending, frame, put, refusing

Start = Callable[..., Awaitable[Wire]]


@pytest.fixture(params=[*both_sockets.NAMES, "tls"])
async def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts servers that park at once what they can, with each way of writing."""
    pair = PAIRS["tls" if request.param == "tls" else "plain"]
    sockets = both_sockets.made("python" if request.param == "tls" else request.param)
    monkeypatch.setattr("vortexd.realtime.server.choose_sockets", lambda: sockets)
    wires = []
    async with trio.open_nursery() as nursery:

        async def begin(**limits: Any) -> Wire:
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


async def test_a_connection_is_born_parked_and_a_change_leaves_it_so(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    assert 1 == wire.server.parked == len(wire.server)
    old = wire.line.version_of(KEY)
    new = wire.publish(1)
    message = await client.message()

    assert ("config_change", old, new) == (message["type"], message["old_version"], message["new_version"])
    assert 1 == wire.server.parked


async def test_what_clients_are_sent_is_counted_parked_or_not(autojump_clock: MockClock, start: Start) -> None:
    for limits in ({}, {"park_after": math.inf}):
        wire = await start(**limits)
        client = await opened(wire)
        wire.publish(1)
        assert "config_change" == (await client.message())["type"]
        await wait_all_tasks_blocked()
        counts = wire.metrics.counts

        assert (1, 1, 1) == (counts["sent config_snapshot"], counts["sent config_change"], counts["delivered"])
        await client.send({"type": "pong"})
        await wait_all_tasks_blocked()
        assert 0 < counts["bytes_read"]


async def test_a_connection_that_can_not_be_watched_is_not_parked_and_the_others_stay_so(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    quiet = await opened(wire)
    several = await opened(wire)
    await several.send({"type": "subscribe", "patterns": ["billing:*"]})
    assert "subscribed" == (await several.message())["type"]
    await trio.sleep(1)
    assert 2 == wire.server.parked
    refusing(wire)
    late = await opened(wire)
    await several.send({"type": "unsubscribe", "patterns": ["none"]})
    await trio.sleep(3)
    assert (1, 3) == (wire.server.parked, len(wire.server))
    wire.publish(1)
    for each in (quiet, several, late):
        while (await each.message())["type"] != "config_change":
            pass
    await trio.sleep(3)
    assert (1, 3) == (wire.server.parked, len(wire.server))
    for each in (several, late):
        await trio.aclose_forcefully(each.stream)
    await wait_all_tasks_blocked()
    assert (1, 1, 1) == (wire.server.parked, len(wire.server), wire.line.held[KEY])


async def test_a_client_that_begins_with_a_change_before_its_broadcast_stays_parked(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    early = await opened(wire)
    subscribers = wire.line.registry.subscribers

    def none_yet(key: Key) -> Collection[Subscriber]:
        return ()

    # The change is in force. Until its broadcast, another client joins.
    wire.line.registry.subscribers = none_yet  # type: ignore[method-assign]
    version = wire.line.version_of(KEY)
    new = wire.publish(1)
    wire.line.registry.subscribers = subscribers  # type: ignore[method-assign]
    wire.line.later[KEY] = new
    late = await wire.open()
    assert new == (await late.message())["version"]
    await wait_all_tasks_blocked()
    assert 2 == wire.server.parked
    wire.line.later.clear()
    woken = wire.metrics.counts["connection_opened"]
    for subscriber in tuple(wire.line.registry.subscribers(KEY)):
        subscriber.deliver(Delivery(KEY, version, new, Payload(b'{"type":"config_change"}'), trio.current_time()))
    assert "config_change" == (await early.message())["type"]
    await wait_all_tasks_blocked()
    assert (2, woken) == (wire.server.parked, wire.metrics.counts["connection_opened"])
    newest = wire.publish(2)
    for each in (early, late):
        message = await each.message()
        assert ("config_change", new, newest) == (message["type"], message["old_version"], message["new_version"])


async def test_without_a_lot_nobody_is_parked(autojump_clock: MockClock, start: Start) -> None:
    wire = await start(park_after=math.inf)
    client = await opened(wire)
    await trio.sleep(5)

    assert (1, 0) == (len(wire.server), wire.server.parked)
    wire.publish(1)
    assert "config_change" == (await client.message())["type"]


async def test_what_is_published_while_the_first_state_is_made_is_in_it(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    gate = wire.line.gate = trio.Event()
    client = wire.connect()
    await wait_all_tasks_blocked()
    version = wire.publish(1)
    gate.set()
    await client.opened()
    first = await client.message()
    await wait_all_tasks_blocked()
    newest = wire.publish(2)
    second = await client.message()

    assert ("config_snapshot", version) == (first["type"], first["version"])
    assert ("config_change", version, newest) == (second["type"], second["old_version"], second["new_version"])


async def test_a_message_wakes_and_when_it_is_answered_the_connection_is_parked_again(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(resyncs_per_second=1_000)
    client = await opened(wire)
    for _ in range(3):
        await client.send({"type": "resync"})
        assert "config_snapshot" == (await client.message())["type"]
        await trio.sleep(1)
        assert 1 == wire.server.parked


async def test_what_a_client_has_said_is_not_forgotten_by_parking(autojump_clock: MockClock, start: Start) -> None:
    wire = await start(errors_per_minute=3)
    client = await opened(wire)
    for _ in range(3):
        await client.send({"type": "dance"})
        assert "error" == (await client.message())["type"]
        await trio.sleep(1)
    assert 0 == wire.server.parked
    await client.send({"type": "dance"})

    assert "error" == (await client.message())["type"]
    assert 1008 == (await client.closed()).code


BILLING = Key("billing", "dev", "main")


async def subscribed(wire: Wire, pattern: str = "billing:*") -> Client:
    """A client that is parked with its subscription to a pattern, and has what it matches."""
    client = await opened(wire)
    await client.send({"type": "subscribe", "patterns": [pattern]})
    assert "subscribed" == (await client.message())["type"]
    assert ("config_snapshot", "billing") == named(await client.message())
    await trio.sleep(5)
    assert 1 == wire.server.parked
    return client


def named(message: dict[str, Any]) -> tuple[str, str]:
    return message["type"], message["app"]


async def test_a_subscriber_of_patterns_is_parked_with_them(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await subscribed(wire)
    for number in range(3):
        wire.publish(number + 1, BILLING)
        wire.publish(number + 1)
        assert ("config_change", "billing") == named(await client.message())
        assert ("config_change", "orders") == named(await client.message())
        assert 1 == wire.server.parked


async def test_what_changes_at_once_is_one_write(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start()
    client = await subscribed(wire)
    writes: list[bytes] = []

    def write(sockets: ParkedSockets, fd: int, data: bytes) -> int:
        writes.append(bytes(data))
        return real(sockets, fd, data)

    real = ParkedSockets.write
    monkeypatch.setattr(ParkedSockets, "write", write)
    old = wire.line.version_of(KEY)
    for number in (1, 2):
        wire.publish(number, BILLING)
        wire.publish(number)
    told = [await client.message() for _ in range(4)]

    assert [("config_change", "billing"), ("config_change", "orders")] * 2 == [named(each) for each in told]
    assert [old, told[1]["new_version"]] == [told[1]["old_version"], told[3]["old_version"]]
    assert 1 == sum(b"config_" in each for each in writes)
    assert 1 == wire.server.parked


async def test_the_patterns_of_a_parked_client_wake_with_it_and_go_with_it(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(heartbeat_interval=1_000)
    client = await subscribed(wire)
    await client.send({"type": "resync", "app": "billing"})
    assert ("config_snapshot", "billing") == named(await client.message())
    await trio.sleep(15)
    assert 1 == wire.server.parked
    await client.send({"type": "unsubscribe", "patterns": ["billing:*"]})
    assert "unsubscribed" == (await client.message())["type"]
    wire.publish(1, BILLING)
    wire.publish(1)
    assert ("config_change", "orders") == named(await client.message())
    await client.stream.aclose()
    await trio.sleep(5)

    assert 0 == len(wire.server) == wire.line.held.total()
    assert not wire.line.registry.is_matched(BILLING)


async def test_what_ends_and_what_begins_is_told_to_a_parked_subscriber(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await subscribed(wire)
    wire.line.publish(None, BILLING)
    removed = await client.message()
    await trio.sleep(5)
    wire.publish(1, BILLING)
    begun = await client.message()

    assert [("config_removed", "billing"), ("config_snapshot", "billing")] == [named(removed), named(begun)]


async def test_a_parked_subscriber_that_leaves_takes_its_patterns_along(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await subscribed(wire)
    await client.stream.aclose()
    await trio.sleep(5)

    assert 0 == len(wire.server) == wire.line.held.total()
    assert not wire.line.registry.is_matched(BILLING)


async def test_a_heartbeat_that_is_answered_wakes_nobody(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    for _ in range(3):
        while not isinstance(event := await client.event(), Ping):
            pass
        await client.stream.send_all(client.websocket.send(event.response()))
        await wait_all_tasks_blocked()
        assert 1 == wire.server.parked

    assert 3 == wire.metrics.counts["heartbeat_answered"]
    assert 15 <= trio.current_time() <= 91


async def test_a_heartbeat_names_the_version_that_the_client_has(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    version = wire.publish(1)
    assert version == (await client.message())["new_version"]
    ping = await client.message()

    assert "ping" == ping["type"]
    assert version in str(ping)


async def test_a_ping_wakes_and_is_answered(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    await client.stream.send_all(frame(0x89, b"hi"))

    while not isinstance(event := await client.event(), Pong):
        pass
    assert b"hi" == event.payload
    await trio.sleep(2)
    assert 1 == wire.server.parked


async def test_half_a_frame_is_waited_for_awake(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    whole = frame(0x81, b'{"type":"ping"}')
    await client.stream.send_all(whole[:3])
    await trio.sleep(5)
    between = wire.server.parked
    await client.stream.send_all(whole[3:])
    answer = await client.message()
    await trio.sleep(5)

    assert ("pong", 0, 1) == (answer["type"], between, wire.server.parked)


async def test_a_client_that_does_not_read_wakes_and_misses_nothing_when_it_does(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    client = await opened(wire)
    had = wire.line.version_of(KEY)
    for number in range(1, 400):
        wire.line.publish(FIRST | {"number": number, "padding": "q" * 5_000 + str(number)})
        await wait_all_tasks_blocked()
        if not wire.server.parked:
            break
    assert 0 == wire.server.parked
    while had != wire.line.version_of(KEY):
        message = await client.message()
        if message["type"] != "lagged":
            assert had == message.get("old_version", had)
            had = message["new_version"] if "new_version" in message else message["version"]
    await trio.sleep(5)
    assert 1 == wire.server.parked


async def test_no_close_frame_cuts_a_frame_that_the_lot_has_begun(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    [parked] = wire.server._lot
    woken = wire.server._lot.wake(parked, unsent=b"the rest of a frame")
    woken.close(CloseReason.UNAUTHORIZED)
    rest = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await client.stream.receive_some():
            rest += data

    assert rest in (b"", b"the rest of a frame")


async def test_a_key_that_ends_is_told(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    version = wire.line.version_of(KEY)
    wire.line.publish(None)
    message = await client.message()

    assert ("config_removed", version) == (message["type"], message["old_version"])


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_client_that_goes_leaves_nothing_behind(autojump_clock: MockClock, start: Start, end: str) -> None:
    wire = await start()
    client = await opened(wire)
    if end == "close":
        await client.stream.aclose()
    else:
        end_sending(client.stream)
    await wait_all_tasks_blocked()

    assert 0 == len(wire.server) == wire.line.held[KEY]
    assert not wire.line.registry.is_wanted(KEY)
    assert 1 == wire.metrics.counts["connection_closed lost"]


async def test_a_right_that_is_withdrawn_ends_a_parked_connection(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    wire.gate.replace(AuthSettings(), Authority())
    wire.server.recheck()

    assert 4401 == (await client.closed()).code
    await trio.sleep(10)
    assert 0 == len(wire.server)


async def test_a_reload_puts_old_and_new_connections_with_the_same_token_together(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start()
    wire.gate.replace(AuthSettings(), authority("*"))
    await opened(wire, f"/ws/orders/dev?token={TOKEN}")
    wire.gate.replace(AuthSettings(), authority("*"))
    wire.server.recheck()
    await opened(wire, f"/ws/orders/dev?token={TOKEN}")
    one, other = wire.server._lot

    assert one.shared is other.shared is not None


async def test_a_parked_client_whose_token_has_expired_gets_no_change_and_is_closed(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(heartbeat_interval=1_000.0)
    wire.gate.replace(AuthSettings(), authority("*", expires_at=wire.now + 10))
    client = await opened(wire, f"/ws/orders/dev?token={TOKEN}")
    wire.now += 9
    wire.publish(1)
    assert "config_change" == (await client.message())["type"]
    await wait_all_tasks_blocked()
    assert 1 == wire.server.parked
    wire.now += 1
    sent = wire.metrics.counts["sent config_change"]
    wire.publish(2)

    assert 4401 == (await client.closed()).code
    assert sent == wire.metrics.counts["sent config_change"]


async def test_a_key_that_begins_while_the_socket_is_full_is_told_when_there_is_room(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start()
    client = await subscribed(wire)
    await client.send({"type": "subscribe", "patterns": ["search:*"]})
    assert "subscribed" == (await client.message())["type"]
    await trio.sleep(5)
    assert 1 == wire.server.parked

    def full(sockets: ParkedSockets, fd: int, data: bytes) -> int:
        raise BlockingIOError

    with monkeypatch.context() as patched:
        patched.setattr(ParkedSockets, "write", full)
        wire.publish(1, Key("search", "dev", "main"))
    begun = await client.message()

    assert ("config_snapshot", "search") == named(begun)


async def test_a_key_that_begins_just_before_a_client_wakes_is_told(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    client = await subscribed(wire)
    await client.send({"type": "subscribe", "patterns": ["search:*"]})
    assert "subscribed" == (await client.message())["type"]
    await trio.sleep(5)
    [parked] = wire.server._lot
    wire.publish(1, Key("search", "dev", "main"))
    # Its frame is queued, and not written yet.
    wire.server._lot.wake(parked)

    assert ("config_snapshot", "search") == named(await client.message())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_drain_says_goodbye_to_each_parked_client_once(autojump_clock: MockClock, pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, pair)
        await nursery.start(wire.server.park)
        clients = [await opened(wire) for _ in range(5)]
        told: list[Connection] = []
        drain = Connection.drain

        def noted(connection: Connection, reconnect_after_ms: int) -> None:
            told.append(connection)
            drain(connection, reconnect_after_ms=reconnect_after_ms)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Connection, "drain", noted)
            await wire.server.drain(5)
        for client in clients:
            await client.stream.aclose()

    assert len(set(map(id, told))) == len(told) == 5


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_drain_tells_who_is_parked_and_closes_the_lot(autojump_clock: MockClock, pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, pair)
        await nursery.start(wire.server.park)
        clients = [await opened(wire) for _ in range(20)]
        assert 20 == wire.server.parked
        nursery.start_soon(wire.server.drain, 5)
        for client in clients:
            assert "connection_closing" == (await client.message())["type"]
            assert Closed(1001, "the server is stopping") == await client.closed()
            await client.stream.aclose()

    assert 0 == len(wire.server)


async def test_more_than_are_served_at_once_are_all_reached_in_order(autojump_clock: MockClock, start: Start) -> None:
    wire = await start()
    clients = [await opened(wire) for _ in range(300)]
    versions = [wire.line.version_of(KEY), wire.publish(1), wire.publish(2)]
    for client in clients:
        for old, new in itertools.pairwise(versions):
            message = await client.message()
            assert (old, new) == (message["old_version"], message["new_version"])

    assert 300 == wire.server.parked


def test_a_pong_is_told_from_whatever_else() -> None:
    assert is_pong(frame(0x8A))
    assert is_pong(frame(0x8A, b"x" * 125))
    for other in (
        frame(0x89),
        frame(0x81, b"{}"),
        frame(0x8A) + b"\x81",
        frame(0x8A, b"x")[:-1],
        b"\x8a",
        b"\x8a\x00" * 3,
    ):
        assert not is_pong(other)


@given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=5), st.integers(1, 9_000))
def test_boundaries_are_found_in_any_pieces(payloads: list[bytes], size: int) -> None:
    boundary = Boundary()
    for payload in payloads:
        whole = frame(0x82, payload)
        for start in range(0, len(whole), size):
            assert not start or not boundary.is_between
            boundary.feed(whole[start : start + size])
        assert boundary.is_between


@pytest.mark.parametrize("is_parked", [True, False])
@pytest.mark.parametrize("turn", range(10))
async def test_R8_who_answered_while_the_process_was_stopped_is_not_taken_for_dead(
    autojump_clock: MockClock, start: Start, is_parked: bool, turn: int
) -> None:
    """The answer and the end of its time are due at once; which task of a turn runs first is chance, so several turns."""
    wire = await start(park_after=0.0 if is_parked else math.inf)
    client = await opened(wire)
    while not isinstance(event := await client.event(), Ping):
        pass
    put(client.stream, client.websocket.send(event.response()))
    autojump_clock.jump(wire.settings.heartbeat_timeout)
    await trio.sleep(1)

    assert 1 == len(wire.server)
    assert 1 == wire.metrics.counts["heartbeat_answered"]
    while not isinstance(await client.event(), Ping):
        pass


async def test_a_parked_connection_keeps_the_heartbeat_that_it_began_with(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(heartbeat_interval=30.0, heartbeat_timeout=10.0)
    first = await opened(wire)
    wire.server.replace(attrs.evolve(wire.settings, heartbeat_interval=1.0, heartbeat_timeout=0.5), 0)
    second = await opened(wire)
    assert 2 == wire.server.parked
    began = trio.current_time()
    assert "ping" == (await second.message())["type"]
    assert trio.current_time() - began <= 1.0
    assert "ping" == (await first.message())["type"]

    assert 15.0 <= trio.current_time() - began + 0.2


# What a client missed while it was on its way out of the lot.


async def everything(wire: Wire, *others: Key) -> tuple[Client, Parked]:
    """A client that is parked with a pattern for everything, and has it all."""
    for number, key in enumerate(others):
        wire.line.publish({"number": number}, key)
    client = await opened(wire)
    await client.send({"type": "subscribe", "patterns": ["*"]})
    for _ in range(2 + len(others)):
        await client.message()
    await trio.sleep(15)
    (parked,) = wire.server._lot
    return client, parked


SEARCH, LATE = Key("search", "dev", "main"), Key("late", "dev", "main")


async def test_what_was_delivered_and_not_written_is_brought_by_the_tasks(
    autojump_clock: MockClock, start: Start
) -> None:
    """Changes, beginnings and ends, of several keys in one publication, and the client speaks before they are written."""
    wire = await start(heartbeat_interval=10_000.0)
    client, parked = await everything(wire, SEARCH)
    version = wire.publish(1)
    wire.line.publish({"b": 2}, BILLING)
    wire.line.publish(None, SEARCH)
    wire.publish(1, LATE)
    wire.publish(2, gone := Key("gone", "dev", "main"))
    wire.line.publish(None, gone)
    wire.server._lot.wake(parked)
    told = {each["app"]: each for each in [await client.message() for _ in range(4)]}

    kinds = {app: each["type"] for app, each in told.items()}
    assert kinds.pop("search") == "config_removed"
    assert kinds.pop("late") == "config_snapshot"
    assert {"orders", "billing"} == kinds.keys()
    assert version in (told["orders"].get("version"), told["orders"].get("new_version"))
    await trio.sleep(15)
    wire.publish(3)
    # Nothing is left, and nothing comes twice.
    assert ("config_change", "orders") == named(await client.message())
    assert 1 == wire.server.parked


async def test_what_cannot_be_written_at_once_is_missed_with_all_that_came_with_it(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(heartbeat_interval=10_000.0)
    client, _ = await everything(wire, SEARCH)
    # An end takes more than a write.
    wire.publish(1)
    wire.line.publish(None, SEARCH)
    wire.publish(1, LATE)
    told = {each["app"]: each["type"] for each in [await client.message() for _ in range(3)]}

    assert {"orders": "config_change", "search": "config_removed", "late": "config_snapshot"} == told


async def test_what_finds_no_room_in_the_socket_is_missed(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start(heartbeat_interval=10_000.0)
    client, _ = await everything(wire)

    def full(sockets: ParkedSockets, fd: int, data: bytes) -> int:
        raise BlockingIOError

    with monkeypatch.context() as patched:
        patched.setattr(ParkedSockets, "write", full)
        wire.publish(1)
        wire.publish(1, LATE)
        while wire.server.parked:
            await trio.lowlevel.checkpoint()
    told = {each["app"]: each["type"] for each in [await client.message() for _ in range(2)]}

    assert {"orders": "config_change", "late": "config_snapshot"} == told


async def test_P14_what_a_parked_client_may_not_have_is_not_brought_by_its_tasks_either(
    autojump_clock: MockClock, start: Start
) -> None:
    """The pattern is allowed; one key that it matches reads a file that belongs to another application."""
    wire = await start(heartbeat_interval=10_000.0)
    client, parked = await everything(wire)
    may = parked.admission.may

    class Admission:
        def __getattr__(self, name: str) -> Any:
            return getattr(client_admission, name)

        def may(self, right: Right, where: Key | Pattern | None) -> bool:
            return where != LATE and may(right, where)

    client_admission = parked.admission
    parked.admission = Admission()  # type: ignore[assignment]  # a judge of the test
    wire.publish(1, LATE)
    wire.publish(1, SEARCH)
    wire.server._lot.wake(parked)

    assert ("config_snapshot", "search") == named(await client.message())
    wire.publish(1)
    assert ("config_change", "orders") == named(await client.message())
    # It isn't waited for either.
    await trio.sleep(15)
    assert 1 == wire.server.parked


async def test_a_resync_costs_the_same_however_many_keys_the_client_has(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found: each resync of a parked client matched all its patterns and looked at all its keys."""
    made: list[Key] = []
    snapshot = messages.config_snapshot

    def making(config: Config, timestamp: str, generation: str | None, *, is_stale: bool) -> bytes:
        made.append(config.key)
        return snapshot(config, timestamp, generation, is_stale=is_stale)

    monkeypatch.setattr(messages, "config_snapshot", making)
    looks = []
    for count in (1, 500):
        wire = await start(heartbeat_interval=10_000.0)
        client, _ = await everything(wire, *(Key(f"app{number}", "dev", "main") for number in range(count)))
        matched: list[object] = []
        monkeypatch.setattr(wire.line.registry, "matches", matched.append)
        wire.line.looks = 0
        made.clear()
        for _ in range(3):
            await client.send({"type": "resync"})
            assert ("config_snapshot", "orders") == named(await client.message())
            await trio.sleep(15)
            assert 1 == wire.server.parked
        looks.append(wire.line.looks)
        assert ([], []) == (matched, made)

    assert looks[0] == looks[1] < 20


async def test_a_round_of_the_loop_wakes_a_few_connections_that_speak_at_once(
    autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start()
    clients = [await opened(wire) for _ in range(3 * receiving._HEARD_AT_ONCE)]
    rounds, woken = Rounds.counting(), []
    awaken = wire.server.awaken

    def noting(*arguments: Any) -> Connection:
        woken.append(rounds.count)
        return awaken(*arguments)

    monkeypatch.setattr(wire.server, "awaken", noting)
    for client in clients:
        put(client.stream, frame(0x81, b'{"type":"ping"}'))
    for client in clients:
        assert "pong" == (await client.message())["type"]

    assert [receiving._HEARD_AT_ONCE] * 3 == list(Counter(woken).values())


# A full channel.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two deliveries, beside the one that the lot is handed while it waits."""
    monkeypatch.setattr(outgoing, "_QUEUE_MESSAGES", 2)


async def test_what_finds_no_room_in_the_channel_is_caught_up_by_version_and_told_to_the_operator(
    autojump_clock: MockClock, small: None, start: Start
) -> None:
    wire = await start()
    clients = [await opened(wire) for _ in range(20)]
    with capture_logs() as logs:
        versions = [wire.line.version_of(KEY), *(wire.publish(number) for number in range(1, 7))]
        for client in clients:
            for old, new in itertools.pairwise([*versions[:4], versions[6]]):
                message = await client.message()
                assert ("config_change", old, new) == (message["type"], message["old_version"], message["new_version"])
        await trio.sleep(5)

    assert 20 == wire.server.parked == wire.metrics.counts["lagged"]
    assert [
        {
            "event": "parking lot lagging",
            "log_level": "warning",
            "connections": 20,
            "consequence": "these connections catch up by version",
        }
    ] == [each for each in logs if each["log_level"] != "debug"]
    newest = wire.publish(7)
    for client in clients:
        assert newest == (await client.message())["new_version"]
    assert 20 == wire.server.parked


async def test_what_fits_into_the_channel_wakes_nobody(autojump_clock: MockClock, small: None, start: Start) -> None:
    wire = await start()
    client = await opened(wire)
    with capture_logs() as logs:
        versions = [wire.publish(number) for number in range(1, 4)]
        assert versions == [(await client.message())["new_version"] for _ in versions]

    assert (1, 0) == (wire.server.parked, wire.metrics.counts["lagged"])
    assert [] == [each for each in logs if each["log_level"] != "debug"]


async def test_a_subscriber_of_patterns_misses_no_key_that_found_no_room(
    autojump_clock: MockClock, small: None, start: Start
) -> None:
    """Changes, beginnings and ends."""
    wire = await start(heartbeat_interval=10_000.0)
    client, _ = await everything(wire, SEARCH)
    for number in range(1, 4):
        wire.publish(number)
    wire.line.publish({"b": 2}, BILLING)
    wire.line.publish(None, SEARCH)
    newest = wire.publish(1, LATE)
    told = [await client.message() for _ in range(6)]

    assert [("config_change", "orders")] * 3 == [named(each) for each in told[:3]]
    assert {("config_change", "billing"), ("config_removed", "search"), ("config_snapshot", "late")} == {
        named(each) for each in told[3:]
    }
    await trio.sleep(15)
    assert 1 == wire.server.parked
    assert newest != wire.publish(2, LATE)
    assert ("config_change", "late") == named(await client.message())


async def test_connections_that_lag_are_woken_a_few_in_each_round(
    autojump_clock: MockClock, small: None, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await start()
    clients = [await opened(wire) for _ in range(3 * WOKEN_AT_ONCE)]
    rounds, woken = Rounds.counting(), []
    awaken = wire.server.awaken

    def noting(*arguments: Any) -> Connection:
        woken.append(rounds.count)
        return awaken(*arguments)

    monkeypatch.setattr(wire.server, "awaken", noting)
    for number in range(1, 5):
        newest = wire.publish(number)
    for client in clients:
        while newest != (await client.message())["new_version"]:
            pass

    assert [WOKEN_AT_ONCE] * 3 == list(Counter(woken).values())


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_finds_no_room_every_chain_holds_and_ends_at_the_newest(
    autojump_clock: MockClock, small: None, start: Start, seed: int
) -> None:
    wire = await start(heartbeat_interval=10_000.0)
    chance = Random(seed)
    clients = [await opened(wire) for _ in range(5)]
    for client in clients[:2]:
        await client.send({"type": "subscribe", "patterns": ["*"]})
        await client.message()
        await client.message()
    await trio.sleep(15)
    assert 5 == wire.server.parked
    has = [{KEY: wire.line.version_of(KEY), BILLING: wire.line.version_of(BILLING)} for _ in clients]
    keys = [KEY, KEY, BILLING]
    for number in range(200):
        wire.publish(number, chance.choice(keys))
        if chance.random() < 0.2:
            await wait_all_tasks_blocked()
    last = {key: wire.publish(1_000, key) for key in (KEY, BILLING)}
    for number, client in enumerate(clients):
        wanted = last if number < 2 else {KEY: last[KEY]}
        while any(has[number][key] != version for key, version in wanted.items()):
            message = await client.message()
            if message["type"] == "config_change":
                key = Key(message["app"], "dev", "main")
                assert has[number][key] == message["old_version"]
                has[number][key] = message["new_version"]
    assert 0 < wire.metrics.counts["lagged"]
    await trio.sleep(15)
    assert 5 == wire.server.parked


async def test_rights_are_asked_once_for_each_principal_whatever_the_order(
    autojump_clock: MockClock, start: Start
) -> None:
    wire = await start(heartbeat_interval=10_000.0)
    clients = [await opened(wire) for _ in range(6)]
    asked: list[bool] = []

    class Judge:
        """An admission that notes when it is asked."""

        def __init__(self, admission: Any, principal: object, is_allowed: bool) -> None:
            self._admission = admission
            self.principal = principal
            self.is_allowed = is_allowed

        def __getattr__(self, name: str) -> Any:
            return getattr(self._admission, name)

        def may(self, right: Right, where: Key | Pattern | None) -> bool:
            asked.append(self.is_allowed)
            return self.is_allowed

    principals = [object(), object()]
    for number, parked in enumerate(wire.server._lot):
        judge = Judge(parked.admission, principals[number % 2], is_allowed=number % 2 == 0)
        wire.server._groups.discard(parked)
        parked.admission = judge  # type: ignore[assignment]  # a judge of the test
        wire.server._groups.add(parked)
    awoken: list[Parked] = []
    wire.server.awaken = lambda parked, *_: awoken.append(parked)  # type: ignore[assignment, method-assign]  # none wakes
    newest = wire.publish(1)
    for client in clients[::2]:
        assert newest == (await client.message())["new_version"]

    assert 1 == asked.count(True)
    assert 1 == asked.count(False)
    assert (3, 3) == (len(awoken), wire.server.parked)
    for parked in awoken:
        wire.server._sockets.close(parked.fd)
