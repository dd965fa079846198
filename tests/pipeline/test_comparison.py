"""Changes between two documents, as rows and as a table."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.diff import steps
from vortexd.core.model import Json
from vortexd.pipeline.comparison import members, table

TEXTS = st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=4)


def rows(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    return [members(step) for step in steps(old, new)]


def test_a_row_has_what_was_and_what_is() -> None:
    old = {"gone": {"a": 1}, "port": 80, "null": None}
    new = {"port": "80", "null": 0, "came": [1]}

    assert [
        {"op": "add", "path": "/came", "new": [1]},
        {"op": "remove", "path": "/gone", "old": {"a": 1}},
        {"op": "replace", "path": "/null", "old": None, "new": 0},
        {"op": "replace", "path": "/port", "old": 80, "new": "80"},
    ] == rows(old, new)


def test_what_is_moved_says_from_where() -> None:
    old, new = {"l": [{"n": 1}, 2, 3, 4, 5, 6]}, {"l": [2, 3, 4, 5, 6, {"n": 1}]}

    assert [{"op": "move", "path": "/l/5", "from": "/l/0", "old": {"n": 1}}] == rows(old, new)


def test_the_table_is_aligned() -> None:
    made = steps({"server": {"port": 80}, "name": "a"}, {"server": {"port": 8080}, "new": True})

    expected = """title
         path          old  new
removed  /name         "a"
added    /new               true
changed  /server/port  80   8080
"""
    assert expected == table(made, "title")


def test_a_move_is_one_line() -> None:
    old: dict[str, Json] = {"l": [1, 2, 3, 4, 5, 6]}
    new: dict[str, Json] = {"l": [2, 3, 4, 5, 6, 1]}

    assert ["moved  /l/0 -> /l/5  1"] == table(steps(old, new), "title").splitlines()[2:]


def test_no_difference_is_said() -> None:
    assert "title\nno difference\n" == table([], "title")


def test_long_values_are_cut_and_many_rows_are_counted() -> None:
    made = steps({}, {f"k{number:04}": "x" * 500 for number in range(1_200)})
    lines = table(made, "title").splitlines()

    assert "and 200 more" == lines[-1]
    assert 1_003 == len(lines)
    assert max(map(len, lines)) < 100


@given(TEXTS, TEXTS)
def test_nothing_in_a_table_steers_a_terminal(old: dict[str, Json], new: dict[str, Json]) -> None:
    made = steps(old, new)
    text = table(made, "title")

    assert all(line.isprintable() for line in text.split("\n"))
    assert max(1, len(made)) + (2 if made else 1) == len(text.splitlines())


@given(TEXTS, TEXTS)
def test_rows_are_the_operations_of_the_patch(old: dict[str, Json], new: dict[str, Json]) -> None:
    made = steps(old, new)

    assert [step.operation["path"] for step in made] == [row["path"] for row in rows(old, new)]
    assert orjson.loads(orjson.dumps(rows(old, new))) == rows(old, new)
