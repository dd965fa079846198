import math
import os
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
import trio
import wsproto.events
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.fakes import KEY, Client, Closed, Rounds, StreamSpy
from vortexd.auth import Admission, Right
from vortexd.core.model import Key
from vortexd.core.patterns import Pattern
from vortexd.protocol.close import CloseReason
from vortexd.realtime.commands import _KEYS_AT_ONCE
from vortexd.realtime.connection import Connection
from vortexd.realtime.server import _MESSAGES_AT_ONCE

from .wire import FIRST, Wire, frame, lockstep, socket_stream_pair

HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT = 30.0, 10.0


@pytest.fixture
async def nursery_of_peers() -> AsyncIterator[trio.Nursery]:
    """Where servers run; what is still running at the end of a test is cancelled."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@pytest.fixture(params=["never parked", "parked after a while", "parked at once"])
async def wire(nursery_of_peers: trio.Nursery, request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """What a client sees must be the same, wherever its connection is."""
    if request.param == "never parked":
        wire = Wire(nursery_of_peers)
    else:
        limits = {"park_after": 0.0} if request.param == "parked at once" else {}
        wire = Wire(nursery_of_peers, socket_stream_pair, **limits)
        await nursery_of_peers.start(wire.server.park)
    yield wire
    for client in wire.clients:
        await trio.aclose_forcefully(client.stream)


@pytest.fixture
def awake(nursery_of_peers: trio.Nursery) -> Wire:
    """For what only tasks can come into."""
    return Wire(nursery_of_peers)


async def witness_is_undisturbed(wire: Wire, witness: Client, had: str) -> None:
    await wait_all_tasks_blocked()
    version = wire.publish(4711)
    message = await witness.message()

    assert ("config_change", had, version) == (message["type"], message["old_version"], message["new_version"])


# The first message.


async def test_the_first_message_is_the_snapshot(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    message = await client.message()

    assert "config_snapshot" == message["type"]
    assert FIRST == message["config"]
    assert wire.line.version_of(KEY) == message["version"]
    assert ("orders", "dev", "main") == (message["app"], message["profile"], message["label"])


async def test_a_resume_that_missed_nothing_is_told_so(autojump_clock: MockClock, wire: Wire) -> None:
    version = wire.line.version_of(KEY)
    client = await wire.open(f"/ws/orders/dev?last_version={version}")
    message = await client.message()

    assert ("in_sync", version) == (message["type"], message["version"])


async def test_a_resume_from_a_known_version_is_one_change(autojump_clock: MockClock, wire: Wire) -> None:
    old = wire.line.version_of(KEY)
    wire.publish(1)
    new = wire.publish(2)
    client = await wire.open(f"/ws/orders/dev?last_version={old}")
    message = await client.message()

    assert ("config_change", old, new) == (message["type"], message["old_version"], message["new_version"])
    assert [{"op": "replace", "path": "/number", "value": 2}] == message["diff"]


async def test_a_resume_from_an_unknown_version_is_a_snapshot(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open("/ws/orders/dev?last_version=0123456789abcdef")

    assert "config_snapshot" == (await client.message())["type"]


async def test_what_is_published_before_the_first_message_is_in_it_and_not_repeated(
    autojump_clock: MockClock, awake: Wire
) -> None:
    client = awake.connect()
    gate = awake.line.gate = trio.Event()
    await client.opened()
    await wait_all_tasks_blocked()
    version = awake.publish(1)
    gate.set()
    first, second = await client.message(), await client.message()

    # The state had gone on while the snapshot was made: a snapshot of the old one, then what leads to the new one.
    assert ("config_snapshot", 0) == (first["type"], first["config"]["number"])
    assert ("config_change", first["version"], version) == (
        second["type"],
        second["old_version"],
        second["new_version"],
    )
    await witness_is_undisturbed(awake, client, version)


async def test_a_message_of_the_client_behind_its_handshake_is_answered(autojump_clock: MockClock, wire: Wire) -> None:
    ours, theirs = memory_stream_pair()
    client = Client(theirs)
    head = client.head() + frame(0x81, b"{}")
    wire.nursery.start_soon(wire.server.serve, ours, head, client.target)
    await client.opened()

    assert ["config_snapshot", "error"] == [(await client.message())["type"], (await client.message())["type"]]


# Changes.


async def test_a_change_is_the_same_frame_for_everybody(autojump_clock: MockClock, wire: Wire) -> None:
    spies: list[StreamSpy] = []

    def spy(stream: trio.abc.Stream) -> StreamSpy:
        spies.append(StreamSpy(stream))
        return spies[-1]

    for _ in range(2):
        client = await wire.open(wrap=spy)
        await client.message()
    wire.publish(1)
    await wait_all_tasks_blocked()
    one, other = (spied.sent for spied in spies)

    assert 3 == len(one) == len(other)
    assert one[1] is other[1]
    assert one[2] is other[2]


async def test_only_subscribers_of_a_key_are_told(autojump_clock: MockClock, wire: Wire) -> None:
    other = await wire.open("/ws/billing/dev")
    await other.message()
    wire.publish(1)
    wire.line.publish({"b": 2}, next(key for key in wire.line.held if key.application == "billing"))

    assert "billing" == (await other.message())["app"]


async def test_a_key_that_ends_and_comes_back_is_told_as_such(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    version = (await client.message())["version"]
    wire.line.publish(None)
    await wait_all_tasks_blocked()
    wire.publish(5)
    removed, back = await client.message(), await client.message()

    assert ("config_removed", version) == (removed["type"], removed["old_version"])
    assert ("config_snapshot", 5) == (back["type"], back["config"]["number"])


async def test_a_key_that_ends_and_comes_back_at_once_is_told_as_such(autojump_clock: MockClock, awake: Wire) -> None:
    client = await awake.open()
    version = (await client.message())["version"]
    awake.line.publish(None)
    awake.publish(5)
    removed, back = await client.message(), await client.message()

    assert ("config_removed", version) == (removed["type"], removed["old_version"])
    assert ("config_snapshot", 5) == (back["type"], back["config"]["number"])


async def test_a_full_queue_becomes_one_change_to_the_newest(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, queue_messages=2)
    client = await lockstep(wire)
    await client.message()
    await wait_all_tasks_blocked()
    versions = [wire.publish(number) for number in range(1, 6)]
    first, lagged, last = await client.message(), await client.message(), await client.message()

    # The writer was waiting for the first; two more had room; the fourth had none.
    assert ("config_change", versions[0]) == (first["type"], first["new_version"])
    assert ("lagged", 3) == (lagged["type"], lagged["dropped"])
    assert ("config_change", versions[0], versions[4]) == (last["type"], last["old_version"], last["new_version"])
    assert 1 == wire.metrics.counts["lagged"]
    await witness_is_undisturbed(wire, client, versions[4])


async def test_the_queue_is_bounded_in_bytes_too(autojump_clock: MockClock, nursery_of_peers: trio.Nursery) -> None:
    wire = Wire(nursery_of_peers, queue_bytes=1)
    client = await lockstep(wire)
    await client.message()
    await wait_all_tasks_blocked()
    versions = [wire.publish(number) for number in range(1, 5)]
    messages = [await client.message() for _ in range(3)]

    # One message may always wait, however large; the second may not.
    assert ["config_change", "lagged", "config_change"] == [message["type"] for message in messages]
    assert versions[3] == messages[2]["new_version"]


async def test_a_client_that_lags_again_while_it_is_caught_up_ends_at_the_newest(
    autojump_clock: MockClock,
    nursery_of_peers: trio.Nursery,
) -> None:
    wire = Wire(nursery_of_peers, queue_messages=1)
    client = await lockstep(wire)
    had = (await client.message())["version"]
    number = 0
    for _ in range(20):
        for _ in range(3):
            number += 1
            newest = wire.publish(number)
        await wait_all_tasks_blocked()
        message = await client.message()
        if message["type"] == "config_change":
            assert had == message["old_version"]
            had = message["new_version"]
    while had != newest:
        message = await client.message()
        had = message.get("new_version", had)

    assert wire.metrics.counts["lagged"] > 1
    await witness_is_undisturbed(wire, client, newest)


async def test_W11_a_client_that_never_reads_is_closed_in_time_and_disturbs_nobody(
    autojump_clock: MockClock, wire: Wire
) -> None:
    witness = await wire.open()
    had = (await witness.message())["version"]
    await lockstep(wire)
    start = trio.current_time()
    for number in range(200):
        had, before = wire.publish(number), had
        message = await witness.message()

        assert (before, had) == (message["old_version"], message["new_version"])

    assert start == trio.current_time()
    await trio.sleep(wire.settings.write_timeout + 0.1)

    assert 1 == wire.metrics.counts["connection_closed slow"]
    assert 1 == len(wire.server) == wire.line.held[KEY]
    await witness_is_undisturbed(wire, witness, had)


# Messages of the client.


async def test_resync_from_nothing_is_a_snapshot(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    first = await client.message()
    await client.send({"type": "resync"})

    assert first == await client.message()


MODES: list[dict[str, str]] = [{}, {"mode": "full"}, {"mode": "diff"}]


@pytest.mark.parametrize("mode", MODES)
async def test_resync_from_the_newest_is_in_sync(autojump_clock: MockClock, wire: Wire, mode: dict[str, str]) -> None:
    client = await wire.open()
    version = (await client.message())["version"]
    await client.send({"type": "resync", "last_version": version, **mode})
    message = await client.message()

    assert ("in_sync", version) == (message["type"], message["version"])
    await witness_is_undisturbed(wire, client, version)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", [None, "0123456789abcdef"])
async def test_resync_from_what_nobody_knows_is_a_snapshot(
    autojump_clock: MockClock, wire: Wire, mode: dict[str, str], version: str | None
) -> None:
    client = await wire.open()
    first = await client.message()
    await client.send({"type": "resync", "last_version": version, **mode})

    assert first == await client.message()
    await witness_is_undisturbed(wire, client, first["version"])


@pytest.mark.parametrize("mode", MODES[:2])
async def test_resync_from_a_former_version_is_a_snapshot_and_the_chain_goes_on(
    autojump_clock: MockClock, wire: Wire, mode: dict[str, str]
) -> None:
    """A client that has taken its snapshot already mustn't be led from a former version to it once more."""
    client = await wire.open()
    old = (await client.message())["version"]
    new = wire.publish(1)
    await client.message()
    await client.send({"type": "resync", "last_version": old, **mode})
    message = await client.message()

    assert ("config_snapshot", new, 1) == (message["type"], message["version"], message["config"]["number"])
    await witness_is_undisturbed(wire, client, new)


