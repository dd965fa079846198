"""The end of a connection, on streams in memory."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection

from tests.fakes import StreamSpy
from vortexd.protocol.close import CloseReason
from vortexd.realtime import closing

from .wire import frame

TIMEOUT = 5.0
CLOSE = frame(0x88, (1000).to_bytes(2, "big"))


def sent(reason: CloseReason) -> bytes:
    """The close frame of the server with a reason."""
    payload = reason.code.to_bytes(2, "big") + reason.text.encode()
    return bytes((0x88, len(payload))) + payload


class Ending:
    """A connection that `close` ends, and the client's end of its stream. `ended_at` is the time when `close` returned."""

    def __init__(
        self,
        nursery: trio.Nursery,
        pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = memory_stream_pair,
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] = lambda stream: stream,
    ) -> None:
        ours, self.client = pair()
        self.stream = wrap(ours)
        self.websocket = Connection(ConnectionType.SERVER)
        self.ended_at: float | None = None
        self.scope = trio.CancelScope()
        self._nursery = nursery

    def begin(
        self,
        reason: CloseReason = CloseReason.DRAIN,
        *,
        is_writing: bool = False,
        is_garbled: bool = False,
        is_cancelled: bool = False,
    ) -> None:
        async def run() -> None:
            with self.scope:
                if is_cancelled:
                    self.scope.cancel()
                await closing.close(
                    self.stream, self.websocket, reason, TIMEOUT, is_writing=is_writing, is_garbled=is_garbled
                )
                self.ended_at = trio.current_time()

        self._nursery.start_soon(run)

    async def is_closed(self) -> bool:
        """Whether the server has closed its end: its stream can't be used any more."""
        with pytest.raises(trio.ClosedResourceError):
            await self.stream.receive_some(1)
        return True


@pytest.fixture
async def ending(autojump_clock: MockClock, nursery: trio.Nursery) -> Ending:
    return Ending(nursery)


async def test_a_close_frame_is_sent_and_the_socket_is_closed_when_the_client_has_answered(
    autojump_clock: MockClock, ending: Ending
) -> None:
    ending.begin(CloseReason.FORBIDDEN)
    assert sent(CloseReason.FORBIDDEN) == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert ending.ended_at is None

    await ending.client.send_all(CLOSE)
    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at
    assert await ending.is_closed()


async def test_frames_before_the_close_frame_of_the_client_are_read_and_not_answered(
    autojump_clock: MockClock, ending: Ending
) -> None:
    ending.begin()
    await ending.client.receive_some()
    for data in (frame(0x89, b"x"), frame(0x81, b"{}"), CLOSE[:3]):
        await ending.client.send_all(data)
        await wait_all_tasks_blocked()
        assert ending.ended_at is None

    await ending.client.send_all(CLOSE[3:])
    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at


async def test_input_that_is_no_frame_ends_the_wait(autojump_clock: MockClock, ending: Ending) -> None:
    ending.begin()
    await ending.client.receive_some()
    await ending.client.send_all(frame(0x83))

    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at


async def test_a_client_that_closes_its_socket_ends_the_wait(autojump_clock: MockClock, ending: Ending) -> None:
    ending.begin()
    await ending.client.receive_some()
    await ending.client.aclose()
    await wait_all_tasks_blocked()

    assert 0.0 == ending.ended_at
    assert await ending.is_closed()


async def test_a_client_that_never_answers_is_waited_for_until_the_timeout(
    autojump_clock: MockClock, ending: Ending
) -> None:
    ending.begin()
    await ending.client.receive_some()

    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert TIMEOUT == trio.current_time() == ending.ended_at
    assert await ending.is_closed()


