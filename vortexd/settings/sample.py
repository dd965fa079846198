"""Renders conf/vortexd.toml from the settings: every setting with its text and its default. Pure."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..core.constraints import Rule, text_of
from .root import SECTIONS, TABLES, Settings

_HEAD = """\
# vortexd.toml: every setting with its default. Durations are seconds, sizes are bytes or counts.
# A value behind # is in force as it stands. `vortexd --check --config FILE` reports every problem of a file.
# SIGHUP (`systemctl reload vortexd`) applies the values marked "reload", all of them or none. Open connections
# keep the limits and heartbeats that they began with. The values marked "restart" wait for a restart.
# Relative paths start at the directory of this file. The path of a file with a secret, a key or a certificate may
# begin with $CREDENTIALS_DIRECTORY, the directory of systemd's credentials.
"""
_WIDTH = 108


def render(kinds: Mapping[str, type]) -> str:
    """Render the sample file.

    Args:
        kinds: The settings of each kind of source. The file uses the first kind and shows the others as comments.
    """
    parts = [_HEAD]
    for field in attrs.fields(Settings):
        about = _comment(text_of(field).doc)
        if field.name == "source":
            parts += _sources(about, kinds)
        elif field.name in TABLES:
            parts += [f"{about}# [[{field.name}]]\n", *_settings(TABLES[field.name])]
        elif field.name == "overrides":
            parts.append(f'{about}[overrides]\n# "logging.level.root" = "INFO"  # reload\n')
        else:
            parts += [f"{about}[{field.name}]\n", *_settings(SECTIONS[field.name])]
    return "\n".join(parts)


def _sources(about: str, kinds: Mapping[str, type]) -> Iterator[str]:
    for number, settings in enumerate(kinds.values()):
        is_shown = number == 0
        yield (about if is_shown else _comment(_about(settings))) + ("" if is_shown else "# ") + "[[source]]\n"
        yield from _settings(settings, is_shown=is_shown)


def _about(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0].partition(": ")[2]


def _settings(section: type, *, is_shown: bool = False) -> Iterator[str]:
    """Yield each setting of a section.

    Args:
        is_shown: Whether the kind and the settings with an example are written without #.
    """
    for field in attrs.fields(section):
        text = text_of(field)
        value = text.example or literal(field)
        mark = "" if is_shown and (text.example or field.name == "kind") else "# "
        yield f"{_comment(text.doc)}{mark}{field.name} = {value}  # {'restart' if text.restart else 'reload'}\n"


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def literal(field: "attrs.Attribute[Any]") -> str:
    """Return the default of a setting as TOML."""
    rule = field.metadata.get("rule")
    if isinstance(rule, Rule):
        for word, value in rule.words.items():
            if value == field.default:
                return f'"{word}"'
    return _toml(field.default)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, float):
        assert math.isfinite(value)
        return repr(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert isinstance(value, tuple)
    return f"[{', '.join(map(_toml, value))}]"