async def test_resync_for_a_diff_from_a_former_version_is_a_change_and_the_chain_goes_on(
    autojump_clock: MockClock, wire: Wire
) -> None:
    client = await wire.open()
    old = (await client.message())["version"]
    new = wire.publish(1)
    await client.message()
    await client.send({"type": "resync", "last_version": old, "mode": "diff"})
    message = await client.message()

    assert ("config_change", old, new) == (message["type"], message["old_version"], message["new_version"])
    await witness_is_undisturbed(wire, client, new)


async def test_what_a_client_lags_behind_its_resync_is_a_change_again(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, queue_messages=1)
    client = await lockstep(wire)
    await client.message()
    await client.send({"type": "resync"})
    await client.message()
    await wait_all_tasks_blocked()
    versions = [wire.publish(number) for number in range(1, 5)]
    told = [await client.message() for _ in range(3)]

    assert ["config_change", "lagged", "config_change"] == [each["type"] for each in told]
    assert (versions[0], versions[3]) == (told[2]["old_version"], told[2]["new_version"])


@pytest.mark.parametrize(("mode", "kind"), [("full", "config_snapshot"), ("diff", "config_change")])
async def test_a_resync_from_what_was_the_newest_is_answered_as_asked(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery, mode: str, kind: str
) -> None:
    """The state goes on between the question and the answer."""
    wire = Wire(nursery_of_peers)
    client = await lockstep(wire)
    await client.message()
    await wait_all_tasks_blocked()
    newest = wire.publish(1)
    await client.send({"type": "resync", "last_version": newest, "mode": mode})
    await wait_all_tasks_blocked()
    newer = wire.publish(2)
    told = [await client.message(), await client.message()]

    assert ("config_change", newest) == (told[0]["type"], told[0]["new_version"])
    assert (kind, newer) == (told[1]["type"], told[1].get("version", told[1].get("new_version")))
    await witness_is_undisturbed(wire, client, newer)


