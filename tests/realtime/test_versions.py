"""Versions that parked clients share: each client has its own versions, however many share an object."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.realtime.versions import SharedVersions, Versions

MAIN, BILLING, SEARCH = (Key(name, "dev", "main") for name in ("orders", "billing", "search"))
PATTERNS = (parse_pattern("billing:*"), parse_pattern("search:*"))
HAD: dict[Key, str | None] = {MAIN: "1", BILLING: "b"}


def member(
    shared: SharedVersions, had: dict[Key, str | None] = HAD, patterns: tuple[Pattern, ...] = PATTERNS
) -> Versions:
    return shared.get(MAIN, patterns, had)


def test_clients_with_equal_versions_share_one_object() -> None:
    shared = SharedVersions()
    one = member(shared)

    assert one is member(shared, dict(HAD))
    assert 1 == len(shared)
    assert ("1", "b", None) == (one.get(MAIN), one.get(BILLING), one.get(SEARCH))
    assert (True, False) == (BILLING in one, SEARCH in one)


@pytest.mark.parametrize("had", [{MAIN: "2", BILLING: "b"}, {MAIN: "1"}, {MAIN: "1", BILLING: None}])
def test_clients_with_other_versions_share_nothing(had: dict[Key, str | None]) -> None:
    shared = SharedVersions()
    one, other = member(shared), member(shared, had)

    assert (HAD, had) == (one.copy(), other.copy())
    # The next client is compared with the last one.
    assert other is member(shared, had)


def test_clients_with_other_patterns_or_another_main_key_share_nothing() -> None:
    shared = SharedVersions()
    all_of_them = [member(shared), member(shared, HAD, PATTERNS[:1]), shared.get(BILLING, PATTERNS, HAD)]

    assert 3 == len(set(map(id, all_of_them))) == len(shared)


def test_clients_that_get_the_same_frames_share_their_versions_afterwards() -> None:
    shared = SharedVersions()
    one, other = member(shared), member(shared)
    steps = [(BILLING, "c"), (SEARCH, "s"), (BILLING, "d")]
    one = one.after(steps)
    assert (HAD, {MAIN: "1", BILLING: "d", SEARCH: "s"}) == (other.copy(), one.copy())

    assert one is other.after(list(steps))
    # A client that is parked now joins the clients that have moved on.
    assert one is member(shared, {MAIN: "1", BILLING: "d", SEARCH: "s"})


def test_clients_that_get_other_frames_have_versions_of_their_own() -> None:
    shared = SharedVersions()
    one, other, third = member(shared), member(shared), member(shared)
    one = one.after([(BILLING, "c")])
    other = other.after([(MAIN, "2")])

    assert [{MAIN: "1", BILLING: "c"}, {MAIN: "2", BILLING: "b"}, HAD] == [one.copy(), other.copy(), third.copy()]


def test_the_only_client_takes_its_dictionary_along_and_nobody_else_finds_it() -> None:
    shared = SharedVersions()
    first, second = member(shared), member(shared)
    moved = first.after([(BILLING, "c")])
    further = moved.after([(BILLING, "d")])
    assert not moved.is_in_use
    stays = second.after([(BILLING, "c")])

    assert ({MAIN: "1", BILLING: "c"}, {MAIN: "1", BILLING: "d"}) == (stays.copy(), further.copy())
    # The last versions of the cohort are those of the client that has moved furthest.
    assert further is member(shared, {MAIN: "1", BILLING: "d"})


def test_versions_that_were_left_are_not_joined() -> None:
    shared = SharedVersions()
    left = member(shared)
    moved = left.after([(BILLING, "b")])
    shared.get(MAIN, PATTERNS, {MAIN: "0"})

    assert moved.copy() == HAD
    assert left is not member(shared, HAD)


def test_a_cohort_ends_with_its_last_client_and_keeps_no_earlier_versions() -> None:
    shared = SharedVersions()
    one, other = member(shared), member(shared)
    reached = [weakref.ref(one)]
    for number in range(3):
        one = one.after([(BILLING, str(number))])
        reached.append(weakref.ref(one))
    gc.collect()
    # One client has stayed at the first versions, and the other has the last ones.
    assert [other, None, None, one] == [each() for each in reached]

    del other
    assert 1 == len(shared)
    del one
    gc.collect()
    assert 0 == len(shared)


def test_versions_without_a_cohort_are_never_joined() -> None:
    alone = Versions({MAIN: "1"})
    moved = alone.after([(MAIN, "2")])

    assert {MAIN: "2"} == moved.copy()
    assert moved.is_in_use


def test_a_copy_is_the_callers_own() -> None:
    shared = SharedVersions()
    one, had = member(shared), dict(HAD)
    one.copy()[MAIN] = "x"
    other = shared.get(BILLING, PATTERNS, had)
    had[MAIN] = "x"

    assert HAD == one.copy() == other.copy()


STEPS = st.lists(st.tuples(st.sampled_from([MAIN, BILLING, SEARCH]), st.sampled_from("abc")), min_size=1, max_size=3)


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | STEPS), max_size=30))
def test_whatever_happens_each_client_has_its_own_versions(
    actions: list[tuple[int, list[tuple[Key, str]] | None]],
) -> None:
    """Clients move on, or leave the lot and come back, in any order."""
    shared = SharedVersions()
    expected: list[dict[Key, str | None]] = [dict(HAD) for _ in range(4)]
    members = [member(shared) for _ in range(4)]
    for index, steps in actions:
        if steps is None:
            members[index] = member(shared, members[index].copy())
        else:
            members[index] = members[index].after(list(steps))
            expected[index].update(steps)

        assert expected == [each.copy() for each in members]
