"""Checks the values of a parsed manifest. Pure.

If a value isn't as it must be, each function that returns it raises Unusable.
"""

from typing import Any

from ...core import names
from ...core.errors import InvalidName
from ...core.model import Origin
from ..records import Unusable


def as_origin(value: object) -> Origin:
    """Return a commit with its author and time."""
    commit, author, time = map(as_text, as_row(value, 3))
    return Origin(commit, author, time)


def as_label(value: object) -> str:
    """Return the name of a label."""
    try:
        return names.label(as_text(value))
    except InvalidName:
        raise Unusable("the manifest has a label whose name isn't valid") from None


def is_path(value: object) -> bool:
    """Return whether a value is a path below a root, so that no source could have made another one."""
    return isinstance(value, str) and not {"", ".", ".."} & {*value.split("/")}


def is_count(value: object) -> bool:
    """Return whether a value is a whole number that isn't negative."""
    return type(value) is int and value >= 0


def as_count(value: Any) -> int:
    """Return a whole number that isn't negative."""
    if not is_count(value):
        raise Unusable("the manifest has a number that isn't valid")
    found: int = value
    return found


def as_text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise Unusable("the manifest lacks a text")
    return value


def as_list(value: object) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise Unusable("the manifest lacks a list")
    return value


def as_row(value: object, length: int) -> list[Any]:
    """Return a list of that length."""
    if not isinstance(value, list) or len(value) != length:
        raise Unusable("the manifest has a row of another length")
    return value
