"""Fits a document to a model's types, as Spring's relaxed binding does, before the model's own library validates it. Pure.

Takes a document and a type, returns a copy whose keys are the names of the model's fields, and the problems of structure on the way. Names
match without regard to case, `-` and `_`: `pool-size`, `poolSize` and `POOL_SIZE` are the field `pool_size`. The server and `.properties`
files know only texts, so the text forms of lists, durations, enumerations and nothing are fitted, too. All other values stay as they are.
"""

import enum
import re
import types
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Annotated, Any, Union, get_args, get_origin

import attrs

from .fields import Field, fields_of, is_model, is_root
from .paths import Element

Path = tuple[Element, ...]
_DURATION = re.compile(r"([+-]?[0-9]{1,12}(?:\.[0-9]{1,9})?) ?(us|ms|s|m|h|d)", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@attrs.define(eq=False)
class Fitting:
    """What a fitting has found.

    Attributes:
        names: For each path in the result whose last name was replaced: the name in the document.
        problems: Paths in the result, with what is wrong there.
    """

    names: dict[Path, str] = attrs.field(factory=dict)
    problems: list[tuple[Path, str]] = attrs.field(factory=list)

    def fit(self, kind: Any, value: Any, path: Path = ()) -> Any:
        """Return the value in the form that the type needs."""
        kind, is_optional = plain(kind)
        if is_optional and (value is None or (value == "" and kind is not str)):
            return None
        origin = get_origin(kind) or kind
        if not isinstance(origin, type):
            return value
        if is_root(origin):
            return value
        if is_model(origin):
            return self._model(origin, value, path)
        if issubclass(origin, enum.Enum):
            return _member(origin, value)
        if issubclass(origin, timedelta):
            return duration(value)
        if issubclass(origin, Mapping):
            return self._mapping(kind, value, path)
        if issubclass(origin, Collection) and not issubclass(origin, str | bytes | bytearray) and get_args(kind):
            return self._collection(kind, value, path)
        return value

    def document_path(self, path: Path) -> Path:
        """Return the path in the document for a path in the result."""
        return tuple(self.names.get(path[: end + 1], element) for end, element in enumerate(path))

    def _model(self, model: type, value: Any, path: Path) -> Any:
        if not self._is_mapping(value, path):
            return {}
        fitted = dict(value)
        found = {name: matching(value, field) for name, field in fields_of(model).items()}
        for name in found.values():
            fitted.pop(name, None)
        for name, key in found.items():
            if key is not None:
                field = fields_of(model)[name]
                if key != field.key:
                    self.names[(*path, field.key)] = key
                fitted[field.key] = self.fit(field.kind, value[key], (*path, field.key))
        return fitted

    def _mapping(self, kind: Any, value: Any, path: Path) -> Any:
        if value != "" and not self._is_mapping(value, path):
            return {}
        _, of_values = get_args(kind) if len(get_args(kind)) == 2 else (Any, Any)
        return {key: self.fit(of_values, each, (*path, key)) for key, each in (value or {}).items()}

    def _collection(self, kind: Any, value: Any, path: Path) -> Any:
        if isinstance(value, Mapping):
            self.problems.append((path, "isn't a list"))
            return []
        items = value if isinstance(value, list) else _items(value)
        arguments = get_args(kind)
        is_fixed = get_origin(kind) is tuple and arguments[-1:] != (...,)
        kinds = arguments if is_fixed and len(arguments) == len(items) else (arguments[0],) * len(items)
        return [self.fit(of, item, (*path, index)) for index, (of, item) in enumerate(zip(kinds, items, strict=True))]

    def _is_mapping(self, value: Any, path: Path) -> bool:
        if isinstance(value, Mapping):
            return True
        if value not in ("", None):
            # The server writes an empty mapping as nothing at all, and null as "".
            self.problems.append((path, "isn't a mapping"))
        return False


def plain(kind: Any) -> tuple[Any, bool]:
    """Return a type without `Annotated`, `NewType` and `None`, and whether None is one of its values."""
    is_optional = False
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif get_origin(kind) in (Union, types.UnionType):
            kinds = [each for each in get_args(kind) if each is not type(None)]
            is_optional = is_optional or len(kinds) < len(get_args(kind))
            if len(kinds) != 1:
                return kind, is_optional
            kind = kinds[0]
        else:
            return kind, is_optional


def canonical(name: str) -> str:
    """Return a name in the form that all its spellings share."""
    return name.replace("-", "").replace("_", "").lower()


def matching(names: Collection[str], field: Field) -> str | None:
    """Return the name in a document that belongs to a field: its own name first, then the first other spelling."""
    for own in (field.key, field.name):
        if own in names:
            return own
    if not field.is_relaxed:
        return None
    wanted = {canonical(field.key), canonical(field.name)}
    return next((name for name in names if isinstance(name, str) and canonical(name) in wanted), None)


def duration(value: Any) -> Any:
    """Return a text such as `30s`, `500ms` or `1.5h` as a timedelta, and any other value as it is."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        try:
            return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
        except OverflowError:
            return value
    return value


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")] if value.strip() else []
    return [] if value is None else [value]


def _member(kind: type[enum.Enum], value: Any) -> Any:
    """Return the value of the member that a value or name stands for. A value takes precedence."""
    tests: list[Callable[[enum.Enum], bool]] = [
        lambda member: type(member.value) is type(value) and member.value == value,
        lambda member: isinstance(value, str) and str(member.value) == value,
        lambda member: isinstance(value, str) and canonical(member.name) == canonical(value),
    ]
    return next((member.value for is_it in tests for member in kind if is_it(member)), value)
