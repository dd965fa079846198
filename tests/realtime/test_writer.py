"""The writer of a connection, on streams in memory. The test decides what is quiet."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection

from tests.fakes import KEY, TIMESTAMP, FakeLine, FakeMetrics, StreamSpy, open_gate, timestamp
from vortexd.auth import Admission, Kind, Principal
from vortexd.core.generation import Generation
from vortexd.core.model import Json, Key
from vortexd.fleet import Instance
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol import messages
from vortexd.protocol.close import CloseReason
from vortexd.protocol.frames import PING, text_frame
from vortexd.realtime.chain import Chain, Reply
from vortexd.realtime.client import Client
from vortexd.realtime.forms import web_socket_form
from vortexd.realtime.framing import Compressor
from vortexd.realtime.heartbeat import Heartbeat
from vortexd.realtime.inbound import Unacceptable
from vortexd.realtime.writer import LEVEL_WITHIN, Writer
from vortexd.settings.realtime import RealtimeSettings

FIRST: dict[str, Json] = {"number": 0, "padding": "p" * 200}
WRITE_BYTES = 65_536


class WriterMetrics(FakeMetrics):
    """Keeps the size of each write, and the seconds of each delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []
        self.seconds: list[float] = []

    def bytes_written(self, count: int) -> None:
        self.writes.append(count)

    def delivered(self, seconds: float, count: int) -> None:
        self.seconds.extend([seconds] * count)


