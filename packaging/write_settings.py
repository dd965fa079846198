#!/usr/bin/env python3
"""Writes the settings into vortexd.toml(5): the list of each section, between the comments that mark it.

Usage: python packaging/write_settings.py [--check]. The texts are those of the fields in vortexd/settings and vortexd/source.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from vortexd.core.constraints import text_of
from vortexd.settings.root import SECTIONS, TABLES
from vortexd.settings.sample import literal
from vortexd.source.kinds import KINDS

PAGE = Path(__file__).parent.parent / "man" / "vortexd.toml.5"
# A sentence ends at a full stop that a space follows. No text has an abbreviation in it.
_SENTENCE = re.compile(r"(?<=[.]) ")
_SECTION = re.compile(r'"([^"]+)" in ([a-z.-]+)\((\d)\)')
_PIECE = re.compile(r"(\(?)(`[^`]+`|\b[a-z][a-z.-]*\(\d\))([.,;:)]*)")
_SETTING = re.compile(r"[a-z_]+(?:\.[a-z_]+)?")
_OWN = ("vortexd.toml", "5")


def mdoc(text: str) -> Iterator[str]:
    """Sentences as mdoc(7): one a line, with a macro for each name in backticks and each page."""
    for sentence in _SENTENCE.split(text) if text else ():
        yield from _lines(sentence)


def _lines(sentence: str) -> Iterator[str]:
    found = _SECTION.search(sentence)
    if found:
        yield from _lines(sentence[: found.start()].rstrip())
        rest = sentence[found.end() :]
        mark, rest = rest[:1] if rest[:1] in tuple(".,;:") else "", rest.lstrip(".,;:").strip()
        if found.groups()[1:] == _OWN:
            yield f".Sx {found[1]} {mark}".rstrip()
        else:
            yield f".Sx {found[1]}"
            yield "in"
            yield f".Xr {found[2]} {found[3]} {mark}".rstrip()
        if rest:
            yield from _lines(rest)
        return
    at = 0
    for piece in _PIECE.finditer(sentence):
        yield from _plain(sentence[at : piece.start()])
        opening, name, marks = piece.groups()
        inner = _macro(name)
        if opening and marks.startswith(")"):
            yield f".Pq {inner}" + "".join(f" {mark}" for mark in marks[1:])
        else:
            yield from _plain(opening)
            yield f".{inner}" + "".join(f" {mark}" for mark in marks)
        at = piece.end()
    yield from _plain(sentence[at:])


def _macro(name: str) -> str:
    if not name.startswith("`"):
        page, number = name[:-1].split("(")
        return f"Xr {page} {number}"
    code = name.strip("`")
    if _SETTING.fullmatch(code):
        return f"Ic {code}"
    escaped = code.replace("\\", "\\e").replace('"', "\\(dq")
    return f'Ql "{escaped}"' if " " in escaped else f"Ql {escaped}"


def _plain(text: str) -> Iterator[str]:
    text = text.strip()
    if text:
        yield ("\\&" if text[0] in ".'" else "") + text.replace("\\", "\\e")


def listed(section: type) -> Iterator[str]:
    """The settings of a section as a list."""
    yield ".Bl -tag -width Ds"
    for field in attrs.fields(section):
        text = text_of(field)
        yield f".It Ic {field.name}"
        yield from mdoc(text.doc)
        yield from mdoc(text.more)
        ends = "restart" if text.restart else "reload"
        yield f"Required; {ends}." if text.example else f"Default: {literal(field)}; {ends}."
    yield ".El"


def parts() -> Iterator[tuple[str, Iterator[str]]]:
    """The name of each marked part, and its lines."""
    for name, section in {**SECTIONS, **TABLES}.items():
        yield name, listed(section)
    for name, kind in KINDS.items():
        yield f"source {name}", listed(kind)


def written(page: str) -> str:
    """The page with its marked parts written anew."""
    for name, lines in parts():
        begin, end = f'.\\" Written by write_settings.py: {name}\n', f'.\\" End of {name}\n'
        if page.count(begin) != 1 or page.count(end) != 1:
            raise SystemExit(f"{PAGE.name} has no part {name}")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = before + begin + "\n".join(lines) + "\n" + end + after
    return page


if __name__ == "__main__":
    page = PAGE.read_text()
    if "--check" in sys.argv[1:]:
        sys.exit(written(page) != page)
    PAGE.write_text(written(page))
