"""A move between the tracks of a roll-out: each client sees one gapless chain, and ends at the version of its track."""

import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Any

import jsonpatch
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.fakes import KEY, Client
from vortexd.core.candidate import candidate_of, plain
from vortexd.core.errors import FormatError, RemoteError, ResolveError
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.realtime.forms import PLAIN
from vortexd.realtime.moves import EXAMINED_AT_ONCE, MOVED_AT_ONCE, PATIENCE, Messages, move_all
from vortexd.realtime.parked import WOKEN_AT_ONCE
from vortexd.realtime.row import Row

from .test_machine import listen
from .wire import Wire, socket_stream_pair

CANDIDATE = candidate_of(KEY)
BILLING = Key("billing", "dev", "main")


class Rolling:
    """A server with a candidate of its key, and clients whose messages are recorded."""

    def __init__(self, nursery: trio.Nursery, **limits: Any) -> None:
        self.nursery = nursery
        self.wire = Wire(nursery, park_after=1.0, heartbeat_interval=10_000.0, heartbeat_timeout=1_000.0, **limits)
        self.stable = self.wire.line.version_of(KEY)
        self.target = self.wire.publish(1, CANDIDATE)
        self.wire.line.targets[KEY] = self.target

    async def open(self, name: str = "one", *, is_parked: bool, patterns: tuple[str, ...] = ()) -> "Listener":
        """Open a connection, and let it become quiet."""
        pair = socket_stream_pair if is_parked else memory_stream_pair
        client = await self.wire.open(f"/ws/orders/dev?instance={name}", pair)
        made = Listener(client)
        self.nursery.start_soon(listen, client, made.said, [])
        if patterns:
            await client.send({"type": "subscribe", "patterns": list(patterns)})
        await trio.sleep(5)
        assert is_parked == bool(self.wire.server.parked)
        made.said_before = len(made.said)
        return made

    async def reach(self, *names: str) -> None:
        self.wire.line.reached = {KEY: names}
        await self.wire.server.retrack([KEY])

    def holds(self) -> dict[Key, int]:
        return {key: count for key, count in self.wire.line.held.items() if count}

    def subscribers(self, key: Key) -> int:
        return len(self.wire.line.registry.subscribers(key))


class Listener:
    """A client and what it was sent."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.said: list[dict[str, Any]] = []
        self.said_before = 0
        # The versions that it claimed in resyncs. One frame may build on each.
        self.claims: list[str | None] = []

    @property
    def since(self) -> list[dict[str, Any]]:
        return self.said[self.said_before :]

    def version(self) -> str | None:
        """The client's version, if each frame builds on what the client has, or on what it claimed in a resync."""
        version, states, claims = None, dict[str | None, Any](), list(self.claims)
        for each in self.said:
            if each.get("app") != KEY.application:
                continue
            match each["type"]:
                case "config_snapshot":
                    version, states[each["version"]] = each["version"], each["config"]
                case "config_change":
                    old, new = each["old_version"], each["new_version"]
                    assert old in (version, *claims)
                    claims = [claim for claim in claims if claim != old or old == version]
                    version, states[new] = new, jsonpatch.apply_patch(states[old], each["diff"])
        return version


@pytest.fixture
async def rolling(autojump_clock: MockClock) -> AsyncIterator[Rolling]:
    async with trio.open_nursery() as nursery:
        made = Rolling(nursery)
        await nursery.start(made.wire.server.park)
        yield made
        for client in made.wire.clients:
            await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


FORMS = [
    pytest.param({"is_parked": is_parked, "patterns": patterns}, id=f"parked {is_parked}, patterns {patterns}")
    for is_parked, patterns in itertools.product((False, True), ((), ("billing",), ("*",)))
]


