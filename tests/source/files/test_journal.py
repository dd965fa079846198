"""The journal: records are appended whole, read in their order, and refused if they are damaged."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from vortexd.source.files import journal as module
from vortexd.source.files.index import Entry, Index
from vortexd.source.files.journal import Change, Records, append, change_between, read, record, records
from vortexd.source.files.kept_versions import Added, Step, Version

A, B = Entry("a" * 64), Entry("b" * 64, 5.0)
ADDED = Added(Version("1" * 40, "t", {"a.yml": "c" * 64, "b.yml": None}), {"c" * 64: 7})
FIRST = Change({"a.yml": A, "b.yml": A}, ["gone.yml"], {"a" * 64: b"\xff\n"}, ADDED)
SECOND = Change({"b.yml": B}, ["a.yml", "never.yml"], {"b" * 64: b""})


def test_the_changes_follow_the_index_in_their_order() -> None:
    index = Index({"gone.yml": B, "stays.yml": B}, "j")
    none, first, both = records(b""), records(record(FIRST)), records(record(FIRST) + record(SECOND))

    assert (dict(index.entries), {}) == (none.entries(index), none.contents)
    assert {"stays.yml": B, "a.yml": A, "b.yml": A} == first.entries(index)
    assert {"a" * 64: b"\xff\n"} == first.contents
    assert {"stays.yml": B, "b.yml": B} == both.entries(index)
    assert {"a" * 64: b"\xff\n", "b" * 64: b""} == both.contents
    assert {"gone.yml", "stays.yml"} == index.entries.keys()


def test_what_is_recorded_is_read_again() -> None:
    both = record(FIRST) + record(SECOND)

    assert Records([FIRST, SECOND], len(both)) == records(both)
    assert 2 == both.count(b"\n")
    assert Step({"a.yml": A.digest, "b.yml": A.digest}, ["gone.yml"], ADDED) == FIRST.step


def test_a_last_line_that_is_incomplete_is_ignored_wherever_it_ends() -> None:
    first, second = record(FIRST), record(SECOND)
    for end in range(len(second)):
        assert Records([FIRST], len(first) + end) == records(first + second[:end])


def damaged(line: bytes) -> bytes:
    return line.replace(b"gone.yml", b"gine.yml")


def signed(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"


@pytest.mark.parametrize("line", [damaged(record(FIRST)), b"\n", b"\0\0\n", b"\n\0\n", record(FIRST)[1:]])
def test_garbage_is_ignored_at_the_end_and_refused_before_a_record(line: bytes) -> None:
    assert Records([FIRST], len(record(FIRST) + line), True) == records(record(FIRST) + line)
    assert Records([], len(line), True) == records(line)
    for journal in (line + record(FIRST), record(SECOND) + line + record(FIRST)):
        with pytest.raises(ValueError, match="a record is damaged"):
            records(journal)


def altered(**more: object) -> bytes:
    return signed(json.dumps(json.loads(record(FIRST).partition(b" ")[2]) | more).encode())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (signed(b"[]"), "a record can't be read"),
        (signed(b"{}"), "a record can't be read"),
        (signed(b'{"removed":[],"files":{},"contents":{}}'), "a record can't be read"),
        (altered(files=[]), "a record can't be read"),
        (altered(files={"a": 1}), "an entry can't be read"),
        (altered(removed=1), "a record can't be read"),
        (altered(contents=[]), "a record can't be read"),
        (altered(contents={"a": "b"}), "base64"),
        (altered(contents={"a": 1}), "a record can't be read"),
        (altered(version={}), "a version can't be read"),
        (altered(version=1), "a version can't be read"),
        (signed(b"{"), "unexpected end"),
    ],
)
def test_a_complete_line_that_is_no_record_is_refused(line: bytes, reason: str) -> None:
    for journal in (line, record(FIRST) + line, line + record(FIRST)):
        with pytest.raises(ValueError, match=reason):
            records(journal)


def test_a_change_has_only_what_differs() -> None:
    before = {"same.yml": A, "changed.yml": A, "gone.yml": A, "also.yml": B}
    change = change_between(before, {"same.yml": Entry(A.digest), "changed.yml": B, "new.yml": A}, {"b" * 64: b"b"})

    assert Change({"changed.yml": B, "new.yml": A}, ["also.yml", "gone.yml"], {"b" * 64: b"b"}) == change
    assert change_between(before, dict(before), {}).is_empty
    for each in (Change({"a": A}, [], {}), Change({}, ["a"], {}), Change({}, [], {"a" * 64: b""})):
        assert not each.is_empty
    assert ADDED == change_between({}, {}, {}, ADDED).added
    assert not change_between({}, {}, {}, ADDED).is_empty


class Indexes:
    """Returns one index after the other, and does something before each."""

    def __init__(self, *names: str, then: Any = lambda number: None) -> None:
        self.names = names
        self.then = then
        self.readings = 0

    def read(self) -> Index:
        self.then(self.readings)
        self.readings += 1
        return Index({}, self.names[min(self.readings, len(self.names)) - 1])


def test_an_index_is_read_with_its_journal(tmp_path: Path) -> None:
    append(tmp_path / "changes-one", record(FIRST))

    assert (Index({}, "one"), records(record(FIRST))) == read(Indexes("one").read, tmp_path, len(record(FIRST)))
    assert (Index({}, ""), Records()) == read(Indexes("").read, tmp_path, 100)
    assert (Index({}, "two"), Records()) == read(Indexes("two").read, tmp_path, 100)


def test_a_journal_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    append(tmp_path / "changes-one", record(FIRST))
    with pytest.raises(OSError, match="larger than"):
        read(Indexes("one").read, tmp_path, len(record(FIRST)) - 1)


def test_if_the_index_is_replaced_meanwhile_it_is_read_again(tmp_path: Path) -> None:
    def begin(number: int) -> None:
        if number == 2:
            append(tmp_path / "changes-three", record(FIRST))

    indexes = Indexes("one", "two", "three", then=begin)

    assert (Index({}, "three"), records(record(FIRST))) == read(indexes.read, tmp_path, 10_000)
    assert (Index({}, ""), Records()) == read(Indexes("one", "").read, tmp_path, 10_000)


def test_an_index_that_is_replaced_all_the_time_is_not_read_for_ever_and_never_without_its_journal(
    tmp_path: Path,
) -> None:
    indexes = Indexes("1", "2", "3", "4", "5")
    with pytest.raises(OSError, match="it was replaced during each reading"):
        read(indexes.read, tmp_path, 100)

    assert 1 + module.READS == indexes.readings


def test_records_are_appended_and_only_vortexds_user_can_read_them(tmp_path: Path) -> None:
    file = tmp_path / "changes-1"
    append(file, record(FIRST))
    append(file, record(SECOND))

    assert record(FIRST) + record(SECOND) == file.read_bytes()
    assert 0o600 == file.stat().st_mode & 0o777


def test_a_record_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    append(tmp_path / "changes-1", b"12345\n")

    assert [6] == sizes


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:4]))
    append(tmp_path / "changes-1", b"1234567890\n")

    assert b"1234567890\n" == (tmp_path / "changes-1").read_bytes()


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_record_that_cannot_be_written_leaves_the_journal_as_it_was_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = tmp_path / "changes-1"
    append(file, b"before\n")
    write = os.write

    def full(descriptor: int, *data: Any) -> None:
        if data:
            write(descriptor, b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    descriptors = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, call, full)
        append(file, b"record\n")

    assert b"before\n" == file.read_bytes()
    assert descriptors == os.listdir("/proc/self/fd")


def test_a_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "changes-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        append(tmp_path / "changes-1", b"record\n")

    assert not (tmp_path / "elsewhere").exists()
