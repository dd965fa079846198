"""Kept versions as values: their states, their limits, and their index."""

from collections.abc import Sequence

import orjson
import pytest

from vortexd.source.files.kept_versions import Kept, Version, commits_of, decoded, encoded

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