@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_is_reached_gets_the_change_and_returns_when_the_reach_shrinks(
    autojump_clock: MockClock, rolling: Rolling, form: dict[str, Any]
) -> None:
    one = await rolling.open(**form)
    assert {KEY: 1} == rolling.holds()

    await rolling.reach("one")
    await trio.sleep(5)
    (change,) = one.since
    assert ("config_change", rolling.stable, rolling.target) == (
        change["type"],
        change["old_version"],
        change["new_version"],
    )
    assert {CANDIDATE: 1} == rolling.holds()
    assert 1 == rolling.subscribers(CANDIDATE)

    await rolling.reach()
    await trio.sleep(5)
    assert 2 == len(one.since)
    assert rolling.stable == one.since[-1]["new_version"] == one.version()
    assert {KEY: 1} == rolling.holds()
    assert 0 == rolling.subscribers(CANDIDATE)


@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_is_not_reached_notices_nothing(
    autojump_clock: MockClock, rolling: Rolling, form: dict[str, Any]
) -> None:
    one = await rolling.open("other", **form)
    await rolling.reach("one")
    await trio.sleep(5)

    assert [] == one.since
    assert {KEY: 1} == rolling.holds()


@pytest.mark.parametrize("form", FORMS)
async def test_changes_of_either_track_reach_its_clients_only(
    autojump_clock: MockClock, rolling: Rolling, form: dict[str, Any]
) -> None:
    one = await rolling.open(**form)
    await rolling.reach("one")
    await trio.sleep(5)
    rolling.wire.publish(2)
    await trio.sleep(5)
    assert rolling.target == one.version()
    assert 1 == len(one.since)

    newer = rolling.wire.publish(3, CANDIDATE)
    await trio.sleep(5)
    assert newer == one.version()
    assert 2 == len(one.since)


@pytest.mark.parametrize("form", FORMS)
async def test_at_the_end_clients_of_the_candidate_return_without_a_frame(
    autojump_clock: MockClock, rolling: Rolling, form: dict[str, Any]
) -> None:
    one = await rolling.open(**form)
    await rolling.reach("one")
    await trio.sleep(5)
    parked = rolling.wire.server.parked
    assert rolling.target == rolling.wire.publish(1)
    await rolling.reach()
    assert parked == rolling.wire.server.parked
    await trio.sleep(5)

    assert 1 == len(one.since)
    assert {KEY: 1} == rolling.holds()
    last = rolling.wire.publish(7)
    await trio.sleep(5)
    assert 2 == len(one.since)
    assert last == one.version()


ACTIONS = [
    "nothing",
    "resync",
    "diff",
    "ack",
    "unsubscribe",
    "subscribe",
    "stable",
    "candidate",
    "both",
    "leave",
    "back",
]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("direction", ["out", "home"])
@pytest.mark.parametrize("form", FORMS)
async def test_whatever_happens_during_a_move_the_chain_holds_and_nothing_leaks(
    autojump_clock: MockClock, rolling: Rolling, form: dict[str, Any], direction: str, moment: str, action: str
) -> None:
    if direction == "home":
        rolling.wire.line.reached = {KEY: ("one",)}
    one = await rolling.open(**form)
    names = ("one",) if direction == "out" else ()
    if moment == "before":
        await act(rolling, one, action)
        await rolling.reach(*names)
    else:
        await rolling.reach(*names)
        await act(rolling, one, action)
    if action == "back":
        names = ("one",) if direction == "home" else ()
        await rolling.reach(*names)
    await trio.sleep(20)

    track = CANDIDATE if names else KEY
    if action == "leave":
        assert {} == rolling.holds()
        assert 0 == rolling.subscribers(KEY) == rolling.subscribers(CANDIDATE) == len(rolling.wire.server)
        return
    assert rolling.wire.line.version_of(track) == one.version()
    assert {track: 1} == rolling.holds()
    if action in ("resync", "diff"):
        assert one.since[-1]["type"] in ("config_snapshot", "in_sync", "config_change")
        assert not any(each["type"] == "error" for each in one.said)
    last = rolling.wire.publish(50, track)
    await trio.sleep(20)
    assert last == one.version()
    assert last == one.said[-1].get("new_version")
    assert 1 == [each.get("new_version") for each in one.said].count(last)


