import pytest

from vortexd.core.model import Files, Former, Served, Tree
from vortexd.resolve.formats import parse
from vortexd.resolve.tree import Fallback, broken_files, is_configuration, location_of, parse_tree
from vortexd.settings.formats import FormatSettings

from .support import LIMITS


def tree(contents: dict[str, bytes], unreadable: dict[str, str] | None = None) -> Tree:
    return Tree({"main": Files(contents, unreadable or {})})


def test_a_broken_file_is_an_entry_and_the_others_are_parsed() -> None:
    files = parse_tree(tree({"a.yml": b"a: 1", "b.yml": b"b: ["}), LIMITS).labels["main"]

    assert ["a.yml"] == list(files.documents)
    assert ["b.yml"] == list(files.broken)
    assert files.broken["b.yml"].__traceback__ is None


def test_an_unreadable_configuration_file_is_broken_with_its_reason() -> None:
    unreadable = {"a.yml": "permission denied", "key.pem": "permission denied"}

    files = parse_tree(tree({"a.yml": b"a: 1"}, unreadable), LIMITS).labels["main"]

    assert {} == files.documents
    assert ["a.yml: permission denied"] == [str(error) for error in files.broken.values()]


def test_files_with_the_same_bytes_are_taken_over() -> None:
    before = parse_tree(tree({"a.yml": b"a: 1", "b.yml": b"b: [", "c.yml": b"c: 1"}), LIMITS)

    after = parse_tree(tree({"a.yml": b"a: 1", "b.yml": b"b: [", "c.yml": b"c: 2"}), LIMITS, before).labels["main"]

    former = before.labels["main"]
    assert after.documents["a.yml"] is former.documents["a.yml"]
    assert after.broken["b.yml"] is former.broken["b.yml"]
    assert {"c": 2} == after.documents["c.yml"][0].values


def test_a_file_that_has_become_readable_with_the_same_bytes_is_parsed() -> None:
    before = parse_tree(tree({"a.yml": b"a: 1"}, {"a.yml": "changed while it was read"}), LIMITS)

    after = parse_tree(tree({"a.yml": b"a: 1"}), LIMITS, before).labels["main"]

    assert ["a.yml"] == list(after.documents)
    assert {} == after.broken


def test_labels_share_what_is_the_same_file() -> None:
    parsed = parse_tree(Tree({"x": Files({"a.yml": b"a: 1"}), "y": Files({"a.yml": b"a: 1"})}, "y"), LIMITS)

    assert parsed.labels["x"].documents["a.yml"] is parsed.labels["y"].documents["a.yml"]
    assert "y" == parsed.default_label


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.yml", True),
        ("foo/app.toml", True),
        (".a.yml", False),
        (".git/a.yml", False),
        ("foo/.b/a.yml", False),
        ("a.txt", False),
        ("a.json", True),
        ("a.schema.json", False),
        ("foo/a.schema.json", False),
        ("schema.json", True),
        ("yml", False),
    ],
)
def test_configuration_files_have_a_known_extension_and_nothing_hidden(path: str, expected: bool) -> None:
    assert expected == is_configuration(path, ("",))


def test_files_outside_the_locations_are_no_configuration() -> None:
    assert not is_configuration("a.yml", ("prod/",))
    assert is_configuration("prod/a.yml", ("prod/",))
    assert is_configuration(".hidden/a.yml", (".hidden/",))


def test_a_path_lies_in_the_longest_location() -> None:
    assert "prod/" == location_of("prod/a.yml", ("", "prod/"))
    assert "" == location_of("production/a.yml", ("", "prod/"))
    assert location_of("a.yml", ("prod/",)) is None


# What takes the place of broken files.

A1 = {"a.yml": b"a: 1"}


def test_a_file_that_breaks_is_replaced_by_its_last_good_documents() -> None:
    before = parse_tree(tree(A1), LIMITS)
    files = parse_tree(tree({"a.yml": b"a: ["}), LIMITS, before).labels["main"]

    assert files.documents["a.yml"] is before.labels["main"].documents["a.yml"]
    assert Former(b"a: 1") == files.fallbacks["a.yml"].former
    assert frozenset({"a.yml"}) == files.paths
    [broken] = broken_files({"main": files}).values()
    assert ("main", "a.yml", 2, Served.LAST_GOOD) == (broken.label, broken.path, broken.line, broken.served)


def test_a_file_that_stays_broken_keeps_its_fallback_whether_its_bytes_change_or_not() -> None:
    parsed = parse_tree(tree(A1), LIMITS)
    for content in (b"a: [", b"a: [", b"a: [[", b"\xff"):
        parsed = parse_tree(tree({"a.yml": content}), LIMITS, parsed)

        assert Former(b"a: 1") == parsed.labels["main"].fallbacks["a.yml"].former
    sound = parse_tree(tree({"a.yml": b"a: 2"}), LIMITS, parsed).labels["main"]
    assert ({}, {}) == (sound.fallbacks, sound.broken)
    assert {"a": 2} == sound.documents["a.yml"][0].values


