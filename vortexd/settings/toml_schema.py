"""Makes frozen attrs classes of TOML text, or a list of all problems with the text. Pure.

The text and the classes that mirror it arrive. Their fields have a `Rule`. An object of these classes leaves, or
problems, each with its key path and the allowed values. A message never contains a value, only its type, because the
value may be a secret in the wrong place. The libraries for TOML are imported only for a text, so a server without a file starts sooner.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from ..core.constraints import Rule
from ..core.errors import SettingsError

if TYPE_CHECKING:
    import cattrs

T = TypeVar("T")
MAX_BYTES = 1_048_576
# The levels of tables and lists. All functions that follow recurse once for each level.
_DEPTH = 64
_TOO_DEEP = "can't be read: it is nested too deeply"
# A path contains at most this many characters of a name.
_NAME_LENGTH = 64

Problem = tuple[str, str]
Hook = Callable[[object, Any], Any]
# For field types that this module doesn't know: makes the function that structures the field.
Hooks = Mapping[object, Callable[["cattrs.Converter", "attrs.Attribute[Any]"], Hook]]
_ANYTHING: Mapping[object, Rule] = {
    bool: Rule("true or false", lambda value: True),
    int: Rule("a whole number", lambda value: True),
    float: Rule("a number", lambda value: True),
    str: Rule("text", lambda value: True),
}
_IN_WORDS: Sequence[tuple[type, str]] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
    (date, "a date"),
    (time, "a time"),
)


def parse(text: str, origin: str) -> dict[str, Any]:
    """Parse a text into a table.

    Args:
        origin: The file's name, for messages.

    Raises:
        SettingsError: The text is too long, or isn't TOML.
    """
    import tomllib

    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SettingsError([("", f"must be at most {MAX_BYTES} bytes long")], origin)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SettingsError([("", _TOO_DEEP)], origin) from None
    except ValueError as error:
        # tomllib adds "(at line 3, column 7)" to its reason. If a number has thousands of digits, it raises a bare
        # ValueError.
        raise SettingsError([("", f"isn't valid TOML: {error}")], origin) from None
    if _is_too_deep(table):
        raise SettingsError([("", _TOO_DEEP)], origin)
    return table


def _is_too_deep(table: dict[str, Any]) -> bool:
    """Return whether tables and lists are nested deeper than `_DEPTH`. A dotted key nests without brackets."""
    level: list[Any] = [table]
    for _ in range(_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def structure(
    table: Mapping[str, Any],
    whole: type[T],
    sections: Iterable[type],
    hooks: Hooks,
    elsewhere: Callable[[str, type], str | None],
) -> tuple[T | None, list[Problem]]:
    """Make an object of a table, or return its problems, in the order of the text as far as that is known.

    Args:
        sections: The classes of all tables in it. Each accepts no keys but its fields.
        hooks: For the type of a field, makes the function that structures it.
        elsewhere: Returns where a key belongs that a class doesn't have, as the end of a sentence. Returns None if that
            isn't known.
    """
    import cattrs

    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for section in (*sections, whole):
        converter.register_structure_hook(section, _table_hook(converter, section, hooks))
    try:
        return converter.structure(table, whole), []
    except cattrs.BaseValidationError as group:
        return None, list(_problems(group, "", elsewhere))


def without(table: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return a table without the keys and items that have problems.

    If a path leads nowhere, the table that it begins in is removed.

    Args:
        paths: The paths of problems, from `structure`.
    """
    copied: dict[str, Any] = _copied(table)
    for path in paths:
        steps = [_step(*found) for found in _STEP.findall(path)]
        if not _take_out(copied, steps) and steps:
            copied.pop(str(steps[0]), None)
    # If nothing was removed, return an empty table, so that the caller doesn't try the same table again.
    return {} if copied == table else _without_gone(copied)


_STEP = re.compile(r'([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*")|\[([0-9]+)\]')
# Replaces an item of a list, so that later items keep their numbers until all items are removed.
_GONE = object()


def _step(name: str, quoted: str, index: str) -> str | int:
    return int(index) if index else str(json.loads(quoted)) if quoted else name


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _take_out(table: Any, steps: Sequence[str | int]) -> bool:
    """Remove the item at a path. Return whether there was one."""
    for number, step in enumerate(steps):
        if isinstance(table, dict):
            # A path contains only the beginning of a long name.
            name = next((each for each in table if each[:_NAME_LENGTH] == step), None)
            if name is None:
                return False
        elif isinstance(table, list) and step in range(len(table)):
            name = step
        else:
            return False
        if number < len(steps) - 1:
            table = table[name]
        elif isinstance(table, dict):
            del table[name]
        else:
            table[name] = _GONE
    return bool(steps)


def _without_gone(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_gone(each) for name, each in value.items()}
    return [_without_gone(each) for each in value if each is not _GONE] if isinstance(value, list) else value


