"""Kept versions as values: their states, their limits, and their index."""

from collections.abc import Sequence

import attrs
import orjson
import pytest

from vortexd.source.files.kept_versions import Added, Kept, Step, Version, added_of, commits_of, decoded, encoded, shown

IDS = ["a" * 40, "b" * 40, "c" * 40]
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64


def kept() -> Kept:
    """In the newest version, y.yml was added. In the one before, x.yml was changed, and z.yml was deleted."""
    versions = [
        Version(IDS[0], "t3", {"y.yml": None}),
        Version(IDS[1], "t2", {"x.yml": ONE, "z.yml": THREE}),
        Version(IDS[2], "t1", {}),
    ]
    return Kept({"x.yml": TWO, "y.yml": ONE}, versions, {ONE: 10, THREE: 5})


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        (IDS[0], {"x.yml": TWO, "y.yml": ONE}),
        (IDS[1], {"x.yml": TWO}),
        (IDS[2], {"x.yml": ONE, "z.yml": THREE}),
        ("d" * 40, None),
    ],
)
def test_the_state_of_a_version_follows_from_the_newer_ones(id: str, expected: dict[str, str] | None) -> None:
    assert expected == kept().at(id)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((3, 3, 15), IDS),
        ((2, 3, 15), IDS[:2]),
        ((1, 3, 15), IDS[:1]),
        ((3, 2, 15), IDS[:2]),
        ((3, 3, 14), IDS[:2]),
        ((3, 0, 15), IDS[:1]),
    ],
)
def test_the_oldest_versions_are_dropped_and_the_state_before_the_last_is_unknown(
    limits: tuple[int, int, int], expected: Sequence[str]
) -> None:
    found = kept().bounded(*limits)

    assert expected == [each.id for each in found.versions]
    assert {} == found.versions[-1].before
    named = {digest for each in found.versions for digest in each.before.values() if digest is not None}
    assert named == {*found.sizes}
    assert kept().files == found.files


def test_a_content_that_is_missing_is_where_the_history_begins() -> None:
    for digest in (ONE, THREE):
        sizes = {each: size for each, size in kept().sizes.items() if each != digest}
        found = attrs.evolve(kept(), sizes=sizes).bounded(9, 9, 99)
        assert IDS[:2] == [each.id for each in found.versions]
        assert {} == found.versions[-1].before
        assert {} == found.sizes


def test_bounds_leave_the_name_of_the_journal() -> None:
    assert "j" == attrs.evolve(kept(), journal="j").bounded(3, 3, 15).journal


NEW = Added(Version("d" * 40, "t4", {"x.yml": TWO, "y.yml": ONE, "w.yml": None}), {TWO: 7, ONE: 10})


def test_records_add_versions_and_change_the_newest_state() -> None:
    last = Added(Version("e" * 40, "t5", {"w.yml": THREE}), {THREE: 5})
    steps = [
        Step({"x.yml": ONE, "w.yml": THREE}, ["y.yml", "never.yml"], NEW),
        Step({"x.yml": ONE}, [], None),
        Step({}, ["w.yml"], last),
    ]
    before = attrs.evolve(kept(), journal="j")
    found = before.continued(steps)

    assert {"x.yml": ONE} == found.files
    assert [last.version, NEW.version, *kept().versions] == found.versions
    assert {ONE: 10, TWO: 7, THREE: 5} == found.sizes
    assert "j" == found.journal
    assert (kept().files, kept().sizes) == (before.files, before.sizes)
    assert kept().files == found.at(IDS[0])
    assert {"x.yml": ONE, "w.yml": THREE} == found.at(NEW.version.id)
    assert last == found.newest()


def test_a_version_of_a_record_before_which_nothing_is_known_is_the_oldest() -> None:
    first = Added(Version("e" * 40, "t5", {}), {})
    found = kept().continued([Step({}, [], NEW), Step({"x.yml": ONE}, [], first)])

    assert [first.version] == found.versions


def test_a_version_of_a_record_is_read_as_it_was_written() -> None:
    assert NEW == added_of(orjson.loads(orjson.dumps(shown(NEW))))


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "d" * 39},
        {"id": 1},
        {"time": 1},
        {"before": 1},
        {"before": {"x.yml": "../x"}},
        {"before": {"x.yml": ONE, "y.yml": "4" * 64}},
        {"sizes": {ONE: "10", TWO: 7}},
        {"sizes": 1},
    ],
)
def test_any_other_version_of_a_record_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a version can't be read"):
        added_of(shown(NEW) | changed)


@pytest.mark.parametrize("name", ["", "a" * 32])
def test_an_index_has_the_name_of_its_journal(name: str) -> None:
    text = orjson.loads(encoded("file:/c/", attrs.evolve(kept(), journal=name)))

    assert (2, name) == (text["format"], text["journal"])
    assert name == decoded(text, "file:/c/").journal


def test_the_format_before_had_no_journal() -> None:
    former = orjson.loads(encoded("file:/c/", kept())) | {"format": 1}
    del former["journal"]

    assert ("", [*kept().versions]) == (decoded(former, "file:/c/").journal, [*decoded(former, "file:/c/").versions])


@pytest.mark.parametrize("format", [0, 3, "2", None])
def test_an_index_of_another_format_is_refused(format: object) -> None:
    with pytest.raises(ValueError, match="it has format .*, but this version only reads format 2 and older ones"):
        decoded(orjson.loads(encoded("file:/c/", kept())) | {"format": format}, "file:/c/")


@pytest.mark.parametrize("name", ["../" + "a" * 32, "a" * 33, None, 1])
def test_an_index_with_another_name_of_a_journal_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="it isn't an index of versions"):
        decoded(orjson.loads(encoded("file:/c/", kept())) | {"journal": name}, "file:/c/")


def test_an_index_is_read_as_it_was_written() -> None:
    found = decoded(orjson.loads(encoded("file:/c/", kept())), "file:/c/")

    assert (kept().files, [*kept().versions], kept().sizes) == (found.files, [*found.versions], found.sizes)


def test_an_index_of_another_root_is_none() -> None:
    with pytest.raises(ValueError, match="it isn't an index of versions"):
        decoded(orjson.loads(encoded("file:/c/", kept())), "file:/d/")


def test_versions_are_commits_without_authors() -> None:
    kept = Kept({}, [Version("b", "t2", {"a.yml": None}), Version("a", "t1", {})])
    newest, oldest = commits_of(kept)

    assert ("b", "", "t2", "a", ["a.yml"]) == (
        newest.id,
        newest.origin.author,
        newest.origin.time,
        newest.parent,
        [*newest.paths],
    )
    assert ("a", "unknown", []) == (oldest.id, oldest.parent, [*oldest.paths])
