"""The limits of the effort for a diff."""

from vortexd.core.effort import MAX_DEPTH, Effort


def test_a_search_gets_half_of_what_is_left() -> None:
    effort = Effort(100)

    assert not effort.take(51)
    assert 100 == effort.left
    assert effort.take(50)
    assert (50, 25) == (effort.left, effort.share)
    assert not effort.take(26)
    assert effort.take(25)
    assert 25 == effort.left


def test_a_first_pass_leaves_enough_for_some_searches() -> None:
    effort = Effort(400_000)
    effort.spend(100_000)
    assert 300_000 == effort.left

    effort.spend(10_000_000)
    assert 60_000 == effort.left

    effort.spend(1)
    assert 60_000 == effort.left


def test_a_first_pass_gives_nothing_back_of_what_searches_took() -> None:
    effort = Effort(100_000)
    assert effort.take(50_000)
    effort.spend(10)

    assert 50_000 == effort.left


def test_a_list_in_no_other_list_may_always_be_looked_into() -> None:
    effort = Effort(0)
    effort.depth = 1
    effort.read(-10_000)

    assert effort.may_look


def test_lists_within_lists_are_looked_into_down_to_a_depth() -> None:
    effort = Effort()
    looked = []
    for effort.depth in range(1, MAX_DEPTH + 3):
        looked.append(effort.may_look)

    assert [True] * MAX_DEPTH + [False, False] == looked


def test_the_bytes_of_lists_within_a_list_are_gone_over_three_more_times() -> None:
    effort = Effort()
    effort.depth = 1
    effort.read(1_000)
    effort.depth = 2
    effort.read(3_000)
    assert effort.may_look

    effort.read(1)
    assert not effort.may_look

    effort.depth = 1
    assert effort.may_look
    effort.read(1)
    effort.depth = 2
    assert effort.may_look
