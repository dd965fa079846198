"""The files that differ between two trees, as far as they decide about keys."""

import itertools
from collections.abc import Callable

import attrs
import pytest

from vortexd.core.errors import FormatError
from vortexd.core.model import Edits, Files, Former, Origin, Tree
from vortexd.resolve.alterations import alterations
from vortexd.resolve.tree import Fallback, ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

GOOD = {"application.yml": b"a: 1", "shop.yml": b"b: 1", "teams/shop.yml": b"c: 1", "notes.txt": b"text"}


def parsed(files: Files, before: ParsedFiles | None = None) -> ParsedFiles:
    former = None if before is None else attrs.evolve(parse_tree(Tree({}), FormatSettings()), labels={"main": before})
    return parse_tree(Tree({"main": files}), FormatSettings(), former).labels["main"]


def found(before: ParsedFiles, after: ParsedFiles) -> set[str] | None:
    """The altered stems; empty if there are none, and None if all may be altered."""
    stems = alterations({"main": before}, {"main": after}).stems.get("main", frozenset())
    return None if stems is None else set(stems)


def changed(before: ParsedFiles, **contents: bytes | None) -> ParsedFiles:
    files = {**before.files.contents, **{f"{name}.yml": content for name, content in contents.items()}}
    kept = {path: content for path, content in files.items() if content is not None}
    return parsed(attrs.evolve(before.files, contents=kept), before)


@pytest.fixture
def before() -> ParsedFiles:
    return parsed(Files(GOOD))


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({}, set()),
        ({"shop": b"b: 2"}, {"shop"}),
        ({"shop": b"b:  1 # the same"}, {"shop"}),
        ({"shop": None}, {"shop"}),
        ({"cart": b"b: 2"}, {"cart"}),
        ({"shop": b"b: [1"}, {"shop"}),
        ({"shop": b"b: 2", "application": b"a: 2"}, {"shop", "application"}),
    ],
)
def test_files_whose_documents_are_others_are_altered(
    before: ParsedFiles, contents: dict[str, bytes | None], expected: set[str]
) -> None:
    assert expected == found(before, changed(before, **contents))


def test_other_files_decide_about_no_key(before: ParsedFiles) -> None:
    assert set() == found(before, parsed(attrs.evolve(before.files, contents=GOOD | {"notes.txt": b"other"}), before))


def test_a_file_that_is_broken_for_the_first_time_is_altered(before: ParsedFiles) -> None:
    assert {"cart"} == found(before, attrs.evolve(before, broken={"cart.yml": FormatError("cart.yml", "why")}))


def test_a_file_with_another_fallback_is_altered(before: ParsedFiles) -> None:
    broken = changed(before, shop=b"b: [1")
    other = attrs.evolve(broken, fallbacks={"shop.yml": Fallback((), Former(None))})

    assert {"shop"} == found(broken, other)


def test_the_same_object_is_not_examined(before: ParsedFiles) -> None:
    same = alterations({"main": before}, {"main": before})

    assert {} == same.stems


def test_a_label_that_begins_or_ends_alters_all_its_keys(before: ParsedFiles) -> None:
    begun, ended = alterations({}, {"main": before}), alterations({"main": before}, {})

    assert {"main": None} == begun.stems == ended.stems


ORIGIN = Origin("c1", "author", "1")
EDITS = Edits(1, {"shop.yml": (1, ORIGIN)})


@pytest.mark.parametrize(
    "change",
    [
        lambda files: attrs.evolve(files, root="other:/"),
        lambda files: attrs.evolve(files, locations=("", "teams/")),
        lambda files: attrs.evolve(files, applications=("shop",)),
        lambda files: attrs.evolve(files, group=1),
        lambda files: attrs.evolve(files, origin=ORIGIN),
        lambda files: attrs.evolve(files, edits=EDITS),
        lambda files: attrs.evolve(files, others=(Files({}),)),
    ],
)
def test_a_layer_of_another_kind_alters_all_keys(before: ParsedFiles, change: Callable[[Files], Files]) -> None:
    after = parsed(change(before.files), before)

    assert found(before, after) is None
    assert found(after, before) is None


