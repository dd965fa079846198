"""Parses `.properties` files as Spring Boot's OriginTrackedPropertiesLoader does.

The encoding is ISO-8859-1 with `\\uXXXX` escapes, so every byte sequence is valid text. `#---` and `!---` lines separate
documents, unless they are directly below or above a comment line of the same kind. `name[]=a,b,c` is a list. Values are
always strings. A malformed escape is an error.
"""

import io
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator

import attrs

from ..core.errors import FormatError
from .flatten import Budget, Origins, Values

_BREAK = re.compile(r"\r\n|\r|\n")
_BLANKS = " \t\f"
_SEPARATOR = re.compile(r"[#!]---[ \t\f]*")
_ENTRY = re.compile(r"((?:[^\\=: \t\f]++|\\.)*+)[ \t\f]*+[=:]?[ \t\f]*+", re.DOTALL)
_ELEMENT = re.compile(r"[ \t\f]*+((?:[^\\,]++|\\.)*+)(,?)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "f": "\f"}
_HALF = re.compile("[\ud800-\udfff]")


def parse_properties(path: str, content: bytes, budget: Budget) -> list[tuple[Values, Origins]]:
    """Parse the documents of a properties file. Documents without a key are left out.

    Raises:
        FormatError: A `\\u` escape is malformed, or a limit is exceeded.
    """
    documents: list[tuple[Values, Origins]] = []
    values: Values = {}
    origins: Origins = {}
    comment = None
    for line in _logical_lines(content.decode("iso-8859-1")):
        if line.is_comment:
            text = line.text
            if text[0] != comment and line.columns[0] == 1 and _SEPARATOR.fullmatch(text):
                if values:
                    documents.append((values, origins))
                values, origins = {}, {}
                continue
            if not values and documents:
                values, origins = documents.pop()
            comment = text[0]
            continue
        comment = None
        for key, value, place in _entries(path, line):
            budget.charge_node(*place)
            budget.charge(key, value, *place)
            values[key] = value
            origins[key] = place
    if values:
        documents.append((values, origins))
    return documents


@attrs.define(slots=True, eq=False)
class _Line:
    """A logical line: the text of one or more physical lines, and where each begins.

    There may be millions of lines, so the numbers are packed.

    Attributes:
        numbers: The number of each physical line, from 1.
        columns: The column in the physical line at which its text begins, from 1.
        starts: The offset in the logical line at which its text begins, from 0.
    """

    is_comment: bool = False
    numbers: "array[int]" = attrs.field(factory=lambda: array("q"))
    columns: "array[int]" = attrs.field(factory=lambda: array("q"))
    starts: "array[int]" = attrs.field(factory=lambda: array("q"))
    _parts: io.StringIO = attrs.field(factory=io.StringIO)

    def add(self, number: int, column: int, text: str) -> None:
        self.numbers.append(number)
        self.columns.append(column)
        self.starts.append(self._parts.tell())
        self._parts.write(text)

    @property
    def text(self) -> str:
        return self._parts.getvalue()

    def place(self, offset: int) -> tuple[int, int]:
        """Return the line and the column of an offset in the text."""
        # If several parts begin at the same offset, all but the last are empty.
        index = bisect_right(self.starts, offset) - 1
        return self.numbers[index], self.columns[index] + offset - self.starts[index]


def _logical_lines(text: str) -> Iterator[_Line]:
    logical: _Line | None = None
    for number, raw in enumerate(_lines(text), 1):
        line = raw.lstrip(_BLANKS)
        column = len(raw) - len(line) + 1
        if logical is None and not line:
            continue
        if logical is None:
            logical = _Line(is_comment=line[0] in "#!")
        is_continued = not logical.is_comment and (len(line) - len(line.rstrip("\\"))) % 2 == 1
        logical.add(number, column, line[:-1] if is_continued else line)
        if not is_continued:
            yield logical
            logical = None
    if logical is not None and logical.text:
        yield logical


def _lines(text: str) -> Iterator[str]:
    """Yield the physical lines one at a time, because a file may have millions."""
    at = 0
    for match in _BREAK.finditer(text):
        yield text[at : match.start()]
        at = match.end()
    yield text[at:]


def _entries(path: str, line: _Line) -> Iterator[tuple[str, str, tuple[int, int]]]:
    text = line.text
    number = line.numbers[0]
    head = _ENTRY.match(text)
    assert head is not None
    key = _unescape(path, number, head[1]).strip()
    if not key:
        return
    if not key.endswith("[]"):
        yield key, _unescape(path, number, text[head.end() :]), line.place(head.end())
        return
    at = head.end()
    index = 0
    while True:
        element = _ELEMENT.match(text, at)
        assert element is not None
        yield f"{key[:-2]}[{index}]", _unescape(path, number, element[1]), line.place(element.start(1))
        at = element.end()
        index += 1
        if at >= len(text):
            return


def _unescape(path: str, number: int, text: str) -> str:
    if "\\" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[2] == "u":
            raise FormatError(path, "a malformed \\u escape; four hexadecimal digits follow \\u", number)
        return _ESCAPES.get(match[2], match[2])

    plain = _ESCAPE.sub(replace, text)
    if _HALF.search(plain):
        # A pair of surrogate escapes is one character. A single surrogate remains, and is refused later.
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return plain
