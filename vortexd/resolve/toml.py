"""TOML text to trees, by tomllib behind a scan for nesting. vortexd's own addition to Spring's formats.

tomllib recurses for each bracket and takes quadratic time for long dotted keys, so both are bounded before it sees the text. It
keeps no places: origins are missing, errors have theirs. Dates and times become their TOML text.
"""

import math
import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from ..errors import FormatError
from ..model import Scalar
from ..settings import FormatSettings
from .nodes import Builder, Leaf, List, Map, Node

# Strings and comments in one piece, so that what is in them isn't counted.
_PIECE = re.compile(
    r'"""(?:[^\\"]++|\\.|"(?!""))*+"""|\'\'\'(?:[^\']++|\'(?!\'\'))*+\'\'\'|"(?:[^"\\\n]++|\\.)*+"|\'[^\'\n]*+\'|#[^\n]*+|[\[\]{}.,=\n]',
    re.DOTALL,
)
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_INT64 = range(-(2**63), 2**63)


def parse_toml(path: str, text: str, limits: FormatSettings) -> list[Node]:
    """Parse a TOML file: one document.

    Raises:
        FormatError: The text isn't TOML, or is beyond a limit.
    """
    _check_nesting(path, text, limits.depth)
    builder = Builder(path, limits)
    try:
        tables = tomllib.loads(text, parse_float=_float)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place and place[1] else (text.count("\n") + 1, None)
        raise FormatError(path, "not TOML: " + _PLACE.sub("", str(error)), line, column) from None
    except (ValueError, OverflowError):
        raise FormatError(path, "not TOML: a number or date out of range") from None
    except RecursionError:
        raise FormatError(path, f"nested deeper than {limits.depth} levels") from None
    _build(builder, tables)
    return builder.documents


def _check_nesting(path: str, text: str, depth: int) -> None:
    level = dots = line = 0
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in ("[", "{"):
            level += 1
        elif piece in ("]", "}"):
            level = max(level - 1, 0)
        if piece == ".":
            dots += 1
        elif piece in ("[", "{", ",", "=", "\n"):
            dots = 0
        if level > depth or dots > depth:
            raise FormatError(path, f"nested deeper than {depth} levels", line + 1)
        line += piece.count("\n")


def _build(builder: Builder, tables: dict[str, Any]) -> None:
    builder.open(Map())
    stack: list[Iterator[tuple[str | None, Any]]] = [iter(tables.items())]
    while stack:
        for key, value in stack[-1]:
            if key is not None:
                builder.key(key, True, None, None)
            if isinstance(value, dict):
                builder.open(Map())
                stack.append(iter(value.items()))
                break
            if isinstance(value, list):
                builder.open(List())
                stack.append((None, item) for item in value)
                break
            builder.add(Leaf(_scalar(builder, value)))
        else:
            builder.close()
            stack.pop()


def _scalar(builder: Builder, value: Any) -> Scalar:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if type(value) is int and value not in _INT64:
        raise builder.error("an integer beyond 64 bits; write it as a string", None, None)
    assert isinstance(value, str | int | float | bool)
    return value


def _float(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else text
