"""The heartbeat without a connection."""

import pytest
import trio
from trio.testing import MockClock

from vortexd.protocol.close import CloseReason
from vortexd.realtime.heartbeat import Heartbeat


class Beats:
    """A heartbeat whose calls are noted; they count as written at once."""

    def __init__(self, heartbeat: Heartbeat, *, answers: bool) -> None:
        self.heartbeat = heartbeat
        self.answers = answers
        self.times: list[float] = []

    def __call__(self) -> None:
        self.times.append(trio.current_time())
        self.heartbeat.written()
        if self.answers:
            self.heartbeat.seen()


@pytest.fixture
async def heartbeat(autojump_clock: MockClock) -> Heartbeat:
    return Heartbeat(30.0, 10.0, first=0.5)


async def test_the_first_comes_early_and_the_others_at_the_interval(
    autojump_clock: MockClock, heartbeat: Heartbeat
) -> None:
    beats = Beats(heartbeat, answers=True)
    with trio.move_on_after(100):
        await heartbeat.run(beats)

    assert [15.0, 45.0, 75.0] == beats.times
    assert 105.0 == heartbeat.next


async def test_one_that_is_not_answered_in_time_ends_the_connection(
    autojump_clock: MockClock, heartbeat: Heartbeat
) -> None:
    assert CloseReason.HEARTBEAT is await heartbeat.run(Beats(heartbeat, answers=False))
    assert 25.0 == trio.current_time()


async def test_a_sign_of_life_in_time_is_an_answer(autojump_clock: MockClock, heartbeat: Heartbeat) -> None:
    beats = Beats(heartbeat, answers=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heartbeat.run, beats)
        await trio.sleep(24)
        assert not heartbeat.is_answered
        assert heartbeat.seconds_to_answer is None
        heartbeat.seen()
        assert heartbeat.is_answered
        assert 9.0 == heartbeat.seconds_to_answer
        await trio.sleep(20)
        nursery.cancel_scope.cancel()

    assert [15.0] == beats.times


async def test_one_that_was_not_written_yet_is_not_waited_for(autojump_clock: MockClock, heartbeat: Heartbeat) -> None:
    times: list[float] = []
    with trio.move_on_after(50):
        await heartbeat.run(lambda: times.append(trio.current_time()))

    assert [15.0, 45.0] == times
    assert heartbeat.is_answered
    assert heartbeat.seconds_to_answer is None


@pytest.mark.parametrize(
    ("pinged", "is_seen", "is_answered"), [(None, False, True), (-5.0, False, False), (-5.0, True, True)]
)
async def test_a_connection_from_the_lot_goes_on_with_its_heartbeat(
    autojump_clock: MockClock, heartbeat: Heartbeat, pinged: float | None, is_seen: bool, is_answered: bool
) -> None:
    heartbeat.resume(20.0, pinged, is_seen=is_seen)
    assert is_answered is heartbeat.is_answered
    beats = Beats(heartbeat, answers=True)
    with trio.move_on_after(21):
        reason = await heartbeat.run(beats)
        assert CloseReason.HEARTBEAT is reason
        assert 5.0 == trio.current_time()

    assert ([20.0] if is_answered else []) == beats.times
