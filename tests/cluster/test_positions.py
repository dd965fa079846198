"""Facts about positions: what identifies content, how places compare, and the records that number them."""

from typing import Any

import orjson
import pytest

from vortexd.cluster.positions import (
    MOST_PUBLICATIONS,
    RECORD_BYTES,
    EpochRecord,
    LabelRecord,
    Numbered,
    Position,
    Relation,
    are_alike,
    numbered_next,
    position_of,
    related,
    related_places,
)
from vortexd.cluster.records import Newer, Unusable
from vortexd.core.generation import HIGHEST_NUMBER
from vortexd.core.model import Files, Origin

A, B = "a" * 40, "b" * 40


def files(commit: str | None = None, position: str | None = None, root: str = "git:/", **members: Any) -> Files:
    origin = None if commit is None else Origin(commit, "Ann", "2026-01-01T00:00:00Z")
    return Files({}, root=root, origin=origin, position=position, **members)


# From files to positions.


def test_the_commits_of_all_layers_are_the_position() -> None:
    found = position_of("main", files(A, others=(files(B, root="other:/"), files(position="7", root="etcd:/"))))

    assert found is not None
    assert ((A, B, "7"), ("git:/", "other:/", "etcd:/")) == (found.places, found.roots)


def test_a_position_of_its_own_counts_more_than_a_commit() -> None:
    found = position_of("main", files(A, position="7"))

    assert found is not None
    assert ("7",) == found.places


def test_content_without_a_place_has_no_position_unless_a_number_gives_it_one() -> None:
    mixed = files(A, others=(files(root="file:/"),))

    assert position_of("main", mixed) is None
    found = position_of("main", mixed, 3)
    assert found is not None
    assert (A, "3") == found.places


def test_too_many_layers_have_no_position() -> None:
    assert position_of("main", files(A, others=(files(A),) * 63)) is not None
    assert position_of("main", files(A, others=(files(A),) * 64)) is None


def test_the_name_tells_labels_and_sources_apart_and_nothing_else() -> None:
    def name(label: str, each: Files) -> str:
        found = position_of(label, each)
        assert found is not None
        return found.name

    first = name("main", files(A))
    assert first == name("main", files(B))
    assert len(first) == 32
    others = [
        name("old", files(A)),
        name("main", files(A, root="other:/")),
        name("main", files(A, locations=("", "sub/"))),
        name("main", files(A, applications=("billing",))),
        name("main", files(A, group=1)),
        name("main", files(A, others=(files(A),))),
        name("main\udcff", files(A)),
    ]
    assert len({first, *others}) == 8


# How places compare.


@pytest.mark.parametrize(
    ("place", "other", "relation"),
    [
        (A, A, Relation.SAME),
        (A, B, None),
        ("8", "7", Relation.NEWER),
        ("7", "8", Relation.BEHIND),
        ("10", "9", Relation.NEWER),
        ("10", "10", Relation.SAME),
        # With digests, the same content is the same place.
        ("9-ab", "7-ab", Relation.SAME),
        ("9-ab", "7-cd", Relation.NEWER),
        ("7-ab", "9-cd", Relation.BEHIND),
        ("7-ab", "9", Relation.BEHIND),
        (A, "9", None),
        ("9" * 20, "8", None),
        ("x-ab", "y-ab", None),
    ],
)
def test_the_relation_of_two_places(place: str, other: str, relation: Relation | None) -> None:
    assert relation == related_places(place, other)


def test_the_relation_of_several_layers() -> None:
    same, newer, behind, apart, unknown = Relation

    assert same == related([]) == related([same, same])
    assert newer == related([same, newer, newer])
    assert behind == related([behind, same])
    assert apart == related([newer, behind]) == related([apart, same])
    assert unknown == related([newer, unknown]) == related([apart, unknown])


def test_lists_of_places_are_alike_if_their_contents_are() -> None:
    assert are_alike([A, "9-ab"], [A, "7-ab"])
    assert not are_alike([A, "9-ab"], [A, "9-cd"])
    assert not are_alike([A], [A, A])
    assert not are_alike(["7"], ["8"])


# Records.

RECORD = LabelRecord("ab", "main", 10.5, (Numbered(7, (B, "9-ab")), Numbered(5, (A, "8-cd"))))
POSITION = Position("n", ("git:/", "etcd:/"), (B, "12-ab"))