# One field.


def checked(value: object, field: "attrs.Attribute[Any]", kind: type) -> Any:
    """Return the value if it has the kind and its field's rule accepts it.

    Otherwise raise ValueError with the sentence.
    """
    return accepted(value, field.metadata.get("rule") or _ANYTHING[kind], kind)


def accepted(value: object, rule: Rule, kind: type) -> Any:
    """Return the value if it has the kind and a rule accepts it. Otherwise raise ValueError with the sentence."""
    if isinstance(value, str) and value in rule.words:
        return rule.words[value]
    # In Python a bool is an int, but for an operator `port = true` is a mistake.
    is_kind = type(value) is kind or (kind is float and type(value) is int)
    if not is_kind:
        raise ValueError(f"must be {rule.allowed}, not {in_words(value)}")
    if not rule.accepts(value):
        raise ValueError(f"must be {rule.allowed}")
    return float(value) if kind is float else value  # type: ignore[arg-type]  # is_kind has checked it


def in_words(value: object) -> str:
    """Return the type of a value in words, for a message that must not repeat the value."""
    return next((words for kind, words in _IN_WORDS if isinstance(value, kind)), "something else")


# The whole table, with cattrs.


def _table_hook(converter: "cattrs.Converter", section: type[Any], hooks: Hooks) -> Hook:
    from cattrs.gen import make_dict_structure_fn
    from cattrs.gen import override as for_attribute

    attributes: dict[str, Any] = {
        field.name: for_attribute(struct_hook=_field_hook(converter, field, hooks)) for field in attrs.fields(section)
    }
    structure = make_dict_structure_fn(section, converter, _cattrs_forbid_extra_keys=True, **attributes)

    def hook(value: object, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table, not {in_words(value)}")
        return structure(value, kind)

    return hook


def _field_hook(converter: "cattrs.Converter", field: "attrs.Attribute[Any]", hooks: Hooks) -> Hook:
    """Make the function that structures one field: a scalar, a list of text or of whole numbers, a type in `hooks`, or a section."""
    kind = field.type
    if kind in _ANYTHING:
        return lambda value, _: checked(value, field, kind)  # type: ignore[arg-type]  # a key of _ANYTHING is a type
    if kind == tuple[str, ...]:
        return list_hook("a list of text", lambda value: checked(value, field, str))
    if kind == tuple[int, ...]:
        return list_hook("a list of whole numbers", lambda value: checked(value, field, int))
    if kind in hooks:
        return hooks[kind](converter, field)
    return converter.structure


def list_hook(wanted: str, structure: Callable[[object], Any]) -> Callable[[object, Any], tuple[Any, ...]]:
    """Make the function that structures a list.

    It applies a function to each item, and reports every problem with its index.
    """

    def hook(value: object, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"must be {wanted}, not {in_words(value)}")
        return _each(value, structure)

    return hook


class _At(ValueError):
    """A problem with one item of a list. It holds the index and the error of the item."""

    def __init__(self, index: int, cause: Exception) -> None:
        self.index = index
        self.cause = cause
        super().__init__(str(cause))


def _each(values: Sequence[object], structure: Callable[[object], Any]) -> tuple[Any, ...]:
    import cattrs

    made, failed = [], []
    for index, value in enumerate(values):
        try:
            made.append(structure(value))
        except (ValueError, cattrs.BaseValidationError) as error:
            failed.append(_At(index, error))
    if failed:
        raise ExceptionGroup("items", failed)
    return tuple(made)


def _problems(error: Exception, path: str, elsewhere: Callable[[str, type], str | None]) -> Iterator[Problem]:
    """Walk cattrs' tree of exceptions, and yield each leaf with its path."""
    import cattrs

    if isinstance(error, cattrs.ClassValidationError):
        for each, note in error.group_exceptions()[0]:
            yield from _problems(each, f"{path}.{note.name}" if path else note.name, elsewhere)
        for each in error.group_exceptions()[1]:
            yield from _problems(each, path, elsewhere)
    elif isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _problems(each, path, elsewhere)
    elif isinstance(error, _At):
        yield from _problems(error.cause, f"{path}[{error.index}]", elsewhere)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield f"{path}.{key_text(name)}" if path else key_text(name), _unknown(name, error.cl, elsewhere)
    else:
        yield path, str(error)


def _unknown(name: str, section: type, elsewhere: Callable[[str, type], str | None]) -> str:
    import difflib

    known = [field.name for field in attrs.fields(section)]
    if (place := elsewhere(name, section)) is not None:
        return f"unknown key here; it {place}"
    if close := difflib.get_close_matches(name, known, 1):
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known are {', '.join(known)}"


def key_text(name: str) -> str:
    """Return a key as it is written in TOML, on one line and of limited length."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else json.dumps(name[:_NAME_LENGTH])
