"""The heartbeats of parked connections: which ones share a frame, when they are due, and what follows if no answer comes."""

import errno
import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import KEY, FakeMetrics, Rounds
from vortexd.core.model import Key
from vortexd.protocol.close import CloseReason
from vortexd.protocol.frames import PING
from vortexd.realtime import pings
from vortexd.realtime.parked import Parked
from vortexd.realtime.pings import Pings, Unanswered

from .lot import FakeLot, FakeSockets

BILLING = Key("billing", "dev", "main")


class Part:
    """Heartbeats with a lot and sockets that a test controls. Parked connections answer if they are in `answers`."""

    def __init__(self) -> None:
        self.lot, self.sockets, self.counters = FakeLot(), FakeSockets(), FakeMetrics()
        self.unanswered = Unanswered()
        self.received: list[Parked] = []
        self.late: list[Parked] = []
        self.stamps = 0
        self.counts: list[int] = []
        self.pings = Pings(
            self.lot, self.sockets, self.counters, self.unanswered, self.timestamp, self.receive, self.counts.append
        )

    def timestamp(self) -> str:
        self.stamps += 1
        return f"time {self.stamps}"

    def receive(self, parked: Parked) -> None:
        """The answer of a late client is found only when it is looked for."""
        self.received.append(parked)
        if parked in self.late:
            self.answer(parked)

    def answer(self, *parked: Parked) -> None:
        for each in parked:
            assert each.pinged is not None
            self.unanswered.answered(each.pinged)
            each.pinged = None

    def park(self, next_ping: float, **more: object) -> Parked:
        parked = self.lot.add(next_ping=next_ping, **more)  # type: ignore[arg-type]
        self.pings.schedule(parked)
        return parked

    @property
    def written(self) -> list[list[int]]:
        return [descriptors for descriptors, _ in self.sockets.writes]


@pytest.fixture
async def part() -> AsyncIterator[Part]:
    made = Part()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.pings.run)
        yield made
        nursery.cancel_scope.cancel()


async def at(time: float) -> None:
    """Wait until all that is due at this time has happened."""
    await trio.sleep_until(time + 0.001)
    await wait_all_tasks_blocked()


async def test_clients_with_the_same_key_and_version_share_a_frame_and_a_call(
    autojump_clock: MockClock, part: Part
) -> None:
    for version in ("1", "1", "2", "1"):
        part.park(4.0, version=version)
    part.park(4.0, version="1", key=BILLING)
    await at(4.0)

    assert [[100, 101, 103], [102], [104]] == part.written
    frames = [frame for _, frame in part.sockets.writes]
    for frame, key, version in zip(frames, (KEY, KEY, BILLING), ("1", "2", "1"), strict=True):
        assert frame.endswith(PING)
        message = json.loads(frame[frame.index(b"{") : -len(PING)])
        assert ("ping", "time 1") == (message["type"], message["timestamp"])
        assert version in str(message["versions"])
        assert key.application in str(message["versions"])
    assert 5 == part.counters.counts["sent ping"]
    assert 3 * len(frames[0]) + len(frames[1]) + len(frames[2]) == part.counters.counts["bytes_written"]


async def test_a_frame_is_made_once_even_if_other_connections_stand_between(
    autojump_clock: MockClock, part: Part
) -> None:
    for version in ("1", "2") * 3:
        part.park(4.0, version=version)
    await at(4.0)

    assert [[100, 102, 104], [101, 103, 105]] == part.written
    assert 1 == part.stamps


async def test_a_client_that_answers_gets_the_next_heartbeat_after_the_interval(
    autojump_clock: MockClock, part: Part
) -> None:
    parked = part.park(4.0)
    await at(4.0)
    assert parked.pinged == pytest.approx(4.0)
    assert parked.next_ping == pytest.approx(34.0)
    part.answer(parked)
    await at(33.9)
    assert [[100]] == part.written
    await at(34.4)

    assert [[100], [100]] == part.written
    assert ([], [], []) == (part.lot.closed, part.lot.woken, part.received)


async def test_a_round_that_all_have_answered_looks_at_no_connection_before_its_next_heartbeat(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.park(4.0) for _ in range(3)]
    await at(4.0)
    part.answer(*members)
    looked: list[int] = []
    parked_at = part.lot.parked_at

    def noting(fd: int) -> Parked | None:
        looked.append(fd)
        return parked_at(fd)

    part.lot.parked_at = noting  # type: ignore[method-assign]
    await at(30.0)
    assert [] == looked
    await at(34.4)
    assert [100, 101, 102] == looked
    assert 2 == len(part.written)


