"""Facts about summaries: what a record holds, its limits, and records that can't be read."""

import attrs
import orjson
import pytest

from vortexd.cluster import summaries
from vortexd.cluster.records import Unusable
from vortexd.core.generation import Generation
from vortexd.core.model import Key
from vortexd.fleet import KeyState

KEY = Key("orders", "prod", "main")
STATE = KeyState(KEY, "v1", 7.5, 10, 5, 2, 3, 1)
ROW = ["orders", "prod", "main", "v1", 7.5, 10, 5, 2, 3, 1]


def part(*rows: object, **members: object) -> bytes:
    return orjson.dumps({"format": 1, "keys": list(rows)} | members)


def test_a_part_holds_the_counts_of_each_key_and_can_be_read_again() -> None:
    other = attrs.evolve(STATE, key=Key("a", "b", "c"), version=None, changed=0.0)
    [made] = summaries.split(summaries.encode([STATE, other]))

    assert made == part(ROW, ["a", "b", "c", None, 0.0, 10, 5, 2, 3, 1])
    assert (STATE, other) == summaries.parse(made)


def test_a_node_without_instances_has_one_part() -> None:
    assert [part()] == summaries.split([])
    assert () == summaries.parse(part())


def test_no_part_is_larger_than_its_limit_and_every_key_is_in_one() -> None:
    states = [attrs.evolve(STATE, key=Key(f"app-{number}", "p" * 100, "main")) for number in range(6_000)]
    parts = summaries.split(summaries.encode(states))

    assert len(parts) == 4
    assert all(summaries.PART_BYTES - 200 < len(each) <= summaries.PART_BYTES for each in parts[:-1])
    assert states == [each for made in parts for each in summaries.parse(made)]


def test_a_part_may_be_exactly_as_large_as_its_limit() -> None:
    room = summaries.PART_BYTES - len(part())
    assert [summaries.PART_BYTES] == list(map(len, summaries.split([b"1" * room])))
    assert [summaries.PART_BYTES] == list(map(len, summaries.split([b"1" * (room - 2), b"2"])))
    assert 2 == len(summaries.split([b"1" * (room - 1), b"2"]))
    with pytest.raises(Unusable, match="longer than 262144 bytes"):
        summaries.parse(part() + b" " * (room + 1))
    assert () == summaries.parse(part() + b" " * room)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "isn't JSON"),
        (part(format=2), "its format is 2"),
        (b'{"keys":[]}', "no format number"),
        (b'{"format":1}', "no list of keys"),
        (part(keys={}), "no list of keys"),
        (part("x"), "ten or eleven items"),
        (part(ROW[:-1]), "ten or eleven items"),
        (part([*ROW, "ab.1", 1]), "ten or eleven items"),
        (part([*ROW, 1]), "a generation isn't a text"),
        (part([1, *ROW[1:]]), "no name"),
        (part(["a", "b", "c" * 2_101, *ROW[3:]]), "no name"),
        (part([*ROW[:3], 1, *ROW[4:]]), "version isn't a text"),
        (part([*ROW[:3], "v" * 65, *ROW[4:]]), "version isn't a text"),
        (part([*ROW[:4], "x", *ROW[5:]]), "isn't a number"),
        (part([*ROW[:4], True, *ROW[5:]]), "isn't a number"),
        (part([*ROW[:4], -1, *ROW[5:]]), "isn't a number"),
        (part([*ROW[:9], 1.5]), "isn't a number"),
        (part([*ROW[:9], -1]), "isn't a number"),
        (part([*ROW[:9], 2**53 + 1]), "too large"),
        (part([*ROW[:5], 6, *ROW[6:]]), "contradict"),
        (part([*ROW[:9], 11]), "contradict"),
    ],
)
def test_other_records_are_unusable(data: bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        summaries.parse(data)


def test_values_at_the_limits_are_read() -> None:
    row = ["a" * 2_100, "b", "c", "v" * 64, 2**53, 7, 5, 2, 2**53, 7]
    [found] = summaries.parse(part(row))

    assert (0, 2**53, 7) == (found.silent, found.gone, found.unlisted)


def test_parts_are_joined_in_the_order_of_keys_and_the_newest_part_counts() -> None:
    first, second = (attrs.evolve(STATE, key=Key(name, "", "")) for name in "ab")
    newer = attrs.evolve(second, connected=99)

    assert (first, newer) == summaries.whole([(second,), (newer, first)])
    assert () == summaries.whole([])


def test_a_part_has_the_generation_of_a_key_if_there_is_one() -> None:
    numbered = attrs.evolve(summaries.parse(part(ROW))[0], generation=Generation("ab", 7))
    [data] = summaries.split(summaries.encode([numbered]))

    assert (numbered,) == summaries.parse(data)
    # A text of another version of vortexd is no generation.
    assert summaries.parse(part([*ROW, "ab-7"]))[0].generation is None
    assert summaries.parse(part(ROW))[0].generation is None
