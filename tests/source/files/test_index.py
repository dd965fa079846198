"""The index: what is written is read again, a former format too, and anything else is refused."""

import json
from typing import Any

import pytest

from vortexd.source.files.index import FORMAT, Entry, Index, encode, parse

DIGEST, NAME = "0" * 64, "a" * 32
ENTRIES = {"a.yml": Entry(DIGEST), "b.yml": Entry("", 7.5)}


@pytest.mark.parametrize("index", [Index(ENTRIES, NAME, "b" * 32), Index(ENTRIES), Index({}, NAME, "")])
def test_what_is_written_is_read_again(index: Index) -> None:
    assert index == parse(encode("file:/c/", index), "file:/c/")


def test_the_format_before_had_no_journal() -> None:
    files = {"a.yml": {"sha256": DIGEST, "broken_since": None}}
    former = json.dumps({"format": 1, "root": "file:/c/", "files": files}).encode()

    assert Index({"a.yml": Entry(DIGEST)}) == parse(former, "file:/c/")


def test_an_older_version_sees_that_it_cannot_read_this_format() -> None:
    assert 2 == FORMAT == json.loads(encode("file:/c/", Index(ENTRIES, NAME)))["format"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"format": FORMAT + 1}, f"it has format {FORMAT + 1}, but"),
        ({"format": 0}, "it has format 0, but"),
        ({"format": "2"}, "it isn't an index"),
        ({"root": "file:/d/"}, "another source"),
        ({"files": []}, "another source"),
        ({"files": {"a.yml": []}}, "an entry can't be read"),
        ({"files": {"a.yml": {"sha256": DIGEST + "0", "broken_since": None}}}, "an entry can't be read"),
        ({"files": {"a.yml": {"sha256": "", "broken_since": "1"}}}, "an entry can't be read"),
        ({"journal": "../" + NAME}, "the name of its journal"),
        ({"journal": NAME + "a"}, "the name of its journal"),
        ({"journal": None}, "the name of its journal"),
        ({"former": "../" + NAME}, "the name of its journal"),
        ({"former": NAME + "a"}, "the name of its journal"),
        ({"former": 1}, "the name of its journal"),
    ],
)
def test_anything_else_is_refused(changed: dict[str, Any], reason: str) -> None:
    content = json.loads(encode("file:/c/", Index(ENTRIES, NAME))) | changed
    with pytest.raises(ValueError, match=reason):
        parse(json.dumps(content).encode(), "file:/c/")