def test_a_new_directory_alters_all_keys_if_locations_have_wildcards() -> None:
    before = parsed(Files({"shop.yml": b"a: 1"}, locations=("", "*/")))
    after = parsed(attrs.evolve(before.files, contents={"shop.yml": b"a: 1", "x/shop.yml": b"a: 2"}), before)
    again = parsed(attrs.evolve(after.files, contents={"shop.yml": b"a: 1", "x/shop.yml": b"a: 3"}), after)

    assert found(before, after) is None
    assert {"x/shop"} == found(after, again)


def test_each_layer_counts() -> None:
    first, second = Files({"shop.yml": b"a: 1"}, root="x:/"), Files({"cart.yml": b"a: 1"}, root="y:/")
    before = parsed(attrs.evolve(first, others=(second,)))
    other = attrs.evolve(second, contents={"cart.yml": b"a: 2"})
    after = parsed(attrs.evolve(first, others=(other,)), before)

    assert {"cart"} == found(before, after)


# Commits.


def at(newest: int, edits: dict[str, tuple[int, Origin]] | None, depth: int = 3) -> Files:
    origin = Origin(f"c{newest}", "author", str(newest))
    history = Edits(newest, edits, depth) if edits is not None else None
    return Files(GOOD, revision=origin.commit, origin=origin, edits=history)


def test_a_commit_without_a_change_alters_nothing() -> None:
    edits = {"shop.yml": (3, ORIGIN)}
    before = parsed(at(3, edits))
    after = alterations({"main": before}, {"main": parsed(at(4, edits), before)})

    assert {} == after.stems


def test_without_a_list_of_edits_each_commit_alters_all_keys() -> None:
    before = parsed(at(3, None))

    assert found(before, parsed(at(4, None), before)) is None


@pytest.mark.parametrize(
    ("newest", "edits", "depth", "expected"),
    [
        (3, {"shop.yml": (3, ORIGIN)}, 3, set()),
        (4, {"shop.yml": (4, Origin("c2", "author", "2"))}, 3, {"shop"}),
        (5, {"shop.yml": (3, ORIGIN)}, 3, set()),
        (6, {"shop.yml": (3, ORIGIN)}, 3, {"shop"}),  # the commit no longer counts
        (5, {"shop.yml": (3, ORIGIN)}, 2, {"shop"}),
        (3, {"shop.yml": (3, ORIGIN), "cart.yml": (3, ORIGIN)}, 3, {"cart"}),
        (3, {}, 3, {"shop"}),
    ],
)
def test_a_file_with_another_last_commit_is_altered(
    newest: int, edits: dict[str, tuple[int, Origin]], depth: int, expected: set[str]
) -> None:
    before = parsed(at(3, {"shop.yml": (3, ORIGIN)}))

    assert expected == found(before, parsed(at(newest, edits, depth), before))


def test_each_file_is_altered_if_its_last_commit_that_counts_is_another_one() -> None:
    paths = [f"{name}.yml" for name in "abcdef"]
    shared = {path: (number, Origin(f"c{number}", "author", "1")) for number, path in enumerate(paths, 1)}
    renewed = shared | {"b.yml": (7, Origin("c7", "author", "2"))}
    histories = [
        Edits(newest, by_path, depth)
        for by_path in (shared, renewed, dict(list(shared.items())[:3]))
        for newest in range(3, 10)
        for depth in range(1, 9)
    ]
    for old, new in itertools.product(histories, repeat=2):
        before, after = (
            ParsedFiles(Files({}, revision=str(number), edits=edits), {}, {}) for number, edits in enumerate((old, new))
        )

        expected = {path[:-4] for path in paths if old.last((path,)) != new.last((path,))}
        assert expected == (found(before, after) or set()), (old, new)
