"""Writes a document as text in the requested format. Pure.

It takes a nested document or a part of one; the text reads back as the same values. Invariant: the text can't control a terminal, because
characters that aren't printable are written as escapes.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from ..core.model import Json, PropertySource, Scalar
from ..http.spring.suffixes import to_properties

# Texts that some YAML reader takes for a number, a time or a truth value.
_TAKEN = re.compile(r"[-+.]*[0-9].*|[-+]?\.(?:inf|nan)|y|n", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_STRING = "tag:yaml.org,2002:str"


def to_json(value: Json) -> str:
    """Write JSON of several lines, in the order of the document."""
    return _printable(lambda is_wide: json.dumps(value, indent=2, ensure_ascii=not is_wide) + "\n")


def to_yaml(value: Json) -> str:
    """Write YAML. Quote every text that a reader of YAML 1.1 or 1.2 could take for another type."""
    return _printable(
        lambda is_wide: yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=is_wide, width=2**31)
    )


def to_properties_text(value: Json, key: str = "") -> str:
    """Write lines `key=value`, escaped.

    Args:
        key: The flat key of the value, if it is a part of a document.
    """
    return to_properties([PropertySource("", dict(flat(value, key)), {})], None, is_escaped=True).decode("ascii")


def to_env(values: Mapping[str, str]) -> str:
    """Write variables as lines `NAME='value'` for shells: `set -a; . FILE`. Names that a shell doesn't allow are left out."""
    # A quote in the value ends the quoted text, is escaped, and begins it again. No other character is special.
    quoted = {name: text.replace("'", "'\\''") for name, text in values.items() if is_shell_name(name)}
    return "".join(f"{name}='{text}'\n" for name, text in quoted.items())


def is_shell_name(text: str) -> bool:
    """Whether a shell accepts a text as the name of a variable."""
    return _NAME.fullmatch(text) is not None


def flat(value: Json, key: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield the flat keys of a document with their values, in Spring's notation."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from flat(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from flat(each, f"{key}[{index}]")
    else:
        yield key, value


def find(document: Json, key: str) -> Iterator[Json]:
    """Yield the value under a flat key, if there is one."""
    if not key:
        yield document
    elif isinstance(document, dict):
        if key in document:
            yield document[key]
            return
        for name, each in document.items():
            if key.startswith(name) and key[len(name)] in ".[" and name:
                yield from find(each, key[len(name) :].removeprefix("."))
    elif (
        isinstance(document, list)
        and (index := re.match(r"\[([0-9]{1,9})\]\.?", key))
        and int(index[1]) < len(document)
    ):
        yield from find(document[int(index[1])], key[index.end() :])


def keys_of(value: Json, key: str = "") -> Iterator[str]:
    """Yield every flat key, and every prefix of keys."""
    if key:
        yield key
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from keys_of(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from keys_of(each, f"{key}[{index}]")


def _printable(made: Callable[[bool], str]) -> str:
    """Return the text with all characters as they are. If not all are printable, return the text with only ASCII characters."""
    wide = made(True)
    return wide if wide.replace("\n", "").isprintable() else made(False)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _TAKEN.fullmatch(text) else "|" if "\n" in text else None
    return dumper.represent_scalar(_STRING, text, style=style)


_Dumper.add_representer(str, _text)
