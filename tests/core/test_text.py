"""Text for one line of a log or a terminal, and times as RFC 3339."""

import itertools

import pytest

from vortexd.core.text import Timestamps, printable, rfc3339


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


def test_a_timestamp_is_made_once_in_each_millisecond() -> None:
    moments = iter([1.5, 1.5004, 1.501, 1.0, 1.0])
    timestamps = Timestamps(lambda: next(moments))
    texts = [timestamps() for _ in range(5)]

    assert [rfc3339(each) for each in (1.5, 1.5, 1.501, 1.0, 1.0)] == texts
    assert [True, False, False, True] == [one is other for one, other in itertools.pairwise(texts)]


def test_the_first_timestamp_may_be_the_epoch() -> None:
    assert rfc3339(0) == Timestamps(lambda: 0.0)()
