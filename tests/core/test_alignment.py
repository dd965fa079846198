"""Alignment of two lists: whether each element stays, moves, is edited, removed or added."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core.alignment import Alignment, align
from vortexd.core.effort import MAX_DEPTH, Effort
from vortexd.core.model import Json
from vortexd.core.version import encode

SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 0.0, -0.0, "", "1", "true", "x" * 40])
ELEMENTS = SCALARS | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2) | st.lists(SCALARS, max_size=2)


def entered(units: int = 400_000) -> Effort:
    """As it is for a list in no other list."""
    effort = Effort(units)
    effort.depth = 1
    return effort


def aligned(old: list[Any], new: list[Any], effort: Effort | None = None) -> Alignment:
    made = align(old, new, effort or entered())
    assert made is not None
    return made


def shown(made: Alignment) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The edited elements that stay and those that moved, by their places in the whole lists."""
    edited = [pair for pair in made.staying if pair[1] in made.edited]
    return tuple(  # type: ignore[return-value]  # two lists
        [(made.start + index, made.start + new_index) for index, new_index in pairs] for pairs in (edited, made.moved)
    )


@settings(deadline=None, max_examples=examples(300))
@given(old=st.lists(ELEMENTS, max_size=12), new=st.lists(ELEMENTS, max_size=12), units=st.integers(0, 20_000))
def test_every_element_has_one_fate(old: list[Any], new: list[Any], units: int) -> None:
    made = align(old, new, entered(units))
    if made is None:
        return
    start, end = made.start, len(old) - made.start - len(made.olds)

    assert encode(old[:start]) == encode(new[:start])
    assert encode(old[len(old) - end :]) == encode(new[len(new) - end :])
    assert [*made.olds] == old[start : len(old) - end]
    assert [*made.news] == new[start : len(new) - end]
    pairs = [*made.staying, *made.moved]
    assert len(pairs) == len({index for index, _ in pairs}) == len({index for _, index in pairs})
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(made.staying))
    assert all(a[1] < b[1] for a, b in itertools.pairwise(made.moved))
    differing = {pair[1] for pair in pairs if encode(made.olds[pair[0]]) != encode(made.news[pair[1]])}
    assert differing == set(made.edited)


@pytest.mark.parametrize(
    ("old", "new"), [(1, 1.0), (1, True), (0, False), (0.0, -0.0), ({"a": 1}, {"a": True}), ([0], [0.0])]
)
def test_equal_to_python_is_not_the_same(old: Any, new: Any) -> None:
    made = aligned([7, old, 8], [7, new, 8])

    assert (1, [old], [new]) == (made.start, made.olds, made.news)
    assert (((0, 0),), (0,)) == (made.staying, made.edited)


def test_the_order_of_names_is_no_difference() -> None:
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}

    assert ([], []) == (aligned([1, old], [1, new]).olds, aligned([1, old], [1, new]).news)
    assert ([], [(1, 4)]) == shown(aligned([0, old, 1, 2, 3], [0, 1, 2, 3, new]))


def test_an_element_that_moved_is_a_move() -> None:
    assert ([], [(1, 5)]) == shown(aligned([0, 1, 2, 3, 4, 5], [0, 2, 3, 4, 5, 1]))


def test_elements_that_were_exchanged_are_two_moves_if_one_is_long() -> None:
    long = "x" * 33
    assert ([], [(4, 1), (1, 4)]) == shown(aligned([0, long, 2, 3, 4, 5], [0, 4, 2, 3, long, 5]))


def test_short_elements_are_replaced_where_they_are() -> None:
    short = "x" * 30
    assert ([(1, 1), (4, 4)], []) == shown(aligned([0, short, 2, 3, 4, 5], [0, 4, 2, 3, short, 5]))
    longer = "x" * 31
    assert ([], [(4, 1), (1, 4)]) == shown(aligned([0, longer, 2, 3, 4, 5], [0, 4, 2, 3, longer, 5]))


def test_what_is_short_is_counted_in_bytes() -> None:
    short, longer = "é" * 15, "é" * 16
    assert ([(1, 1), (4, 4)], []) == shown(aligned([0, short, 2, 3, 4, 5], [0, 4, 2, 3, short, 5]))
    assert ([], [(4, 1), (1, 4)]) == shown(aligned([0, longer, 2, 3, 4, 5], [0, 4, 2, 3, longer, 5]))


def test_elements_that_are_equal_by_chance_stay_where_they_are() -> None:
    assert ([(0, 0), (2, 2)], []) == shown(aligned([2, 3, 5], [3, 3, 4]))


def test_elements_stay_in_order_if_that_takes_no_more_edits() -> None:
    """A removal and an addition, or two edits."""
    assert [(1, 0)] == [*aligned([1, 2], [2, 3]).staying]


def test_long_elements_are_not_sent_again_for_fewer_operations() -> None:
    """Three removals and three additions, or four edits of which one sends the long element."""
    assert [(3, 0)] == [*aligned([1, 2, 3, "x" * 200], ["x" * 200, 4, 5, 6]).staying]


