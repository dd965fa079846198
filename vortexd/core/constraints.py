"""Rules for the values of settings. Pure.

Each function makes a field of an attrs class, with its default and its `Rule`. `tables` checks the rule for settings
that come from outside.
"""

import math
import re
from collections.abc import Callable, Mapping

import attrs

from . import names
from .errors import InvalidName

# A day and a tebibyte. They are far above any sensible value, and low enough that no clock or counter overflows.
LONGEST = 86_400.0
LARGEST = 2**40
_APPLICATIONS = re.compile(r"[A-Za-z0-9._,*/-]+")


@attrs.frozen
class Rule:
    """States which values an operator may give to a setting.

    Attributes:
        allowed: Completes "must be ...".
        accepts: Returns whether a value of the field's own type is allowed. It may raise ValueError with a clearer text.
        words: Maps each allowed word to the value that it sets.
    """

    allowed: str
    accepts: Callable[[object], bool]
    words: Mapping[str, object] = attrs.field(factory=dict)


def whole(default: int, low: int, high: int = LARGEST) -> int:
    """Make a field for a whole number within a range."""
    rule = Rule(f"a whole number from {low} to {high}", lambda value: isinstance(value, int) and low <= value <= high)
    return attrs.field(default=default, metadata={"rule": rule})


def seconds(default: float, low: float = 0.001, high: float = LONGEST) -> float:
    """Make a field for a duration in seconds, within a range."""
    rule = Rule(
        f"a number of seconds from {low:g} to {high:g}",
        lambda value: isinstance(value, int | float) and low <= value <= high,
    )
    return attrs.field(default=default, metadata={"rule": rule})


SECONDS_OR_NEVER = Rule(
    f'a number of seconds from 0 to {LONGEST:g}, or "never"',
    lambda value: isinstance(value, int | float) and 0 <= value <= LONGEST,
    {"never": math.inf},
)


def number(default: float, low: float, high: float) -> float:
    """Make a field for a number within a range."""
    rule = Rule(
        f"a number from {low:g} to {high:g}", lambda value: isinstance(value, int | float) and low <= value <= high
    )
    return attrs.field(default=default, metadata={"rule": rule})


def choice(default: str, *others: str) -> str:
    """Make a field for one of several words."""
    choices = (default, *others)
    rule = Rule(" or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices)
    return attrs.field(default=default, metadata={"rule": rule})


def texts(allowed: str, accepts: Callable[[object], bool], *default: str) -> tuple[str, ...]:
    """Make a field for a list of texts. The rule applies to each text."""
    return attrs.field(default=default, metadata={"rule": Rule(allowed, accepts)})


def is_path(value: object) -> bool:
    """Return whether a text can be a path."""
    return "\0" not in str(value)


def path() -> str:
    """Make a field for the path of a file. An empty text means no file."""
    return attrs.field(default="", metadata={"rule": Rule("the path of a file, or empty", is_path)})


def is_label(value: object) -> bool:
    """Return whether a text can be a label."""
    try:
        return names.label(str(value)) == value
    except InvalidName:
        return False


def applications() -> tuple[str, ...]:
    """Make a field for the applications and profiles that a source serves, as patterns. No pattern means all."""
    return texts(
        "a pattern such as orders, team-* or */prod", lambda value: _APPLICATIONS.fullmatch(str(value)) is not None
    )
