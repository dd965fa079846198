"""A document as variables of an environment, named as Spring's relaxed binding reads them. Pure.

`database.pool-size` and `hosts[0]` become `DATABASE_POOLSIZE` and `HOSTS_0`: dots and brackets to underscores, dashes away, upper case. The invariant:
a name stands for one key alone, and no key chooses what a program loads or where commands are found.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import orjson

# `a[0][1].b`: one underscore for each bracket and dot between names, none at the end.
_BETWEEN = re.compile(r"\]?[.\[]|\]")
_UNFIT = re.compile(r"[^A-Z0-9_]")
# With these, whoever writes configuration would choose what is run: the loader, shells and interpreters read them before a program's own code.
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
    """What a document is as variables.

    Attributes:
        values: By name.
        collisions: Names that several keys have, with those keys.
        left_out: Keys that no variable may or can be made of.
    """

    values: Mapping[str, str]
    collisions: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]


def variables_of(document: Mapping[str, Any], prefix: str = "") -> Variables:
    """Make variables of a nested document; what collides is in none of them.

    Args:
        prefix: What each name begins with, as it is.
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
    """The name of the variable for a flat key; "" where nothing of the key is left."""
    return _UNFIT.sub("_", _BETWEEN.sub("_", key.removesuffix("]")).replace("-", "").upper())


def flat(document: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The flat keys of a nested document, as Spring has them, with their values as text. What is empty has the value ""."""
    if isinstance(document, Mapping) and document:
        for name, value in document.items():
            yield from flat(value, f"{key}.{name}" if key else name)
    elif isinstance(document, list) and document:
        for index, value in enumerate(document):
            yield from flat(value, f"{key}[{index}]")
    elif key:
        yield key, text_of(document)


def text_of(value: Any) -> str:
    """A scalar as configuration writes it: true and not True; nothing is the empty text, and so are an empty mapping and list."""
    if isinstance(value, str):
        return value
    return "" if value is None or value in ({}, []) else orjson.dumps(value).decode()