async def act(rolling: Rolling, one: Listener, action: str) -> None:
    client = one.client
    match action:
        case "resync":
            await client.send({"type": "resync"})
        case "diff":
            one.claims.append(one.version())
            await client.send({"type": "resync", "mode": "diff", "last_version": one.version()})
        case "ack":
            await client.send({"type": "ack", "version": one.version(), "status": "applied"})
        case "unsubscribe":
            await client.send({"type": "unsubscribe", "patterns": ["*", "billing"]})
        case "subscribe":
            await client.send({"type": "subscribe", "patterns": ["orders", "*"]})
        case "stable":
            rolling.wire.publish(21)
        case "candidate":
            rolling.wire.publish(22, CANDIDATE)
        case "both":
            rolling.wire.publish(23)
            rolling.wire.publish(24, CANDIDATE)
        case "leave":
            await client.stream.aclose()


async def test_a_new_connection_begins_on_its_track(autojump_clock: MockClock, rolling: Rolling) -> None:
    rolling.wire.line.reached = {KEY: ("one",)}
    one, other = [await rolling.open(name, is_parked=False) for name in ("one", "two")]

    assert rolling.target == one.version()
    assert rolling.stable == other.version()
    assert {KEY: 1, CANDIDATE: 1} == rolling.holds()
    assert {KEY} == {each.key for each in rolling.wire.server.connected()}
    assert {rolling.target, rolling.stable} == {each.version for each in rolling.wire.server.connected()}


@pytest.mark.parametrize(
    ("target", "has_candidate"),
    [
        ("/ws/orders/dev?canary=true", True),
        ("/ws/orders/dev?canary=true&instance=", True),
        ("/ws/orders/dev?canary=false", False),
        ("/ws/orders/dev", False),
        ("/ws/orders/dev?instance=", False),
        ("/ws/orders/dev?instance=other&canary=true", False),
    ],
)
async def test_a_client_without_a_name_has_the_stable_version_unless_it_asks_for_the_candidate(
    autojump_clock: MockClock, rolling: Rolling, target: str, has_candidate: bool
) -> None:
    rolling.wire.line.reached = {KEY: ("one",)}
    client = await rolling.wire.open(target)

    assert (rolling.target if has_candidate else rolling.stable) == (await client.message())["version"]
    await rolling.reach()
    assert {CANDIDATE if has_candidate else KEY: 1} == rolling.holds()


async def test_a_move_during_the_handshake_is_not_lost(autojump_clock: MockClock, rolling: Rolling) -> None:
    rolling.wire.line.gate = gate = trio.Event()
    client = rolling.wire.connect("/ws/orders/dev?instance=one", socket_stream_pair)
    await wait_all_tasks_blocked()
    await rolling.reach("one")
    rolling.wire.line.gate = None
    gate.set()
    await client.opened()

    assert rolling.target == (await client.message())["version"]
    assert {CANDIDATE: 1} == rolling.holds()


async def test_a_server_that_drains_moves_nobody(autojump_clock: MockClock, rolling: Rolling) -> None:
    await rolling.open(is_parked=True)
    rolling.wire.server._opener.is_draining = True
    await rolling.reach("one")

    assert {KEY: 1} == rolling.holds()
    assert 1 == rolling.wire.server.parked


async def test_an_ack_of_the_target_counts_only_from_a_client_that_was_sent_it(
    autojump_clock: MockClock, rolling: Rolling
) -> None:
    one, two = [await rolling.open(name, is_parked=False) for name in ("one", "two")]
    await rolling.reach("one")
    await trio.sleep(1)
    for each in (one, two):
        await each.client.send({"type": "ack", "version": rolling.target, "status": "applied"})
        await trio.sleep(1)
    (state,) = rolling.wire.fleet.counts([KEY])
    acks = {name: ack for _, instance, ack in rolling.wire.fleet.connected([KEY], 9) for name in [instance.name]}

    assert acks["one"] is not None
    assert rolling.target == acks["one"].version
    assert None is acks["two"]
    assert 2 == state.connected
    assert [KEY] == [*rolling.wire.fleet.keys()]
    assert not any(each["type"] == "error" for each in (*one.said, *two.said))


