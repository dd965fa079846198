"""When the agent acts on changes."""

from vortexd.agent.pacing import Pace


def test_without_a_change_nothing_is_due() -> None:
    pace = Pace(1.0, 10.0)

    assert (None, False) == (pace.due, pace.take(100.0))


def test_it_waits_until_it_has_been_quiet() -> None:
    pace = Pace(1.0, 10.0)
    pace.note(100.0, 0.5)
    pace.note(100.8, 0.5)

    assert 101.8 == pace.due
    assert (False, True, False) == (pace.take(101.7), pace.take(101.8), pace.take(101.9))


def test_changes_that_never_end_are_acted_on_after_the_longest_wait() -> None:
    pace = Pace(1.0, 10.0)
    for tenth in range(0, 120, 5):
        pace.note(100.0 + tenth / 10, 0.5)

    assert 110.0 == pace.due


def test_chance_spreads_a_burst_once() -> None:
    pace = Pace(1.0, 10.0, splay=60.0)
    pace.note(100.0, 0.5)
    pace.note(100.5, 0.9)

    assert 131.5 == pace.due


def test_a_change_after_the_act_begins_anew() -> None:
    pace = Pace(0.0, 0.0)
    pace.note(100.0, 0.0)
    assert pace.take(100.0)
    pace.note(101.0, 0.0)

    assert 101.0 == pace.due
