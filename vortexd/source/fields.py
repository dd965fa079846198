"""The settings that several kinds of source have: their defaults and rules, and a check. Pure.

Each function makes a field. Its text differs from kind to kind, and so does its place among the keys. So a kind calls these
functions in its class, and has no base class with these fields.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.constraints import Rule, is_label, seconds, setting, whole
from ..settings.source import KeyProblem

_MOST_FILES = 10_000_000


def file_bytes() -> int:
    """Make a field for the most bytes of a file."""
    return whole(10_485_760, 1_024, doc="The size of one file. A larger file is broken.")


def total_bytes(**text: Any) -> int:
    """Make a field for the most bytes of all files together."""
    return whole(268_435_456, 1_024, **text)


def files(**text: Any) -> int:
    """Make a field for the most files."""
    return whole(20_000, 1, _MOST_FILES, **text)


def max_staleness(unread: str) -> float:
    """Make a field for the seconds after which a source that can't be read makes the server unready.

    Args:
        unread: Ends the phrase "Seconds without".
    """
    return seconds(0.0, 0, doc=f"Seconds without {unread} after which `/ready` answers 503. 0 means never.")


def label_directories(**text: Any) -> bool:
    """Make a field that says whether directories are labels."""
    return setting(False, **text)


def default_label(contributor: str) -> str:
    """Make a field for the default label of a source whose only label that is.

    Args:
        contributor: Names the place of the files.
    """
    return setting(
        "main",
        Rule("a label: letters, digits, dots, hyphens, underscores, slashes, + and @", is_label),
        doc="The label of a request that names none. Without `label_directories` it is the only label that this "
        f"source has. If other sources have further labels, the {contributor} contributes to those, too.",
    )


def max_wait() -> float:
    """Make a field for the most seconds that a publication waits for further changes."""
    return seconds(
        1.0, 0, doc="Seconds after the first change at which vortexd publishes the new state, even if changes go on."
    )


def wait_conflicts(table: Mapping[str, Any], defaults: object) -> Iterator[KeyProblem]:
    """Yield the problem if `max_wait` is less than `quiet`.

    Args:
        table: As in `SourceSettings.conflicts`.
        defaults: Settings of the kind.
    """
    quiet, most = (table.get(name, getattr(defaults, name)) for name in ("quiet", "max_wait"))
    if type(quiet) in (int, float) and type(most) in (int, float) and quiet > most:
        yield "max_wait", "must not be less than quiet"
