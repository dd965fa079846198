"""A document as text in the form that is asked for. Pure.

In comes a nested document, or a part of one; out goes text that reads back as the same. The invariant: nothing in it steers a terminal, for what
isn't printable is written by its number.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from ..core.model import Json, PropertySource, Scalar
from ..http.spring.suffixes import to_properties

# What one reader of YAML or another takes for a number, a time or a truth value.
_TAKEN = re.compile(r"[-+.]*[0-9].*|[-+]?\.(?:inf|nan)|y|n", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_STRING = "tag:yaml.org,2002:str"


def to_json(value: Json) -> str:
    """As JSON of several lines, in the order of the document."""
    return _printable(lambda is_wide: json.dumps(value, indent=2, ensure_ascii=not is_wide) + "\n")


def to_yaml(value: Json) -> str:
    """As YAML, with every text quoted that a reader of YAML 1.1 or 1.2 could take for something else."""
    return _printable(
        lambda is_wide: yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=is_wide, width=2**31)
    )


def to_properties_text(value: Json, key: str = "") -> str:
    """As lines `key=value`, escaped.

    Args:
        key: The flat key of the value, where it is a part.
    """
    return to_properties([PropertySource("", dict(flat(value, key)), {})], None, is_escaped=True).decode("ascii")


def to_env(values: Mapping[str, str]) -> str:
    """Variables as lines `NAME='value'` for shells: `set -a; . FILE`. What can't be a name there is left out."""
    # A quote within ends the quoted text, is escaped, and begins it again; nothing else is special in it.
    quoted = {name: text.replace("'", "'\\''") for name, text in values.items() if is_shell_name(name)}
    return "".join(f"{name}='{text}'\n" for name, text in quoted.items())


def is_shell_name(text: str) -> bool:
    """Whether a shell takes a text for the name of a variable."""
    return _NAME.fullmatch(text) is not None


def flat(value: Json, key: str = "") -> Iterator[tuple[str, Scalar]]:
    """The flat keys of a document with their values, as Spring has them."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from flat(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from flat(each, f"{key}[{index}]")
    else:
        yield key, value


def find(document: Json, key: str) -> Iterator[Json]:
    """What stands under a flat key: nothing, or one value."""
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
    """Every flat key, and every name that keys begin with."""
    if key:
        yield key
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from keys_of(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from keys_of(each, f"{key}[{index}]")


def _printable(made: Callable[[bool], str]) -> str:
    """A text with all characters as they are; where not all are printable, with only those of ASCII."""
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
