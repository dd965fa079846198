from typing import Any

import attrs
import pytest

from vortexd.fleet import Ack, Seen
from vortexd.rollouts.counts import Counts, count
from vortexd.rollouts.rollout import PLACES, place_of

from .test_rollout import ROLLOUT

ALL = attrs.evolve(ROLLOUT, reach=PLACES - 1, began=5.0, counted=10.0, stepped=20.0)


def ack(status: str = "applied", version: str = ROLLOUT.target, at: float = 30.0, error: str | None = None) -> Ack:
    return Ack(version, status, error, at)


def seen(name: str, said: Ack | None = None, **more: Any) -> Seen:
    return Seen(**{"name": name, "connection": f"c-{name}", "state": "silent", "since": 25.0, "ack": said, **more})


def test_nobody_is_there() -> None:
    assert count(ALL, []) == Counts()


def test_reached_instances_are_counted_by_what_they_have_acknowledged() -> None:
    found = count(ALL, [seen("a", ack()), seen("b", ack("rejected", error="no such key")), seen("c")], unanswered=2)

    assert (found.named, found.reached, found.applied, found.rejected, found.waiting) == (3, 3, 1, 1, 1)
    assert (found.silent, found.refusal, found.unanswered) == (("c",), ("b", "no such key"), 2)
    assert set(found.places) == {place_of(ALL.id, name) for name in "abc"}


def test_an_instance_without_a_name_does_not_count() -> None:
    assert count(ALL, [seen("c-1", connection="c-1"), seen("")]) == Counts()


def test_instances_beyond_the_reach_are_only_named() -> None:
    some = attrs.evolve(ALL, reach=place_of(ALL.id, "a"))
    names = [str(number) for number in range(50)]
    found = count(some, [seen("a", ack()), *(seen(each, ack()) for each in names)])

    assert found.named == 51
    assert found.reached == found.applied == 1 + sum(some.has(each) for each in names) < 51


def test_an_acknowledgement_of_another_version_or_from_before_the_roll_out_does_not_count() -> None:
    found = count(ALL, [seen("a", ack(version=ALL.stable)), seen("b", ack(at=9.9)), seen("c", ack("rejected", at=9.9))])

    assert (found.reached, found.applied, found.rejected, found.silent) == (3, 0, 0, ("a", "b", "c"))
    assert count(ALL, [seen("b", ack(at=10.0))]).applied == 1


def test_what_an_instance_said_before_the_roll_out_was_resumed_does_not_count() -> None:
    rows = [seen("one", ack("rejected", at=9.9)), seen("two", ack(at=9.9)), seen("three", ack(at=10.0))]
    counts = count(ALL, rows)

    assert (3, 1, 0, None) == (counts.reached, counts.applied, counts.rejected, counts.refusal)


def test_an_instance_that_can_not_acknowledge_holds_nothing_up() -> None:
    mute = [seen("a", is_mute=True), seen("b", is_mute=True, state="gone")]

    assert count(ALL, mute) == Counts()
    # It had the right when it acknowledged.
    assert count(ALL, [seen("c", ack("rejected"), is_mute=True)]).rejected == 1


def test_an_acknowledgement_at_a_node_whose_clock_is_behind_counts() -> None:
    said = [seen("a", ack(at=5.0)), seen("b", ack(at=4.9)), seen("c", ack("rejected", at=5.0))]
    found = count(attrs.evolve(ALL, began=10.0), said, skew=5.0)

    assert (found.applied, found.rejected, found.silent) == (1, 1, ("b",))


@pytest.mark.parametrize(("at", "skew", "applied"), [(18.0, 60.0, 1), (17.9, 60.0, 0), (19.5, 0.5, 1), (19.4, 0.5, 0)])
def test_after_a_resumption_the_clocks_may_differ_by_less(at: float, skew: float, applied: int) -> None:
    resumed = attrs.evolve(ALL, counted=20.0)
    found = count(resumed, [seen("a", ack(at=at))], skew=skew)

    assert found.applied == applied


def test_an_instance_that_left_during_the_step_is_silent_whatever_it_has_applied() -> None:
    left = [seen("a", ack(), state="gone", since=20.0), seen("b", ack(), state="gone", since=19.9)]
    found = count(ALL, left)

    assert (found.named, found.reached, found.applied, found.gone, found.silent) == (0, 1, 0, 1, ("a",))
    assert found.places == ()


def test_a_rejection_counts_even_if_the_instance_has_left() -> None:
    found = count(ALL, [seen("a", ack("rejected"), state="gone")])

    assert (found.rejected, found.refusal) == (1, ("a", "it gave no reason"))


def test_only_the_first_silent_instances_are_named() -> None:
    assert count(ALL, [seen(each) for each in "abcd"]).silent == ("a", "b", "c")


def test_the_first_rejection_is_named() -> None:
    found = count(ALL, [seen("a", ack("rejected", error="one")), seen("b", ack("rejected", error="two"))])

    assert (found.rejected, found.refusal) == (2, ("a", "one"))