async def test_one_timeout_is_for_the_close_frame_and_the_answer_together(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ending = Ending(nursery, lockstep_stream_pair)
    ending.begin()
    await trio.sleep(TIMEOUT - 1)
    assert sent(CloseReason.DRAIN) == await ending.client.receive_some()

    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert TIMEOUT == trio.current_time() == ending.ended_at


async def test_a_client_that_never_reads_is_cut_off_at_the_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ending = Ending(nursery, lockstep_stream_pair)
    ending.begin()
    await trio.sleep(TIMEOUT + 1)

    assert TIMEOUT == ending.ended_at
    assert await ending.is_closed()


async def test_a_broken_connection_gets_no_close_frame(autojump_clock: MockClock, ending: Ending) -> None:
    ending.begin(CloseReason.LOST)

    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at


async def test_no_close_frame_follows_half_of_another_frame(autojump_clock: MockClock, ending: Ending) -> None:
    ending.begin(is_writing=True)

    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at


async def test_no_second_close_frame_is_sent(autojump_clock: MockClock, ending: Ending) -> None:
    ending.websocket.send(CloseConnection(1000))
    ending.begin()

    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at
    assert await ending.is_closed()


async def test_the_close_frame_of_the_client_is_not_answered_here(autojump_clock: MockClock, ending: Ending) -> None:
    ending.websocket.receive_data(CLOSE)
    assert [CloseConnection] == [type(event) for event in ending.websocket.events()]
    ending.begin()

    assert b"" == await ending.client.receive_some()


async def test_a_socket_that_is_broken_or_closed_already_does_no_harm(
    autojump_clock: MockClock, ending: Ending, nursery: trio.Nursery
) -> None:
    await ending.client.aclose()
    ending.begin()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at

    closed = Ending(nursery)
    await closed.stream.aclose()
    closed.begin()
    await wait_all_tasks_blocked()
    assert 0.0 == closed.ended_at


async def test_after_garbled_input_one_half_is_closed_and_the_rest_of_the_input_is_thrown_away(
    autojump_clock: MockClock, ending: Ending
) -> None:
    ending.begin(CloseReason.PROTOCOL, is_garbled=True)

    assert sent(CloseReason.PROTOCOL) == await ending.client.receive_some()
    assert b"" == await ending.client.receive_some()
    for _ in range(3):
        # Not even a close frame ends this, because the input has no frames any more.
        await ending.client.send_all(CLOSE)
        await wait_all_tasks_blocked()
        assert ending.ended_at is None
    await ending.client.aclose()
    await wait_all_tasks_blocked()
    assert 0.0 == ending.ended_at


async def test_a_client_that_sends_more_garbage_is_cut_off_at_the_timeout(
    autojump_clock: MockClock, ending: Ending
) -> None:
    ending.begin(CloseReason.PROTOCOL, is_garbled=True)
    with pytest.raises(trio.BrokenResourceError):
        while trio.current_time() <= TIMEOUT + 1:
            await ending.client.send_all(b"z")
            await trio.sleep(1)
    await wait_all_tasks_blocked()

    assert TIMEOUT == ending.ended_at


async def test_after_garbled_input_a_stream_without_halves_is_closed_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ending = Ending(nursery, wrap=StreamSpy)
    ending.begin(CloseReason.PROTOCOL, is_garbled=True)

    assert sent(CloseReason.PROTOCOL) == await ending.client.receive_some()
    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == trio.current_time() == ending.ended_at


async def test_a_cancelled_server_sends_the_close_frame_and_waits_for_no_answer(
    autojump_clock: MockClock, ending: Ending
) -> None:
    ending.begin(is_cancelled=True)

    assert sent(CloseReason.DRAIN) == await ending.client.receive_some()
    assert b"" == await ending.client.receive_some()
    await wait_all_tasks_blocked()
    assert 0.0 == trio.current_time()
    assert ending.scope.cancel_called
    assert await ending.is_closed()


async def test_a_cancelled_server_gives_a_client_that_never_reads_half_a_second(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ending = Ending(nursery, lockstep_stream_pair)
    ending.begin(is_cancelled=True)
    await trio.sleep(0.49)
    with pytest.raises(trio.BusyResourceError):
        await ending.stream.send_all(b"")
    await trio.sleep(0.01)

    assert await ending.is_closed()
    assert 0.5 == trio.current_time()


async def test_a_cancellation_during_the_wait_does_not_shorten_it(autojump_clock: MockClock, ending: Ending) -> None:
    ending.begin()
    await ending.client.receive_some()
    ending.scope.cancel()

    assert b"" == await ending.client.receive_some()
    assert TIMEOUT == trio.current_time()
