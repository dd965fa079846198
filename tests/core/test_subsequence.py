"""Common elements in order. The result is always valid, has the most elements if there are few edits, and stays within the effort if there are many."""

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core.effort import Effort
from vortexd.core.subsequence import common_subsequence, longest_ascending

NUMBERS = st.lists(st.integers(0, 5), max_size=14) | st.lists(st.integers(0, 40), max_size=14)
ENDLESS = 10**12


def longest(old: list[int], new: list[int]) -> int:
    """The length of the longest common subsequence, by the table of all prefixes."""
    row = [0] * (len(new) + 1)
    for number in old:
        before, row = row, [0]
        for at, other in enumerate(new):
            row.append(before[at] + 1 if other == number else max(row[at], before[at + 1]))
    return row[-1]


def pairs(old: list[int], new: list[int], units: int = ENDLESS) -> list[tuple[int, int]]:
    """What is found, which has to be equal elements that ascend."""
    effort = Effort(units)
    found = common_subsequence(old, new, effort)
    assert all(old[index] == new[new_index] for index, new_index in found)
    assert all(before[0] < behind[0] and before[1] < behind[1] for before, behind in itertools.pairwise(found))
    assert 0 <= effort.left <= units
    return found


@settings(deadline=None, max_examples=examples(400))
@given(old=NUMBERS, new=NUMBERS)
def test_with_few_edits_as_much_is_found_as_there_is(old: list[int], new: list[int]) -> None:
    assert longest(old, new) == len(pairs(old, new))


@settings(deadline=None)
@given(old=NUMBERS, new=NUMBERS, units=st.integers(0, 300))
def test_with_little_effort_what_is_found_is_right(old: list[int], new: list[int], units: int) -> None:
    assert len(pairs(old, new, units)) <= longest(old, new)


@given(old=st.permutations(range(12)), new=st.permutations(range(4, 16)))
def test_of_elements_that_each_list_has_once_the_most_stay(old: list[int], new: list[int]) -> None:
    """Without any effort: it takes none."""
    assert longest(old, new) == len(pairs(old, new, 0))


def test_equal_ends_cost_nothing() -> None:
    assert [(0, 0), (1, 1), (3, 2), (4, 3)] == pairs([1, 1, 2, 1, 1], [1, 1, 1, 1], 0)


@pytest.mark.parametrize(("old", "new"), [([], []), ([], [1]), ([1], []), ([1], [2]), ([1, 2], [3, 4])])
def test_where_nothing_is_common_nothing_is_found(old: list[int], new: list[int]) -> None:
    assert [] == pairs(old, new)


# No number stands once in these, so only the algorithm for few edits can match them up.
ALTERNATING = [0, 1] * 400


def without(count: int) -> list[int]:
    """`ALTERNATING` with so many elements removed, far from each other."""
    gone = {5 + 6 * number for number in range(count)}
    return [number for index, number in enumerate(ALTERNATING) if index not in gone]


@pytest.mark.parametrize("count", [1, 2, 127, 128])
def test_up_to_128_edits_are_found_among_repeated_elements(count: int) -> None:
    new = without(count)

    assert len(ALTERNATING) - count == len(pairs(ALTERNATING, new)) == len(pairs(new, ALTERNATING))


def test_more_edits_are_not_searched_for() -> None:
    effort = Effort(ENDLESS)
    found = common_subsequence(ALTERNATING, without(129), effort)

    assert ENDLESS == effort.left
    assert len(found) < len(ALTERNATING) - 129


def test_a_search_for_edits_that_turn_out_to_be_more_ends() -> None:
    """The same elements, in an order that takes 260 edits."""
    effort = Effort(ENDLESS)
    old, new = [0] * 130 + [1] * 130, [1] * 130 + [0] * 130

    assert [] == common_subsequence(old, new, effort)
    assert 0 < ENDLESS - effort.left < 100_000


def test_beyond_the_bound_elements_match_between_those_that_both_lists_have_once() -> None:
    """A hundred gaps with two edits each, among elements that are repeated."""
    marks = range(100, 200)
    old = [number for mark in marks for number in (mark, 0, 1, 0, 1)]
    new = [number for mark in marks for number in (mark, 0, 1, 1, 1)]

    assert longest(old, new) == len(pairs(old, new)) == 400


def test_gaps_that_cannot_be_paid_for_are_matched_by_position() -> None:
    marks = range(100, 300)
    old = [number for mark in marks for number in (mark, 5, 0, 1, 0, 2, 6)]
    new = [number for mark in marks for number in (mark, 7, 1, 0, 2, 2, 8)]

    assert {(7 * gap + at, 7 * gap + at) for gap in range(200) for at in (0, 5)} == set(pairs(old, new, 0))
    assert longest(old, new) == len(pairs(old, new)) == 800


def test_repeated_elements_that_changed_in_many_places_are_matched_by_position() -> None:
    new = [1 - number if index % 3 == 0 else number for index, number in enumerate(ALTERNATING)]
    found = pairs(ALTERNATING, new)

    assert {(index, index) for index in range(800) if index % 3} <= set(found)


def test_one_search_takes_no_more_than_its_share_and_finds_less() -> None:
    new = [number for index, number in enumerate(ALTERNATING) if index not in (10, 400, 790)]
    found = []
    for units in (1_000, 100_000):
        effort = Effort(units)
        found.append(len(common_subsequence(ALTERNATING, new, effort)))

        assert units // 2 <= effort.left < units

    assert found[0] < found[1] == 797


def test_elements_that_each_list_has_once_take_no_effort() -> None:
    effort = Effort(100_000)
    common_subsequence([*range(100)], [*range(99, -1, -1)], effort)
    # The gaps on both sides of what stays have nothing in common.
    common_subsequence([1, 2, 3, 4, 5, 6, 7], [7, 6, 3, 4, 5, 2, 1], effort)

    assert 100_000 == effort.left


@pytest.mark.parametrize("seed", range(5))
def test_long_lists_that_changed_everywhere_stay_within_the_effort(seed: int) -> None:
    random = Random(seed)
    for choice in (2, 10, 100, 3_000, 1_000_000):
        old, new = ([random.randrange(choice) for _ in range(3_000)] for _ in range(2))

        pairs(old, new, 100_000)
        pairs(old, random.sample(old, len(old)), 100_000)


@given(st.lists(st.integers(0, 9), max_size=9))
def test_the_longest_ascending_choice_is_found(values: list[int]) -> None:
    given_pairs = [*enumerate(values)]
    chosen = longest_ascending(given_pairs)
    most = max(
        len(choice)
        for size in range(len(values) + 1)
        for choice in itertools.combinations(values, size)
        if all(before < behind for before, behind in itertools.pairwise(choice))
    )

    assert most == len(chosen)
    assert set(chosen) <= set(given_pairs)
    assert all(before[0] < behind[0] and before[1] < behind[1] for before, behind in itertools.pairwise(chosen))