def test_a_record_is_read_as_it_was_written() -> None:
    assert RECORD == LabelRecord.parse(RECORD.encoded())
    assert EpochRecord("ab", "s") == EpochRecord.parse(EpochRecord("ab", "s").encoded())


def test_the_number_of_places() -> None:
    assert 7 == RECORD.newest.number == RECORD.number((B, "9-ab")) == RECORD.number((B, "100-ab"))
    assert 5 == RECORD.number((A, "8-cd"))
    assert RECORD.number((A, "9-ab")) is None


def test_the_newest_number_of_content_that_was_published_twice_counts() -> None:
    twice = LabelRecord("ab", "main", 1.0, (Numbered(9, (A,)), Numbered(7, (B,)), Numbered(5, (A,))))

    assert 9 == twice.number((A,))


def test_the_next_number_is_higher_than_the_last_one_and_at_least_the_time() -> None:
    assert [8, 7] == [each.number for each in numbered_next(RECORD, "ab", "main", POSITION, 5.0).publications][:2]
    assert 1_000 == numbered_next(RECORD, "ab", "main", POSITION, 1_000.9).newest.number
    assert 8 == numbered_next(RECORD, "ab", "main", POSITION, 7.0).newest.number
    first = numbered_next(None, "ab", "main", POSITION, 0.2)
    assert LabelRecord("ab", "main", 0.2, (Numbered(1, POSITION.places),)) == first


def test_a_record_lists_the_newest_publications_within_its_bounds() -> None:
    record = None
    for _ in range(MOST_PUBLICATIONS + 5):
        record = numbered_next(record, "ab", "main", POSITION, 0.0)
    assert record is not None
    assert [*range(MOST_PUBLICATIONS + 5, 5, -1)] == [each.number for each in record.publications]

    large = Position("n", ("r",) * 64, ("p" * 500,) * 64)
    for _ in range(5):
        record = numbered_next(record, "ab", "main", large, 0.0)
    assert len(record.encoded()) <= RECORD_BYTES
    assert [MOST_PUBLICATIONS + 10, MOST_PUBLICATIONS + 9] == [each.number for each in record.publications]
    assert record == LabelRecord.parse(record.encoded())


GOOD: dict[str, Any] = {"format": 1, "epoch": "ab", "label": "main", "at": 1, "publications": [[7, [A]], [5, [B]]]}


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": ""},
        {"epoch": "a" * 33},
        {"epoch": "xy"},
        {"epoch": 7},
        {"label": None},
        {"at": "now"},
        {"publications": []},
        {"publications": {}},
        {"publications": [[7, [A]]] * 2},
        {"publications": [[5, [A]], [7, [A]]]},
        {"publications": [[number, [A]] for number in range(MOST_PUBLICATIONS + 1, 0, -1)]},
        {"publications": [[0, [A]]]},
        {"publications": [[HIGHEST_NUMBER + 1, [A]]]},
        {"publications": [[True, [A]]]},
        {"publications": [[7, []]]},
        {"publications": [[7, [""]]]},
        {"publications": [[7, ["p" * 513]]]},
        {"publications": [[7, [A] * 65]]},
        {"publications": [[7, [1]]]},
        {"publications": [[7]]},
        {"publications": [7]},
    ],
)
def test_a_record_that_contradicts_itself_is_unusable(changed: dict[str, Any]) -> None:
    assert LabelRecord.parse(orjson.dumps(GOOD)).newest.number == 7
    with pytest.raises(Unusable):
        LabelRecord.parse(orjson.dumps(GOOD | changed))


@pytest.mark.parametrize("changed", [{"epoch": "g"}, {"epoch": None}, {"store": 7}, {"store": "s" * 513}])
def test_an_epoch_that_contradicts_itself_is_unusable(changed: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        EpochRecord.parse(orjson.dumps({"format": 1, "epoch": "ab", "store": "s"} | changed))


def test_a_newer_format_is_told_apart_from_garbage() -> None:
    with pytest.raises(Newer):
        LabelRecord.parse(orjson.dumps(GOOD | {"format": 2}))
    with pytest.raises(Newer):
        EpochRecord.parse(orjson.dumps({"format": 2}))
    with pytest.raises(Unusable) as caught:
        LabelRecord.parse(orjson.dumps(GOOD | {"format": 0}))
    assert not isinstance(caught.value, Newer)
