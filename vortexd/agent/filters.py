"""What templates make of values: JSON, YAML, properties, and words for a shell. Pure.

In comes what a document has, out goes text that reads back as the same. No error repeats a value.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import orjson
import yaml

from .environment import flat, text_of

# What ends a key of a .properties file, or means something in it.
_IN_KEYS = re.compile(r"([\\:=#! ])")
_CONTROLS = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\f": r"\f"}


class FilterError(Exception):
    """A value that can't be written so; says why without it."""


def to_json(value: Any, indent: bool = False) -> str:
    """JSON on one line, or indented by two spaces."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()


def to_yaml(value: Any) -> str:
    """YAML: a mapping or list as a block without its last line end, a scalar on one line."""
    if isinstance(value, dict | list):
        return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1_000_000)).rstrip("\n")
    # A text of several lines as JSON, which is YAML: a block would need to know where it stands.
    return orjson.dumps(value).decode()


def to_properties(value: Any) -> str:
    """A mapping as lines of a .properties file, or a scalar as a value in one."""
    if isinstance(value, list):
        raise FilterError("a list alone is no properties; give properties the mapping that it is in")
    if not isinstance(value, Mapping):
        return _escaped(text_of(value))
    return "\n".join(
        f"{_IN_KEYS.sub(_backslash, _escaped_controls(key))}={_escaped(text)}" for key, text in flat(value)
    )


def to_shell(value: Any) -> str:
    """One word for a POSIX shell; of a list one word for each item."""
    if isinstance(value, list):
        return " ".join(map(to_shell, value))
    if isinstance(value, Mapping):
        raise FilterError("a mapping can't be a word of a shell; use its values")
    return shlex.quote(text_of(value))


def to_flat(value: Any) -> dict[str, str]:
    """The flat keys of a mapping (`a.b[0]`) with their values as text."""
    if not isinstance(value, Mapping):
        raise FilterError("only a mapping can be made flat")
    return dict(flat(value))


FILTERS = {"json": to_json, "yaml": to_yaml, "properties": to_properties, "shell": to_shell, "flat": to_flat}


def _escaped(text: str) -> str:
    """A value: blanks at its beginning would be left out."""
    escaped = _escaped_controls(text)
    return "\\" + escaped if escaped.startswith(" ") else escaped


def _escaped_controls(text: str) -> str:
    # Java reads these files as ISO 8859-1, or as UTF-8 since 9; escapes are read alike.
    return "".join(_CONTROLS.get(each) or (each if " " <= each <= "~" else _utf16(each)) for each in text)


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def _backslash(found: re.Match[str]) -> str:
    # A backslash has been doubled already.
    return found[0] if found[0] == "\\" else f"\\{found[0]}"
