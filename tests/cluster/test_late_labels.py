"""Facts about labels that stay behind: one warning for each after half a minute, and one line when it is current again."""

import math

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.cluster.late_labels import PATIENCE, LateLabels

CONSEQUENCE = "a client that moves to this node waits, and is sent on to another node or gets an older state"
REMEDY = "if /status shows a failing source, mend that; else compare this node's remote with the others'"


@pytest.fixture
def late(mock_clock: MockClock) -> LateLabels:
    return LateLabels(lambda: 1_900_000_000.0 + trio.current_time())


async def test_a_label_that_stays_behind_is_logged_once_and_once_when_it_is_current(
    late: LateLabels, mock_clock: MockClock
) -> None:
    with capture_logs() as logs:
        late.note(["main"], [], ["main", "dev"])
        mock_clock.jump(PATIENCE - 0.1)
        late.note(["main"], [], ["main", "dev"])
        assert not logs
        mock_clock.jump(0.1)
        for _ in range(2):
            late.note(["main"], [], ["main", "dev"])
            mock_clock.jump(60)
        late.note([], [], ["main", "dev"])
        late.note([], [], ["main", "dev"])

    assert logs == [
        {
            "event": "labels behind",
            "log_level": "warning",
            "label": "main",
            "since": "2030-03-17T17:46:40.000Z",
            "consequence": CONSEQUENCE,
            "remedy": REMEDY,
        },
        {"event": "labels current", "log_level": "info", "label": "main", "behind_for": 150.0},
    ]


async def test_a_label_that_is_behind_for_less_is_not_logged(late: LateLabels, mock_clock: MockClock) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            late.note(["main"], [], ["main"])
            mock_clock.jump(PATIENCE - 0.1)
            late.note([], [], ["main"])
    assert not logs


async def test_each_label_has_its_own_time_and_line(late: LateLabels, mock_clock: MockClock) -> None:
    with capture_logs() as logs:
        late.note(["b"], [], "abc")
        mock_clock.jump(10)
        late.note(["c", "b", "a"], [], "abc")
        mock_clock.jump(PATIENCE - 10)
        late.note(["c", "b", "a"], [], "abc")
        assert ["b"] == [each["label"] for each in logs]
        mock_clock.jump(10)
        late.note(["c", "b", "a"], [], "abc")
        late.note([], [], "abc")
    assert [*"bacabc"] == [each["label"] for each in logs]


async def test_an_undecided_label_counts_as_it_did(late: LateLabels, mock_clock: MockClock) -> None:
    with capture_logs() as logs:
        late.note(["main"], [], ["main", "dev"])
        mock_clock.jump(PATIENCE)
        late.note([], ["main", "dev"], ["main", "dev"])
        mock_clock.jump(PATIENCE)
        late.note([], ["main", "dev"], ["main", "dev"])
    assert [("labels behind", "main")] == [(each["event"], each["label"]) for each in logs]


async def test_a_label_that_is_gone_is_forgotten_silently(late: LateLabels, mock_clock: MockClock) -> None:
    with capture_logs() as logs:
        late.note(["main"], [], ["main"])
        mock_clock.jump(PATIENCE)
        late.note(["main"], [], ["main"])
        late.note([], [], [])
        late.note(["main"], [], ["main"])
    assert ["labels behind"] == [each["event"] for each in logs]


async def test_the_next_line_is_due_when_the_first_label_has_waited_long_enough(
    late: LateLabels, mock_clock: MockClock
) -> None:
    assert math.inf == late.due
    late.note(["a"], [], "ab")
    mock_clock.jump(10)
    late.note(["a", "b"], [], "ab")
    assert PATIENCE - 10 == late.due
    mock_clock.jump(PATIENCE - 10 + 1)
    assert 0.0 == late.due
    late.note(["a", "b"], [], "ab")
    assert 9.0 == late.due
    late.note(["a"], [], "ab")
    assert math.inf == late.due
