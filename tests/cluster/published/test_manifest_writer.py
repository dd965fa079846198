"""Facts about written manifests: what a tree keeps, that equal states have equal bytes, and what a change costs."""

from random import Random
from typing import Any

import attrs
import pytest

from vortexd.cluster.engine import TooLarge
from vortexd.cluster.published import manifest_writer as module
from vortexd.cluster.published.head import MOST_CHUNKS
from vortexd.cluster.published.manifest_reader import Root, chunks_of_page, parse_root
from vortexd.cluster.published.manifest_writer import Written, manifest_of
from vortexd.cluster.published.packing import CHUNK_BYTES
from vortexd.cluster.published.version import Version, version_of
from vortexd.core.model import Edits, Files, Origin, Tree

from .trees import ONE, TWO, rich, seen, tree, tree_in


def again(made: Tree) -> Tree:
    version = version_of(made)
    return tree_in(version.head(1, 0.0, "a"), lambda name: version.chunks[name].data)


def many(count: int, **options: Any) -> Files:
    """Return files of about 1 KB whose content can't be compressed, in directories of ten."""
    contents = {
        f"app{number // 10:05}/application-{number % 10}.yml": Random(number).randbytes(500).hex().encode()
        for number in range(count)
    }
    return Files(contents, **options)


def cost(before: Version, after: Version) -> int:
    """Return the bytes that a new version writes: chunks, the record of the loose ones, and two heads."""
    new = [chunk for name, chunk in after.chunks.items() if name not in before.chunks]
    return sum(chunk.size + 67 for chunk in new) + 2 * len(after.head(2, 1e9, "a").encoded())


# Trees.


def test_a_tree_comes_back_as_it_was() -> None:
    assert seen(rich()) == seen(again(rich()))


@pytest.mark.parametrize("made", [Tree({}), tree(), Tree({"main": Files({}, {"a": "x", "b": "y"})})])
def test_an_empty_tree_and_labels_without_contents_come_back(made: Tree) -> None:
    assert seen(made) == seen(again(made))


def test_paths_reasons_and_authors_of_any_characters_come_back() -> None:
    files = Files(
        {"a\udcff.yml": b"x", "gr\u00f6\u00dfe.yml": b"y", "\U0001f600": b"z"},
        {'"\n': "\udcff\n"},
        origin=Origin("c", '"\n\udcff', "t"),
        edits=Edits(1, {"\udcff": (1, Origin("c", '"\n\udcff', "t"))}),
    )

    assert seen(Tree({"main": files})) == seen(again(Tree({"main": files})))


def test_a_default_label_that_is_not_there_comes_back() -> None:
    assert "gone" == again(Tree({"v1": Files({})}, "gone")).default_label


def test_a_tree_of_many_pages_comes_back() -> None:
    paths = [*many(2_000).contents]
    edits = Edits(
        50, {path: (number % 40, Origin(f"c{number % 40}", "Ann", "t")) for number, path in enumerate(paths)}, 45
    )
    made = Tree({"main": many(2_000, edits=edits, others=(many(500),)), "v1": many(1_990, unreadable={"x": "y"})})

    assert len(manifest_of(made).pages) > 20
    assert seen(made) == seen(again(made))


def test_a_content_of_several_chunks_comes_back() -> None:
    made = tree(a="x" * (2 * CHUNK_BYTES + 1), b="y")

    assert seen(made) == seen(again(made))


# Equal states.


def test_equal_states_have_equal_bytes_whatever_the_order() -> None:
    one = Tree({"a": Files({"x": b"1", "y": b"2"}, {"u": "1", "v": "2"}), "b": Files({})}, "a")
    other = Tree({"b": Files({}), "a": Files({"y": b"2", "x": b"1"}, {"v": "2", "u": "1"})}, "a")

    assert version_of(one).id == version_of(other).id
    assert version_of(one).names == version_of(other).names


def test_the_numbers_of_edits_do_not_count_and_those_that_are_too_old_are_left_out() -> None:
    def made(edits: Edits) -> str:
        return version_of(Tree({"main": Files({"a": b""}, edits=edits)})).id

    one = Edits(3, {"a": (3, TWO), "b": (2, ONE)}, 2)
    other = Edits(103, {"b": (102, ONE), "a": (103, TWO), "old": (101, ONE)}, 2)

    assert made(one) == made(other)
    assert made(one) != made(attrs.evolve(one, by_path={"a": (3, TWO)}))
    assert made(one) != made(attrs.evolve(one, by_path={"a": (2, TWO), "b": (2, ONE)}))
    assert made(one) != made(attrs.evolve(one, by_path={"a": (3, ONE), "b": (2, ONE)}))


@pytest.mark.parametrize(
    "change",
    [
        {"contents": {"a.yml": b"2"}},
        {"contents": {"b.yml": b"1"}},
        {"unreadable": {"c": "x"}},
        {"root": "x/"},
        {"locations": ("", "x/")},
        {"revision": "c2"},
        {"origin": TWO},
        {"applications": ("a",)},
        {"group": 1},
        {"edits": Edits(0, {}, 1)},
        {"trailers": {"c1": ("5,100",)}},
    ],
)
def test_every_difference_between_states_is_one_between_ids(change: dict[str, Any]) -> None:
    one = Files({"a.yml": b"1"})

    assert version_of(Tree({"main": one})).id != version_of(Tree({"main": attrs.evolve(one, **change)})).id