def record(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "record", "on": True, "name": name, **more}


def test_an_edited_element_beside_a_new_one_is_known_by_what_only_it_has() -> None:
    old = [record("a", n=1), record("b", n=1), record("c", n=1)]
    new = [record("a", n=1), record("new", n=1), record("b", n=2), record("c", n=1)]

    assert ([(1, 2)], []) == shown(aligned(old, new))


def test_an_edited_element_beside_one_that_is_gone_is_known_by_what_only_it_has() -> None:
    old = [record("a", n=1), record("gone", n=1), record("b", n=1), record("c", n=1)]
    new = [record("a", n=1), record("b", n=2), record("c", n=1)]

    assert ([(2, 1)], []) == shown(aligned(old, new))


def test_elements_are_known_by_the_longer_of_the_values_they_share() -> None:
    old = [0, {"id": "1", "text": "x" * 20, "n": 1}, {"id": "2", "text": "y" * 20, "n": 1}, 9]
    new = [0, {"id": "2", "text": "x" * 20, "n": 2}, {"id": "1", "text": "y" * 20, "n": 2}, {"id": "3"}, 9]

    assert ([(1, 1), (2, 2)], []) == shown(aligned(old, new))


def test_inner_values_tell_elements_apart_if_the_outer_ones_do_not() -> None:
    old = [0, {"spec": {"name": "a", "n": [1]}}, {"spec": {"name": "b", "n": [1]}}, 9]
    new = [0, {"spec": {"name": "new", "n": [1]}}, {"spec": {"name": "b", "n": [2]}}, {"spec": {"n": [1]}}, 9]

    assert (2, 2) in shown(aligned(old, new))[0]


def test_of_one_element_sixteen_values_are_looked_at() -> None:
    padding = {f"a{number:02}": 0 for number in range(16)}
    old = [0, {**padding, "name": "b", "n": 1}, 9]
    new = [0, {**padding, "name": "new", "n": 1}, {**padding, "name": "b", "n": 2}, 9]

    assert ([(1, 1)], []) == shown(aligned(old, new))
    del padding["a00"]
    old = [0, {**padding, "name": "b", "n": 1}, 9]
    new = [0, {**padding, "name": "new", "n": 1}, {**padding, "name": "b", "n": 2}, 9]
    assert ([(1, 2)], []) == shown(aligned(old, new))


def test_alike_elements_that_changed_places_are_paired_in_order_only() -> None:
    old = [0, record("a", n=1), record("b", n=1), record("c", n=1), 9]
    new = [0, record("c", n=2), record("a", n=2), record("b", n=2), 9]

    made = aligned(old, new)

    assert ([(1, 2), (2, 3)], [(3, 1)]) == shown(made)
    assert 3 == len(made.edited)


@pytest.mark.parametrize(("more", "moved"), [("y" * 4, [(1, 4)]), ("y" * 5, [])])
def test_an_edited_element_in_another_place_is_known_if_half_of_it_is_the_same(
    more: str, moved: list[tuple[int, int]]
) -> None:
    old = [0, {"a": "xxxx", "c": 1}, 2, 3, 4, 5]
    new = [0, 2, 3, 4, {"a": "xxxx", "b": more}, 5]

    assert ([], moved) == shown(aligned(old, new))


def test_what_is_left_of_a_gap_is_paired_by_place() -> None:
    old = [0, "a" * 40, "b" * 40, "c" * 40, 9]
    new = [0, "d" * 40, "e" * 40, 9]

    assert ([(1, 1), (2, 2)], []) == shown(aligned(old, new))


# Edits where the elements are.


def test_elements_that_are_edited_where_they_are_are_all_that_is_looked_at() -> None:
    old = [record(f"n{number}") for number in range(1_000)]
    new = [each | {"on": False} if index in (3, 500, 996) else each for index, each in enumerate(old)]
    effort = entered()
    made = aligned(old, new, effort)

    assert ([(3, 3), (500, 500), (996, 996)], []) == shown(made)
    assert 994 == len(made.staying)
    # The list, six elements, three edits, and all bytes once.
    size = len(encode(old[3:997])) + len(encode(new[3:997]))
    assert size // 80 <= 400_000 - effort.left - 300 - 5 * 6 - 3 * 100 <= size // 25


def test_what_stays_between_edits_counts_for_what_the_list_takes() -> None:
    old, new = ([part for _ in range(20) for part in (number, "x" * 50, "y" * 50)] for number in (0, 1))

    assert 20 == len(shown(aligned(old, new))[0])


def test_equal_to_python_at_the_same_place_is_an_edit() -> None:
    old, new = [7, 1, 2, 3, {"a": 1}, 5, 8], [9, 1.0, 2, 3, {"a": True}, 5, 0]

    assert ([(0, 0), (1, 1), (4, 4), (6, 6)], []) == shown(aligned(old, new))


