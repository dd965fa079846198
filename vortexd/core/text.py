"""Formats text for one line of a log or a terminal, and times for people and programs."""

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