@pytest.mark.parametrize(
    ("modes", "kind"), [(["full", "diff"], "config_change"), (["diff", "full"], "config_snapshot")]
)
async def test_of_two_resyncs_the_last_one_is_answered(
    autojump_clock: MockClock, awake: Wire, modes: list[str], kind: str
) -> None:
    client = await awake.open()
    old = (await client.message())["version"]
    new = awake.publish(1)
    await client.message()
    gate = awake.line.gate = trio.Event()
    for mode in modes:
        await client.send({"type": "resync", "last_version": old, "mode": mode})
        await wait_all_tasks_blocked()
    gate.set()

    assert kind == (await client.message())["type"]
    await witness_is_undisturbed(awake, client, new)


async def test_a_resync_while_a_frame_is_made_is_answered_from_what_it_said(
    autojump_clock: MockClock, awake: Wire
) -> None:
    client = awake.connect()
    gate = awake.line.gate = trio.Event()
    await client.opened()
    await wait_all_tasks_blocked()
    version = awake.line.version_of(KEY)
    await client.send({"type": "resync", "last_version": version})
    await wait_all_tasks_blocked()
    gate.set()

    # The snapshot that was under way is for a state the client no longer says it has.
    assert "in_sync" == (await client.message())["type"]


async def test_a_resync_that_crosses_a_change_is_answered_all_the_same(autojump_clock: MockClock, wire: Wire) -> None:
    """Which of the server's tasks runs first is for Trio to say, and by chance, so it is tried often."""
    client = await wire.open()
    await client.message()
    for number in range(100):
        await wait_all_tasks_blocked()
        await client.send({"type": "resync"})
        newest = wire.publish(number)
        await wait_all_tasks_blocked()
        await client.send({"type": "dance"})
        messages = []
        while (message := await client.message())["type"] != "error":
            messages.append(message)
        kinds = [message["type"] for message in messages]
        last = messages[-1]

        # Before the snapshot a change may come, for it may have been on its way; behind it only what builds on it.
        assert 1 == kinds.count("config_snapshot")
        assert "in_sync" not in kinds
        assert newest == last.get("version", last.get("new_version"))


