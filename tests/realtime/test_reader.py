"""The reader of a connection, on a stream in memory. The test takes the messages and the replies."""

from collections.abc import Awaitable, Callable, Generator

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Event
from wsproto.utilities import RemoteProtocolError

from tests.fakes import FakeMetrics
from vortexd.aio.fair_queue import FairQueue
from vortexd.protocol.close import CloseReason
from vortexd.realtime.chain import Reply
from vortexd.realtime.heartbeat import Heartbeat
from vortexd.realtime.inbound import Unacceptable
from vortexd.realtime.lifecycle import Lifecycle, State
from vortexd.realtime.reader import Reader
from vortexd.settings.realtime import RealtimeSettings

from .wire import frame

SETTINGS = RealtimeSettings(message_bytes=200_000, message_fragments=4, message_timeout=10.0, close_timeout=5.0)


class ReaderMetrics(FakeMetrics):
    """Keeps the size of each read, and the seconds until each answer to a heartbeat."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.answers: list[float] = []

    def bytes_read(self, count: int) -> None:
        self.reads.append(count)

    def heartbeat_answered(self, seconds: float, count: int = 1) -> None:
        self.answers.append(seconds)


class Turns(FairQueue):
    """Counts the requests for a turn. If `turn` is set to a new event, each request waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        self.turn: trio.Event | None = None

    async def take(self) -> None:
        self.requests += 1
        if self.turn is not None:
            await self.turn.wait()
        await super().take()


class Reading:
    """A reader with its neighbours. `calls` has what it passed on, in order. `result` is what `run` returned or raised."""

    def __init__(self, nursery: trio.Nursery, websocket: Connection | None = None) -> None:
        ours, self.client = memory_stream_pair()
        self.stream = ours
        self.websocket = websocket or Connection(ConnectionType.SERVER)
        self.metrics = ReaderMetrics()
        self.lifecycle = Lifecycle()
        self.lifecycle.enter(State.SERVING)
        self.heartbeat = Heartbeat(30.0, 10.0, first=1.0)
        self.fair_queue = Turns()
        self.calls: list[str | bytes | Reply] = []
        self.before_take: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.results: list[object] = []
        self.scope: trio.CancelScope | None = None
        self._nursery = nursery
        self.reader = Reader(
            *(ours, self.websocket, SETTINGS, self.metrics, self.lifecycle, self.heartbeat, self.fair_queue),
            self._take,
            self._take_control,
            self._reply,
        )

    async def _take(self, message: str | bytes) -> None:
        await self.before_take()
        self.calls.append(message)

    async def _take_control(self) -> None:
        await self.before_take()
        self.calls.append("control")

    async def _reply(self, reply: Reply) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(reply)

    def begin(self) -> None:
        async def run() -> None:
            with trio.CancelScope() as self.scope:
                try:
                    self.results.append(await self.reader.run())
                except (Unacceptable, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self.results.append(error)

        self._nursery.start_soon(run)

    async def cancel(self) -> None:
        assert self.scope is not None
        self.scope.cancel()
        await wait_all_tasks_blocked()

    async def receive(self, data: bytes) -> None:
        """Let the reader have these bytes, and wait until it can do nothing more."""
        await self.client.send_all(data)
        await wait_all_tasks_blocked()


@pytest.fixture
async def reading(autojump_clock: MockClock, nursery: trio.Nursery) -> Reading:
    made = Reading(nursery)
    made.begin()
    await wait_all_tasks_blocked()
    return made


# Messages.


@pytest.mark.parametrize(("first", "message"), [(0x81, "é"), (0x82, b"\xc3\xa9"), (0x81, ""), (0x82, b"")])
async def test_a_message_is_passed_on_as_text_or_bytes(
    autojump_clock: MockClock, reading: Reading, first: int, message: str | bytes
) -> None:
    await reading.receive(frame(first, message if isinstance(message, bytes) else message.encode()))

    assert [message] == reading.calls
    assert [] == reading.results


async def test_several_messages_in_one_read_are_passed_on_in_order(autojump_clock: MockClock, reading: Reading) -> None:
    data = frame(0x81, b"1") + frame(0x82, b"2") + frame(0x81, b"3")
    await reading.receive(data)

    assert ["1", b"2", "3"] == reading.calls
    assert [len(data)] == reading.metrics.reads


async def test_a_message_in_pieces_is_passed_on_when_it_is_complete(
    autojump_clock: MockClock, reading: Reading
) -> None:
    for data in (frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"c")[:3]):
        await reading.receive(data)
        assert [] == reading.calls
        assert not reading.reader.is_between

    await reading.receive(frame(0x80, b"c")[3:])
    assert ["abc"] == reading.calls
    assert reading.reader.is_between


