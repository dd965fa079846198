"""Rows of a difference, as lines for people."""

from typing import Any

import pytest

from vortexd.core.model import Json
from vortexd.ctl.changes import brief, lines_of
from vortexd.ctl.printing import Paint


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ({"op": "replace", "path": "/a", "old": 1, "new": 2}, ["- /a: 1", "+ /a: 2"]),
        ({"op": "add", "path": "/a", "new": None}, ["+ /a: null"]),
        ({"op": "remove", "path": "/a", "old": None}, ["- /a: null"]),
        ({"op": "replace", "path": "", "old": {}, "new": []}, ["- (all): {}", "+ (all): []"]),
        ({"op": "move", "from": "/a", "path": "/b", "old": True}, ["- /a: true", "+ /b: true"]),
        # A server may leave out the value that it moves.
        ({"op": "move", "from": "/a", "path": "/b"}, ["- /a: null", "+ /b: null"]),
        ({"op": "move", "from": "/a", "path": "/b", "old": 1, "new": 2}, ["- /a: 1", "+ /b: 1"]),
        ({"op": "test", "path": "/a"}, []),
    ],
)
def test_a_row_shows_the_old_value_before_the_new_one(row: dict[str, Any], lines: list[str]) -> None:
    assert lines == list(lines_of(row, Paint()))


@pytest.mark.parametrize(
    "row",
    [
        {"op": "replace", "path": "/a", "old": 1, "new": 2},
        {"op": "move", "from": "/b", "path": "/a", "old": 1},
    ],
)
def test_the_old_line_is_red_and_the_new_line_is_green(row: dict[str, Any]) -> None:
    old, new = lines_of(row, Paint(True))

    assert old.startswith("\x1b[31m- /")
    assert new.startswith("\x1b[32m+ /a: ")


def test_neither_a_path_nor_a_value_controls_the_terminal() -> None:
    rows: list[dict[str, Any]] = [
        {"op": "replace", "path": "/\x1b[2J", "old": "\x1b[2J", "new": "\u202e"},
        {"op": "move", "from": "/\x07", "path": "/\x1b", "old": "\x9b"},
    ]

    assert [
        r"- /\x1b[2J: " + '"\\u001b[2J"',
        r"+ /\x1b[2J: " + '"\\u202e"',
        r"- /\x07: " + '"\\x9b"',
        r"+ /\x1b: " + '"\\x9b"',
    ] == [line for row in rows for line in lines_of(row, Paint())]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 198, '"' + "x" * 198 + '"'),
        ("x" * 199, '"' + "x" * 196 + "..."),
        ({"a": [1.0, "ü"]}, '{"a": [1.0, "ü"]}'),
    ],
    ids=["200 characters", "201 characters", "not escaped"],
)
def test_a_value_of_more_than_200_characters_is_shortened_to_200(value: Json, text: str) -> None:
    assert text == brief(value)
    assert len(brief(value)) <= 200


def test_a_caller_may_ask_for_another_width() -> None:
    assert ["12345", "12..."] == [brief(12345, 5), brief(123456, 5)]