async def test_an_invalid_message_is_an_error_and_the_connection_stays(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    had = (await client.message())["version"]
    for text in ("", "[]", "null", '{"type": 1}', "{", '{"type": "dance"}'):
        await client.send(text)
        message = await client.message()

        assert ("error", "INVALID_MESSAGE") == (message["type"], message["code"])

    await witness_is_undisturbed(wire, client, had)


async def test_a_ping_of_the_client_is_answered_with_its_payload(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    await client.send_event(wsproto.events.Ping(b"abc"))

    assert wsproto.events.Pong(b"abc") == await client.event()


async def test_W08_who_sends_without_reading_is_made_to_wait(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    """Whatever mixture is sent, what waits for one client stays bounded, so at some point the server stops reading."""
    wire = Wire(nursery_of_peers, queue_messages=4)
    client = await lockstep(wire)
    sent = 0
    with trio.move_on_after(1):
        for _ in range(2_000):
            await client.send_event(wsproto.events.Ping(b"x" * 125))
            await client.send({"type": "dance"})
            await client.send({"type": "resync"})
            sent += 1

    assert sent < 50


# Protocol errors.


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(0x83), 1002, id="W09 reserved opcode"),
        pytest.param(frame(0xC1, b"{}"), 1002, id="W09 reserved bit"),
        pytest.param(frame(0x81, b"{}", is_masked=False), 1002, id="W09 unmasked"),
        pytest.param(frame(0x89, b"x" * 126), 1002, id="W09 long ping"),
        pytest.param(frame(0x09), 1002, id="W09 fragmented ping"),
        pytest.param(frame(0x80, b"{}"), 1002, id="W09 continuation of nothing"),
        pytest.param(frame(0x01, b"{") + frame(0x81, b"}"), 1002, id="W09 a message within a message"),
        pytest.param(frame(0x88, (999).to_bytes(2, "big")), 1002, id="W09 close code 999"),
        pytest.param(frame(0x88, (1005).to_bytes(2, "big")), 1002, id="W09 close code 1005"),
        pytest.param(frame(0x88, b"\x03"), 1002, id="W09 close of one byte"),
        pytest.param(frame(0x81, b"\xc0\x80"), 1007, id="W09 invalid UTF-8"),
        pytest.param(frame(0x01, b"\xe2\x82") + frame(0x80, b"\xff"), 1007, id="W09 invalid UTF-8 at a split"),
        pytest.param(frame(0x81, b"{}", length=2**63), 1002, id="W05 a length of 2 to the 63"),
        pytest.param(b"\x81\xff" + (10).to_bytes(8, "big"), 1002, id="W05 a short length in eight bytes"),
        pytest.param(frame(0x82, b"{}"), 1003, id="W10 binary"),
        pytest.param(frame(0x82), 1003, id="W10 empty binary"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1002, id="W15 garbage"),
        pytest.param(bytes((0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3)), 1002, id="W15 TLS"),
    ],
)
async def test_what_no_client_may_send_ends_its_connection_alone(
    autojump_clock: MockClock, wire: Wire, data: bytes, code: int
) -> None:
    witness, client = await wire.open(), await wire.open()
    had = (await witness.message())["version"]
    await client.message()
    await client.stream.send_all(data)

    assert code == (await client.closed()).code
    await wait_all_tasks_blocked()
    assert 1 == len(wire.server)
    await witness_is_undisturbed(wire, witness, had)