async def test_each_message_waits_for_a_turn(autojump_clock: MockClock, reading: Reading) -> None:
    reading.fair_queue.turn = trio.Event()
    await reading.receive(frame(0x81, b"1") + frame(0x81, b"2"))
    assert ([], 1) == (reading.calls, reading.fair_queue.requests)
    reading.fair_queue.turn.set()
    await wait_all_tasks_blocked()

    assert (["1", "2"], 2) == (reading.calls, reading.fair_queue.requests)


async def test_control_frames_wait_for_no_turn(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.receive(frame(0x89) + frame(0x8A))

    assert 0 == reading.fair_queue.requests


async def test_a_read_is_bounded(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.receive(frame(0x81, b"x" * 40_000))

    assert ["x" * 40_000] == reading.calls
    assert 16_384 == max(reading.metrics.reads)
    assert 40_000 + 8 == sum(reading.metrics.reads)


async def test_any_bytes_are_a_sign_of_life(autojump_clock: MockClock, reading: Reading) -> None:
    await trio.sleep(1)
    reading.heartbeat.written()
    await trio.sleep(3)
    assert reading.heartbeat.seconds_to_answer is None
    await reading.receive(b"\x81")

    assert reading.heartbeat.is_answered
    assert 3.0 == reading.heartbeat.seconds_to_answer
    # Only a pong counts as the answer.
    assert [] == reading.metrics.answers


@pytest.mark.parametrize("reason", [CloseReason.TOO_BIG, CloseReason.POLICY])
async def test_a_message_above_a_limit_ends_the_connection(
    autojump_clock: MockClock, reading: Reading, reason: CloseReason
) -> None:
    if reason is CloseReason.TOO_BIG:
        await reading.receive(frame(0x81, b"x" * 200_000))
        assert 1 == len(reading.calls)
        await reading.receive(frame(0x81, b"x" * 200_001))
    else:
        await reading.receive(frame(0x01) + frame(0x00) * 2 + frame(0x80))
        assert 1 == len(reading.calls)
        await reading.receive(frame(0x01) + frame(0x00) * 3 + frame(0x80))

    assert 1 == len(reading.calls)
    (error,) = reading.results
    assert isinstance(error, Unacceptable)
    assert reason is error.reason


async def test_a_command_that_ends_the_connection_ends_the_reader(autojump_clock: MockClock, reading: Reading) -> None:
    async def refuse() -> None:
        raise Unacceptable(CloseReason.NOT_TEXT)

    reading.before_take = refuse
    await reading.receive(frame(0x82, b"1") + frame(0x81, b"2"))

    assert [CloseReason.NOT_TEXT] == [each.reason for each in reading.results if isinstance(each, Unacceptable)]
    assert [] == reading.calls


# The time for a message.


async def test_a_message_that_does_not_end_in_time_ends_the_connection(
    autojump_clock: MockClock, reading: Reading
) -> None:
    await reading.receive(frame(0x01, b"a"))
    await trio.sleep(9.9)
    # More frames win no more time.
    await reading.receive(frame(0x00, b"b"))
    assert [] == reading.results
    await trio.sleep(0.2)

    assert [CloseReason.POLICY] == reading.results
    assert [] == reading.calls


async def test_the_first_byte_of_a_frame_begins_no_message(autojump_clock: MockClock, reading: Reading) -> None:
    """The heartbeat ends a connection on which the rest never arrives."""
    await reading.receive(b"\x81")
    await trio.sleep(100)

    assert [] == reading.results


async def test_a_complete_message_ends_its_time_and_the_next_one_has_its_own(
    autojump_clock: MockClock, reading: Reading
) -> None:
    await reading.receive(frame(0x01, b"a"))
    await trio.sleep(9)
    await reading.receive(frame(0x80, b"b") + frame(0x01, b"c"))
    await trio.sleep(9)
    await reading.receive(frame(0x80, b"d"))
    await trio.sleep(100)

    assert ["ab", "cd"] == reading.calls
    assert [] == reading.results


async def test_control_frames_within_a_message_win_it_no_time(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.receive(frame(0x01, b"a"))
    await trio.sleep(9.9)
    await reading.receive(frame(0x8A))
    await trio.sleep(0.2)

    assert [CloseReason.POLICY] == reading.results


# Control frames.


async def test_a_ping_is_counted_and_answered_with_its_payload(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.receive(frame(0x89, b"abc"))

    control, reply = reading.calls
    assert "control" == control
    assert isinstance(reply, Reply)
    assert (b"\x8a\x03abc", None, False) == (reply.data, reply.ends, reply.is_ping)


async def test_a_pong_is_counted_and_answers_the_heartbeat(autojump_clock: MockClock, reading: Reading) -> None:
    reading.heartbeat.written()
    await trio.sleep(4)
    await reading.receive(frame(0x8A, b"abc"))

    assert ["control"] == reading.calls
    assert [4.0] == reading.metrics.answers


async def test_a_pong_without_a_heartbeat_is_only_counted(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.receive(frame(0x8A))

    assert ["control"] == reading.calls
    assert [] == reading.metrics.answers


@pytest.mark.parametrize("first", [0x89, 0x8A])
async def test_a_control_frame_above_the_limit_is_not_answered(
    autojump_clock: MockClock, reading: Reading, first: int
) -> None:
    async def refuse() -> None:
        raise Unacceptable(CloseReason.POLICY)

    reading.heartbeat.written()
    reading.before_take = refuse
    await reading.receive(frame(first))

    assert [CloseReason.POLICY] == [each.reason for each in reading.results if isinstance(each, Unacceptable)]
    assert ([], []) == (reading.calls, reading.metrics.answers)


async def test_the_close_frame_of_the_client_is_answered_by_a_reply_that_ends_the_connection(
    autojump_clock: MockClock, reading: Reading
) -> None:
    await reading.receive(frame(0x88, (1000).to_bytes(2, "big") + b"bye"))

    (reply,) = reading.calls
    assert isinstance(reply, Reply)
    assert (b"\x88\x05" + (1000).to_bytes(2, "big") + b"bye", CloseReason.CLIENT) == (reply.data, reply.ends)
    assert not reading.reader.is_garbled
    assert not reading.reader.is_between
    # The writer ends the connection. If it doesn't in time, the reader does.
    await trio.sleep(4.9)
    assert [] == reading.results
    await trio.sleep(0.2)
    assert [CloseReason.CLIENT] == reading.results


# The end of the input.


async def test_the_end_of_the_stream_is_a_lost_connection(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.client.aclose()
    await wait_all_tasks_blocked()

    assert [CloseReason.LOST] == reading.results


async def test_a_closed_socket_raises(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.stream.aclose()
    await wait_all_tasks_blocked()

    assert [trio.ClosedResourceError] == [type(each) for each in reading.results]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(frame(0x83), CloseReason.PROTOCOL, id="a reserved opcode"),
        pytest.param(frame(0x81, b"{}", is_masked=False), CloseReason.PROTOCOL, id="no mask"),
        pytest.param(frame(0x81, b"\xc0\x80"), CloseReason.NOT_UTF8, id="invalid UTF-8"),
    ],
)
async def test_input_that_is_no_frame_ends_the_connection_and_is_garbled(
    autojump_clock: MockClock, reading: Reading, data: bytes, reason: CloseReason
) -> None:
    await reading.receive(frame(0x81, b"1") + data)

    assert (["1"], [reason]) == (reading.calls, reading.results)
    assert reading.reader.is_garbled


class Failing(Connection):
    """A wsproto connection that reports a failure of its own for the first bytes."""

    def __init__(self, failure: Event | Exception) -> None:
        super().__init__(ConnectionType.SERVER)
        self._failure = failure
        self._is_fed = False

    def receive_data(self, data: bytes | None) -> None:
        self._is_fed = True

    def events(self) -> Generator[Event, None, None]:
        if self._is_fed and isinstance(self._failure, Exception):
            raise self._failure
        if self._is_fed and isinstance(self._failure, Event):
            yield self._failure


async def test_a_code_that_is_no_reason_of_ours_is_a_protocol_error(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    reading = Reading(nursery, Failing(CloseConnection(4_999)))
    reading.begin()
    await reading.receive(b"x")

    assert [CloseReason.PROTOCOL] == reading.results
    assert reading.reader.is_garbled


async def test_an_error_of_wsproto_is_a_protocol_error(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    reading = Reading(nursery, Failing(RemoteProtocolError("no frame")))
    reading.begin()
    await reading.receive(b"x")

    assert [CloseReason.PROTOCOL] == reading.results


# To the parking lot and back.


async def test_bytes_from_the_parking_lot_are_handled_first(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    reading = Reading(nursery)
    reading.reader.received = frame(0x81, b"1")
    assert not reading.reader.is_between
    reading.begin()
    await reading.receive(frame(0x81, b"2"))

    assert ["1", "2"] == reading.calls
    assert [len(frame(0x81, b"1"))] * 2 == reading.metrics.reads
    assert b"" == reading.reader.received
    assert reading.reader.is_between


async def test_frames_that_came_with_the_handshake_are_handled_first(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    reading = Reading(nursery)
    reading.websocket.receive_data(frame(0x81, b"1"))
    reading.begin()
    await reading.receive(frame(0x81, b"2"))

    assert ["1", "2"] == reading.calls


async def test_the_reader_listens_while_it_waits_for_bytes_and_not_while_it_handles_them(
    autojump_clock: MockClock, reading: Reading
) -> None:
    is_done = trio.Event()
    reading.before_take = is_done.wait
    assert reading.reader.is_listening
    await reading.receive(frame(0x81, b"x"))
    assert not reading.reader.is_listening
    is_done.set()
    await wait_all_tasks_blocked()

    assert reading.reader.is_listening


async def test_bytes_that_arrive_during_parking_are_kept_for_the_next_run(
    autojump_clock: MockClock, reading: Reading
) -> None:
    reading.lifecycle.park()
    await reading.receive(frame(0x81, b"x"))

    assert ([None], []) == (reading.results, reading.calls)
    assert frame(0x81, b"x") == reading.reader.received
    assert not reading.reader.is_between
    # They are handled and counted once, in the next run.
    assert [] == reading.metrics.reads
    reading.lifecycle.enter(State.SERVING)
    reading.begin()
    await wait_all_tasks_blocked()
    assert ["x"] == reading.calls
    assert [len(frame(0x81, b"x"))] == reading.metrics.reads


async def test_the_end_of_the_stream_during_parking_is_a_lost_connection(
    autojump_clock: MockClock, reading: Reading
) -> None:
    reading.lifecycle.park()
    await reading.client.aclose()
    await wait_all_tasks_blocked()

    assert [CloseReason.LOST] == reading.results


async def test_a_reader_that_is_cancelled_while_it_waits_loses_no_byte(
    autojump_clock: MockClock, reading: Reading
) -> None:
    await reading.receive(frame(0x81, b"x")[:1])
    await reading.cancel()
    assert [] == reading.results
    await reading.client.send_all(frame(0x81, b"x")[1:])
    reading.begin()
    await wait_all_tasks_blocked()

    assert ["x"] == reading.calls


async def test_a_new_run_gives_a_message_a_new_time(autojump_clock: MockClock, reading: Reading) -> None:
    await reading.receive(frame(0x01, b"a"))
    await trio.sleep(9)
    await reading.cancel()
    reading.begin()
    await trio.sleep(9)
    await reading.receive(frame(0x80, b"b"))

    assert (["ab"], []) == (reading.calls, reading.results)
