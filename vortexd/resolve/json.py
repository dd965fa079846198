"""Parses JSON text into trees: strict RFC 8259, with places, and without recursion.

The standard parser keeps the last of duplicate keys, accepts NaN, recurses, and reports no places. So this module reads
the tokens, with one regular expression per token. Only string escapes are left to the standard parser. Integers beyond
64 bits and floats out of range stay text, as they were written.
"""

import json
import re

from ..core.errors import FormatError
from ..core.model import Scalar
from ..settings.formats import FormatSettings
from .nodes import Builder, Leaf, List, Map, Node

_TOKEN = re.compile(
    r'([{}\[\],:])|("[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+")|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?)'
    r"|(true|false|null)"
)
_SPACE = re.compile(r"[ \t\n\r]*+")
_PUNCTUATION, _STRING, _NUMBER, _WORD = 1, 2, 3, 4
_WORDS = {"true": True, "false": False, "null": None}
_INT64 = range(-(2**63), 2**63)
# No number in range needs more digits. Python's own conversion refuses several thousand digits.
_MAX_NUMBER = 1_000


def parse_json(path: str, text: str, limits: FormatSettings) -> list[Node]:
    """Parse a JSON file. It has one document.

    Raises:
        FormatError: The text isn't JSON, has a duplicate key, or exceeds a limit.
    """
    return _Parser(path, text, limits).run()


class _Parser:
    """Passes once over the tokens.

    `_expects` names what may come next: value, first value, key, first key, colon, comma, end.
    """

    def __init__(self, path: str, text: str, limits: FormatSettings) -> None:
        self._builder = Builder(path, limits)
        self._text = text
        self._expects = "value"
        self._line = 1
        self._line_start = 0
        self._counted = 0

    def run(self) -> list[Node]:
        at = self._skip(0)
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._error("not JSON: unexpected character", at)
            line, column = self._place(at)
            if match.lastindex == _PUNCTUATION:
                self._punctuation(match[0], at, line, column)
            elif self._expects in ("key", "first key") and match.lastindex == _STRING:
                self._builder.key(self._string(match[0], at), True, line, column)
                self._expects = "colon"
            elif self._expects in ("value", "first value"):
                self._builder.add(Leaf(self._scalar(match, at), line, column))
                self._ended_value()
            else:
                raise self._error(f"not JSON: expected a {self._expects}", at)
            at = self._skip(match.end())
        if self._expects != "end":
            raise self._error("not JSON: the text ends too soon", at)
        return self._builder.documents

    def _punctuation(self, mark: str, at: int, line: int, column: int) -> None:
        container = self._builder.container
        if mark in "{[" and self._expects in ("value", "first value"):
            self._builder.open(Map(line, column) if mark == "{" else List(line, column))
            self._expects = "first key" if mark == "{" else "first value"
        elif (mark == "}" and type(container) is Map and self._expects in ("first key", "comma")) or (
            mark == "]" and type(container) is List and self._expects in ("first value", "comma")
        ):
            self._builder.close()
            self._ended_value()
        elif mark == ":" and self._expects == "colon":
            self._expects = "value"
        elif mark == "," and self._expects == "comma":
            self._expects = "key" if type(container) is Map else "value"
        else:
            raise self._error(f"not JSON: expected a {self._expects}", at)

    def _ended_value(self) -> None:
        self._expects = "end" if self._builder.container is None else "comma"

    def _scalar(self, match: re.Match[str], at: int) -> Scalar:
        text = match[0]
        if match.lastindex == _STRING:
            return self._string(text, at)
        if match.lastindex == _WORD:
            return _WORDS[text]
        if len(text) > _MAX_NUMBER:
            return text
        if text.lstrip("-").isdigit():
            return int(text) if int(text) in _INT64 else text
        number = float(text)
        return text if number in (float("inf"), float("-inf")) else number

    def _string(self, token: str, at: int) -> str:
        if "\\" not in token:
            return token[1:-1]
        try:
            return str(json.loads(token))
        except ValueError:
            raise self._error("not JSON: a malformed escape in a string", at) from None

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def _place(self, at: int) -> tuple[int, int]:
        lines = self._text.count("\n", self._counted, at)
        if lines:
            self._line += lines
            self._line_start = self._text.rfind("\n", 0, at) + 1
        self._counted = at
        return self._line, at - self._line_start + 1

    def _error(self, reason: str, at: int) -> FormatError:
        return self._builder.error(reason, *self._place(at))
