"""Formats text for one line of a log or a terminal, and times for people and programs."""

from collections.abc import Callable
from datetime import UTC, datetime


def printable(text: str) -> str:
    """Escape characters that could break a line or control a terminal.

    These are control characters, separators, bidirectional marks and lone surrogates.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def rfc3339(seconds: float, timespec: str = "milliseconds") -> str:
    """Format seconds since the epoch as RFC 3339 in UTC. `timespec` is a precision of `datetime.isoformat`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


class Timestamps:
    """Returns the current time as RFC 3339, UTC, with milliseconds. The text is made once in each millisecond.

    Args:
        now: Returns the seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._millisecond = -1
        self._text = ""

    def __call__(self) -> str:
        seconds = self._now()
        millisecond = int(seconds * 1_000)
        if millisecond != self._millisecond:
            self._millisecond, self._text = millisecond, rfc3339(seconds)
        return self._text
