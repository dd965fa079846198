"""Parses TOML text into trees, by tomllib after a scan for nesting and numbers of values. Spring doesn't read TOML.

tomllib recurses for each bracket, takes quadratic time for long dotted keys, and builds everything in the text. So the
scan enforces limits first. tomllib reports places only in errors, so values have no origins. Dates and times become
their TOML text.
"""

import math
import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from ..core.errors import FormatError
from ..core.model import Scalar
from ..settings.formats import FormatSettings
from .nodes import Builder, Leaf, List, Map, Node, TooManyValues

# A string or comment is one match, so its characters aren't counted. So is a run of empty lines, which may be millions.
_PIECE = re.compile(
    r'"""(?:[^\\"]++|\\.|"(?!""))*+"""(?:"{1,2}+)?|\'\'\'(?:[^\']++|\'(?!\'\'))*+\'\'\'(?:\'{1,2}+)?'
    r'|"(?:[^"\\\n]++|\\.)*+"|\'[^\'\n]*+\'|#[^\n]*+|[\[\]{}.,=]|\n[ \t\r\n]*+',
    re.DOTALL,
)
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_INT64 = range(-(2**63), 2**63)


def parse_toml(path: str, text: str, limits: FormatSettings) -> list[Node]:
    """Parse a TOML file. It has one document.

    Raises:
        FormatError: The text isn't TOML, or exceeds a limit.
    """
    _Scan(path, limits).run(text)
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


class _Scan:
    """Counts the nesting and the values of a text before anything is built from it.

    Each part of a dotted key or of a table's header counts as a value each time it occurs. So does each list item that
    is followed by a comma.
    """

    def __init__(self, path: str, limits: FormatSettings) -> None:
        self._path = path
        self._limits = limits
        # The open brackets: "[" for a list, "{" for an inline table, "(" for a table's header.
        self._open: list[str] = []
        self._is_key = True
        self._dots = 0
        self._nodes = 0
        self._line = 1

    def run(self, text: str) -> None:
        """Scan a text.

        Raises:
            FormatError: The text exceeds a limit.
        """
        for match in _PIECE.finditer(text):
            piece = match[0]
            if piece in "[{":
                self._opened(piece)
            elif piece in "]}":
                self._closed()
            elif piece == "," and self._open:
                self._begin_key(self._open[-1] == "{")
                self._count(int(self._open[-1] == "["))
            elif piece == "=" and self._is_key:
                self._count(1)
                self._begin_key(False)
            elif piece == "." and self._is_key:
                self._count(1)
                self._dots += 1
                self._check_depth(self._dots)
            elif piece[0] == "\n" and not self._open:
                self._begin_key(True)
            self._line += piece.count("\n")

    def _opened(self, bracket: str) -> None:
        is_header = bracket == "[" and self._is_key and self._open in ([], ["("])
        self._open.append("(" if is_header else bracket)
        self._begin_key(is_header or bracket == "{")
        self._check_depth(len(self._open))

    def _closed(self) -> None:
        # Count the last part of a header's name.
        self._count(int(self._open == ["("]))
        self._begin_key(False)
        del self._open[-1:]

    def _begin_key(self, is_key: bool) -> None:
        self._is_key = is_key
        self._dots = 0

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > self._limits.nodes:
            raise TooManyValues(self._path, self._limits.nodes, self._line, None)

    def _check_depth(self, depth: int) -> None:
        if depth > self._limits.depth:
            raise FormatError(self._path, f"nested deeper than {self._limits.depth} levels", self._line)


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
