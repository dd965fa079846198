"""The times of fetches, and of the requests for the remote's default branch."""

from random import Random
from typing import Any

import pytest

from vortexd.source.git.schedule import ASK_HEAD_AFTER, DefaultBranchSchedule, FetchSchedule
from vortexd.source.git.settings import GitSettings


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def schedule(failures: int = 0, uniform: Any = middle, *, has_state: bool = False, **settings: Any) -> FetchSchedule:
    found = FetchSchedule(GitSettings(uri="https://x/y", **settings), uniform)
    found.start(has_state=has_state)
    for _ in range(failures):
        found.end(is_done=False)
    return found


# The wait for the next fetch.


@pytest.mark.parametrize(
    ("failures", "expected"), [(0, 10), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300), (5_000, 300)]
)
def test_R4_the_interval_doubles_with_each_failure_but_the_first_up_to_five_minutes(
    failures: int, expected: float
) -> None:
    assert expected == schedule(failures, refresh_interval=10.0).wait()


@pytest.mark.parametrize("failures", [0, 1, 2, 10])
def test_an_interval_longer_than_the_longest_wait_stays_as_it_is(failures: int) -> None:
    assert 3_600 == schedule(failures, refresh_interval=3_600.0).wait()


def test_a_wait_differs_by_at_most_a_tenth_and_each_time() -> None:
    low, high = (schedule(refresh_interval=10.0, uniform=each).wait() for each in (min, max))
    shaken = schedule(refresh_interval=10.0, uniform=Random(1).uniform)
    waits = [shaken.wait() for _ in range(100)]

    assert (9, 11) == (low, high)
    assert all(9 <= wait <= 11 for wait in waits)
    assert 100 == len(set(waits))


def test_a_success_ends_the_back_off() -> None:
    found = schedule(5, refresh_interval=10.0, hook_interval=1.0)
    found.end(is_done=True)

    assert (10, 1, True) == (found.wait(), found.earliest(), found.may_rebuild)


def test_a_start_ends_the_back_off() -> None:
    found = schedule(5, refresh_interval=10.0)
    found.start(has_state=True)

    assert 10 == found.wait()


# Webhooks.


@pytest.mark.parametrize(("failures", "expected"), [(0, 2), (1, 4), (2, 8), (4, 32), (5, 64), (6, 64), (5_000, 64)])
def test_a_fetch_for_a_webhook_keeps_a_distance_to_the_last_one_that_doubles_five_times(
    failures: int, expected: float
) -> None:
    found = schedule(failures, hook_interval=2.0)
    found.begin(100.0)

    assert 100 + expected == found.earliest()


def test_the_distance_counts_from_the_beginning_of_the_last_fetch() -> None:
    found = schedule(hook_interval=2.0)
    for now in (10.0, 50.0):
        found.begin(now)

    assert 52 == found.earliest()


# The time that a fetch may take.


@pytest.mark.parametrize(
    ("has_state", "fetch_timeout", "expected"), [(True, 60.0, 5), (True, 3.0, 3), (False, 60.0, 60), (False, 3.0, 3)]
)
def test_the_first_fetch_is_short_if_there_is_a_mirror_to_serve(
    has_state: bool, fetch_timeout: float, expected: float
) -> None:
    assert expected == schedule(has_state=has_state, fetch_timeout=fetch_timeout).timeout


@pytest.mark.parametrize("is_done", [True, False])
def test_later_fetches_may_take_their_whole_time(is_done: bool) -> None:
    found = schedule(has_state=True, fetch_timeout=60.0)
    found.begin(1.0)
    assert 5 == found.timeout
    found.end(is_done=is_done)

    assert 60 == found.timeout


def test_a_mirror_may_be_made_anew_at_first_and_then_after_failures_that_double() -> None:
    assert [0, 1, 2, 4, 8, 16, 32] == [failures for failures in range(40) if schedule(failures).may_rebuild]


# The default branch.


def test_a_default_branch_that_decides_nothing_is_never_asked_for() -> None:
    head = DefaultBranchSchedule(is_followed=False)

    assert not any(head.is_due(is_new=True) for _ in range(2 * ASK_HEAD_AFTER))


def test_the_remote_is_asked_until_it_has_answered_and_then_every_twentieth_fetch() -> None:
    head = DefaultBranchSchedule(is_followed=True)
    assert [True, True] == [head.is_due(is_new=False) for _ in range(2)]
    head.asked()

    assert [*[False] * 19, True, True] == [head.is_due(is_new=False) for _ in range(21)]
    head.asked()
    assert not head.is_due(is_new=False)


def test_the_remote_is_asked_whenever_something_has_changed() -> None:
    head = DefaultBranchSchedule(is_followed=True)
    head.asked()

    assert head.is_due(is_new=True)
    # It hasn't answered.
    assert head.is_due(is_new=False)
