"""Slow test files come first, those of tests/system are spread, and tests with the same id aren't run side by side."""

from pathlib import Path

import pytest

from .collecting import SYSTEM, in_order, require_different_ids


def test_slow_files_come_first() -> None:
    a, b, c, d = (Path(name) for name in "abcd")

    assert [c, d, a, b] == in_order([a, b, c, d], {d, c})


def test_files_of_system_tests_are_spread_among_the_others_and_none_is_at_the_end() -> None:
    system = [SYSTEM / f"test_{number}.py" for number in range(3)]
    others = [Path(f"{number}.py") for number in range(10)]

    ordered = in_order([*others, *system], {system[1]})

    assert [system[1], system[0], others[0]] == ordered[:3]
    assert [*others[:4], system[2], *others[4:]] == ordered[2:]


def test_each_file_is_in_the_order_once() -> None:
    paths = [Path("b"), SYSTEM / "a", Path("b"), Path("c"), SYSTEM / "a"]

    assert sorted({*paths}) == sorted(in_order(paths, set()))


def test_files_of_one_kind_keep_their_order() -> None:
    assert [] == in_order([], set())
    assert [Path("b"), Path("a")] == in_order([Path("b"), Path("a")], set())
    assert [SYSTEM / "b", SYSTEM / "a"] == in_order([SYSTEM / "b", SYSTEM / "a"], set())


def test_tests_with_different_ids_may_run_side_by_side() -> None:
    require_different_ids(["a.py::test_one", "a.py::test_two", "b.py::test_one"])


def test_two_tests_with_the_same_id_are_refused_by_name() -> None:
    with pytest.raises(pytest.UsageError, match=r"alone.*same id: a\.py::test_one$"):
        require_different_ids(["a.py::test_one", "a.py::test_two", "a.py::test_one"])
