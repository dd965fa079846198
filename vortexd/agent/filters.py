"""The filters of templates: write values as JSON, YAML, properties, or words for a shell. Pure.

The text that a filter writes reads back as the same value. No error quotes a value.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import orjson
import yaml

from .environment import flat, text_of

# Characters that end a key of a .properties file, or have a meaning in it.
_IN_KEYS = re.compile(r"([\\:=#! ])")
_CONTROLS = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\f": r"\f"}


class FilterError(Exception):
    """A value can't be written in this format. The text gives the reason, and doesn't quote the value."""


def to_json(value: Any, indent: bool = False) -> str:
    """Write JSON on one line, or indented by two spaces."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()


def to_yaml(value: Any) -> str:
    """Write YAML: a mapping or list as a block without the final newline, a scalar on one line."""
    if isinstance(value, dict | list):
        return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1_000_000)).rstrip("\n")
    # A text of several lines becomes JSON, which is valid YAML. A block scalar would need the indentation of its place.
    return orjson.dumps(value).decode()


def to_properties(value: Any) -> str:
    """Write a mapping as lines of a .properties file, or a scalar as a value for such a line."""
    if isinstance(value, list):
        raise FilterError("a list can't be written as properties; pass the mapping that contains it")
    if not isinstance(value, Mapping):
        return _escaped(text_of(value))
    return "\n".join(
        f"{_IN_KEYS.sub(_backslash, _escaped_controls(key))}={_escaped(text)}" for key, text in flat(value)
    )


def to_shell(value: Any) -> str:
    """Write one word for a POSIX shell, or one word for each item of a list."""
    if isinstance(value, list):
        return " ".join(map(to_shell, value))
    if isinstance(value, Mapping):
        raise FilterError("a mapping can't become a word for a shell; use its values")
    return shlex.quote(text_of(value))


def to_flat(value: Any) -> dict[str, str]:
    """Return the flat keys of a mapping (`a.b[0]`) with their values as text."""
    if not isinstance(value, Mapping):
        raise FilterError("only a mapping can be flattened")
    return dict(flat(value))


FILTERS = {"json": to_json, "yaml": to_yaml, "properties": to_properties, "shell": to_shell, "flat": to_flat}


def _escaped(text: str) -> str:
    """Escape a value. A leading blank is escaped, too, because readers would skip it."""
    escaped = _escaped_controls(text)
    return "\\" + escaped if escaped.startswith(" ") else escaped


def _escaped_controls(text: str) -> str:
    # Java reads these files as ISO 8859-1, or as UTF-8 since version 9. Escapes mean the same in both.
    return "".join(_CONTROLS.get(each) or (each if " " <= each <= "~" else _utf16(each)) for each in text)


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def _backslash(found: re.Match[str]) -> str:
    # `_escaped_controls` has already doubled backslashes.
    return found[0] if found[0] == "\\" else f"\\{found[0]}"
