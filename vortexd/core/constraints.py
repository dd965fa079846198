"""Rules: what an operator may set a field of the settings to. Pure.

Each function makes a field of an attrs class with its default and its `Rule`, which `tables` checks where settings come from outside.
"""

import math
from collections.abc import Callable, Mapping

import attrs

# A day and a tebibyte: far above what makes sense, and low enough that no clock or counter overflows.
LONGEST = 86_400.0
LARGEST = 2**40


@attrs.frozen
class Rule:
    """What an operator may set a field to.

    Attributes:
        allowed: Completes "must be ...".
        accepts: Whether a value of the field's own type is allowed. It may raise ValueError with a clearer sentence instead.
        words: Texts that stand for a value.
    """

    allowed: str
    accepts: Callable[[object], bool]
    words: Mapping[str, object] = attrs.field(factory=dict)


def whole(default: int, low: int, high: int = LARGEST) -> int:
    """A whole number within a range."""
    rule = Rule(f"a whole number from {low} to {high}", lambda value: isinstance(value, int) and low <= value <= high)
    return attrs.field(default=default, metadata={"rule": rule})


def seconds(default: float, low: float = 0.001, high: float = LONGEST) -> float:
    """A duration within a range."""
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
    """A number within a range."""
    rule = Rule(
        f"a number from {low:g} to {high:g}", lambda value: isinstance(value, int | float) and low <= value <= high
    )
    return attrs.field(default=default, metadata={"rule": rule})


def choice(default: str, *others: str) -> str:
    """One of several words."""
    choices = (default, *others)
    rule = Rule(" or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices)
    return attrs.field(default=default, metadata={"rule": rule})


def texts(allowed: str, accepts: Callable[[object], bool], *default: str) -> tuple[str, ...]:
    """A list of texts, each of which the rule is for."""
    return attrs.field(default=default, metadata={"rule": Rule(allowed, accepts)})


def is_path(value: object) -> bool:
    """Whether a text can be a path."""
    return "\0" not in str(value)


def path() -> str:
    """The path of a file; empty for none."""
    return attrs.field(default="", metadata={"rule": Rule("the path of a file, or empty", is_path)})
