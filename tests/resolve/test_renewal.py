"""Sources that replace others, if keys select the same documents as before."""

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from vortexd.core.errors import FormatError
from vortexd.core.model import Edits, Files, Former, Origin, Tree
from vortexd.resolve.renewal import renewed
from vortexd.resolve.tree import Fallback, ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

ORIGIN = Origin("c", "author", "2024")
FILES = {"application.yml": b"a: 1", "shop.yml": b"b: 1"}


def parsed(contents: Mapping[str, bytes], before: ParsedFiles | None = None, **more: Any) -> ParsedFiles:
    tree = Tree({"main": Files(contents, root="file:/c/", **more)})
    former = None if before is None else attrs.evolve(parse_tree(tree, FormatSettings()), labels={"main": before})
    return parse_tree(tree, FormatSettings(), former).labels["main"]


def names(before: ParsedFiles, after: ParsedFiles) -> dict[str, dict[str, object]] | None:
    """The name and the new values of each source that replaces another."""
    found = renewed(before, after)
    if found is None:
        return None
    former = {id(document.values) for documents in before.documents.values() for document in documents}
    former |= {id(each.values) for layer in before.others for each in layer.documents["application.yml"]}
    assert all(identity in former and name == source.name for (identity, name), source in found.items())
    return {source.name: dict(source.values) for source in found.values()}


def test_a_source_replaces_the_one_of_the_altered_document() -> None:
    before = parsed(FILES)

    assert {"file:/c/shop.yml": {"b": 2}} == names(before, parsed(FILES | {"shop.yml": b"b: 2"}, before))
    assert {} == names(before, before)
    assert {} == names(before, parsed(FILES, before))


def test_each_document_of_a_file_has_its_own() -> None:
    before = parsed({"shop.yml": b"a: 1\n---\nspring.config.activate.on-profile: x\na: 2"})
    after = parsed({"shop.yml": b"a: 3\n---\nspring.config.activate.on-profile: x\na: 4"}, before)

    assert {
        "file:/c/shop.yml (document #0)": {"a": 3},
        "file:/c/shop.yml (document #1)": {"spring.config.activate.on-profile": "x", "a": 4},
    } == names(before, after)


@pytest.mark.parametrize(
    ("old", "new", "is_alike"),
    [
        (b"a: 1", b"a: 2\n---\na: 3", False),
        (b"a: 1\n---\na: 3", b"a: 2", False),
        (b"a: 1", b"a: 1\nspring.config.import: base.yml", False),
        (b"spring.config.import: base.yml", b"spring.config.import: base.yml\na: 1", True),
        (b"spring.config.import: base.yml", b"spring.config.import: other.yml", False),
        (b"a: 1", b"spring.config.activate.on-profile: x\na: 1", False),
        (b"spring.config.activate.on-profile: x", b"spring.config.activate.on-profile: y", False),
        (b"spring.config.activate.on-profile: x", b"spring.config.activate.on-profile: x\na: 1", True),
        (b"spring.profiles.include: x", b"spring.profiles.include: y", False),
        (b"spring.profiles.include: x", b"spring.profiles.include: x\na: 1", True),
        (b"spring.profiles.include: 1", b"spring.profiles.include: true", False),
        (b"spring.profiles.group.x: a\nspring.profiles.include: b", b"spring.profiles.include: b\nspring.profiles.group.x: a", False),
        (b"a: 1", b"a: [", False),
        (b"a: [", b"a: 1", False),
    ],
)  # fmt: skip
def test_keys_select_anew_if_a_file_has_other_documents_conditions_or_imports(
    old: bytes, new: bytes, is_alike: bool
) -> None:
    before = parsed({"shop.yml": old})

    assert is_alike == (renewed(before, parsed({"shop.yml": new}, before)) is not None)


def test_keys_select_anew_if_a_file_comes_or_goes() -> None:
    before, more = parsed(FILES), parsed(FILES | {"cart.yml": b"c: 1"})

    assert renewed(before, parsed(FILES | {"cart.yml": b"c: 1"}, before)) is None
    assert renewed(more, parsed(FILES, more)) is None


def test_keys_select_anew_if_a_file_breaks_or_has_another_fallback() -> None:
    before = parsed(FILES)
    broken = attrs.evolve(before, broken={"shop.yml": FormatError("shop.yml", "x")})

    assert renewed(before, broken) is None
    assert renewed(broken, attrs.evolve(broken, fallbacks={"shop.yml": Fallback((), Former(None))})) is None


def test_keys_select_anew_if_their_commits_are_known_by_file() -> None:
    edits = Edits(1, {"shop.yml": (1, ORIGIN)})
    before = parsed(FILES, edits=edits, origin=ORIGIN)

    assert renewed(before, parsed(FILES | {"shop.yml": b"b: 2"}, before, edits=edits, origin=ORIGIN)) is None


@pytest.mark.parametrize("more", [{"locations": ("", "x/")}, {"applications": ("shop",)}, {"origin": ORIGIN}])
def test_keys_select_anew_if_other_files_serve_them(more: dict[str, Any]) -> None:
    before = parsed(FILES)

    assert renewed(before, parsed(FILES | {"shop.yml": b"b: 2"}, before, **more)) is None


def test_each_source_of_a_label_counts() -> None:
    other = Files({"application.yml": b"a: 1"}, root="file:/d/")
    before = parsed(FILES, others=(other,))
    changed = attrs.evolve(other, contents={"application.yml": b"a: 2"})
    after = parsed(FILES, before, others=(changed,))
    third = parsed(FILES, before, others=(other, attrs.evolve(other, root="file:/e/")))

    assert {"file:/d/application.yml": {"a": 2}} == names(before, after)
    assert renewed(before, third) is None
    assert renewed(third, before) is None
