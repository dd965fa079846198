"""Facts about the checks of a parsed manifest."""

from collections.abc import Callable

import pytest

from vortexd.cluster.published.checks import as_count, as_label, as_list, as_origin, as_row, as_text, is_count, is_path
from vortexd.cluster.records import Unusable
from vortexd.core.model import Origin


def test_values_that_are_as_they_must_be_come_back() -> None:
    assert Origin("c", "a", "t") == as_origin(["c", "a", "t"])
    assert "v1" == as_label("v1")
    assert 0 == as_count(0)
    assert "" == as_text("")
    assert [] == as_list([])
    assert [1, 2] == as_row([1, 2], 2)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (as_origin, ["c", "a"]),
        (as_origin, ["c", "a", None]),
        (as_label, "../x"),
        (as_label, 7),
        (as_count, -1),
        (as_count, True),
        (as_count, 1.0),
        (as_count, None),
        (as_text, None),
        (as_text, b""),
        (as_list, ()),
        (as_list, None),
        (lambda value: as_row(value, 2), [1]),
        (lambda value: as_row(value, 2), [1, 2, 3]),
        (lambda value: as_row(value, 2), "ab"),
    ],
)
def test_other_values_are_refused(check: Callable[[object], object], value: object) -> None:
    with pytest.raises(Unusable):
        check(value)


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a.b/..c", "\udcff"])
def test_a_path_below_the_root_is_one(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", 7, None])
def test_another_path_is_none(path: object) -> None:
    assert not is_path(path)


def test_only_whole_numbers_that_are_not_negative_count() -> None:
    assert [True, True, False, False] == [*map(is_count, (0, 1, -1, False))]
