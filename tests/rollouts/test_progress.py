import attrs
import pytest

from vortexd.rollouts.counts import Counts
from vortexd.rollouts.progress import CLOCK, aborted, halted, next_state, resumed
from vortexd.rollouts.rollout import PLACES, Plan, Rollout, Status

from .test_rollout import ROLLOUT

PLAN = Plan((10, 50, 100), 75, 60.0)
NEW = attrs.evolve(ROLLOUT, plan=PLAN, began=100.0, stepped=100.0)
RUNNING = attrs.evolve(NEW, reach=5, revision=1)
PLACES_OF_TEN = tuple(range(1, 11))


def counts(reached: int = 4, applied: int = 0, **more: object) -> Counts:
    silent = ("a", "b", "c")[: reached - applied]
    return attrs.evolve(Counts(10, PLACES_OF_TEN, reached, applied, silent=silent), **more)  # type: ignore[arg-type]


def moved(rollout: Rollout, found: Counts, now: float) -> Rollout:
    after = next_state(rollout, found, now)
    assert after is not None
    assert after.revision == rollout.revision + 1
    assert (after.id, after.stable, after.target, after.began) == (ROLLOUT.id, ROLLOUT.stable, ROLLOUT.target, 100.0)
    return after


@pytest.mark.parametrize("status", [Status.HALTED, Status.ABORTED, Status.DONE])
def test_only_a_running_roll_out_moves(status: Status) -> None:
    assert next_state(attrs.evolve(RUNNING, status=status), counts(4, 4), 9_999.0) is None


# The first step begins.


def test_the_first_step_reaches_its_share_of_the_named_instances() -> None:
    after = moved(NEW, counts(0), 101.0)

    assert (after.status, after.step, after.reach, after.stepped) == (Status.RUNNING, 0, 1, 101.0)


def test_it_waits_for_all_workers_before_it_chooses_instances() -> None:
    assert next_state(NEW, counts(0, unanswered=1), 200.0) is None


def test_it_waits_for_a_named_instance_and_halts_in_the_end() -> None:
    assert next_state(NEW, Counts(), 159.9) is None
    after = moved(NEW, Counts(), 160.0)

    assert (after.status, after.reach) == (Status.HALTED, None)
    assert "no named instance is connected after 60 s" in after.reason


def test_a_step_that_is_resumed_reaches_its_own_share() -> None:
    after = moved(attrs.evolve(NEW, step=1), counts(0), 101.0)

    assert (after.step, after.reach) == (1, 5)


# A step ends.


@pytest.mark.parametrize(("applied", "is_enough"), [(2, False), (3, True), (4, True)])
def test_a_step_ends_once_enough_instances_have_applied_the_target(applied: int, is_enough: bool) -> None:
    after = next_state(RUNNING, counts(4, applied), 101.0)

    assert (after is not None) == is_enough
    if after is not None:
        assert (after.step, after.reach, after.stepped, after.status) == (1, 5, 101.0, Status.RUNNING)


def test_the_next_step_never_takes_the_target_away() -> None:
    assert moved(attrs.evolve(RUNNING, reach=8), counts(4, 4), 101.0).reach == 8


def test_the_last_step_reaches_all() -> None:
    assert moved(attrs.evolve(RUNNING, step=1), counts(4, 4), 101.0).reach == PLACES - 1


def test_the_roll_out_is_done_after_the_last_step() -> None:
    after = moved(attrs.evolve(RUNNING, step=2, reach=PLACES - 1), counts(10, 8), 101.0)

    assert (after.status, after.reach) == (Status.DONE, None)


def test_a_worker_that_does_not_answer_holds_a_step_up() -> None:
    assert next_state(RUNNING, counts(4, 4, unanswered=1), 101.0) is None
    assert next_state(RUNNING, counts(4, 0, unanswered=1), 999.0) is None


# A step fails.


def test_one_rejection_halts_at_once_whoever_else_is_missing() -> None:
    found = counts(4, 3, rejected=1, refusal=("web-7", "no pool"), unanswered=3)
    after = moved(RUNNING, found, 101.0)

    assert (after.status, after.reach, after.step) == (Status.HALTED, None, 0)
    assert after.reason == f"web-7 has rejected {ROLLOUT.target}: no pool"


def test_too_many_silent_instances_halt_it_at_the_deadline() -> None:
    assert next_state(RUNNING, counts(4, 2), 159.9) is None
    after = moved(RUNNING, counts(4, 2), 160.0)

    assert after.status is Status.HALTED
    assert (
        f"only 2 of 4 instances have applied {ROLLOUT.target} within 60 s, and 75 % must; silent: a, b" in after.reason
    )
    assert not after.reason.endswith("...")


def test_the_reason_says_that_there_are_more_silent_instances() -> None:
    assert moved(RUNNING, counts(9, 2), 160.0).reason.endswith("silent: a, b, c, ...")


def test_a_step_without_instances_halts_at_the_deadline() -> None:
    assert next_state(RUNNING, counts(0), 159.9) is None
    assert "no instance of step 1 is connected" in moved(RUNNING, counts(0), 160.0).reason


# Clocks and people.


def test_a_clock_that_was_set_back_begins_the_time_of_the_step_anew() -> None:
    assert next_state(RUNNING, counts(4, 0), 100.0 - CLOCK) is None
    after = moved(RUNNING, counts(4, 0), 99.9 - CLOCK)

    assert (after.stepped, after.step, after.reach) == (99.9 - CLOCK, 0, 5)


@pytest.mark.parametrize(("before", "counted"), [(100.0, 99.0 - CLOCK), (2.0, 2.0)])
def test_acknowledgements_count_after_the_clock_was_set_back(before: float, counted: float) -> None:
    assert moved(attrs.evolve(RUNNING, counted=before), counts(4, 0), 99.0 - CLOCK).counted == counted


def test_a_halted_roll_out_goes_on_with_its_step() -> None:
    after = resumed(halted(attrs.evolve(RUNNING, step=1), "x", 110.0), "looked at it", 120.0, "ada")

    assert (after.status, after.step, after.reach, after.stepped) == (Status.RUNNING, 1, None, 120.0)
    assert (after.reason, after.by, after.revision) == ("looked at it", "ada", 3)
    assert (after.began, after.counted) == (100.0, 120.0)


def test_an_aborted_roll_out_gives_everybody_the_stable_version() -> None:
    after = aborted(RUNNING, "incident", 110.0, "ada")

    assert (after.status, after.reach, after.reason, after.by) == (Status.ABORTED, None, "incident", "ada")
