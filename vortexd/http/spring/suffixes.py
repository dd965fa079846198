"""A configuration as `.properties`, `.yml` or `.json`: Spring's routes with a suffix.

In come the property sources of a configuration, highest precedence first; out go texts as Spring writes them. Of a scalar the highest source's
stands, where it was first; lists come after all scalars, and the highest source's stands as a whole. `store` makes the nested
document that WebSockets have by the same rules, so the two can't differ but in what Spring refuses: keys that can't be taken apart are 400 here.
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

# Spring leaves out this one key.
_LEFT_OUT = "spring.profiles"
_ESCAPES = {each: "\\" + each for each in "\\=:#!"} | {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_SPECIAL = re.compile(r"[\\=:#!]|[^ -~]")
_JSON_ESCAPE = re.compile(rb"\\(?:u00..|.)")


def to_properties(sources: Sequence[PropertySource], placeholders: Placeholders | None, *, is_escaped: bool) -> bytes:
    """A configuration as lines `key: value`.

    Args:
        placeholders: What resolves them, or None: they stay.
        is_escaped: Write what every reader of properties reads back, as it stands in the configuration. Spring escapes nothing, and a
            value of several lines can't be told from several values then.

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
    """A configuration as YAML. A file that holds a list or one text alone, and that nothing else is merged with, is written as that again.

    Raises:
        RemoteError: 400: a key can't be taken apart, or the placeholders can't be resolved.
    """
    document = _nested(sources, placeholders)
    alone = document.get("document") if len(document) == 1 else None
    return yaml.dump(document if alone is None or isinstance(alone, dict) else alone).encode()


def to_json(sources: Sequence[PropertySource], placeholders: Placeholders | None) -> bytes:
    """A configuration as one line of JSON.

    Raises:
        RemoteError: As `to_yaml`.
    """
    body = orjson.dumps(_java_numbers(_nested(sources, placeholders)))
    # Jackson writes hex digits in capitals.
    return _JSON_ESCAPE.sub(lambda match: match[0][:2] + match[0][2:].upper(), body) if b"\\u00" in body else body


def check_key(key: str) -> None:
    """Refuse what Spring can't take apart: an empty name before a dot or an index, and something else than these behind an index.

    Raises:
        RemoteError: 400.
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
        super().__init__("a key of this configuration can't be written in this form; .properties has it", 400)


def _name_end(key: str, start: int) -> tuple[int, bool]:
    """Where the name that starts here ends, and whether by an index; -1 where it is the last. Brackets without a number belong to it."""
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
    """Where the indexes end that start here."""
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
    """A key or value as java.util.Properties stores it."""
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
