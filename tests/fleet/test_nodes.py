"""Facts about the counts of other nodes: pages without instances, and nodes that are away."""

from vortexd.core.model import Key
from vortexd.fleet import KeyState, Page, Question, as_away, merge, page_of

A, B, C = (Key(name, "prod", "main") for name in "abc")


def state(key: Key, connected: int = 4, applied: int = 3, version: str | None = "v1") -> KeyState:
    return KeyState(key, version, 5.0, connected, applied, 1, 2, 1)


def test_a_page_of_counts_has_the_keys_of_the_question_from_the_cursor_on() -> None:
    states = state(A), state(B), state(C)

    assert Page(states[:2]) == page_of(states, Question((B, A)))
    assert Page(states[1:]) == page_of(states, Question((A, B, C), after=(B, "x", "y")))


def test_the_instances_of_a_node_that_is_away_count_as_away_and_as_nothing_else() -> None:
    assert (KeyState(A, None, 0.0, 0, 0, 0, 0, 0, away=4),) == as_away((state(A),))


def test_instances_that_are_away_lower_the_percentage_and_do_not_change_the_version() -> None:
    here = KeyState(A, "v2", 1.0, 3, 3, 0, 0, 0)
    [merged] = merge([Page((here,)), Page(as_away((state(A, 1),))), Page(as_away((state(A, 2),)))], Question((A,))).keys

    assert ("v2", 3, 3, 3, 50.0) == (merged.version, merged.connected, merged.applied, merged.away, merged.percent)
    assert 0 == merged.silent


def test_a_key_whose_instances_are_all_away_has_applied_nothing() -> None:
    [merged] = merge([Page(as_away((state(A),)))], Question((A,))).keys

    assert (None, 0.0, 0, 4) == (merged.version, merged.percent, merged.connected, merged.away)