# The messages of a move.


async def test_a_parked_client_gets_its_message_without_being_woken(
    autojump_clock: MockClock, rolling: Rolling
) -> None:
    clients = [await rolling.open(name, is_parked=True) for name in ("one", "two", "three")]
    for names, version in ((("one", "two"), rolling.target), ((), rolling.stable)):
        await rolling.reach(*names)
        assert 3 == rolling.wire.server.parked
        await trio.sleep(1)
        assert 3 == rolling.wire.server.parked
        assert [version, version, rolling.stable] == [each.version() for each in clients]


async def test_a_client_that_returns_before_its_message_is_written_gets_neither(
    autojump_clock: MockClock, rolling: Rolling
) -> None:
    one = await rolling.open(is_parked=True)
    messages = Messages(rolling.wire.line, lambda rows, delivery: None)
    await messages.make([KEY])
    server = rolling.wire.server
    (parked,) = server._lot
    for names, track in ((("one",), CANDIDATE), ((), KEY)):
        rolling.wire.line.reached = {KEY: names}
        assert (True, False) == server._move(messages, parked)
        assert track == parked.key
    await trio.sleep(20)

    assert [] == one.since
    assert {KEY: 1} == rolling.holds()


async def test_a_parked_client_that_has_not_got_the_last_change_ends_at_the_version_of_its_new_track(
    autojump_clock: MockClock, rolling: Rolling
) -> None:
    one = await rolling.open(is_parked=True)
    # The lot hasn't written it yet.
    rolling.wire.publish(2)
    rolling.wire.line.reached = {KEY: ("one",)}
    await rolling.wire.server.retrack([KEY])
    await trio.sleep(20)

    assert rolling.target == one.version()


async def test_if_a_message_takes_too_long_clients_catch_up_by_themselves(
    autojump_clock: MockClock, rolling: Rolling
) -> None:
    one = await rolling.open(is_parked=True)
    rolling.wire.line.gate = gate = trio.Event()
    began = trio.current_time()
    await rolling.reach("one")
    assert PATIENCE == trio.current_time() - began
    assert 0 == rolling.wire.server.parked
    rolling.wire.line.gate = None
    gate.set()
    await trio.sleep(20)

    assert rolling.target == one.version()


class Versions:
    """The versions of keys, and the messages between them."""

    def __init__(self) -> None:
        self.versions: dict[Key, str | None] = {KEY: "v1", CANDIDATE: "v2"}
        self.later: str | None = None
        self.error: Exception | None = None
        self.asked: list[tuple[Key, str | None]] = []

    def version_of(self, key: Key) -> str | None:
        return self.versions.get(key)

    def postponed(self, key: Key) -> str | None:
        return self.later

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        self.asked.append((key, version))
        if self.error is not None:
            raise self.error
        return Delivery(key, version, self.versions[key], Payload(b"{}"))


async def made(versions: Versions, keys: Iterable[Key] = (KEY,)) -> Messages:
    messages = Messages(versions, lambda rows, delivery: None)
    await messages.make(keys)
    return messages


async def test_the_messages_of_both_directions_are_made_once() -> None:
    versions = Versions()
    messages = await made(versions, [CANDIDATE])

    assert [(CANDIDATE, "v1"), (KEY, "v2")] == versions.asked
    assert messages.fits(CANDIDATE, "v1")
    assert messages.fits(KEY, "v2")
    assert not messages.fits(CANDIDATE, "v0")
    assert not messages.fits(CANDIDATE, None)
    assert not messages.fits(BILLING, "v1")


