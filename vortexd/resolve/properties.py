"""`.properties` files as Spring Boot's OriginTrackedPropertiesLoader reads them.

ISO-8859-1 with `\\uXXXX` escapes, so every byte sequence is some text; `#---` and `!---` lines part documents, unless they stand
directly below or above a comment line of the same kind; `name[]=a,b,c` is a list. Values are always strings. A malformed escape is
an error.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from ..errors import FormatError
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
    """Parse the documents of a properties file; those without a key are left out.

    Raises:
        FormatError: A malformed `\\u` escape, or something beyond a limit.
    """
    documents: list[tuple[Values, Origins]] = []
    values: Values = {}
    origins: Origins = {}
    comment = None
    for number, line in _logical_lines(content.decode("iso-8859-1")):
        text = line[0][2]
        if text.startswith(("#", "!")):
            if text[0] != comment and line[0][1] == 1 and _SEPARATOR.fullmatch(text):
                if values:
                    documents.append((values, origins))
                values, origins = {}, {}
                continue
            if not values and documents:
                values, origins = documents.pop()
            comment = text[0]
            continue
        comment = None
        for key, value, place in _entries(path, number, line):
            budget.charge_node(*place)
            budget.charge(key, value, *place)
            values[key] = value
            origins[key] = place
    if values:
        documents.append((values, origins))
    return documents


# One physical line: its number and the column of its text, both from 1, and the text without what continues it.
_Part = tuple[int, int, str]


def _logical_lines(text: str) -> Iterator[tuple[int, list[_Part]]]:
    parts: list[_Part] = []
    for number, raw in enumerate(_BREAK.split(text), 1):
        line = raw.lstrip(_BLANKS)
        column = len(raw) - len(line) + 1
        if not parts and (not line or line[0] in "#!"):
            if line:
                yield number, [(number, column, line)]
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            parts.append((number, column, line[:-1]))
            continue
        yield parts[0][0] if parts else number, [*parts, (number, column, line)]
        parts = []
    if any(part[2] for part in parts):
        yield parts[0][0], parts


def _entries(path: str, number: int, line: list[_Part]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    text = "".join(part[2] for part in line)
    # Where each part begins in the text: looked up by bisection, for a list may have many entries on many lines.
    starts = [0, *accumulate(len(part[2]) for part in line[:-1])]
    head = _ENTRY.match(text)
    assert head is not None
    key = _unescape(path, number, head[1]).strip()
    if not key:
        return
    if not key.endswith("[]"):
        yield key, _unescape(path, number, text[head.end() :]), _place(line, starts, head.end())
        return
    at = head.end()
    index = 0
    while True:
        element = _ELEMENT.match(text, at)
        assert element is not None
        yield f"{key[:-2]}[{index}]", _unescape(path, number, element[1]), _place(line, starts, element.start(1))
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
        # Two escapes that are a pair of surrogates are one character; a single half stays, and is refused.
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return plain


def _place(line: list[_Part], starts: list[int], offset: int) -> tuple[int, int]:
    # Of parts that begin at the same offset all but the last are empty.
    index = bisect_right(starts, offset) - 1
    number, column, _ = line[index]
    return number, column + offset - starts[index]
