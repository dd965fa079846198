"""Tests with the same id aren't run side by side."""

import pytest

from .collecting import require_different_ids


def test_tests_with_different_ids_may_run_side_by_side() -> None:
    require_different_ids(["a.py::test_one", "a.py::test_two", "b.py::test_one"])


def test_two_tests_with_the_same_id_are_refused_by_name() -> None:
    with pytest.raises(pytest.UsageError, match=r"alone.*same id: a\.py::test_one$"):
        require_different_ids(["a.py::test_one", "a.py::test_two", "a.py::test_one"])