def test_a_file_that_is_broken_when_it_appears_is_replaced_by_nothing() -> None:
    before = parse_tree(tree(A1), LIMITS)
    files = parse_tree(tree(A1 | {"b.yml": b"a: ["}), LIMITS, before).labels["main"]

    assert Former(None) == files.fallbacks["b.yml"].former
    assert "b.yml" not in files.documents
    assert [Served.WITHOUT] == [each.served for each in broken_files({"main": files}).values()]


def test_a_file_that_is_broken_from_the_start_has_no_fallback_and_goes_on_having_none() -> None:
    parsed = parse_tree(tree({"a.yml": b"a: ["}), LIMITS)
    assert [Served.NOTHING] == [each.served for each in broken_files(parsed.labels).values()]

    parsed = parse_tree(tree({"a.yml": b"a: [["}), LIMITS, parsed)
    assert {} == parsed.labels["main"].fallbacks


def test_a_broken_file_that_is_deleted_leaves_nothing_behind() -> None:
    before = parse_tree(tree({"a.yml": b"a: ["}), LIMITS, parse_tree(tree(A1), LIMITS))
    files = parse_tree(tree({}), LIMITS, before).labels["main"]

    assert ({}, {}, {}, frozenset()) == (files.documents, files.broken, files.fallbacks, files.paths)


def test_a_file_that_is_good_again_with_its_former_bytes_is_parsed_and_not_taken_for_broken() -> None:
    parsed = parse_tree(tree(A1), LIMITS)
    for content in (b"a: [", b"a: 1"):
        parsed = parse_tree(tree({"a.yml": content}), LIMITS, parsed)

    assert {} == parsed.labels["main"].broken
    assert {"a": 1} == parsed.labels["main"].documents["a.yml"][0].values


def test_the_bytes_of_a_broken_file_under_another_label_are_broken_there_too() -> None:
    first = parse_tree(tree(A1), LIMITS)
    second = parse_tree(tree({"a.yml": b"a: ["}), LIMITS, first)
    both = Tree({"main": Files({"a.yml": b"a: ["}), "next": Files({"a.yml": b"a: ["})})
    parsed = parse_tree(both, LIMITS, second)

    # `next` has no past of its own.
    assert {"main": Served.LAST_GOOD, "next": Served.NOTHING} == {
        each.label: each.served for each in broken_files(parsed.labels).values()
    }


def test_what_is_served_is_the_fallback_when_stricter_bounds_break_a_file() -> None:
    before = parse_tree(tree({"a.yml": b"a: {b: {c: 1}}"}), LIMITS)
    strict = FormatSettings(depth=1)
    files = parse_tree(tree({"a.yml": b"a: {b: {c: 1}}"}), strict, None, before).labels["main"]

    assert {"a.b.c": 1} == files.documents["a.yml"][0].values
    assert ["a.yml"] == [*files.broken]


def test_files_that_are_looked_for_elsewhere_have_no_fallback() -> None:
    before = parse_tree(Tree({"main": Files({"x/a.yml": b"a: 1"}, locations=("x/",))}), LIMITS)
    files = parse_tree(Tree({"main": Files({"x/a.yml": b"a: ["})}), LIMITS, before).labels["main"]

    assert {} == files.fallbacks


def test_a_fallback_names_the_revision_it_is_from() -> None:
    before = parse_tree(Tree({"main": Files(A1, revision="c1")}), LIMITS)
    files = parse_tree(Tree({"main": Files({"a.yml": b"a: ["}, revision="c2")}), LIMITS, before).labels["main"]

    assert "c1" == files.broken_file("main", "a.yml").revision


def test_fallbacks_can_be_put_in_place_and_taken_away() -> None:
    files = parse_tree(tree({"a.yml": b"a: [", "b.yml": b"b: ["}), LIMITS).labels["main"]
    [document] = parse("a.yml", b"a: 1", LIMITS)
    found = files.with_fallbacks({"a.yml": Fallback((document,), Former(b"a: 1")), "b.yml": Fallback((), Former(None))})

    assert {"a.yml": (document,)} == found.documents
    assert {"a.yml", "b.yml"} == found.fallbacks.keys()
    gone = found.with_fallbacks({"a.yml": None})
    assert {} == gone.documents
    assert {"b.yml"} == gone.fallbacks.keys()


def test_broken_files_of_several_sources_are_told_apart() -> None:
    files = Files({"a.yml": b"a: ["}, root="one/", others=(Files({"a.yml": b"a: ["}, root="two/"),))
    found = broken_files(parse_tree(Tree({"main": files}), LIMITS).labels)

    assert [("main", "one/a.yml"), ("main", "two/a.yml")] == [*found]
    assert ["one/", "two/"] == [each.root for each in found.values()]
