"""Text for one line of a log or a terminal, and times as RFC 3339."""

import pytest

from vortexd.core.text import printable, rfc3339


@pytest.mark.parametrize("text", ["", "orders:dev", "größe 1", "日本", "~ !\\n", "\N{GRINNING FACE}"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert text == printable(text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\tb", "a\\r\\tb"),
        ("\0", "\\x00"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x7f", "\\x7f"),
        ("\x85", "\\x85"),
        ("\xa0", "\\xa0"),
        ("\u2028", "\\u2028"),
        ("ä\u202eb", "ä\\u202eb"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_each_character_that_could_break_a_line_or_control_a_terminal_is_escaped(text: str, escaped: str) -> None:
    assert escaped == printable(text)
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
        (0.9999, "1970-01-01T00:00:00.999Z"),
    ],
)
def test_a_time_is_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert text == rfc3339(seconds)


@pytest.mark.parametrize(
    ("timespec", "text"), [("seconds", "2023-11-14T22:13:20Z"), ("microseconds", "2023-11-14T22:13:20.500000Z")]
)
def test_the_caller_chooses_another_precision(timespec: str, text: str) -> None:
    assert text == rfc3339(1_700_000_000.5, timespec)