@pytest.mark.parametrize("text", ["x" * 1001, "\N{SNOWMAN}" * 334])
@pytest.mark.parametrize("frames", [1, 10])
async def test_W06_one_byte_over_the_limit_is_too_big(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery, text: str, frames: int
) -> None:
    wire = Wire(nursery_of_peers, message_bytes=1000)
    data = text.encode()
    step = math.ceil(len(data) / frames)
    for size, expected in ((len(data), 1009), (999, 1000)):
        client = await wire.open()
        await client.message()
        parts = [data[:size][start : start + step] for start in range(0, size, step)]
        for index, part in enumerate(parts):
            first = (0x80 if index == len(parts) - 1 else 0) | (0x01 if index == 0 else 0)
            await client.stream.send_all(frame(first, part))
        if size == 999:
            assert "error" == (await client.message())["type"]
            await client.send_event(wsproto.events.CloseConnection(1000))

        assert expected == (await client.closed()).code


async def test_W05_a_declared_length_is_no_reason_to_wait_for_it_all(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, message_bytes=1000)
    client = await wire.open()
    await client.message()
    await client.stream.send_all(frame(0x81, b"x" * 1001, length=2**62))

    assert 1009 == (await client.closed()).code


async def test_W07_a_message_has_a_bounded_number_of_frames(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, message_fragments=8)
    client = await wire.open()
    await client.message()
    await client.stream.send_all(frame(0x01, b"{") + frame(0x00) * 6 + frame(0x80, b"}"))

    assert "error" == (await client.message())["type"]
    await client.stream.send_all(frame(0x01) + frame(0x00) * 8)
    assert 1008 == (await client.closed()).code