@pytest.mark.parametrize("count", [5, 6])
def test_an_edit_beside_another_is_known_by_what_only_it_has(count: int) -> None:
    """Where half of the elements differ, and where more do."""
    old = [record("a", n=1), record("gone", n=1), *range(count), record("c", n=1)]
    new = [record("new", n=1), record("a", n=2), *range(count), record("c", n=2)]
    edited = shown(aligned(old, new))[0]

    assert (0, 1) in edited
    assert (count + 2, count + 2) in edited


def test_an_element_that_moved_among_elements_that_were_edited_is_a_move() -> None:
    moved = record("moved")
    old = [record("a", n=1), 1, 2, moved, 4, 5, "x" * 40, 7, 8, record("z", n=1)]
    new = [record("a", n=2), 1, 2, "y" * 40, 4, 5, moved, 7, 8, record("z", n=2)]

    assert [(3, 6)] == shown(aligned(old, new))[1]


def test_repeated_elements_that_were_shifted_are_not_edited_where_they_are() -> None:
    old = ([0] * 9 + [1]) * 10
    made = aligned(old, [7, *old[:-1]])

    assert [(index, index + 1) for index in range(99)] == [*made.staying]


# When it would take too much.


def test_edits_that_are_sure_to_be_much_longer_are_not_made() -> None:
    old: list[Json] = list(range(100, 200))

    assert align(old, [*range(300, 400)], entered()) is None
    assert align(old, old[::-1], entered()) is None
    assert align([], [0] * 100, entered()) is None
    assert align([0] * 100, [], entered()) is None


def test_few_elements_more_or_fewer_are_edits() -> None:
    """Each takes at least 29 bytes, and the edits may be longer by 128."""
    assert align([], [0] * 4, entered()) is not None
    assert align([], [0] * 5, entered()) is None
    assert align([0] * 4, [], entered()) is not None
    assert align([0] * 5, [], entered()) is None


def test_what_stays_counts_for_what_the_list_takes() -> None:
    """Five additions take at least 145 bytes, and `["xxxxxxxxxxxxx"]` takes 17."""
    assert align(["x" * 13], ["x" * 13, *range(5)], entered()) is not None
    assert align(["x" * 12], ["x" * 12, *range(5)], entered()) is None


def test_a_list_is_not_begun_with_too_little_effort() -> None:
    assert align([1, 2], [2, 1], entered(600)) is not None
    assert align([1, 2], [2, 1], entered(599)) is None


def test_edits_of_one_list_take_no_more_than_the_share_of_the_effort() -> None:
    old: list[Json] = [{"name": f"n{number}", "text": "x" * 100} for number in range(10)]
    new: list[Json] = [{"name": f"n{number}", "text": "y" * 100} for number in range(10)]
    spent = 300 + 5 * 20 + (len(encode(old)) + len(encode(new)) - 2 - 1) // 25

    assert align(old, new, entered(60_000 + spent)) is not None
    assert align(old, new, entered(1_999)) is None


def test_a_list_within_lists_is_looked_into_down_to_a_depth() -> None:
    effort = entered()
    aligned([1] * 1_000 + [2], [1] * 1_000, effort)
    effort.depth = MAX_DEPTH

    assert align([1, 2], [2, 1], effort) is not None
    effort.depth = MAX_DEPTH + 1
    assert align([1, 2], [2, 1], effort) is None


@pytest.mark.parametrize(
    ("old", "new", "rounds"),
    [
        # What is equal at an end is compared, what isn't is looked at, and what is equal in between is compared.
        (["y" * 997, 1], ["y" * 997, 2], 4),
        (["y" * 997, 1, 2], [2, 1, "y" * 997], 4),
        ([1, "y" * 997, 2], [3, "y" * 997, 4], 4),
        ([1, "y" * 997, 0, 2], [3, "y" * 997, 0, 4], 4),
    ],
)
def test_what_is_gone_over_of_lists_within_lists_is_bounded(old: list[Any], new: list[Any], rounds: int) -> None:
    """Three times what the outer list has."""
    outer = ["x" * 1_000]
    effort = entered()
    aligned([*outer, 1], [*outer, 2], effort)
    effort.depth = 2
    done = 0
    while done < 20 and align(old, new, effort) is not None:
        done += 1

    assert rounds == done


@pytest.mark.parametrize("pair", [([[1, 2]], [[2, 3]]), ([1, [1, 2], 3, 4], [3, [2, 3], 4, 1])])
def test_the_outer_list_brings_in_the_bytes_for_those_within_it(pair: tuple[list[Any], list[Any]]) -> None:
    effort = entered()
    aligned(*pair, effort)
    effort.depth = 2

    assert align([1, 2], [2, 3], effort) is not None
    assert effort.may_look


def test_lists_that_no_server_could_send_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]

    with pytest.raises(RecursionError):
        align([deep, 1], [deep, 2], entered())
    with pytest.raises(RecursionError):
        align([1, deep, 2], [deep, 2, 1], entered())
