"""Records of instances as a file: what is written is read again, and a file is read as a whole or not at all."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.model import Key
from vortexd.fleet import Ack, Record, make_ack
from vortexd.fleet.records import FORMAT, Unreadable, encode, parse

KEY = Key("orders", "prod", "main")
ACK = Ack("v1", "applied", None, 1_000.5)
ROW = ["orders", "prod", "main", "one", "id1", None]

TIMES = st.floats(0, 253_402_300_799)
TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=128)
ACKS = st.builds(
    make_ack,
    st.text(max_size=70),
    st.sampled_from(["applied", "rejected"]),
    st.one_of(st.none(), st.text(max_size=300)),
    TIMES,
)
RECORDS = st.builds(
    Record,
    st.builds(Key, TEXT, TEXT, TEXT),
    TEXT,
    TEXT,
    st.one_of(st.none(), ACKS),
    st.one_of(st.none(), TIMES),
)


@given(st.lists(RECORDS, max_size=10))
def test_what_is_written_is_read_again(records: list[Record]) -> None:
    data, left_out = encode(records)

    assert (records, 0) == (parse(data), left_out)


def test_a_file_has_a_format_number_and_an_instance_is_a_short_list() -> None:
    data, _ = encode([Record(KEY, "one", "id1", None, None), Record(KEY, "two", "id2", ACK, 5.0)])

    assert {
        "format": 1,
        "instances": [ROW, ["orders", "prod", "main", "two", "id2", 5.0, "v1", "applied", None, 1_000.5]],
    } == orjson.loads(data)


def test_a_file_is_bounded_and_the_first_records_are_in_it() -> None:
    records = [Record(KEY, name, f"id-{name}", None, None) for name in ("a", "bbbbbbbbbb", "c")]
    two, _ = encode(records[:2])

    assert (two, 1) == encode(records, len(two))
    # Nothing after the first one that has no room is in it, even if it is shorter.
    assert (records[:1], 2) == (parse(encode(records, len(two) - 1)[0]), encode(records, len(two) - 1)[1])
    assert ([], 3) == (parse(encode(records, 10)[0]), encode(records, 10)[1])


def test_equal_texts_and_keys_are_shared() -> None:
    data, _ = encode([Record(KEY, name, name, make_ack("version", "applied", None, 1.0), None) for name in "ab"])
    first, second = parse(data)

    assert first.ack is not None
    assert second.ack is not None
    assert first.ack.version is second.ack.version
    assert first.key is second.key


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it isn't JSON"),
        (b"\x00" * 100, "it isn't JSON"),
        (b'{"format":1,"instances":[["orders","pr', "it isn't JSON"),
        (b"[]", "it has no format number"),
        (b'{"instances":[]}', "it has no format number"),
        (b'{"format":true,"instances":[]}', "it has no format number"),
        (b'{"format":"1","instances":[]}', "it has no format number"),
        (b'{"format":0,"instances":[]}', "it has format 0, but this version only reads format 1"),
        (b'{"format":2,"instances":[]}', "it has format 2, but this version only reads format 1"),
        (b'{"format":1}', "it has no list of instances"),
        (b'{"format":1,"instances":{}}', "it has no list of instances"),
    ],
)
def test_a_file_that_is_garbage_or_newer_says_why_it_is_not_read(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(data)

    assert reason == str(caught.value)


def changed(place: int, value: object, *more: object) -> list[Any]:
    row: list[object] = [*ROW, *more]
    row[place] = value
    return row


ACKED = ("v1", "applied", None, 5.0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "an instance isn't a list of 6 or 10 items"),
        (ROW[:5], "an instance isn't a list of 6 or 10 items"),
        ([*ROW, "v1"], "an instance isn't a list of 6 or 10 items"),
        ([*ROW, *ACKED, 1], "an instance isn't a list of 6 or 10 items"),
        *((changed(place, value), "a key has no name") for place in (0, 1, 2) for value in (1, "", "x" * 2_101)),
        *((changed(place, value), "an instance has no name") for place in (3, 4) for value in (1, "", "x" * 257)),
        (changed(3, "a\x1b[2J"), "an instance has no name"),
        *((changed(5, value), "a time can't be read") for value in ("1", True, -1, 253_402_300_800)),
        *((changed(9, value, *ACKED), "a time can't be read") for value in (None, "1", True, -1, 253_402_300_800)),
        (changed(6, 1, *ACKED), "an acknowledgement can't be read"),
        (changed(7, "silent", *ACKED), "an acknowledgement can't be read"),
        (changed(8, 1, *ACKED), "an acknowledgement can't be read"),
    ],
)
def test_one_record_that_cannot_be_read_makes_the_whole_file_unreadable(row: object, reason: str) -> None:
    data = orjson.dumps({"format": FORMAT, "instances": [ROW, row]})
    with pytest.raises(Unreadable) as caught:
        parse(data)

    assert reason == str(caught.value)


@pytest.mark.parametrize("row", [changed(0, "x" * 2_100), changed(3, "x" * 256), changed(5, 253_402_300_799)])
def test_the_longest_names_and_the_last_time_are_read(row: list[Any]) -> None:
    assert 1 == len(parse(orjson.dumps({"format": FORMAT, "instances": [row]})))


def test_members_that_a_later_version_adds_are_ignored() -> None:
    assert [] == parse(b'{"format":1,"instances":[],"more":1}')