async def test_W07_a_message_has_a_deadline_however_it_drips(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    start = trio.current_time()
    await client.stream.send_all(frame(0x01, b"{"))
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            while True:
                await trio.sleep(wire.settings.message_timeout / 4)
                await client.stream.send_all(frame(0x00))

        nursery.start_soon(drip)
        closed = await client.closed(answers=False)
        nursery.cancel_scope.cancel()

    assert 1008 == closed.code
    assert start + wire.settings.message_timeout == trio.current_time()


async def test_the_deadline_of_a_message_is_not_that_of_the_one_before(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, heartbeat_interval=1000)
    client = await wire.open()
    await client.message()
    await client.stream.send_all(frame(0x01, b"{"))
    await trio.sleep(wire.settings.message_timeout - 1)
    await client.stream.send_all(frame(0x80, b"}") + frame(0x01, b"{"))
    assert "error" == (await client.message())["type"]
    await trio.sleep(wire.settings.message_timeout - 1)
    await client.stream.send_all(frame(0x80, b"}"))

    assert "error" == (await client.message())["type"]


async def test_what_comes_after_a_protocol_error_is_not_kept(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    await client.stream.send_all(frame(0x83))
    await wait_all_tasks_blocked()
    tracemalloc.start()
    for _ in range(20):
        await client.stream.send_all(b"z" * 100_000)
        await wait_all_tasks_blocked()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 1_000_000


async def test_who_goes_on_after_a_protocol_error_is_cut_off_in_time(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    await client.stream.send_all(frame(0x83))
    with trio.fail_after(wire.settings.close_timeout + 0.2), pytest.raises(trio.BrokenResourceError):
        for _ in range(1_000):
            await client.stream.send_all(b"z")
            await trio.sleep(0.1)

    assert 0 == len(wire.server)


# The heartbeat.


async def test_the_heartbeat_is_a_ping_frame_and_a_json_ping_with_the_bookmark(
    autojump_clock: MockClock, wire: Wire
) -> None:
    client = await wire.open()
    version = (await client.message())["version"]
    ping = await client.message()

    assert "ping" == ping["type"]
    assert {"orders:dev:main": version} == ping["versions"]
    assert HEARTBEAT_INTERVAL / 2 <= trio.current_time() <= HEARTBEAT_INTERVAL
    assert isinstance(await client.event(), wsproto.events.Ping)


async def test_heartbeats_of_clients_that_came_together_are_apart(autojump_clock: MockClock, wire: Wire) -> None:
    times = []
    for client in [await wire.open() for _ in range(2)]:
        await client.message()
        await client.message()
        times.append(trio.current_time())

    assert times[0] != times[1]


async def test_W12_silence_after_a_heartbeat_ends_the_connection(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    assert "ping" == (await client.message())["type"]
    pinged = trio.current_time()

    assert Closed(4408, "no sign of life") == await client.closed(answers=False)
    assert pinged + HEARTBEAT_TIMEOUT == trio.current_time()
    await trio.sleep(wire.settings.close_timeout)
    await wait_all_tasks_blocked()
    assert 0 == len(wire.server) == wire.line.held[KEY]
    assert not wire.line.registry.is_wanted(KEY)


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(frame(0x8A), id="an unsolicited pong"),
        pytest.param(frame(0x89), id="a ping"),
        pytest.param(frame(0x81, b"{}"), id="a message"),
        pytest.param(b"\x81", id="one byte of a frame"),
    ],
)
async def test_any_bytes_are_a_sign_of_life(autojump_clock: MockClock, wire: Wire, sign: bytes) -> None:
    client = await wire.open()
    await client.message()
    while (await client.message())["type"] != "ping":
        pass
    await trio.sleep(HEARTBEAT_TIMEOUT - 1)
    await client.stream.send_all(sign)
    message = await client.message()
    if message["type"] == "error":
        message = await client.message()

    assert "ping" == message["type"]


async def test_a_client_that_answers_heartbeats_stays_for_hours(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    while trio.current_time() < 4 * 3_600:
        event = await client.event()
        if isinstance(event, wsproto.events.Ping):
            await client.send_event(event.response())

        assert not isinstance(event, wsproto.events.CloseConnection)


async def test_a_heartbeat_never_names_a_version_that_was_not_delivered(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, queue_messages=1, write_timeout=1000, heartbeat_interval=10, heartbeat_timeout=5)
    client = await lockstep(wire)
    delivered = {(await client.message())["version"]}
    pings = 0
    chance = Random(2)
    for number in range(300):
        for _ in range(chance.choice((0, 0, 1, 3))):
            wire.publish(number * 10 + chance.randrange(10))
        await trio.sleep(chance.choice((0, 1, 4)))
        message = await client.message()
        match message["type"]:
            case "config_change":
                delivered.add(message["new_version"])
            case "ping":
                pings += 1

                assert message["versions"][str(KEY)] in delivered
        await client.send_event(wsproto.events.Pong())

    assert pings > 10
    assert wire.metrics.counts["lagged"] > 10


# The end.


async def test_the_close_frame_of_the_client_is_answered(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    start = trio.current_time()
    await client.send_event(wsproto.events.CloseConnection(1000, "bye"))

    assert Closed(1000, "bye") == await client.closed()
    await wait_all_tasks_blocked()
    assert start == trio.current_time()
    assert 1 == wire.metrics.counts["connection_closed client"]
    assert 0 == len(wire.server) == wire.line.held[KEY]


async def test_what_was_queued_goes_before_the_answer_to_a_close_frame(autojump_clock: MockClock, wire: Wire) -> None:
    client = await lockstep(wire)
    await client.message()
    version = wire.publish(1)
    await client.send_event(wsproto.events.CloseConnection(1000))

    assert version == (await client.message())["new_version"]
    assert 1000 == (await client.closed()).code


async def test_a_close_frame_is_answered_though_the_queue_was_dropped_behind_it(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, queue_messages=2)
    client = await lockstep(wire)
    await client.message()
    wire.publish(1)
    await wait_all_tasks_blocked()
    await client.send_event(wsproto.events.CloseConnection(1000))
    await wait_all_tasks_blocked()
    for number in range(2, 9):
        wire.publish(number)

    assert 1000 == (await client.closed()).code


async def test_W13_a_close_frame_that_is_never_answered_is_waited_for_in_vain_for_a_bounded_time(
    autojump_clock: MockClock, wire: Wire
) -> None:
    client = await wire.open()
    await client.message()
    start = trio.current_time()
    wire.nursery.start_soon(wire.server.drain, 1.0)
    assert 1001 == (await client.closed(answers=False)).code

    assert b"" == await client.stream.receive_some()
    assert start + wire.settings.close_timeout == trio.current_time()


async def test_a_drain_says_goodbye_and_when_to_come_back(autojump_clock: MockClock, wire: Wire) -> None:
    client = await wire.open()
    await client.message()
    wire.nursery.start_soon(wire.server.drain, 1.0)
    message = await client.message()

    assert "connection_closing" == message["type"]
    assert 100 <= message["reconnect_after_ms"] <= 3000
    assert Closed(1001, "the server is stopping") == await client.closed()
    await wait_all_tasks_blocked()
    assert 1 == wire.metrics.counts["connection_closed drain"]


async def test_W15_a_client_that_vanishes_is_forgotten(autojump_clock: MockClock, wire: Wire) -> None:
    witness, client = await wire.open(), await wire.open()
    had = (await witness.message())["version"]
    await trio.aclose_forcefully(client.stream)
    await wait_all_tasks_blocked()

    assert 1 == len(wire.server) == wire.metrics.counts["connection_closed lost"]
    await witness_is_undisturbed(wire, witness, had)


async def test_cancelling_a_connection_in_the_middle_of_a_write_takes_no_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery)
        client = await lockstep(wire)
        await client.message()
        wire.publish(1)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert 0 == trio.current_time()
    # Nothing may follow half a frame.
    assert Closed(1006) == await client.closed()
    assert 0 == len(wire.server) == wire.line.held[KEY]


async def test_cancelling_a_connection_still_says_goodbye_and_waits_for_no_answer(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery)
        client = await wire.open()
        await client.message()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert 0 == trio.current_time()
    assert 1011 == (await client.closed()).code


async def test_cancelling_a_connection_to_a_client_that_reads_nothing_takes_less_than_a_second(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        wire = Wire(nursery)
        client = await lockstep(wire)
        await client.message()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert trio.current_time() < 1
    assert 0 == len(wire.server)


async def test_every_close_reason_fits_into_a_close_frame() -> None:
    assert all(len(reason.text.encode()) <= 123 for reason in CloseReason)
    assert {CloseReason.LOST} == {reason for reason in CloseReason if not reason.is_sent}


async def test_M15_pongs_that_answer_nothing_are_counted_like_messages_and_are_no_answer(
    autojump_clock: MockClock, nursery_of_peers: trio.Nursery
) -> None:
    wire = Wire(nursery_of_peers, messages_per_second=50)
    client = wire.connect()
    await client.opened()
    await client.message()
    for _ in range(200):
        await client.send_event(wsproto.events.Pong(b"nobody asked"))

    assert 1008 == (await client.closed()).code
    assert 0 == wire.metrics.counts["heartbeat_answered"]


# Turns.

ACK = b'{"type":"ack","status":"applied","version":"v"}'


@pytest.fixture
async def sockets(nursery_of_peers: trio.Nursery) -> AsyncIterator[Wire]:
    """One whose clients can say many words in one write."""
    wire = Wire(nursery_of_peers, socket_stream_pair, errors_per_minute=6, heartbeat_interval=10_000.0)
    yield wire
    for client in wire.clients:
        await trio.aclose_forcefully(client.stream)


async def flood(wire: Wire, clients: int, messages: int) -> tuple[list[int], Client]:
    """As many clients that say as many words each, all there before the first is read; and the witness.

    Returns the rounds of the loop in which words were taken, one for each word, as a list that grows.
    """
    rounds, taken = Rounds.counting(), []
    witness, *others = [await wire.open() for _ in range(1 + clients)]
    for client in (witness, *others):
        await client.message()
    count = wire.metrics.message_received

    def received(kind: str) -> None:
        if kind == "ack":
            taken.append(rounds.count)
        count(kind)

    wire.metrics.message_received = received  # type: ignore[method-assign]  # it also counts rounds
    await wait_all_tasks_blocked()
    for client in others:
        assert isinstance(client.stream, trio.SocketStream)
        os.write(client.stream.socket.fileno(), frame(0x81, ACK) * messages)
    return taken, witness


async def test_a_round_of_the_loop_takes_a_few_words_of_all_clients_together(
    autojump_clock: MockClock, sockets: Wire
) -> None:
    taken, _ = await flood(sockets, clients=20, messages=10)
    await wait_all_tasks_blocked()

    assert 200 == len(taken)
    assert _MESSAGES_AT_ONCE == max(Counter(taken).values())


async def test_what_one_client_says_at_once_is_taken_a_word_at_a_time_and_others_in_between(
    autojump_clock: MockClock, sockets: Wire
) -> None:
    taken, witness = await flood(sockets, clients=1, messages=100)
    await witness.send({"type": "ping"})
    assert "pong" == (await witness.message())["type"]
    assert len(taken) < 20
    await wait_all_tasks_blocked()

    assert 100 == len(taken) == len(set(taken))


async def test_a_word_waits_for_one_word_of_each_other_client_at_most(autojump_clock: MockClock, sockets: Wire) -> None:
    taken, witness = await flood(sockets, clients=50, messages=20)
    while len(taken) < 100:
        await trio.lowlevel.checkpoint()
    before = len(taken)
    await witness.send({"type": "ping"})
    assert "pong" == (await witness.message())["type"]

    # One of each, and what is taken in the rounds that it takes to read, to answer and to be read.
    assert len(taken) - before <= 50 + 10 * _MESSAGES_AT_ONCE


async def test_a_connection_that_is_not_fresh_is_not_asked_again_before_it_may_be(
    autojump_clock: MockClock, sockets: Wire, nursery_of_peers: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await nursery_of_peers.start(sockets.server.park)
    client = await sockets.open()
    await client.message()
    await wait_all_tasks_blocked()
    asked: list[float] = []
    is_quiet = Connection.is_quiet

    def asking(connection: Connection) -> bool:
        asked.append(trio.current_time())
        return is_quiet(connection)

    monkeypatch.setattr(Connection, "is_quiet", asking)
    began = trio.current_time()
    await client.send({"type": "dance"})
    assert "error" == (await client.message())["type"]
    await trio.sleep(9.9)
    assert (0, []) == (sockets.server.parked, asked)
    await trio.sleep(0.3)

    assert 1 == sockets.server.parked
    assert all(10.0 <= when - began < 10.2 for when in asked)


async def test_many_keys_are_marked_in_several_rounds_of_the_loop(
    autojump_clock: MockClock, sockets: Wire, nursery_of_peers: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3 * _KEYS_AT_ONCE):
        sockets.line.publish({"n": number}, Key(f"app{number}", "dev", "main"))
    client = await sockets.open()
    await client.message()
    rounds = Rounds.counting()
    marked: dict[Key, int] = {}
    may = Admission.may

    def asking(admission: Admission, right: Right, where: Key | Pattern | None) -> bool:
        if isinstance(where, Key) and where.application.startswith("app"):
            marked.setdefault(where, rounds.count)
        return may(admission, right, where)

    monkeypatch.setattr(Admission, "may", asking)
    await client.send({"type": "subscribe", "patterns": ["app*"]})
    assert "subscribed" == (await client.message())["type"]
    keys = {(await client.message())["app"] for _ in range(3 * _KEYS_AT_ONCE)}

    assert 3 * _KEYS_AT_ONCE == len(keys)
    assert [_KEYS_AT_ONCE] * 3 == list(Counter(marked.values()).values())
