"""Finds the values of a flat key in documents and in their changes. Pure.

A flat key, such as `pool.hosts[0]`, stands for its value and for all keys below it.
"""

import re
from collections.abc import Sequence

import orjson

from .diff import Step
from .model import Json

_ENDS = re.compile(r"[.\[\]]+")


def differ(old: bytes, new: bytes, part: str) -> bool:
    """Return whether two documents differ in a flat key or below it."""
    return _part(orjson.loads(old), part) != _part(orjson.loads(new), part)


def _part(document: Json, part: str) -> bytes:
    """Return the values of a flat key as JSON. Types count: 1, 1.0 and true are three values."""
    found: list[tuple[str, Json]] = []
    left: list[tuple[str, Json]] = [("", document)]
    while left:
        path, value = left.pop()
        if path == part:
            found.append((path, value))
        elif isinstance(value, dict):
            left += [(f"{path}.{name}" if path else name, each) for name, each in value.items()]
        elif isinstance(value, list):
            left += [(f"{path}[{index}]", each) for index, each in enumerate(value)]
        left = [each for each in left if _leads_to(each[0], part)]
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)


def _leads_to(path: str, part: str) -> bool:
    return not path or (part.startswith(path) and part[len(path) : len(path) + 1] in ("", ".", "["))


def steps_about(made: Sequence[Step], part: str) -> Sequence[Step]:
    """Return the steps at a flat key, below it or above it.

    If there is none, the items of a list have moved. Then return all steps.
    """
    wanted = _names(part)
    found = [step for step in made if any(_overlap(wanted, pointer) for pointer in _pointers(step))]
    return found or made


def _pointers(step: Step) -> list[list[str]]:
    """Return the places of a step, each as names and indexes."""
    texts = (str(step.operation[name]) for name in ("path", "from") if name in step.operation)
    pointers = ([each.replace("~1", "/").replace("~0", "~") for each in text.split("/")[1:]] for text in texts)
    return [[name for each in pointer for name in _names(each)] for pointer in pointers]


def _names(key: str) -> list[str]:
    """Split a flat key into names and indexes."""
    return [each for each in _ENDS.split(key) if each]


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(first == second for first, second in zip(one, other, strict=False))
