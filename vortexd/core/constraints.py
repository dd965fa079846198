"""The constraints on what an operator may set, and the texts of settings. Pure.

Each function makes a field of an attrs class. Its metadata holds the default's `Rule`, which `settings.toml_schema` checks where settings come from a
file; the text that conf/vortexd.toml and vortexd.toml(5) show; and whether the setting waits for a restart.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from . import names
from .errors import InvalidName

T = TypeVar("T")

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


@attrs.frozen
class Text:
    """What people read about a setting or a section.

    Attributes:
        doc: Sentences for conf/vortexd.toml and vortexd.toml(5). Names of settings and code stand in backticks.
        more: Further sentences for vortexd.toml(5).
        restart: Whether a new value waits for a restart; a reload is enough for all others.
        example: The value that the sample file shows where there is no default, as TOML.
    """

    doc: str = ""
    more: str = ""
    restart: bool = False
    example: str | None = None


def setting(default: T, rule: Rule | None = None, **text: Any) -> T:
    """Make a field with a default.

    Args:
        rule: The constraint beyond the field's own type; None for none.
        text: The attributes of its `Text`.
    """
    metadata = described(**text)
    if rule is not None:
        metadata["rule"] = rule
    made: T = attrs.field(default=default, metadata=metadata)
    return made


def described(**text: Any) -> dict[str, Any]:
    """Make the metadata of a field with these attributes of its `Text`, for fields that have no constraint."""
    return {"text": Text(**text)}


def text_of(field: "attrs.Attribute[Any]") -> Text:
    """Return the text of a setting or of a section."""
    found = field.metadata.get("text", Text())
    assert isinstance(found, Text)
    return found


def whole(default: int, low: int, high: int = LARGEST, **text: Any) -> int:
    """Make a field for a whole number within a range."""
    rule = Rule(f"a whole number from {low} to {high}", lambda value: isinstance(value, int) and low <= value <= high)
    return setting(default, rule, **text)


def seconds(default: float, low: float = 0.001, high: float = LONGEST, **text: Any) -> float:
    """Make a field for a duration within a range."""
    rule = Rule(
        f"a number of seconds from {low:g} to {high:g}",
        lambda value: isinstance(value, int | float) and low <= value <= high,
    )
    return setting(default, rule, **text)


SECONDS_OR_NEVER = Rule(
    f'a number of seconds from 0 to {LONGEST:g}, or "never"',
    lambda value: isinstance(value, int | float) and 0 <= value <= LONGEST,
    {"never": math.inf},
)


def number(default: float, low: float, high: float, **text: Any) -> float:
    """Make a field for a number within a range."""
    rule = Rule(
        f"a number from {low:g} to {high:g}", lambda value: isinstance(value, int | float) and low <= value <= high
    )
    return setting(default, rule, **text)


def choice(default: str, *others: str, **text: Any) -> str:
    """Make a field for one of several words."""
    choices = (default, *others)
    rule = Rule(" or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices)
    return setting(default, rule, **text)


def texts(allowed: str, accepts: Callable[[object], bool], *default: str, **text: Any) -> tuple[str, ...]:
    """Make a field for a list of texts, each of which has to be accepted."""
    return setting(default, Rule(allowed, accepts), **text)


def is_path(value: object) -> bool:
    """Return whether a text can be a path."""
    return "\0" not in str(value)


def path(**text: Any) -> str:
    """Make a field for the path of a file. An empty text means no file."""
    return setting("", Rule("the path of a file, or empty", is_path), **text)


_APPLICATIONS = re.compile(r"[A-Za-z0-9._,*/-]+")


def is_label(value: object) -> bool:
    """Return whether a text can be a label."""
    try:
        return names.label(str(value)) == value
    except InvalidName:
        return False


def applications(**text: Any) -> tuple[str, ...]:
    """Make a field for the applications and profiles that a source serves, as patterns. No pattern means all."""
    return texts(
        "a pattern such as orders, team-* or */prod",
        lambda value: _APPLICATIONS.fullmatch(str(value)) is not None,
        **text,
    )