@pytest.mark.parametrize("versions", [{KEY: "v1"}, {CANDIDATE: "v2"}, {KEY: "v1", CANDIDATE: "v1"}])
async def test_tracks_that_are_alike_or_not_served_need_no_message(versions: dict[Key, str | None]) -> None:
    keys = Versions()
    keys.versions = versions
    messages = await made(keys)

    assert [] == keys.asked
    assert not messages.fits(CANDIDATE, "v1")


async def test_a_message_fits_only_while_it_leads_to_the_served_version() -> None:
    versions = Versions()
    messages = await made(versions)
    versions.versions[CANDIDATE] = "v3"
    assert not messages.fits(CANDIDATE, "v1")
    assert messages.fits(KEY, "v2")

    # A change of the track will be broadcast later, so it would come after the message.
    versions.later = "v1"
    assert not messages.fits(KEY, "v2")


@pytest.mark.parametrize("error", [RemoteError("x"), FormatError("a.yml", "x"), ResolveError("x")])
async def test_a_message_that_can_not_be_made_does_not_stop_the_move(error: Exception) -> None:
    versions = Versions()
    versions.error = error

    assert not (await made(versions)).fits(CANDIDATE, "v1")


async def test_rows_get_their_messages_at_once_and_only_once() -> None:
    queued: list[tuple[list[Row], str | None]] = []
    versions = Versions()
    messages = Messages(versions, lambda rows, delivery: queued.append(([*rows], delivery.new_version)))
    await messages.make([KEY])
    rows = [Row(Unwritten(), None, PLAIN, version) for version in ("v1", "v1", "v2")]
    for row in (*rows, rows[0]):
        messages.put(row, CANDIDATE if row.version == "v1" else KEY)
    assert [] == queued

    messages.flush()
    messages.flush()
    assert [(rows[:2], "v2"), (rows[2:], "v1")] == queued


class Unwritten:
    def written(self, row: Row) -> None:
        raise AssertionError


async def test_messages_are_queued_before_other_tasks_run() -> None:
    order: list[str] = []

    async def watch() -> None:
        while True:
            order.append("task")
            await trio.lowlevel.checkpoint()

    def move(_: Numbered) -> tuple[bool, bool]:
        order.append("move")
        return True, False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await move_all([Numbered(KEY)] * (MOVED_AT_ONCE + 1), [KEY], move, lambda: order.append("settle"))
        nursery.cancel_scope.cancel()
    kept = [each for each, _ in itertools.groupby(order)]
    assert 2 == kept.count("settle")
    assert not any(pair == ("move", "task") for pair in itertools.pairwise(kept))


class Numbered:
    """A connection that only has a key."""

    def __init__(self, key: Key) -> None:
        self.key = key


@pytest.mark.parametrize(
    ("result", "most"),
    [((False, False), EXAMINED_AT_ONCE), ((True, False), MOVED_AT_ONCE), ((True, True), WOKEN_AT_ONCE)],
)
async def test_other_tasks_run_after_a_bounded_number_of_connections(result: tuple[bool, bool], most: int) -> None:
    seen: list[int] = []
    count = 0

    async def watch() -> None:
        while True:
            seen.append(count)
            await trio.lowlevel.checkpoint()

    def move(_: Numbered) -> tuple[bool, bool]:
        nonlocal count
        count += 1
        return result

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.lowlevel.checkpoint()
        await move_all([Numbered(CANDIDATE) for _ in range(3 * most)], [KEY], move)
        nursery.cancel_scope.cancel()

    assert 3 * most == count
    # A round runs the tasks in any order, so the watcher may see two turns as one.
    assert 2 * most >= max(later - earlier for earlier, later in itertools.pairwise(seen))


async def test_only_connections_of_the_named_keys_are_moved() -> None:
    moved: list[Key] = []

    def move(member: Numbered) -> tuple[bool, bool]:
        moved.append(member.key)
        return True, False

    await move_all([Numbered(KEY), Numbered(BILLING), Numbered(CANDIDATE)], [CANDIDATE], move)
    assert [KEY, CANDIDATE] == moved
    assert all(KEY == plain(each) for each in moved)
