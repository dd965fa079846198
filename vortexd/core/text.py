"""Text in the forms that everybody here has it in: from outside, fit for one line of a log or a terminal; and moments."""

from datetime import UTC, datetime


def printable(text: str) -> str:
    """Escape what would break a line or steer a terminal: controls, separators, bidirectional marks, lone surrogates."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def rfc3339(seconds: float, timespec: str = "milliseconds") -> str:
    """A moment in seconds since the epoch as RFC 3339, UTC, to a precision of `datetime.isoformat`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
