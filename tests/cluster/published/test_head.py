"""Facts about the entries and records of published states: their names, their limits, and what is refused."""

from typing import Any

import orjson
import pytest

from vortexd.cluster.keys import Keys
from vortexd.cluster.published.head import (
    FORMAT,
    MOST_CHUNKS,
    RECORD_BYTES,
    Announcement,
    Head,
    Newer,
    Places,
    check_format,
    loose_chunks,
    loose_record,
)
from vortexd.cluster.records import LONGEST_TEXT, Unusable

PLACES = Places("shop")
A, B, C = ("a" * 64, "b" * 64, "c" * 64)
SAID = Announcement(3, A, 1.5, "node-1")
HEAD = Head(SAID, (B,), (C,))


def changed(**members: Any) -> bytes:
    return orjson.dumps(orjson.loads(HEAD.encoded()) | members)


def test_the_entries_are_beside_those_of_the_cluster_and_not_below_them() -> None:
    assert "/vortexd-published/shop/" == PLACES.prefix
    names = [PLACES.head, PLACES.loose, PLACES.version(1), PLACES.chunk(A)]
    assert all(each.startswith(PLACES.prefix) for each in names)
    assert not PLACES.prefix.startswith(Keys("shop").prefix)
    assert not PLACES.versions.startswith(PLACES.head)
    assert Keys("shop").published == "/vortexd/shop/published"


def test_versions_sort_by_their_numbers_and_other_entries_have_none() -> None:
    assert PLACES.version(9) < PLACES.version(10) < PLACES.version(10**15)
    assert 10 == PLACES.number_of(PLACES.version(10))
    for key in ("10", "x" * 16, "0" * 17, "-" + "0" * 15, "٠" * 16):
        assert 0 == PLACES.number_of(PLACES.versions + key)


def test_records_come_back_as_they_were() -> None:
    assert HEAD == Head.parse(HEAD.encoded())
    assert SAID == Announcement.parse(SAID.encoded())
    # An announcement is a part of a head.
    assert SAID == Announcement.parse(HEAD.encoded())
    assert (A, B) == loose_chunks(loose_record([A, B]))
    assert {B, C} == HEAD.names


@pytest.mark.parametrize(
    "members",
    [
        {"number": 0},
        {"number": True},
        {"number": "1"},
        {"number": 10**16},
        {"id": "x"},
        {"id": A.upper()},
        {"id": None},
        {"at": None},
        {"at": True},
        {"at": -1},
        {"at": 253_402_300_800},
        {"by": None},
        {"by": "a\nb"},
        {"by": "x" * (LONGEST_TEXT + 1)},
        {"manifest": []},
        {"manifest": B},
        {"manifest": [7]},
        {"chunks": None},
        {"chunks": ["x"]},
        {"chunks": [B] * MOST_CHUNKS},
        {"chunks": [B] * (MOST_CHUNKS + 1)},
        {"format": "1"},
        {"format": None},
        {"format": 0},
        {"format": True},
    ],
)
def test_a_head_with_a_wrong_member_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(Unusable) as caught:
        Head.parse(changed(**members))
    assert not isinstance(caught.value, Newer)


@pytest.mark.parametrize(
    "members",
    [
        {"number": 10**16 - 1},
        {"at": 0},
        {"at": 253_402_300_799},
        {"by": "x" * LONGEST_TEXT},
        {"chunks": [B] * (MOST_CHUNKS - 1)},
        {"chunks": []},
        {"more": 1},
    ],
)
def test_a_head_may_go_up_to_its_limits(members: dict[str, Any]) -> None:
    assert Head.parse(changed(**members))


def test_the_largest_records_are_within_the_limit() -> None:
    largest = Head(Announcement(10**15, A, 1e9, "x" * 64), (A,), (B,) * (MOST_CHUNKS - 1)).encoded()
    assert len(largest) <= RECORD_BYTES
    assert Head.parse(largest)
    assert loose_chunks(loose_record([A] * MOST_CHUNKS))


@pytest.mark.parametrize("data", [b"", b"{", b"7", b"[]", b"\xff"])
def test_garbage_is_refused(data: bytes) -> None:
    for parse in (Head.parse, Announcement.parse, loose_chunks):
        with pytest.raises(Unusable):
            parse(data)


def test_a_record_that_is_too_long_is_not_parsed() -> None:
    Head.parse(HEAD.encoded().ljust(RECORD_BYTES))
    with pytest.raises(Unusable, match="longer than 400000 bytes"):
        Head.parse(HEAD.encoded().ljust(RECORD_BYTES + 1))


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(Newer, match="a newer vortexd wrote it"):
        Head.parse(changed(format=FORMAT + 1))
    for each in range(1, FORMAT + 1):
        check_format({"format": each})


# Format 2, in which the manifest alone names the chunks.

NEWER = Head(SAID, (B, C))


def test_a_head_of_format_2_names_the_root_alone() -> None:
    assert NEWER == Head.parse(NEWER.encoded())
    assert orjson.loads(NEWER.encoded()) == {
        "format": 2,
        "number": 3,
        "id": A,
        "at": 1.5,
        "by": "node-1",
        "manifest": [B, C],
    }
    assert {B, C} == NEWER.names
    assert Head(SAID, (), ()).names == Head(SAID, ()).names == set()


def test_a_head_of_format_1_stays_one() -> None:
    assert orjson.loads(HEAD.encoded())["format"] == 1
    assert Head(SAID, (B,), ()) == Head.parse(Head(SAID, (B,), ()).encoded())


@pytest.mark.parametrize("manifest", [None, [], [7], B, [B] * (MOST_CHUNKS + 1)])
def test_a_head_of_format_2_with_a_wrong_root_is_refused(manifest: object) -> None:
    with pytest.raises(Unusable):
        Head.parse(changed(format=2, manifest=manifest, chunks=None))


def test_the_announcement_and_the_loose_chunks_keep_their_format() -> None:
    """So nodes of former versions show the newest version."""
    assert orjson.loads(SAID.encoded())["format"] == orjson.loads(loose_record([A]))["format"] == 1
