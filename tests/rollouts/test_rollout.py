import attrs
import pytest

from vortexd.core.model import Key
from vortexd.rollouts.rollout import PLACES, Plan, Rollout, Status, place_of, reach_of

ROLLOUT = Rollout(
    id="r1",
    key=Key("billing", "prod", "main"),
    stable="a" * 16,
    target="b" * 16,
    commit=None,
    author=None,
    plan=Plan(),
    step=0,
    reach=None,
    status=Status.RUNNING,
    reason="",
    by="",
    began=0.0,
    counted=0.0,
    stepped=0.0,
    revision=0,
    labels=(),
)


def test_no_instance_has_the_candidate_without_a_reach() -> None:
    assert not ROLLOUT.has("one")


def test_an_instance_has_the_candidate_up_to_the_reach() -> None:
    place = place_of("r1", "one")

    assert attrs.evolve(ROLLOUT, reach=place).has("one")
    assert not attrs.evolve(ROLLOUT, reach=place - 1).has("one")


def test_the_place_depends_on_the_roll_out_and_on_the_instance() -> None:
    assert len({place_of("r1", "one"), place_of("r1", "two"), place_of("r2", "one")}) == 3
    assert place_of("r1", "one") == place_of("r1", "one") < PLACES


def test_every_instance_has_the_candidate_at_100_percent() -> None:
    assert reach_of([], 100, None) == PLACES - 1


@pytest.mark.parametrize(
    ("share", "count"),
    [(1, 1), (9, 1), (10, 1), (11, 2), (50, 5), (51, 6), (99, 10)],
)
def test_a_share_is_rounded_up_to_whole_instances(share: int, count: int) -> None:
    places = [50, 10, 40, 20, 30, 100, 90, 60, 80, 70]

    assert reach_of(places, share, None) == sorted(places)[count - 1]


def test_one_of_a_few_instances_is_enough_for_a_small_share() -> None:
    assert reach_of([7, 3], 1, None) == 3


def test_a_later_step_never_takes_the_candidate_away() -> None:
    assert reach_of([1, 2, 3, 4], 25, 3) == 3
    assert reach_of([1, 2, 3, 4], 100, 3) == PLACES - 1


def test_without_named_instances_the_reach_stays() -> None:
    assert reach_of([], 5, None) is None
    assert reach_of([], 5, 9) == 9
