"""Writes YAML as SnakeYAML does, for clients and people that compare texts.

A nested document is written in block style. SnakeYAML's emitter descends from PyYAML's, so this module uses PyYAML's and
adapts the differences. It walks the document without recursion.
"""

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

from yaml import emitter, events

from ...core.model import Json, Scalar
from .scalars import text_of

_TAG = "tag:yaml.org,2002:"
_MULTILINE = re.compile("[\n\x85\u2028\u2029]")
# A text with characters that YAML can't represent is written as base64.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEADING_ZERO = re.compile(r"0[0-9_]+")
# The plain scalars that a parser doesn't read as text. These are the expressions of SnakeYAML's Resolver. Each has the length
# of the longest text that SnakeYAML applies it to.
_WORDS = re.compile(
    r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|~|null|Null|NULL|<<|[!&*]|"
)
_NUMBERS = re.compile(
    r"[-+]?0b_*[01][01_]*|[-+]?0_*[0-7][0-7_]*|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x_*[0-9a-fA-F][0-9a-fA-F_]*"
    r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+"
    r"|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TIMES = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?"
)
_KINDS = ((_WORDS, 10), (_NUMBERS, 1_024), (_TIMES, 50))


# Java counts two columns for a character outside the BMP, and only PyYAML escapes the byte order mark. So this module passes
# private characters to the emitter in place of both. A character outside the BMP becomes two of them, one for each half of
# its surrogate pair.
_DISGUISED = re.compile("[\ufeff\U00010000-\U0010ffff]")
_DISGUISE = re.compile("[\ue000-\ue7ff]{2}|\uf8ff")
_TAKEN = re.compile("[\ue000-\ue7ff\uf8ff]")
_SHIFT = 0xE000 - 0xD800


def dump(document: Json) -> str:
    """Write a document as YAML. If the document is a single scalar, it is written as text."""
    stream = io.StringIO()
    writer = _Emitter(stream, allow_unicode=True)
    writer.emit(events.StreamStartEvent())
    writer.emit(events.DocumentStartEvent(explicit=False))
    root = document if isinstance(document, dict | list) else text_of(document)
    found = list(_events(root))
    # If the document contains such private characters itself, nothing is replaced. Then more characters are escaped than needed.
    is_disguised = not any(isinstance(event, events.ScalarEvent) and _TAKEN.search(event.value) for event in found)
    for event in found:
        if is_disguised and isinstance(event, events.ScalarEvent):
            event.value = _DISGUISED.sub(_disguise, event.value)
        writer.emit(event)
    writer.emit(events.DocumentEndEvent(explicit=False))
    return _DISGUISE.sub(_reveal, stream.getvalue()) if is_disguised else stream.getvalue()


class _Emitter(emitter.Emitter):
    """PyYAML's emitter, with SnakeYAML's rules about quotes and about splitting quoted scalars."""

    def analyze_scalar(self, scalar: str) -> Any:
        found = super().analyze_scalar(scalar)
        if _LEADING_ZERO.fullmatch(scalar):
            found.allow_block_plain = found.allow_flow_plain = False
        return found

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        self.write_indicator('"', True)
        start = end = 0
        while end <= len(text):
            character = text[end : end + 1]
            if not character or character in '"\\' or not " " <= character <= "~":
                self._put(text[start:end])
                width = 2 if "\ue000" <= character <= "\ue3ff" else 1
                special = self.ESCAPE_REPLACEMENTS.get(character)
                self._put("\\" + special if special else text[end : end + width])
                end += width - 1
                start = end + 1
            is_gap = character == " " or start >= end
            if split and is_gap and 0 < end < len(text) - 1 and self.column + end - start > self.best_width:
                self._put(text[start:end] + "\\")
                start = max(start, end)
                self.write_indent()
                self.whitespace = self.indention = False
                if text[start] == " ":
                    self._put("\\")
            end += 1
        self.write_indicator('"', False)

    def _put(self, data: str) -> None:
        self.column += len(data)
        self.stream.write(data)


def _disguise(match: re.Match[str]) -> str:
    if match[0] == "\ufeff":
        return "\uf8ff"
    units = match[0].encode("utf-16-be")
    return "".join(chr(int.from_bytes(units[at : at + 2]) + _SHIFT) for at in (0, 2))


def _reveal(match: re.Match[str]) -> str:
    if match[0] == "\uf8ff":
        return "\ufeff"
    return b"".join((ord(each) - _SHIFT).to_bytes(2) for each in match[0]).decode("utf-16-be")


def _events(root: Json) -> Iterator[events.Event]:
    stack: list[tuple[Iterator[Any], bool]] = [(iter((root,)), False)]
    while stack:
        values, is_mapping = stack[-1]
        for value in values:
            if is_mapping:
                name, value = value
                yield _scalar(name)
            if isinstance(value, dict):
                yield events.MappingStartEvent(None, None, True, flow_style=False)
                stack.append((iter(value.items()), True))
                break
            if isinstance(value, list):
                yield events.SequenceStartEvent(None, None, True, flow_style=False)
                stack.append((iter(value), False))
                break
            yield _scalar(value)
        else:
            stack.pop()
            if stack:
                yield events.MappingEndEvent() if is_mapping else events.SequenceEndEvent()


def _scalar(value: Scalar) -> events.Event:
    if not isinstance(value, str):
        return events.ScalarEvent(None, None, (True, False), text_of(value))
    if _UNPRINTABLE.search(value):
        encoded = base64.b64encode(value.encode()).decode()
        return events.ScalarEvent(None, _TAG + "binary", (False, False), encoded, style="|")
    style = "|" if _MULTILINE.search(value) else None
    return events.ScalarEvent(None, _TAG + "str", (not _is_taken(value), True), value, style=style)


def _is_taken(text: str) -> bool:
    """Whether a parser would read a text as something other than text if it had no quotes."""
    return any(len(text) <= longest and kind.fullmatch(text) for kind, longest in _KINDS)
