"""Parses YAML text into trees from the event stream alone, as SnakeYAML and Spring understand it.

PyYAML's composer and constructors recurse (in C, until the process crashes) and multiply merges. So this module reads
only the parser's events, and counts them as they come. It decides as follows where YAML 1.1 leaves room, or where Spring
differs from PyYAML:

- Plain scalars resolve by SnakeYAML's expressions. `yes no on off` are booleans. `010` is 8, `0x1F` is 31, `1_000` is
  1000, `1e3` is a float, and `22:22` is 1342 (base 60). `0o17` and every timestamp are strings.
- Integers beyond 64 bits, `.nan`, `.inf` and floats out of range remain strings, as they were written.
- A key that isn't a string becomes its text in brackets. Keys with equal text are duplicates, whatever their types.
- The tags of the JSON types and `!!timestamp` (a string) are supported. All other tags are refused.
- In double quotes, two `\\u` escapes that form a surrogate pair are one character, because JSON writers encode emoji
  in this way. A single surrogate is refused.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ..core.errors import FormatError
from ..core.model import Scalar
from ..settings.formats import FormatSettings
from .nodes import Builder, Leaf, List, Map, Node, shown

# libyaml is many times as fast. PyYAML may have been built without it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# libyaml reads ahead. So it may reach its own limit, which is above all of ours, before we see the events.
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"

_BOOLEANS = {
    spelling: value
    for word, value in {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}.items()
    for spelling in (word, word.capitalize(), word.upper())
}
_NULLS = {"", "~", "null", "Null", "NULL", " "}
# The expressions of SnakeYAML's Resolver.
_INT = re.compile(
    r"[-+]?0b_*[01][01_]*|[-+]?0_*[0-7][0-7_]*|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x_*[0-9a-fA-F][0-9a-fA-F_]*"
    r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+"
)
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*"
)
_NUMBER_STARTS = frozenset("-+.0123456789")
# Such a long number doesn't fit a JSON number that clients can read, so it stays text.
_MAX_NUMBER = 1_000
_INT64 = range(-(2**63), 2**63)

_HIGH, _LOW = "[dD][89abAB][0-9a-fA-F]{2}", "[dD][c-fC-F][0-9a-fA-F]{2}"
_PAIR = re.compile(rf"\\u({_HIGH})\\u({_LOW})")
# Escapes in double quotes. A doubled backslash is not the beginning of an escape.
_ESCAPE = re.compile(rf"\\(?:u({_HIGH})\\u({_LOW})|.)", re.DOTALL)
# Text of the same length as a pair, and valid wherever a pair may be.
_NO_PAIR = r"\u0020\u0020"
# An escape of eight digits is this many characters shorter than a pair.
_SHORTER = 2
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp")}


def parse_yaml(path: str, text: str, limits: FormatSettings) -> list[Node]:
    """Parse the documents of a YAML file, including empty documents.

    Raises:
        FormatError: The text isn't YAML, exceeds a limit, or contains something that this module refuses.
    """
    reader = _Reader(path, limits)
    try:
        if _PAIR.search(text):
            text, reader.shortened = _with_pairs_joined(text)
        scalar, receive_scalar = yaml.ScalarEvent, reader.receive_scalar
        for event in _events(text):
            # Most events are scalars.
            if type(event) is scalar:
                receive_scalar(event)
            else:
                reader.receive(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and error.context_mark and mark.line >= len(_BREAK.split(text.rstrip())):
            # If the text ends too early, the place to mend is where the unfinished part begins.
            mark = error.context_mark
        place = reader.place(mark) if mark else (None, None)
        problem = error.problem or error.context
        if problem == _LIBYAML_TOO_DEEP:
            raise FormatError(path, f"nested deeper than {limits.depth} levels", *place) from None
        if mark and _has_tab(text, mark.line, mark.column):
            problem = "there is a tab where only spaces may stand; indent with spaces"
        raise FormatError(path, f"not YAML: {problem}", *place) from None
    except yaml.reader.ReaderError as error:
        code = ord(error.character) if isinstance(error.character, str) else error.character
        reason = f"not YAML: the character U+{code:04X}; write it as an escape in double quotes"
        raise FormatError(path, reason, *_place_of(text, error.position)) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure Python scanner raises these errors for some numbers in directives and escapes.
        raise FormatError(path, "not YAML") from None
    return reader.builder.documents


def _has_tab(text: str, line: int, column: int) -> bool:
    """Return whether the character at a place, which counts from 0, is a tab."""
    lines = _BREAK.split(text)
    return line < len(lines) and lines[line].startswith("\t", column)


def _with_pairs_joined(text: str) -> tuple[str, Sequence[int]]:
    """Write each surrogate pair in double quotes as one escape. Outside double quotes, a backslash isn't an escape.

    Returns:
        The text, and the positions of these escapes in it.

    Raises:
        yaml.YAMLError: The text isn't YAML. The error names the place.
    """
    parts: list[str] = []
    escapes: list[int] = []
    at = length = 0
    for start, end in list(_double_quoted(_PAIR.sub(lambda _: _NO_PAIR, text))):
        for match in _ESCAPE.finditer(text, start, end) if _PAIR.search(text, start, end) else ():
            if match[1] is not None:
                escapes.append(length + match.start() - at)
                code = 0x10000 + ((int(match[1], 16) - 0xD800) << 10) + int(match[2], 16) - 0xDC00
                parts += (text[at : match.start()], f"\\U{code:08x}")
                length = escapes[-1] + len(parts[-1])
                at = match.end()
    return "".join((*parts, text[at:])), escapes


def _double_quoted(text: str) -> Iterator[tuple[int, int]]:
    """Yield the beginning and the end of each scalar in double quotes."""
    for event in _events(text):
        kind = type(event)
        if kind is yaml.ScalarEvent and event.style == '"':
            yield event.start_mark.index, event.end_mark.index


def _events(text: str) -> Iterator[Any]:
    # As `yaml.parse`, but with one call for each event instead of two.
    loader = _Loader(text)
    try:
        yield from iter(loader.get_event, None)
    finally:
        loader.dispose()


def _place_of(text: str, position: int) -> tuple[int, int]:
    """Return the line and column of a character that the stream reader refuses."""
    # libyaml counts bytes, and PyYAML's own parser counts characters.
    before = text[:position] if _Loader is yaml.SafeLoader else text.encode()[:position].decode()
    *lines, last = _BREAK.split(before)
    return len(lines) + 1, len(last) + 1


class _Reader:
    """Turns events into calls of the builder, and keeps the anchors of the document."""

    def __init__(self, path: str, limits: FormatSettings) -> None:
        self.builder = Builder(path, limits)
        self._limits = limits
        self._anchors: dict[str, Node] = {}
        self._aliases = 0
        # The positions of escapes in the text that were longer in the file.
        self.shortened: Sequence[int] = ()

    def place(self, mark: Any) -> tuple[int, int]:
        """Return the line and column of a mark in the file."""
        column = mark.column + 1
        if self.shortened:
            before = bisect_left(self.shortened, mark.index) - bisect_left(self.shortened, mark.index - mark.column)
            column += _SHORTER * before
        return mark.line + 1, column

    def receive(self, event: Any) -> None:
        """Take any event but a scalar."""
        kind = type(event)
        if kind is yaml.MappingStartEvent:
            self._container(event, Map(*self.place(event.start_mark)), "map")
        elif kind is yaml.SequenceStartEvent:
            self._container(event, List(*self.place(event.start_mark)), "seq")
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self.builder.close()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._anchors = {}

    def receive_scalar(self, event: Any) -> None:
        """Take a scalar."""
        mark = event.start_mark
        line, column = self.place(mark) if self.shortened else (mark.line + 1, mark.column + 1)
        is_plain = event.tag is None and event.implicit[0]
        is_key = self.builder.needs_key
        if is_plain and is_key and event.value == "<<":
            self.builder.merge_key()
            return
        value = resolve(event.value) if is_plain else self._tagged(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = Leaf(value, line, column)
        if is_key:
            self._key(value, line, column)
        else:
            self.builder.add(Leaf(value, line, column))

    def _key(self, value: Scalar, line: int, column: int) -> None:
        self.builder.key(_key_text(value), isinstance(value, str), line, column)

    def _tagged(self, event: Any) -> Scalar:
        tag, text = event.tag, event.value
        if tag is None or tag in ("!", _TAG + "str", _TAG + "timestamp"):
            return str(text)
        value: Scalar = text
        if tag in _SCALAR_TAGS:
            if tag == _TAG + "null":
                return None
            value = resolve(text)
            if tag == _TAG + "float" and type(value) is int:
                return float(value)
            if type(value).__name__ == tag.removeprefix(_TAG) or _is_number(text):
                return value
            raise self.builder.error(
                f"a value that doesn't match its tag !!{tag.removeprefix(_TAG)}", *self.place(event.start_mark)
            )
        raise self._refused_tag(event)

    def _refused_tag(self, event: Any) -> FormatError:
        tag = event.tag.replace(_TAG, "!!", 1) if event.tag.startswith(_TAG) else event.tag
        return self.builder.error(
            f"the tag {shown(tag)} isn't supported; write the value without it", *self.place(event.start_mark)
        )

    def _container(self, event: Any, node: Map | List, tag: str) -> None:
        if event.tag not in (None, "!", _TAG + tag):
            raise self._refused_tag(event)
        self._refuse_as_key(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self.builder.open(node)

    def _refuse_as_key(self, event: Any) -> None:
        if self.builder.needs_key:
            raise self.builder.error("a list or mapping can't be a key", *self.place(event.start_mark))

    def _alias(self, event: Any) -> None:
        line, column = self.place(event.start_mark)
        self._aliases += 1
        if self._aliases > self._limits.aliases:
            raise self.builder.error(f"more than {self._limits.aliases} aliases; write the values out", line, column)
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self.builder.error(f"the alias {shown(event.anchor)} has no anchor before it", line, column)
        if type(node) is Leaf:
            if self.builder.needs_key:
                self._key(node.value, line, column)
            else:
                self.builder.add(node)
            return
        self._refuse_as_key(event)
        if not isinstance(node, Leaf) and node.is_open:
            raise self.builder.error(f"the anchor {shown(event.anchor)} contains itself", line, column)
        self.builder.add(node)


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar."""
    if text in _NULLS:
        return None
    if text[0] not in _NUMBER_STARTS:
        return _BOOLEANS.get(text, text)
    if len(text) > _MAX_NUMBER:
        return text
    if _INT.fullmatch(text):
        number = _int(text.replace("_", ""))
        return number if number in _INT64 else text
    if _FLOAT.fullmatch(text):
        return _float(text)
    return text


def _int(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-")
    if digits.startswith("0b"):
        return sign * int(digits[2:], 2)
    if digits.startswith("0x"):
        return sign * int(digits[2:], 16)
    if digits.startswith("0"):
        return sign * int(digits, 8)
    number = 0
    for part in digits.split(":"):
        number = number * 60 + int(part)
    return sign * number


def _float(text: str) -> Scalar:
    digits = text.replace("_", "")
    try:
        if ":" in digits:
            sign = -1.0 if digits[0] == "-" else 1.0
            number = 0.0
            for part in digits.lstrip("+-").split(":"):
                number = number * 60 + float(part)
            number *= sign
        else:
            number = float(digits)
    except ValueError:
        return text
    return text if number in (float("inf"), float("-inf")) else number


def _is_number(text: str) -> bool:
    """Return whether a text is a number that stays text because JSON can't hold it."""
    bare = text.lstrip("+-").lower()
    return bare in (".inf", ".nan") or bool(_INT.fullmatch(text) or _FLOAT.fullmatch(text))


def _key_text(value: Scalar) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
