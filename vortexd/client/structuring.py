"""Makes objects of attrs and dataclasses with cattrs: takes fitted content, returns an object, or all problems. Pure.

It is loaded when a program binds such a class, and it needs cattrs. Texts become numbers and truth values, as `.properties` files have only texts.
"""

import datetime
import decimal
import enum
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.strategies import configure_union_passthrough

from .problem import quoted
from .relaxed import Path

T = TypeVar("T")
_INTEGER = re.compile("[+-]?[0-9]{1,1000}")
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
# Types that are made from a text, and their names in errors.
_FROM_TEXT: list[tuple[type, Callable[[str], Any], str]] = [
    (pathlib.Path, pathlib.Path, "a path"),
    (uuid.UUID, uuid.UUID, "a UUID"),
    (datetime.datetime, datetime.datetime.fromisoformat, "a date and time"),
    (datetime.date, datetime.date.fromisoformat, "a date"),
    (datetime.time, datetime.time.fromisoformat, "a time"),
]


class _Wrong(Exception):
    """A value isn't of its type. The text says so without the value."""


def structure(model: type[T], content: Any) -> tuple[T | None, list[tuple[Path, str, str]]]:
    """Return the object, or None and for each problem its path, its text without values, and its text for the program itself.

    Raises:
        TypeError: cattrs can't make a type of the class.
    """
    try:
        return _converter().structure(content, model), []
    except cattrs.StructureHandlerNotFoundError as error:
        raise TypeError(str(error)) from error
    except cattrs.BaseValidationError as error:
        return None, [_told(path, cause, content) for path, cause in _leaves(error, ())]


def _told(path: Path, cause: BaseException, content: Any) -> tuple[Path, str, str]:
    if isinstance(cause, _Wrong):
        return path, str(cause), f"{quoted(path, _value(content, path))}{cause}"
    if isinstance(cause, KeyError) and path and cause.args == (path[-1],):
        return path, "is missing", "is missing"
    if isinstance(cause, cattrs.StructureHandlerNotFoundError):
        raise TypeError(str(cause)) from cause
    # A validator of the class. attrs passes the attribute on.
    if len(cause.args) > 1 and isinstance(cause.args[1], attrs.Attribute):
        path = (*path, cause.args[1].name)
    text = cause.args[0] if cause.args else type(cause).__name__
    return path, "is refused by its model", f"is refused: {text}"


def _leaves(error: BaseException, path: Path) -> Iterator[tuple[Path, BaseException]]:
    if not isinstance(error, cattrs.BaseValidationError):
        yield path, error
        return
    for each in error.exceptions:
        element: Any = ()
        for note in getattr(each, "__notes__", ()):
            if isinstance(note, cattrs.AttributeValidationNote):
                element = (note.name,)
            elif isinstance(note, cattrs.IterableValidationNote):
                element = (note.index,)
        yield from _leaves(each, (*path, *element))


def _value(content: Any, path: Path) -> Any:
    for element in path:
        content = content[element]
    return content


@lru_cache(maxsize=1)
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True, prefer_attrib_converters=True)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(int, _of_kind(_int))
    converter.register_structure_hook(float, _of_kind(_float))
    converter.register_structure_hook(str, _of_kind(_str))
    converter.register_structure_hook(datetime.timedelta, _timedelta)
    converter.register_structure_hook(decimal.Decimal, _decimal)
    for kind, make, name in _FROM_TEXT:
        converter.register_structure_hook(kind, _from_text(make, name))
    converter.register_structure_hook_func(_is_enum, lambda value, kind: _one_of(value, list(kind), kind))
    converter.register_structure_hook_func(_is_literal, lambda value, kind: _one_of(value, list(get_args(kind)), None))
    configure_union_passthrough(str | bool | int | float | None, converter)
    return converter


def _of_kind(hook: Callable[[Any, type], Any]) -> Callable[[Any, type], Any]:
    """Let a hook serve subclasses, too. cattrs calls it also for an `IntEnum` or `StrEnum`."""

    def structure_kind(value: Any, kind: Any) -> Any:
        if _is_enum(kind):
            return _one_of(value, list(kind), kind)
        made = hook(value, kind)
        return made if isinstance(made, kind) else kind(made)

    return structure_kind


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _bool(value: Any, _: type) -> bool:
    if isinstance(value, str):
        value = _TRUTH.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise _Wrong("isn't true or false")
    return value


def _int(value: Any, _: type) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong("isn't an integer")
    return value


def _float(value: Any, _: type) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise _Wrong("isn't a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise _Wrong("isn't a number") from None


def _decimal(value: Any, _: type) -> decimal.Decimal:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise _Wrong("isn't a number")
    try:
        return decimal.Decimal(str(value).strip())
    except decimal.InvalidOperation:
        raise _Wrong("isn't a number") from None


def _str(value: Any, _: type) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise _Wrong("isn't a text")
    return str(value)


def _timedelta(value: Any, _: type) -> datetime.timedelta:
    """Take what `relaxed.duration` has made. As pydantic does, a number means seconds."""
    if isinstance(value, datetime.timedelta):
        return value
    try:
        return datetime.timedelta(seconds=_float(value, float))
    except (_Wrong, ValueError, OverflowError):
        raise _Wrong("isn't a duration, such as 500ms, 30s or 2h") from None


def _from_text(make: Callable[[str], Any], name: str) -> Callable[[Any, type], Any]:
    def hook(value: Any, _: type) -> Any:
        if not isinstance(value, str):
            raise _Wrong(f"isn't {name}")
        try:
            return make(value)
        except ValueError:
            raise _Wrong(f"isn't {name}") from None

    return hook


def _one_of(value: Any, members: list[Any], kind: Callable[[Any], Any] | None) -> Any:
    """Return the member of an enumeration, or the value of a `Literal`."""
    for member in members:
        plain = member.value if kind else member
        # True isn't 1 here.
        if type(plain) is type(value) and plain == value:
            return member
    names = ", ".join(str(member.value if kind else member) for member in members[:10])
    raise _Wrong(f"isn't one of {names}")
