"""Parses durations and moments of the command line, and formats moments for people. Pure, except for the local time zone."""

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from .server import duration

_DAY = 86_400
_DAYS = re.compile(r"[0-9]{1,6}")


def long_duration(text: str) -> float:
    """Parse a duration such as 90m, 2h, 3d or 1d12h. Return seconds. For argparse."""
    days, has_days, rest = text.partition("d")
    with suppress(argparse.ArgumentTypeError):
        if not has_days:
            return duration(text)
        # A number without a unit after the days would be ambiguous.
        if _DAYS.fullmatch(days) and not rest[-1:].isdigit():
            return int(days) * _DAY + (duration(rest) if rest else 0.0)
    raise argparse.ArgumentTypeError("a duration must be written like 90m, 2h, 3d or 1d12h")


def whole_seconds(text: str) -> int:
    """Parse a duration of at least one second, and without fractions of seconds. For argparse."""
    seconds = long_duration(text)
    if seconds < 1 or not seconds.is_integer():
        raise argparse.ArgumentTypeError("must be a whole number of seconds, and at least 1s")
    return int(seconds)


def moment(text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime:
    """Parse a duration before now, a date or a time. Dates, and times without a zone, are UTC. For argparse."""
    # A number without a unit could be seconds, a year or a date.
    if not text.isdigit():
        with suppress(argparse.ArgumentTypeError, OverflowError):
            return now() - timedelta(seconds=long_duration(text))
        with suppress(ValueError):
            found = datetime.fromisoformat(text)
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    raise argparse.ArgumentTypeError(
        "must be a duration such as 2h or 3d, a date such as 2026-11-29, or a time such as 2026-11-29T12:00:00Z"
    )


def local_and_utc(text: str) -> str:
    """Return a moment of RFC 3339 in the local time zone and in UTC. If both are the same, return it once.

    Raises:
        ValueError: The text isn't such a moment.
    """
    utc = datetime.fromisoformat(text).astimezone(UTC)
    local = utc.astimezone()
    shown = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return shown if not local.utcoffset() else f"{local:%Y-%m-%d %H:%M:%S %Z} ({shown})"
