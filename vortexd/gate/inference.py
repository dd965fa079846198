"""Drafts a JSON Schema from documents that keep it: the types of all values, and the names that every document has. Pure.

The documents of one application arrive. A schema leaves that each of them keeps. The invariant: it has names and types,
and never a value.
"""

from collections.abc import Sequence
from typing import Any

from ..core.model import Json
from .validation import DRAFT

_TYPES: Sequence[tuple[type, str]] = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


def inferred(documents: Sequence[Json]) -> dict[str, Any]:
    """Draft a schema that all documents keep."""
    return {"$schema": DRAFT} | _schema(documents)


def _schema(values: Sequence[Json]) -> dict[str, Any]:
    kinds = {_kind(value) for value in values}
    if "number" in kinds:
        # Each integer is a number.
        kinds.discard("integer")
    made: dict[str, Any] = {"type": min(kinds)} if len(kinds) == 1 else {"type": sorted(kinds)} if kinds else {}
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        names = dict.fromkeys(name for each in objects for name in each)
        required = sorted(name for name in names if all(name in each for each in objects))
        if required:
            made["required"] = required
        made["properties"] = {name: _schema([each[name] for each in objects if name in each]) for name in sorted(names)}
    items = [item for value in values if isinstance(value, list) for item in value]
    if items:
        made["items"] = _schema(items)
    return made


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    found = "object" if isinstance(value, dict) else "array"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), found)
