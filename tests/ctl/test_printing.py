"""Colours on a terminal only, and no text that controls a terminal."""

import pytest

from vortexd.ctl.printing import Paint, aligned, paint_of, shown


@pytest.mark.parametrize(
    ("choice", "is_terminal", "environ", "is_on"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
    ],
)
def test_colours_are_for_terminals_unless_something_is_said(
    choice: str, is_terminal: bool, environ: dict[str, str], is_on: bool
) -> None:
    assert Paint(is_on) == paint_of(choice, is_terminal, environ)


def test_a_colour_ends_with_the_text() -> None:
    assert ("\x1b[31ma\x1b[0m", "", "a") == (Paint(True)("a", "red"), Paint(True)("", "red"), Paint()("a", "red"))


def test_columns_are_aligned_and_printable() -> None:
    assert ["a    \\x1b", "bcd  e"] == list(aligned([("a", "\x1b"), ("bcd", "e")]))


def test_lines_and_tabs_are_kept_where_text_is_shown() -> None:
    assert "a\n\tb\\r\\x07" == shown("a\n\tb\r\x07")