class Writing:
    """A writer with its neighbours. `results` has what `run` returned or raised; `spy` has the objects that were sent."""

    def __init__(
        self,
        nursery: trio.Nursery,
        pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = memory_stream_pair,
        settings: RealtimeSettings | None = None,
        hello: Callable[[str, str], bytes] | None = None,
        window_bits: int | None = None,
        version: str | None = None,
        generation: Generation | None = None,
        is_sent_on: bool = False,
    ) -> None:
        ours, self.client = pair()
        self.spy = StreamSpy(ours)
        self.websocket = Connection(ConnectionType.SERVER)
        self.line = FakeLine({KEY: dict(FIRST)})
        self.metrics = WriterMetrics()
        self.heartbeat = Heartbeat(30.0, 10.0, first=1.0)
        self.settings = settings or RealtimeSettings(queue_messages=4, write_timeout=10.0)
        self.chain = Chain(
            KEY,
            version,
            lambda _: True,
            lambda _: None,
            self._wake,
            self.settings.queue_messages,
            self.settings.queue_bytes,
        )
        self.can_park = True
        self.fresh_in = 0.0
        self.checks: list[float] = []
        client = Client(
            *(KEY, version, Admission(open_gate(), Principal("", Kind.ANONYMOUS, ())), Instance(KEY, "c1"), b""),
            form=web_socket_form(window_bits),
            hello=hello,
            settings=self.settings,
            generation=generation,
            is_sent_on=is_sent_on,
        )
        self.writer = Writer(
            *(self.spy, self.websocket, client, self.chain, self.line, Compressor(), self.metrics, self.heartbeat),
            timestamp,
            self._can_park,
            lambda _: self.fresh_in,
            Random(1),
        )
        self.results: list[object] = []
        self.scope: trio.CancelScope | None = None
        self._nursery = nursery
        self.line.registry.add(self, KEY)

    def deliver(self, delivery: Delivery) -> None:
        self.chain.offer(delivery)

    def _wake(self) -> None:
        self.writer.wake()

    def _can_park(self) -> bool:
        self.checks.append(trio.current_time())
        return self.can_park

    def begin(self) -> None:
        async def run() -> None:
            with trio.CancelScope() as self.scope:
                try:
                    self.results.append(await self.writer.run())
                except (Unacceptable, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self.results.append(error)

        self._nursery.start_soon(run)

    async def current(self) -> bytes:
        """Begin, and read the first state. Returns what was read."""
        self.begin()
        data = await self.read()
        await wait_all_tasks_blocked()
        self.metrics.writes.clear()
        self.metrics.counts.clear()
        self.spy.sent.clear()
        return data

    async def read(self) -> bytes:
        """Read all that was written."""
        await wait_all_tasks_blocked()
        return bytes(await self.client.receive_some(1_000_000))

    def publish(self, number: int) -> str:
        new = self.line.publish(FIRST | {"number": number})
        assert new is not None
        return new.version

    @property
    def reasons(self) -> list[CloseReason]:
        return [each.reason for each in self.results if isinstance(each, Unacceptable)]


def types(data: bytes) -> list[str]:
    """The types of the messages in frames without compression. Control frames are left out."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if data[0] == 0x81:
            found.append(json.loads(data[start : start + size])["type"])
        data = data[start + size :]
    return found


@pytest.fixture
async def writing(autojump_clock: MockClock, nursery: trio.Nursery) -> Writing:
    return Writing(nursery)


# The first state, and changes.


async def test_the_first_state_is_written_and_counted(autojump_clock: MockClock, writing: Writing) -> None:
    writing.begin()
    data = await writing.read()

    assert ["config_snapshot"] == types(data)
    assert [len(data)] == writing.metrics.writes
    assert {"sent config_snapshot": 1} == writing.metrics.counts
    # It was made for this client, so it says nothing about the time from a change to a client.
    assert [] == writing.metrics.seconds
    assert {KEY: writing.line.version_of(KEY)} == writing.chain.versions
    assert not writing.writer.is_writing


async def test_a_change_is_the_shared_frame_and_its_time_is_counted(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await writing.current()
    version = writing.publish(1)
    await writing.read()

    (frame,) = writing.spy.sent
    assert ["config_change"] == types(frame)
    assert {KEY: version} == writing.chain.versions
    assert ({"sent config_change": 1}, [0.0]) == (writing.metrics.counts, writing.metrics.seconds)


async def test_the_time_of_a_change_ends_when_it_is_written(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    await writing.current()
    writing.publish(1)
    await trio.sleep(3)
    assert [] == writing.metrics.seconds
    assert writing.writer.is_writing
    await writing.read()
    await wait_all_tasks_blocked()

    assert [3.0] == writing.metrics.seconds
    assert not writing.writer.is_writing


async def test_a_catch_up_that_a_resync_has_overtaken_is_not_written(
    autojump_clock: MockClock, writing: Writing
) -> None:
    gate = writing.line.gate = trio.Event()
    writing.begin()
    await wait_all_tasks_blocked()
    writing.chain.resync(KEY, writing.line.version_of(KEY), in_full=True)
    gate.set()

    assert ["in_sync"] == types(await writing.read())
    assert 2 == writing.line.catch_ups
    assert {"sent in_sync": 1} == writing.metrics.counts


async def test_a_resync_in_full_from_a_former_version_asks_for_the_whole_document(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await writing.current()
    former = writing.line.version_of(KEY)
    writing.publish(1)
    await writing.read()
    writing.chain.resync(KEY, former, in_full=True)

    assert ["config_snapshot"] == types(await writing.read())


async def test_a_client_that_lags_is_sent_the_number_of_dropped_messages(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    await writing.current()
    for number in range(1, 8):
        writing.publish(number)
    data = b"".join([await writing.read() for _ in range(3)])

    # One is being written, four wait, and the sixth drops them.
    assert ["config_change", "lagged", "config_change"] == types(data)
    assert data.find(text_frame(messages.lagged(5, TIMESTAMP))) > 0
    assert 1 == writing.metrics.counts["sent lagged"]


# Clients that have a newer state.

CLAIM = Generation("ab", 9)


def ahead(nursery: trio.Nursery, **arguments: Any) -> Writing:
    """A client whose version this server doesn't have."""
    writing = Writing(nursery, version="0123456789abcdef", **arguments)
    writing.line.level = trio.Event()
    return writing


async def test_a_client_that_is_ahead_waits_for_the_newer_state(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = ahead(nursery, generation=CLAIM)
    writing.begin()
    await trio.sleep(LEVEL_WITHIN - 0.1)
    assert [] == writing.spy.sent
    assert writing.line.level is not None
    writing.publish(1)
    writing.line.level.set()

    assert ["config_snapshot"] == types(await writing.read())
    assert b'"stale"' not in writing.spy.sent[0]
    assert [] == writing.results


@pytest.mark.parametrize("hello", [None, lambda *_: b'{"type":"hello"}'], ids=["plain", "with the subprotocol"])
async def test_a_client_that_stays_ahead_is_sent_on_before_it_gets_any_state(
    autojump_clock: MockClock, nursery: trio.Nursery, hello: Callable[[str, str], bytes] | None
) -> None:
    writing = ahead(nursery, generation=CLAIM, hello=hello)
    writing.begin()
    data = await writing.read()

    assert trio.current_time() == LEVEL_WITHIN
    assert ["connection_closing"] == types(data)
    message = json.loads(data[4:])
    assert message["reason"] == CloseReason.BEHIND.text
    assert 50 <= message["reconnect_after_ms"] <= 500
    assert [CloseReason.BEHIND] == writing.results


async def test_a_client_that_was_sent_on_gets_the_state_marked_as_stale(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = ahead(nursery, generation=CLAIM, is_sent_on=True, hello=lambda *_: b'{"type":"hello"}')
    writing.begin()
    data = await writing.read()
    assert trio.current_time() == LEVEL_WITHIN
    assert ["hello", "config_snapshot"] == types(data)
    assert b'"stale":true' in data

    # Later changes build on it.
    assert {KEY: writing.line.version_of(KEY)} == writing.chain.versions
    writing.publish(1)
    assert ["config_change"] == types(await writing.read())
    assert [] == writing.results


async def test_a_client_without_a_generation_is_never_sent_on(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = ahead(nursery)
    writing.begin()
    data = await writing.read()

    assert trio.current_time() == LEVEL_WITHIN
    assert ["config_snapshot"] == types(data)
    assert b'"stale"' not in data


async def test_a_client_waits_only_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = ahead(nursery)
    writing.writer.may_park = True
    await writing.current()
    await trio.sleep(60)
    assert [None] == writing.results
    began = trio.current_time()
    writing.begin()
    writing.publish(1)

    assert ["config_change"] == types(await writing.read())
    assert trio.current_time() == began


# hello.


async def test_hello_and_the_first_state_are_one_write_and_nothing_comes_before_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    def hello(kind: str, at: str) -> bytes:
        return b'{"type":"hello %b %b"}' % (kind.encode(), at.encode())

    writing = Writing(nursery, hello=hello)
    assert writing.chain.reply(Reply(text_frame(b'{"type":"queued"}')))
    writing.chain.reply_first(Reply(text_frame(b'{"type":"first"}')))
    writing.begin()
    data = await writing.read()

    assert [f"hello config_snapshot {TIMESTAMP}", "config_snapshot", "first", "queued"] == types(data)
    assert 3 == len(writing.metrics.writes)
    assert [f"hello config_snapshot {TIMESTAMP}", "config_snapshot"] == types(writing.spy.sent[0])


async def test_hello_is_written_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, hello=lambda *_: b'{"type":"hello"}')
    await writing.current()
    writing.chain.resync(KEY, None, in_full=True)

    assert ["config_snapshot"] == types(await writing.read())


# Replies, and several items in one write.


async def test_a_reply_that_ends_the_connection_is_written_last(autojump_clock: MockClock, writing: Writing) -> None:
    await writing.current()
    writing.publish(1)
    writing.chain.reply(Reply(b"\x8a\x00"))
    writing.chain.reply(Reply(b"\x88\x00", ends=CloseReason.CLIENT))
    writing.chain.reply(Reply(b"\x8a\x00"))
    data = await writing.read()

    assert data.endswith(b"\x8a\x00\x88\x00")
    assert [CloseReason.CLIENT] == writing.results
    assert 1 == writing.metrics.counts["sent config_change"]


async def test_a_reply_before_the_queue_ends_the_connection_too(autojump_clock: MockClock, writing: Writing) -> None:
    await writing.current()
    writing.chain.reply_first(Reply(b"\x8a\x00"), Reply(b"", ends=CloseReason.DRAIN))

    assert b"\x8a\x00" == await writing.read()
    assert [CloseReason.DRAIN] == writing.results


@pytest.mark.parametrize(
    ("sizes", "writes"),
    [
        ([WRITE_BYTES - 1, 1, 1], [WRITE_BYTES, 1]),
        ([WRITE_BYTES - 1, 5, 1], [WRITE_BYTES + 4, 1]),
        ([WRITE_BYTES, 1, 1], [WRITE_BYTES, 2]),
        ([10, 10, 10], [30]),
    ],
)
async def test_queued_items_are_one_write_until_it_is_large_enough(
    autojump_clock: MockClock, writing: Writing, sizes: list[int], writes: list[int]
) -> None:
    await writing.current()
    assert writing.scope
    writing.scope.cancel()
    await wait_all_tasks_blocked()
    writing.chain.is_awaited = False
    for size in sizes:
        assert writing.chain.reply(Reply(b"x" * size))
    writing.begin()

    assert sum(sizes) == len(await writing.read())
    assert writes == writing.metrics.writes


async def test_a_reply_waits_for_room_in_the_queue(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    await writing.current()
    # One is handed to the writer, and four fill the queue.
    for number in range(5):
        await writing.writer.reply(Reply(b"%d" % number))
        await wait_all_tasks_blocked()
    nursery.start_soon(writing.writer.reply, Reply(b"5"))
    await wait_all_tasks_blocked()
    assert not writing.chain.reply(Reply(b"too much"))

    assert b"0" == await writing.read()
    assert b"12345" == await writing.read() + await writing.read()


async def test_a_reply_that_is_cancelled_before_it_is_queued_is_not_queued(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await writing.current()
    with trio.CancelScope() as scope:
        scope.cancel()
        await writing.writer.reply(Reply(b"x"))
    assert scope.cancelled_caught
    await wait_all_tasks_blocked()

    assert [] == writing.metrics.writes


async def test_a_reply_that_is_queued_is_not_reported_as_cancelled(
    autojump_clock: MockClock, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it were, its command would count as undone."""
    await writing.current()
    is_done = False
    with trio.CancelScope() as scope:
        put = writing.chain.reply

        def reply(each: Reply) -> bool:
            scope.cancel()
            return put(each)

        monkeypatch.setattr(writing.chain, "reply", reply)
        await writing.writer.reply(Reply(b"x"))
        is_done = True

    assert is_done
    assert b"x" == await writing.read()


# Heartbeats.


async def test_a_heartbeat_names_the_version_and_begins_the_time_for_its_answer(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await writing.current()
    await trio.sleep(1)
    assert writing.heartbeat.is_answered
    writing.writer.beat()
    version = writing.line.version_of(KEY)

    assert text_frame(messages.ping(KEY, version, TIMESTAMP)) + PING == await writing.read()
    assert not writing.heartbeat.is_answered
    assert {"sent ping": 1} == writing.metrics.counts


async def test_a_heartbeat_is_made_when_it_is_written(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    await writing.current()
    await trio.sleep(1)
    writing.publish(1)
    await wait_all_tasks_blocked()
    newest = writing.publish(2)
    writing.writer.beat()
    await wait_all_tasks_blocked()
    assert writing.heartbeat.is_answered
    await writing.read()

    assert (await writing.read()).endswith(text_frame(messages.ping(KEY, newest, TIMESTAMP)) + PING)
    assert not writing.heartbeat.is_answered


async def test_a_heartbeat_finds_no_room_in_a_full_queue_and_is_left_out(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    await writing.current()
    for _ in range(5):
        writing.chain.reply(Reply(b"x"))
        await wait_all_tasks_blocked()
    writing.writer.beat()

    assert b"x" * 5 == await writing.read() + await writing.read()
    await wait_all_tasks_blocked()
    assert {} == writing.metrics.counts


async def test_no_heartbeat_is_written_while_the_version_of_the_client_is_not_known(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await writing.current()
    writing.writer.beat()
    # The heartbeat is handed to the writer already when the key falls behind.
    writing.chain.resync(KEY, None, in_full=True)

    assert ["config_snapshot"] == types(await writing.read())
    assert 0 == writing.metrics.counts["sent ping"]
    assert writing.heartbeat.is_answered
    assert writing.heartbeat.seconds_to_answer is None


async def test_no_heartbeat_follows_a_close_frame(autojump_clock: MockClock, writing: Writing) -> None:
    await writing.current()
    writing.websocket.send(CloseConnection(1000))
    writing.writer.beat()
    await wait_all_tasks_blocked()

    assert (0, [0]) == (writing.metrics.counts["sent ping"], writing.metrics.writes)
    assert writing.heartbeat.seconds_to_answer is None


# Clients that don't read.


async def test_a_client_that_does_not_read_is_slow_after_the_write_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    writing.begin()
    await trio.sleep(9.9)
    assert [] == writing.results
    await trio.sleep(0.2)

    assert [CloseReason.SLOW] == writing.reasons
    # No close frame may follow half of a frame.
    assert writing.writer.is_writing
    assert [] == writing.metrics.writes


async def test_each_part_of_a_large_frame_has_the_write_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = Writing(nursery, lockstep_stream_pair)
    await writing.current()
    writing.chain.reply(Reply(b"x" * (2 * WRITE_BYTES + 1)))
    sizes = []
    for _ in range(3):
        await trio.sleep(9.9)
        assert writing.writer.is_writing
        sizes.append(len(await writing.client.receive_some(1_000_000)))
    await wait_all_tasks_blocked()

    assert [WRITE_BYTES, WRITE_BYTES, 1] == sizes
    assert [2 * WRITE_BYTES + 1] == writing.metrics.writes
    assert ([], False) == (writing.results, writing.writer.is_writing)


async def test_a_write_that_is_cancelled_before_its_first_byte_has_not_begun(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await writing.current()
    writing.chain.reply(Reply(b"x"))
    assert writing.scope
    writing.scope.cancel()
    await wait_all_tasks_blocked()

    assert ([], False) == (writing.spy.sent, writing.writer.is_writing)


async def test_a_broken_socket_raises(autojump_clock: MockClock, writing: Writing) -> None:
    await writing.current()
    await writing.client.aclose()
    writing.publish(1)
    await wait_all_tasks_blocked()

    assert [trio.BrokenResourceError] == [type(each) for each in writing.results]
    assert 0 == writing.metrics.counts["sent config_change"]


# Parking.

PARKING = RealtimeSettings(park_after=2.0)


async def test_a_connection_that_may_not_park_stays(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, settings=PARKING)
    await writing.current()
    await trio.sleep(1_000)

    assert ([], []) == (writing.results, writing.checks)


@pytest.mark.parametrize(
    ("park_after", "fresh_in", "pause"), [(2.0, 0.0, 2.0), (2.0, 5.0, 5.0), (0.01, 0.0, 0.1), (0.0, 3.0, 0.0)]
)
async def test_a_quiet_connection_parks_after_the_longest_of_the_pauses(
    autojump_clock: MockClock, nursery: trio.Nursery, park_after: float, fresh_in: float, pause: float
) -> None:
    writing = Writing(nursery, settings=RealtimeSettings(park_after=park_after))
    writing.writer.may_park, writing.fresh_in = True, fresh_in
    await writing.current()
    await trio.sleep(10)

    assert ([None], [pause]) == (writing.results, writing.checks)
    assert not writing.chain.is_awaited


@pytest.mark.parametrize(("park_after", "pauses"), [(2.0, [2.0, 4.0, 6.0]), (0.0, [0.0, 0.1, 0.1, 0.2])])
async def test_a_connection_with_something_pending_checks_again_after_a_pause(
    autojump_clock: MockClock, nursery: trio.Nursery, park_after: float, pauses: list[float]
) -> None:
    writing = Writing(nursery, settings=RealtimeSettings(park_after=park_after))
    writing.writer.may_park, writing.can_park = True, False
    await writing.current()
    await trio.sleep(pauses[-1] + 0.05)
    assert pytest.approx(pauses) == writing.checks[: len(pauses)]
    writing.can_park = True
    await trio.sleep(3)

    assert [None] == writing.results


async def test_a_change_during_the_pause_begins_it_again(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, settings=PARKING)
    writing.writer.may_park = True
    await writing.current()
    await trio.sleep(1.5)
    writing.publish(1)
    await trio.sleep(1.5)
    assert ([], []) == (writing.results, writing.checks)
    await trio.sleep(1)

    assert ([None], [3.5]) == (writing.results, writing.checks)


async def test_a_delivery_that_is_skipped_does_not_end_in_a_wait(autojump_clock: MockClock, writing: Writing) -> None:
    """The delivery is handed to the writer. Then a resync makes it useless, and its answer is what must be written."""
    await writing.current()
    version = writing.line.version_of(KEY)
    writing.deliver(Delivery(KEY, version, "2", Payload(b"{}")))
    writing.chain.resync(KEY, "1", in_full=False)

    assert ["config_snapshot"] == types(await writing.read())
    assert not writing.results


# Compression.


async def test_frames_are_compressed_and_plain_bytes_are_not(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, window_bits=15)
    data = await writing.current()
    assert 0xC1 == data[0]
    assert len(data) < 200
    plain = bytes(text_frame(b"p" * 200))
    writing.chain.reply(Reply(plain))

    assert plain == await writing.read()


# Catch-up frames that can be made at once.


def others(count: int) -> list[Key]:
    return [Key(f"other{number:03}", "dev", "main") for number in range(count)]


async def behind(writing: Writing, count: int, size: int = 10) -> None:
    """Bring the client up to date, and then let it begin with other keys."""
    for key in others(count):
        writing.line.publish({"padding": "p" * size}, key)
    writing.line.makes_at_once = True
    await writing.current()
    for key in others(count):
        writing.chain.begin(key)
    writing.chain.wake()


async def test_many_first_states_are_one_write(autojump_clock: MockClock, writing: Writing) -> None:
    await behind(writing, 5)
    data = await writing.read()

    assert ["config_snapshot"] * 5 == types(data)
    assert [len(data)] == writing.metrics.writes
    assert {"sent config_snapshot": 5} == writing.metrics.counts
    assert 0 == writing.line.catch_ups
    assert {key: writing.line.version_of(key) for key in (KEY, *others(5))} == writing.chain.versions
    assert writing.chain.is_quiet


@pytest.mark.parametrize(("count", "size", "writes"), [(32, 10, 1), (33, 10, 2), (2, 65_000, 1), (3, 65_000, 2)])
async def test_a_write_of_first_states_is_bounded_in_number_and_bytes(
    count: int, size: int, writes: int, autojump_clock: MockClock, writing: Writing
) -> None:
    await behind(writing, count, size)
    data = b""
    while len(types(data)) < count:
        data += await writing.read()

    # A write of more than 65,536 bytes is done in parts, but counted as one.
    assert writes == len(writing.metrics.writes)
    assert {"sent config_snapshot": count} == writing.metrics.counts


async def test_a_first_state_that_takes_a_wait_is_made_by_itself(
    autojump_clock: MockClock, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it waits until the states before it are written."""
    at_once = writing.line.at_once
    slow = others(3)[1]
    monkeypatch.setattr(writing.line, "at_once", lambda key, version: None if key == slow else at_once(key, version))
    await behind(writing, 3)
    await writing.read()

    assert 3 == len(writing.metrics.writes)
    assert 1 == writing.line.catch_ups
    assert writing.chain.is_quiet


async def test_a_key_that_was_removed_before_its_first_state_is_left_out(
    autojump_clock: MockClock, writing: Writing
) -> None:
    await behind(writing, 3)
    for key in (others(3)[0], others(3)[1], others(3)[2]):
        writing.line.publish(None, key)
    await wait_all_tasks_blocked()

    assert [] == writing.metrics.writes
    assert {KEY: writing.line.version_of(KEY)} == writing.chain.versions
    assert 0 == writing.line.catch_ups


async def test_a_change_after_a_first_state_follows_it(autojump_clock: MockClock, writing: Writing) -> None:
    await behind(writing, 1, 2_000)
    writing.line.registry.add(writing, others(1)[0])
    data = await writing.read()
    writing.line.publish({"padding": "p" * 2_000, "more": 1}, others(1)[0])
    data += await writing.read()

    assert ["config_snapshot", "config_change"] == types(data)


async def test_the_first_state_of_a_connection_is_made_by_itself(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    writing = Writing(nursery, hello=lambda *_: b"hello")
    writing.line.makes_at_once = True
    writing.begin()
    data = await writing.read()

    assert b"hello" == data[2:7]
    assert 1 == writing.line.catch_ups


async def test_first_states_are_compressed_one_by_one(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    writing = Writing(nursery, window_bits=15)
    await behind(writing, 3, 1_000)
    data = await writing.read()

    assert 1 == len(writing.metrics.writes)
    assert 0 < len(data) < 1_000
    assert {"sent config_snapshot": 3} == writing.metrics.counts
