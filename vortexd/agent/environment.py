"""Turns a document into environment variables, with names that Spring's relaxed binding understands. Pure.

`database.pool-size` and `hosts[0]` become `DATABASE_POOLSIZE` and `HOSTS_0`: dots and brackets become underscores, dashes disappear, letters
become upper case. Invariant: each name stands for one key only. No key can choose which code a program loads, or where commands are found.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import orjson

# `a[0][1].b`: one underscore for each bracket or dot between names, and none at the end.
_BETWEEN = re.compile(r"\]?[.\[]|\]")
_UNFIT = re.compile(r"[^A-Z0-9_]")
# The loader, shells and interpreters read these before a program's own code. With them, the author of a configuration could choose which code runs.
_FORBIDDEN = frozenset(
    {
        *(
            "PATH",
            "IFS",
            "ENV",
            "BASH_ENV",
            "SHELLOPTS",
            "BASHOPTS",
            "PS4",
            "CDPATH",
            "GCONV_PATH",
            "GLIBC_TUNABLES",
            "LOCPATH",
        ),
        *(
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "PERL5OPT",
            "PERL5DB",
            "RUBYOPT",
            "RUBYLIB",
            "NODE_OPTIONS",
            "NODE_PATH",
        ),
        *(
            "JAVA_TOOL_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "_JAVA_OPTIONS",
            "CLASSPATH",
            "OPENSSL_CONF",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
        ),
    }
)
_FORBIDDEN_BEGINNINGS = ("LD_", "BASH_FUNC_", "VORTEXD_")


@attrs.frozen
class Variables:
    """A document as environment variables.

    Attributes:
        values: The variables, by name.
        collisions: Names that several keys map to, with those keys.
        left_out: Keys that can't become variables, or must not.
    """

    values: Mapping[str, str]
    collisions: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]


def variables_of(document: Mapping[str, Any], prefix: str = "") -> Variables:
    """Turn a nested document into variables. Keys that collide become none.

    Args:
        prefix: Put in front of each name unchanged.
    """
    keys: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    left_out = []
    for key, value in flat(document):
        name = prefix + name_of(key)
        if name == prefix or name in _FORBIDDEN or name.startswith(_FORBIDDEN_BEGINNINGS) or "\0" in value:
            left_out.append(key)
        else:
            keys.setdefault(name, []).append(key)
            values[name] = value
    collisions = {name: tuple(each) for name, each in keys.items() if len(each) > 1}
    return Variables(
        {name: value for name, value in values.items() if name not in collisions}, collisions, tuple(left_out)
    )


def name_of(key: str) -> str:
    """Return the variable's name for a flat key, or "" if no character of the key remains."""
    return _UNFIT.sub("_", _BETWEEN.sub("_", key.removesuffix("]")).replace("-", "").upper())


def flat(document: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the flat keys of a nested document, in Spring's notation, with their values as text. Empty values become ""."""
    if isinstance(document, Mapping) and document:
        for name, value in document.items():
            yield from flat(value, f"{key}.{name}" if key else name)
    elif isinstance(document, list) and document:
        for index, value in enumerate(document):
            yield from flat(value, f"{key}[{index}]")
    elif key:
        yield key, text_of(document)


def text_of(value: Any) -> str:
    """Return a scalar as configuration files write it: true, not True. Null, an empty mapping and an empty list become ""."""
    if isinstance(value, str):
        return value
    return "" if value is None or value in ({}, []) else orjson.dumps(value).decode()
