"""Writes a configuration as `.properties`, `.yml` or `.json`, for Spring's routes with a suffix.

The texts are made from the property sources, highest precedence first, as Spring writes them. If several sources have a
scalar, the highest source decides its value. It keeps the position at which its key first occurs. Lists come after all
scalars. A list is taken as a whole from its highest source. The nested document for WebSockets is made by the same rules.
There is one difference: as in Spring, a key that can't be split into names gives 400 here.
"""

import re
from collections.abc import Sequence

import attrs
import orjson

from ...core.errors import RemoteError
from ...core.model import Json, PropertySource
from ...resolve.nest import effective_document, merged
from . import yaml
from .placeholders import Placeholders
from .scalars import text_of

# Spring leaves out this key.
_LEFT_OUT = "spring.profiles"
_ESCAPES = {each: "\\" + each for each in "\\=:#!"} | {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_SPECIAL = re.compile(r"[\\=:#!]|[^ -~]")
_JSON_ESCAPE = re.compile(rb"\\(?:u00..|.)")


def to_properties(sources: Sequence[PropertySource], placeholders: Placeholders | None, *, is_escaped: bool) -> bytes:
    """Write a configuration as lines `key: value`.

    Args:
        placeholders: Resolves placeholders. If it is None, placeholders stay.
        is_escaped: Escape the values, so that every parser of properties reads them back unchanged. Spring escapes nothing,
            so its clients can't tell a value of several lines from several values.

    Raises:
        Unresolvable: The placeholders can't be resolved.
    """
    values = {key: value for key, value, _ in merged([_without(source) for source in sources])}
    if is_escaped:
        texts = {key: text_of(value) for key, value in values.items()}
        if placeholders is not None:
            texts = {key: placeholders.in_value(text) for key, text in texts.items()}
        lines = (f"{_escaped(key, is_key=True)}={_escaped(text, is_key=False)}\n" for key, text in texts.items())
        return "".join(lines).encode("ascii")
    text = "\n".join(f"{key}: {text_of(value)}" for key, value in values.items())
    return (placeholders.in_text(text) if placeholders else text).encode()


def to_yaml(sources: Sequence[PropertySource], placeholders: Placeholders | None) -> bytes:
    """Write a configuration as YAML.

    A file may have only a list or one text. If nothing else is merged with it, the result is that list or text again.

    Raises:
        RemoteError: A key can't be split into names, or the placeholders can't be resolved (400).
    """
    document = _nested(sources, placeholders)
    alone = document.get("document") if len(document) == 1 else None
    return yaml.dump(document if alone is None or isinstance(alone, dict) else alone).encode()


def to_json(sources: Sequence[PropertySource], placeholders: Placeholders | None) -> bytes:
    """Write a configuration as one line of JSON.

    Raises:
        RemoteError: As `to_yaml` raises it.
    """
    body = orjson.dumps(_java_numbers(_nested(sources, placeholders)))
    # Jackson writes hex digits in capitals.
    return _JSON_ESCAPE.sub(lambda match: match[0][:2] + match[0][2:].upper(), body) if b"\\u00" in body else body


def check_key(key: str) -> None:
    """Refuse a key that Spring can't split into names.

    Such a key has an empty name before a dot or an index. Or something other than a dot or an index follows an index.

    Raises:
        RemoteError: Spring can't split the key (400).
    """
    at = 0
    while True:
        end, is_index = _name_end(key, at)
        if end < 0:
            return
        if end == at:
            raise _Malformed
        if is_index:
            end = _indexes_end(key, end)
            if end == len(key):
                return
        at = end + 1


class _Malformed(RemoteError):
    def __init__(self) -> None:
        super().__init__("a key of this configuration can't be written in this form; request it as .properties", 400)


def _name_end(key: str, start: int) -> tuple[int, bool]:
    """Find the end of the name that starts here, and whether an index ends it. For the last name, the end is -1.

    Brackets without a number in them are part of the name.
    """
    bracket = -1
    for at in range(start, len(key)):
        if key[at] == ".":
            return at, False
        if key[at] == "[":
            bracket = at
        elif key[at] == "]" and bracket >= 0:
            if key[bracket + 1 : at].lstrip("+-").isdecimal():
                return bracket, True
            bracket = -1
    return -1, False


def _indexes_end(key: str, at: int) -> int:
    """Find the end of the indexes that start here."""
    while key[at : at + 1] == "[":
        closing = key.find("]", at)
        if not key[at + 1 : closing].isdecimal():
            raise _Malformed
        at = closing + 1
    if key[at : at + 1] not in ("", "."):
        raise _Malformed
    return at


def _nested(sources: Sequence[PropertySource], placeholders: Placeholders | None) -> dict[str, Json]:
    sources = [_without(source) for source in sources]
    for key, _, _ in merged(sources):
        check_key(key)
    document = effective_document(sources)
    if placeholders is not None:
        for name, value in document.items():
            document[name] = _resolved(value, placeholders)
    return document


def _without(source: PropertySource) -> PropertySource:
    if _LEFT_OUT not in source.values:
        return source
    return attrs.evolve(source, values={key: value for key, value in source.values.items() if key != _LEFT_OUT})


def _resolved(value: Json, placeholders: Placeholders) -> Json:
    if isinstance(value, str):
        return placeholders.in_value(value)
    if isinstance(value, dict):
        return {name: _resolved(each, placeholders) for name, each in value.items()}
    return [_resolved(each, placeholders) for each in value] if isinstance(value, list) else value


def _java_numbers(value: Json) -> object:
    if isinstance(value, float):
        return orjson.Fragment(text_of(value))
    if isinstance(value, dict):
        return {name: _java_numbers(each) for name, each in value.items()}
    return [_java_numbers(each) for each in value] if isinstance(value, list) else value


def _escaped(text: str, *, is_key: bool) -> str:
    """Write a key or a value as java.util.Properties stores it."""
    written = _SPECIAL.sub(_escape, text)
    if is_key:
        return written.replace(" ", "\\ ")
    return "\\" + written if written.startswith(" ") else written


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _ESCAPES:
        return _ESCAPES[character]
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02X}{units[at + 1]:02X}" for at in range(0, len(units), 2))