async def test_a_client_that_does_not_answer_in_time_is_closed_and_the_others_go_on(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.park(4.0) for _ in range(3)]
    await at(4.0)
    part.answer(members[0], members[2])
    await at(13.9)
    assert [] == part.lot.closed
    await at(14.4)
    assert [(members[1], CloseReason.HEARTBEAT)] == part.lot.closed
    assert [members[1]] == part.received
    await at(34.4)

    assert [[100, 101, 102], [100, 102]] == part.written


async def test_a_client_whose_time_for_the_answer_is_not_over_is_neither_closed_nor_written_to(
    autojump_clock: MockClock, part: Part
) -> None:
    parked = part.park(4.0)
    parked.pinged = 3.9
    await at(4.4)

    assert ([], [], []) == (part.written, part.lot.closed, part.received)


async def test_an_answer_that_has_arrived_without_being_read_counts(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park(4.0)
    part.late.append(parked)
    await at(14.4)
    assert ([], [parked]) == (part.lot.closed, part.received)
    await at(34.4)

    assert [[100], [100]] == part.written


async def test_other_tasks_run_between_clients_that_are_closed(autojump_clock: MockClock, part: Part) -> None:
    members = [part.park(4.0) for _ in range(10)]
    rounds, at_rounds, close = Rounds.counting(), list[int](), part.lot.close

    def noting(parked: Parked, reason: CloseReason) -> None:
        at_rounds.append(rounds.count)
        close(parked, reason)

    part.lot.close = noting  # type: ignore[method-assign]
    await at(14.4)

    assert [4, 4, 2] == [at_rounds.count(each) for each in dict.fromkeys(at_rounds)]
    assert [(each, CloseReason.HEARTBEAT) for each in members] == part.lot.closed
    assert members == part.received


async def test_other_tasks_run_while_answers_are_looked_for(autojump_clock: MockClock, part: Part) -> None:
    members = [part.park(4.0) for _ in range(100)]
    part.late += members
    rounds, at_rounds = Rounds.counting(), list[int]()
    receive = part.receive

    def noting(parked: Parked) -> None:
        at_rounds.append(rounds.count)
        receive(parked)

    part.pings._receive = noting
    await at(14.4)

    assert [80, 20] == [at_rounds.count(each) for each in dict.fromkeys(at_rounds)]
    assert [] == part.lot.closed
    await at(34.4)
    assert [100, 100] == list(map(len, part.written))


async def test_a_client_that_answers_or_leaves_while_others_are_closed_is_not_closed(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.park(4.0) for _ in range(8)]
    close = part.lot.close

    def closing(parked: Parked, reason: CloseReason) -> None:
        close(parked, reason)
        if parked is members[3]:
            part.answer(members[5])
            part.lot.end(members[6], CloseReason.LOST)

    part.lot.close = closing  # type: ignore[method-assign]
    await at(14.4)
    assert [*members[:5], members[7]] == [each for each, _ in part.lot.closed]
    assert members[5] not in part.received
    assert members[6] not in part.received
    await at(34.4)

    assert [list(range(100, 108)), [105]] == part.written


async def test_the_others_get_their_heartbeats_before_the_silent_are_closed(
    autojump_clock: MockClock, part: Part
) -> None:
    silent = part.park(4.0)
    await at(4.2)
    closed: list[list[list[int]]] = []
    part.lot.close = lambda parked, reason: closed.append(part.written)  # type: ignore[method-assign]
    part.park(14.1)
    await at(14.4)

    assert silent.pinged is not None
    assert [[[100], [101]]] == closed


async def test_a_client_that_is_found_to_have_left_is_neither_closed_nor_written_to(
    autojump_clock: MockClock, part: Part
) -> None:
    parked = part.park(4.0)

    def leave(each: Parked) -> None:
        del part.lot.parked[each.fd]

    part.pings._receive = leave
    await at(14.4)
    await at(40.0)

    assert ([], [[100]]) == (part.lot.closed, part.written)
    assert parked.pinged is not None


async def test_connections_that_have_left_are_skipped_with_their_descriptors(
    autojump_clock: MockClock, part: Part
) -> None:
    """One leaves before its heartbeat, one before the end of its time; their descriptors belong to others now."""
    early, late = part.park(4.0), part.park(4.0)
    del part.lot.parked[early.fd]
    part.lot.add(fd=early.fd, next_ping=100.0)
    await at(4.0)
    assert [[101]] == part.written
    del part.lot.parked[late.fd]
    part.lot.add(fd=late.fd, next_ping=100.0)
    await at(40.0)

    assert ([[101]], [], []) == (part.written, part.lot.closed, part.received)


async def test_a_connection_whose_time_is_postponed_is_looked_at_again(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park(4.0)
    parked.next_ping = 8.0
    await at(4.4)
    assert [] == part.written
    await at(8.0)

    assert [[100]] == part.written


# Time.


@pytest.mark.parametrize(
    ("interval", "timeout", "due", "expected"),
    [
        # The tick is 0.1 s, and 0.4 s for the defaults.
        (30.0, 10.0, 4.01, 4.4),
        (30.0, 10.0, 4.4, 4.4),
        (10.0, 30.0, 4.01, 4.4),
        (30.0, 5.0, 4.01, 4.2),
        (30.0, 2.5, 4.01, 4.1),
        (30.0, 2.4, 4.01, 4.1),
        (0.1, 0.1, 4.01, 4.1),
        (300.0, 100.0, 4.01, 8.0),
    ],
)
async def test_a_heartbeat_is_late_by_a_small_share_of_its_times_at_most(
    autojump_clock: MockClock, part: Part, interval: float, timeout: float, due: float, expected: float
) -> None:
    settings = attrs.evolve(part.lot.settings, heartbeat_interval=interval, heartbeat_timeout=timeout)
    part.park(due, settings=settings)
    await trio.sleep_until(expected - 0.01)
    await wait_all_tasks_blocked()
    assert [] == part.written
    await at(expected)

    assert 1 == len(part.written)


# Heartbeats that are written early, so that fewer ticks must be handled.


async def test_the_heartbeats_of_the_next_two_ticks_are_written_early(autojump_clock: MockClock, part: Part) -> None:
    members = [part.park(due) for due in (4.0, 4.1, 4.8, 4.81)]
    await at(4.0)
    assert [[100, 101, 102]] == part.written
    assert [34.0] * 3 == pytest.approx([each.next_ping for each in members[:3]])
    part.answer(*members[:3])
    await at(5.2)
    assert [[103]] == part.written[1:]
    part.answer(members[3])
    await at(34.4)

    # From now on, they are due together.
    assert [[100, 101, 102]] == [sorted(each) for each in part.written[2:]]


@pytest.mark.parametrize(("timeout", "is_early"), [(5.0, True), (2.5, False)])
async def test_short_ticks_write_no_heartbeat_early(
    autojump_clock: MockClock, part: Part, timeout: float, is_early: bool
) -> None:
    settings = attrs.evolve(part.lot.settings, heartbeat_timeout=timeout)
    for due in (4.0, 4.2):
        part.park(due, settings=settings)
    await at(4.0)

    assert [[100, 101] if is_early else [100]] == part.written


async def test_each_connection_is_early_by_two_of_its_own_ticks_at_most(autojump_clock: MockClock, part: Part) -> None:
    quick = attrs.evolve(part.lot.settings, heartbeat_timeout=5.0)
    part.park(4.0)
    # The tick at 4.4 belongs to both.
    part.park(4.4)
    part.park(4.4, settings=quick)
    part.park(4.8, settings=quick)
    await at(4.0)
    assert [[100, 101], [102]] == part.written
    await at(4.8)

    assert [[103]] == part.written[2:]


async def test_heartbeats_are_early_only_as_far_as_one_call_has_room(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pings, "MOST", 3)
    for due in (4.0, 4.0, 4.4, 4.8):
        part.park(due)
    await at(4.0)
    assert [[100, 101, 102]] == part.written
    await at(4.8)

    assert [[103]] == part.written[1:]


async def test_the_end_of_a_round_is_never_early(autojump_clock: MockClock, part: Part) -> None:
    silent = part.park(4.0)
    # Its heartbeat is due just before the end of that round.
    other = part.park(13.6)
    await at(13.6)
    assert ([[100], [101]], []) == (part.written, part.lot.closed)
    part.answer(other)
    await at(13.99)
    assert [] == part.lot.closed
    await at(14.0)

    assert [(silent, CloseReason.HEARTBEAT)] == part.lot.closed


async def test_a_heartbeat_may_be_early_although_a_round_ends_in_its_tick(
    autojump_clock: MockClock, part: Part
) -> None:
    silent = part.park(4.0)
    for due in (13.6, 14.0):
        part.park(due)
    await at(13.6)
    assert ([[100], [101, 102]], []) == (part.written, part.lot.closed)
    await at(14.0)

    assert [(silent, CloseReason.HEARTBEAT)] == part.lot.closed
    assert 2 == len(part.written)


async def test_the_end_of_a_round_that_all_have_answered_wakes_nobody(autojump_clock: MockClock, part: Part) -> None:
    first, second = part.park(4.0), part.park(8.0)
    await at(4.0)
    part.answer(first)
    await at(8.0)
    # Each round would end 10 s after its heartbeat. The first has the tick of its next heartbeat already.
    assert [180, 340] == sorted(part.pings._ticks)
    part.answer(second)
    await at(34.4)

    assert [[100], [101], [100]] == part.written


async def test_heartbeats_are_reported_with_their_number(autojump_clock: MockClock, part: Part) -> None:
    for version in ("1", "2", "1"):
        part.park(4.0, version=version)
    await at(4.0)

    assert [3] == part.counts


async def test_an_earlier_heartbeat_ends_the_wait_for_a_later_one(autojump_clock: MockClock, part: Part) -> None:
    part.park(100.0)
    await at(1.0)
    part.park(4.0)
    await at(4.0)

    assert [[101]] == part.written


async def test_connections_with_other_settings_keep_their_own_times(autojump_clock: MockClock, part: Part) -> None:
    quick = attrs.evolve(part.lot.settings, heartbeat_interval=2.0, heartbeat_timeout=1.0)
    first, second = part.park(4.0), part.park(4.0, settings=quick)
    await at(4.0)

    assert [[100], [101]] == part.written
    assert first.next_ping == pytest.approx(34.0)
    assert second.next_ping == pytest.approx(6.0)
    await at(5.1)
    assert [(second, CloseReason.HEARTBEAT)] == part.lot.closed


async def test_a_call_has_the_most_descriptors_and_other_tasks_run_in_between(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pings, "MOST", 2)
    rounds, rounds_at = Rounds.counting(), []
    write_all = part.sockets.write_all

    def noting(descriptors: Any, frame: bytes) -> list[tuple[int, int]]:
        rounds_at.append(rounds.count)
        return write_all(descriptors, frame)

    part.sockets.write_all = noting  # type: ignore[method-assign]
    for _ in range(5):
        part.park(4.0)
    await at(4.0)

    assert [[100, 101], [102, 103], [104]] == part.written
    assert 3 == len(set(rounds_at))
    assert 1 == part.stamps


# What a write may come to.


async def test_a_heartbeat_without_room_wakes_with_what_is_unwritten(autojump_clock: MockClock, part: Part) -> None:
    members = [part.park(4.0) for _ in range(4)]
    part.sockets.results = {100: -errno.EAGAIN, 102: 5}
    await at(4.0)
    [(_, frame)] = part.sockets.writes

    assert [(members[0], b"", frame, ()), (members[2], b"", frame[5:], ())] == part.lot.woken
    # Its tasks go on with the time for the answer.
    assert members[0].pinged == members[2].pinged == pytest.approx(4.0)
    assert 34.0 == pytest.approx(members[0].next_ping)
    assert (4, 2 * len(frame) + 5) == (part.counters.counts["sent ping"], part.counters.counts["bytes_written"])
    part.answer(members[1], members[3])
    await at(34.4)
    assert [101, 103] == part.written[-1]
    assert [] == part.lot.closed


async def test_a_broken_socket_ends_its_connection(autojump_clock: MockClock, part: Part) -> None:
    members = [part.park(4.0) for _ in range(2)]
    part.sockets.results = {100: -errno.EPIPE}
    await at(4.0)
    [(_, frame)] = part.sockets.writes

    assert ([(members[0], CloseReason.LOST)], []) == (part.lot.ended, part.lot.woken)
    assert (1, len(frame)) == (part.counters.counts["sent ping"], part.counters.counts["bytes_written"])


# Rounds.


def test_each_round_has_a_time_of_its_own_and_counts_its_answers() -> None:
    unanswered = Unanswered()
    first, second = unanswered.begin(5.0, 3), unanswered.begin(5.0, 2)
    assert 5.0 == first < second == pytest.approx(5.0)
    unanswered.answered(first, 2)
    unanswered.answered(second)
    unanswered.answered(7.0)
    unanswered.answered(second)

    assert (False, True) == (unanswered.is_answered(first), unanswered.is_answered(second))
    assert (1, 0) == (unanswered.end(first), unanswered.end(second))
    unanswered.answered(first)
    assert 5.0 == unanswered.begin(5.0, 1)
