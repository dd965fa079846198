"""Parses git's lists of branches and tags by their full names: those of a mirror, and those that a remote advertises.

Pure.

Strangers choose the names, so they may be any bytes. They are kept unchanged, because a fetch must repeat them.
`labels` decides which of them are labels.
"""

import re
from collections.abc import Mapping

import attrs

BRANCH, TAG = "refs/heads/", "refs/tags/"
_HEAD = "HEAD"
_SYMBOLIC = "ref: "
# The names that git-check-ref-format(1) refuses. `git fetch` skips such names, but fails if a refspec contains one.
_FUNNY = re.compile(r"[\0-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[./]$")


@attrs.frozen
class Ref:
    """A branch or tag: its full name and the object it points to."""

    name: str
    id: str


@attrs.frozen
class Advertised:
    """The refs that a remote advertises.

    Attributes:
        refs: Its branches and tags by full name.
        head: The full name of the branch that its HEAD points to; there may be no such branch. "" if the remote doesn't
            say.
    """

    refs: Mapping[str, Ref]
    head: str


def parse_refs(listed: bytes) -> dict[str, Ref]:
    """Parse the lines of `for-each-ref` with `%(objectname) %(refname)`."""
    lines = (line.partition(" ") for line in decoded(listed).split("\n"))
    return {name: Ref(name, id) for id, _, name in lines if name}


def parse_advertised(listed: bytes) -> Advertised:
    """Parse the lines of `ls-remote --symref`. Names that git doesn't fetch are left out."""
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
    """Decode names of any bytes as text. `encoded` reverses it."""
    return text.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """Return the bytes that `decoded` has decoded."""
    return text.encode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """Return the name of a ref in a form that is safe in logs."""
    return "".join(each if each.isprintable() else "?" for each in name)[:200]
