"""The trailers of commits, and of those that merges have brought."""

from collections.abc import Mapping

import pytest

from vortexd.core.model import Origin
from vortexd.source.git.commits import NO_TRAILERS, Step
from vortexd.source.git.trailers import (
    MOST_CHARACTERS,
    MOST_VALUES,
    own_trailers,
    trailers_of,
    values_of,
    with_merged,
)


def step(commit: str, parent: str | None, *values: str, is_merge: bool = False) -> Step:
    return Step(parent, Origin(commit, "Ada", ""), {}, is_merge, {commit: values} if values else NO_TRAILERS)


def listed(**commits: tuple[str, str]) -> bytes:
    """What git prints for commits: the parents and the trailers of each."""
    return b"".join(f"{commit}\0{parents}\0{printed}\0".encode() for commit, (parents, printed) in commits.items())


def found(steps: list[Step], printed: bytes) -> dict[str, Mapping[str, tuple[str, ...]]]:
    return {each.origin.commit: each.trailers for each in with_merged(steps, printed)}


@pytest.mark.parametrize(
    ("printed", "values"),
    [
        ("", ()),
        ("Vortexd-Rollout: 5,25,100", ("5,25,100",)),
        ("Vortexd-Rollout: 5\nvortexd-rollout: 10,100\n", ("5", "10,100")),
        ("Vortexd-Rollout:", ("",)),
        ("Vortexd-Rollout: a: b", ("a: b",)),
        ("Vortexd-Rollout: 5\x1b,\t\x7f100 ", ("5,100",)),
        ("Vortexd-Rollout: " + "1" * MOST_CHARACTERS, ("1" * MOST_CHARACTERS,)),
        ("Vortexd-Rollout: " + "1" * MOST_CHARACTERS + "2", ("1" * MOST_CHARACTERS,)),
        ("\n".join(["Vortexd-Rollout: 5"] * MOST_VALUES), ("5",) * MOST_VALUES),
        ("\n".join(["Vortexd-Rollout: 5"] * (MOST_VALUES + 1)), ("5",) * MOST_VALUES),
    ],
)
def test_each_line_is_a_value_of_limited_length(printed: str, values: tuple[str, ...]) -> None:
    assert values == values_of(printed)


def test_a_commit_without_a_trailer_shares_the_empty_mapping() -> None:
    assert own_trailers("c", "") is NO_TRAILERS
    assert {"c": ("5",)} == own_trailers("c", "Vortexd-Rollout: 5")


def test_the_trailers_of_steps_begin_with_the_newest() -> None:
    trailers = trailers_of([step("c", "b", "9"), step("b", "a"), step("a", None, "1", "2")])

    assert [("c", ("9",)), ("a", ("1", "2"))] == [*trailers.items()]
    assert trailers_of([step("b", "a"), step("a", None)]) is NO_TRAILERS


@pytest.mark.parametrize(("first", "rest"), [(MOST_VALUES, None), (MOST_VALUES - 1, 1), (MOST_VALUES - 2, 2)])
def test_the_oldest_values_beyond_the_limit_do_not_count(first: int, rest: int | None) -> None:
    trailers = trailers_of([step("c", "b", *["9"] * first), step("b", "a", "1", "2"), step("a", None, "3")])

    assert ("9",) * first == trailers["c"]
    assert (None if rest is None else ("1", "2")[:rest]) == trailers.get("b")
    assert "a" not in trailers


def test_a_merge_has_the_trailers_of_the_commits_that_it_has_merged() -> None:
    printed = listed(
        m=("b s2", ""), s2=("s1", ""), b=("a", ""), s1=("a", "Vortexd-Rollout: 5"), s0=("", "Vortexd-Rollout: 7")
    )

    assert {"m": {"s1": ("5",)}, "b": {}} == found([step("m", "b", is_merge=True), step("b", "a")], printed)


def test_a_commit_that_was_merged_twice_belongs_to_the_older_merge() -> None:
    steps = [step("n", "m", is_merge=True), step("m", "a", is_merge=True)]
    printed = listed(
        n=("m t", ""), t=("s m", "Vortexd-Rollout: 9"), m=("a s", ""), s=("a", "Vortexd-Rollout: 5"), a=("", "")
    )

    assert {"n": {"t": ("9",)}, "m": {"s": ("5",)}} == found(steps, printed)


def test_a_merge_of_several_branches_has_the_trailers_of_all() -> None:
    printed = listed(m=("a s t", ""), s=("a", "Vortexd-Rollout: 5"), t=("a", "Vortexd-Rollout: 6\nVortexd-Rollout: 7"))

    assert {"m": {"m": ("1",), "s": ("5",), "t": ("6", "7")}} == found([step("m", "a", "1", is_merge=True)], printed)


def test_the_trailers_of_a_merge_are_limited() -> None:
    values = "\n".join(["Vortexd-Rollout: 5"] * MOST_VALUES)
    printed = listed(m=("a s", ""), s=("t", values), t=("a", "Vortexd-Rollout: 6"))

    assert {"m": {"m": ("1",), "s": ("5",) * (MOST_VALUES - 1)}} == found([step("m", "a", "1", is_merge=True)], printed)


@pytest.mark.parametrize("printed", [b"", listed(m=("a s", "Vortexd-Rollout: 5"), s=("a", "")), b"s\0a"])
def test_without_trailers_of_merged_commits_the_steps_stay(printed: bytes) -> None:
    steps = [step("m", "a", "5", is_merge=True)]

    assert steps is with_merged(steps, printed)


def test_a_circle_ends() -> None:
    """git never prints one."""
    printed = listed(m=("a s", ""), s=("t", "Vortexd-Rollout: 5"), t=("s", ""))

    assert {"m": {"s": ("5",)}} == found([step("m", "a", is_merge=True)], printed)
