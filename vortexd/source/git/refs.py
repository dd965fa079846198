"""Branches and tags by their full names, as git lists them: those of a mirror, and those that a remote advertises. Pure.

Names are a stranger's bytes. They are kept as they are, for a fetch has to repeat them; `names` decides which of them are labels.
"""

import re
from collections.abc import Mapping

import attrs

BRANCH, TAG = "refs/heads/", "refs/tags/"
_HEAD = "HEAD"
_SYMBOLIC = "ref: "
# What git-check-ref-format(1) refuses. `git fetch` passes over such names, but fails where one stands in a refspec.
_FUNNY = re.compile(r"[\0-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[./]$")


@attrs.frozen
class Ref:
    """A branch or tag: its full name and the object it points to."""

    name: str
    id: str


@attrs.frozen
class Advertised:
    """What a remote says that it has.

    Attributes:
        refs: Its branches and tags by full name.
        head: The full name of the branch that its HEAD stands for, though there may be no such branch; "" where it doesn't say.
    """

    refs: Mapping[str, Ref]
    head: str


def parse_refs(listed: bytes) -> dict[str, Ref]:
    """The lines of `for-each-ref` with `%(objectname) %(refname)`."""
    lines = (line.partition(" ") for line in decoded(listed).split("\n"))
    return {name: Ref(name, id) for id, _, name in lines if name}


def parse_advertised(listed: bytes) -> Advertised:
    """The lines of `ls-remote --symref`. Names that git doesn't fetch are left out."""
    refs: dict[str, Ref] = {}
    head = ""
    for line in decoded(listed).split("\n"):
        value, _, name = line.partition("\t")
        if name == _HEAD and value.startswith(_SYMBOLIC + BRANCH):
            head = value.removeprefix(_SYMBOLIC)
        elif name.startswith((BRANCH, TAG)) and not _FUNNY.search(name):
            refs[name] = Ref(name, value)
    return Advertised(refs, head)


def decoded(text: bytes) -> str:
    """Names as text, whatever bytes they are; `encoded` gives them back."""
    return text.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The bytes of `decoded`."""
    return text.encode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """A name of a ref as a log may have it."""
    return "".join(each if each.isprintable() else "?" for each in name)[:200]