def test_an_unreadable_file_whose_reason_is_a_digest_is_no_content() -> None:
    files = Files({"a": b"1"})
    [page] = manifest_of(Tree({"main": files})).pages
    reason = page.data.decode().split('"rows":[["a","')[1][:64]
    made = Tree({"main": files, "v1": Files({}, {"a": reason})})

    assert seen(made) == seen(again(made))


# The cost of a change.


@pytest.fixture(scope="module")
def large() -> tuple[Files, Version]:
    files = many(10_000, revision="c1")
    return files, version_of(Tree({"main": files}))


@pytest.mark.parametrize("number", range(0, 10_000, 1_111))
@pytest.mark.parametrize("content", [b"x: 1\n", b"x" * 2_000])
def test_a_change_of_one_of_10000_files_writes_less_than_64_kb(
    large: tuple[Files, Version], number: int, content: bytes
) -> None:
    files, before = large
    path = [*files.contents][number]
    after = version_of(Tree({"main": attrs.evolve(files, contents={**files.contents, path: content}, revision="c2")}))

    assert cost(before, after) < 64_000


@pytest.mark.parametrize("number", [0, 5_000, 9_999])
def test_a_new_file_and_a_deleted_one_write_less_than_64_kb(large: tuple[Files, Version], number: int) -> None:
    files, before = large
    path = [*files.contents][number]
    fewer = {each: content for each, content in files.contents.items() if each != path}
    more = {**files.contents, f"{path}-2": b"x: 1\n"}

    for contents in (fewer, more):
        assert cost(before, version_of(Tree({"main": attrs.evolve(files, contents=contents)}))) < 64_000


def test_a_new_commit_writes_few_bytes_although_all_commits_are_listed() -> None:
    files = many(2_000)
    paths = [*files.contents]
    by_path = {path: (number % 500, Origin(f"{number % 500:040}", "Ann", "t")) for number, path in enumerate(paths)}
    before = version_of(Tree({"main": attrs.evolve(files, edits=Edits(499, by_path, 1_000))}))
    by_path = {**by_path, paths[700]: (500, Origin("new", "Bob", "u"))}
    contents = {**files.contents, paths[700]: b"x: 1\n"}
    after = version_of(Tree({"main": attrs.evolve(files, contents=contents, edits=Edits(500, by_path, 1_000))}))

    assert cost(before, after) < 64_000


def test_labels_with_equal_files_share_pages() -> None:
    files = many(1_000)
    one = manifest_of(Tree({"main": files}))
    other = manifest_of(Tree({"main": files, **{f"v{number}": files for number in range(100)}}))

    assert [each.name for each in one.pages] == [each.name for each in other.pages]
    # The runs are short.
    assert len(other.root) < len(one.root) + 100 * 150


# Limits.


def pages_of(written: Written) -> Root:
    root = parse_root(written.root)
    assert isinstance(root, Root)
    assert [*root.pages] == [(each.name, each.size) for each in written.pages]
    return root


def test_no_page_is_larger_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE_BYTES", 3_000)
    monkeypatch.setattr(module, "_LEAST_BYTES", 10**9)
    paths = ["\U0001f600" * (number % 40) + f"{number}\n" for number in range(300)]
    contents = {path: Random(path).randbytes(131_072) for path in paths[:20]}
    edits = Edits(0, {path: (-number, Origin("c" * 40, "\udcff" * 30, "t")) for number, path in enumerate(paths)})
    files = Files(contents, dict.fromkeys(paths[100:], "\x00" * 90), edits=edits)
    written = manifest_of(Tree({"main": files}))

    assert len(written.pages) > 30
    assert min(each.size for each in written.pages[:20]) > 1_000
    assert max(each.size for each in written.pages) <= 3_064
    pages_of(written)


def test_the_pages_grow_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    files = many(2_000)
    before = len(manifest_of(Tree({"main": files})).pages)
    for most, least in ((before, before), (before - 1, before // 3), (3, 1)):
        monkeypatch.setattr(module, "_MOST_PAGES", most)
        assert least <= len(manifest_of(Tree({"main": files})).pages) <= most
    monkeypatch.setattr(module, "_MOST_PAGES", 0)
    made = Tree({"main": files, "v1": many(5)})
    assert seen(made) == seen(again(made))


def test_a_file_whose_row_no_page_has_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE_BYTES", 1_000)
    # Two quotation marks, the digest, the size, and a piece.
    room = 1_000 - 2 - module._ROW_BYTES - module._PIECE_BYTES
    assert manifest_of(Tree({"main": Files({"x" * room: b"1"})}))
    with pytest.raises(TooLarge, match="too long a path"):
        manifest_of(Tree({"main": Files({"x" * (room + 1): b"1"})}))


def test_each_page_names_its_chunks() -> None:
    written = manifest_of(Tree({"main": many(500)}))
    named = [chunks_of_page(each.data) for each in written.pages]

    assert {name for names in named for name in names} == {each.name for each in written.chunks}
    assert all(len({*names}) == len(names) for names in named)
    assert len(written.pages) + len(written.chunks) < MOST_CHUNKS


def test_trailers_come_back_in_their_order() -> None:
    trailers = {"c2": ("5,25,100", ""), "c1": ('"\udcff',)}
    weak = Files({}, trailers={"c3": ("9",)})
    found = again(Tree({"main": Files({"a": b""}, trailers=trailers, others=(weak,))})).labels["main"]

    assert [*trailers.items()] == [*found.trailers.items()]
    assert {"c3": ("9",)} == found.others[0].trailers


def test_a_state_without_trailers_has_the_identity_that_former_versions_gave_it() -> None:
    root = manifest_of(tree(a="1")).root

    assert b"trailers" not in root
    assert {} == again(tree(a="1")).labels["main"].trailers
