"""The values that the stages hand to each other: how they compare, what they derive, and that nothing changes them."""

import attrs
import pytest

from vortexd.core.model import (
    EDIT_COMMITS,
    BrokenFile,
    Config,
    Edits,
    Files,
    Former,
    Key,
    Moment,
    Names,
    Origin,
    PropertySource,
    Served,
    Tree,
)

KEY = Key("shop,cart", "dev", "main,v1")


def origin(commit: str) -> Origin:
    return Origin(commit, "Ann", "2030-01-01T00:00:00Z")


def broken(line: int | None) -> BrokenFile:
    return BrokenFile("main", "file:/etc/", "a/shop.yml", line, None, "isn't YAML", Served.NOTHING)


def config(key: Key = KEY) -> Config:
    return Config(key, "0" * 16, b"{}", ())


# Keys.


def test_a_key_splits_each_part_at_its_commas() -> None:
    assert (("shop", "cart"), ("dev",), ("main", "v1")) == (KEY.applications, KEY.profiles, KEY.labels)


def test_a_key_is_shown_with_colons() -> None:
    assert "shop,cart:dev:main,v1" == str(KEY)


def test_keys_are_ordered_by_application_then_profile_then_label() -> None:
    first, second, third = Key("a", "a", "b"), Key("a", "b", "a"), Key("b", "a", "a")

    assert [first, second, third] == sorted([third, second, first])


def test_equal_keys_are_one_entry_of_a_mapping() -> None:
    assert {KEY: 2} == {KEY: 1, Key("shop,cart", "dev", "main,v1"): 2}


def test_a_key_can_not_be_modified() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        KEY.label = "other"  # type: ignore[misc]  # the assignment is what the test tries


# Names of files.


@pytest.mark.parametrize(
    ("application", "has_file"),
    [("shop", True), ("shop-cart", True), ("application", True), ("sho", False), ("", False)],
)
def test_an_application_has_a_file_if_a_file_name_begins_with_it_and_application_always_has(
    application: str, has_file: bool
) -> None:
    names = Names(frozenset({"other"}), frozenset({"dev"}), frozenset({"shop", "shop-cart"}))

    assert has_file == names.has_file_of(application)


# The commit that last changed a path.


def test_the_newest_commit_that_changed_one_of_the_paths_is_the_last_edit() -> None:
    edits = Edits(9, {"a.yml": (4, origin("a")), "b.yml": (6, origin("b")), "c.yml": (8, origin("c"))})

    assert origin("b") == edits.last(["a.yml", "b.yml"])
    assert origin("b") == edits.last(["b.yml", "a.yml", "unknown.yml"])


@pytest.mark.parametrize(("number", "counts"), [(10, True), (8, True), (7, False), (1, False)])
def test_an_edit_counts_only_if_it_is_among_the_newest_commits(number: int, counts: bool) -> None:
    edits = Edits(10, {"a.yml": (number, origin("a"))}, depth=3)

    assert (origin("a") if counts else None) == edits.last(["a.yml"])


@pytest.mark.parametrize("paths", [[], ["unknown.yml"]])
def test_paths_that_no_counted_commit_changed_have_no_last_edit(paths: list[str]) -> None:
    assert Edits(1, {"a.yml": (1, origin("a"))}).last(paths) is None


def test_a_thousand_commits_count_by_default() -> None:
    edits = Edits(1_000, {"in": (1, origin("in")), "out": (0, origin("out"))})

    assert 1_000 == EDIT_COMMITS == edits.depth
    assert (origin("in"), None) == (edits.last(["in"]), edits.last(["out"]))


# States.


def test_former_contents_are_equal_whatever_their_id() -> None:
    assert Former(b"a", "c0ffee", "1") == Former(b"a", "c0ffee", "2")
    assert Former(b"a", "c0ffee") != Former(b"a", "decade")
    assert Former(None) != Former(b"")


def test_states_are_compared_by_identity() -> None:
    """They are large, so that nothing may compare them member by member."""
    files, tree = Files({"a.yml": b""}), Tree({})

    assert files == files
    assert Files({"a.yml": b""}) != files
    assert Tree({}) != tree
    assert config() != config()


def test_a_plain_directory_has_one_location_no_commit_and_serves_all_applications() -> None:
    files = Files({})

    assert ("file:/", ("",), (), 0, ()) == (
        files.root,
        files.locations,
        files.applications,
        files.group,
        files.others,
    )
    assert (None, None, None, None) == (files.revision, files.origin, files.edits, files.past)
    assert {} == files.unreadable
    assert ("main", None, None) == (Tree({}).default_label, Tree({}).shared, Tree({}).noticed)


def test_each_configuration_has_a_moment_of_its_own_which_the_commit_sets() -> None:
    first, second = config(), config()
    first.published.seconds = 5.0

    assert (5.0, 0.0) == (first.published.seconds, second.published.seconds)
    assert Moment(5.0) != first.published


# Broken files.


@pytest.mark.parametrize(("line", "place"), [(7, "a/shop.yml:7"), (None, "a/shop.yml")])
def test_the_place_of_a_broken_file_is_its_path_and_the_line_if_that_is_known(line: int | None, place: str) -> None:
    assert place == broken(line).place


def test_people_and_programs_see_these_words_for_what_replaces_a_broken_file() -> None:
    assert ["last_good", "without", "nothing"] == [each.value for each in Served]


def test_equal_reports_of_a_broken_file_are_one() -> None:
    assert {broken(7)} == {broken(7), broken(7)}
    assert broken(7) != broken(8)


@pytest.mark.parametrize("body", [b'{"a":1}', (b"{", b'"a":1', b"}")])
def test_a_body_may_be_in_pieces(body: bytes | tuple[bytes, ...]) -> None:
    config = Config(Key("shop", "dev", "main"), "1", body, ())

    assert b'{"a":1}' == config.body == b"".join(config.pieces)
    assert 7 == config.size == config.size
    assert {"a": 1} == config.document
    assert (body,) == config.pieces if isinstance(body, bytes) else body is config.pieces


@pytest.mark.parametrize(
    ("keys", "parts", "has_lists"),
    [((), set(), False), (("a.b", "a.c", "d"), {"a", "d"}, False), (("a[0].b", "c"), {"a", "c"}, True), (("a[x.y]",), {"a"}, True)],
)  # fmt: skip
def test_a_source_knows_its_parts_and_whether_it_has_lists(
    keys: tuple[str, ...], parts: set[str], has_lists: bool
) -> None:
    source = PropertySource("", dict.fromkeys(keys), {})

    for _ in range(2):
        assert (frozenset(parts), has_lists) == (source.parts, source.has_lists)
