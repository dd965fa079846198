"""Facts about manifests of format 1: what a tree keeps, that equal states have equal bytes, and what is refused."""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from vortexd.cluster.published.head import Newer
from vortexd.cluster.published.manifest import Manifest, tree_of
from vortexd.cluster.published.manifest_reader import parse_root
from vortexd.cluster.published.packing import unpack
from vortexd.cluster.records import Unusable
from vortexd.core.model import Edits, Files, Origin, Tree

from .former import manifest_of
from .trees import ONE, TWO, rich, seen, tree


def parse_manifest(data: bytes) -> Manifest:
    found = parse_root(data)
    assert isinstance(found, Manifest)
    return found


def read(data: bytes, chunks: dict[str, bytes], most: int = 1_000_000) -> Tree:
    manifest = parse_manifest(data)
    contents = [unpack(each, manifest.chunks, chunks) if each.size <= most else None for each in manifest.contents]
    return tree_of(manifest, contents, lambda size: f"{size} is too large")


def again(made: Tree) -> Tree:
    data, chunks = manifest_of(made)
    return read(data, {each.name: each.data for each in chunks})


def test_a_tree_comes_back_as_it_was() -> None:
    assert seen(rich()) == seen(again(rich()))


def test_an_empty_tree_and_an_empty_label_come_back() -> None:
    assert seen(Tree({})) == seen(again(Tree({})))
    assert seen(tree()) == seen(again(tree()))


def test_a_path_that_is_not_utf_8_comes_back() -> None:
    made = Tree({"main": Files({"a\udcff.yml": b"x", "größe.yml": b"y"})})

    assert seen(made) == seen(again(made))


def test_a_default_label_that_is_not_there_comes_back() -> None:
    assert "gone" == again(Tree({"v1": Files({})}, "gone")).default_label


def test_equal_states_have_equal_bytes_whatever_the_order() -> None:
    one = Tree({"a": Files({"x": b"1", "y": b"2"}), "b": Files({})}, "a")
    other = Tree({"b": Files({}), "a": Files({"y": b"2", "x": b"1"})}, "a")

    assert manifest_of(one)[0] == manifest_of(other)[0]


def test_the_numbers_of_edits_do_not_count_and_those_that_are_too_old_are_left_out() -> None:
    def made(edits: Edits) -> bytes:
        return manifest_of(Tree({"main": Files({"a": b""}, edits=edits)}))[0]

    one = Edits(3, {"a": (3, TWO), "b": (2, ONE)}, 2)
    other = Edits(103, {"b": (102, ONE), "a": (103, TWO), "old": (101, ONE)}, 2)

    assert made(one) == made(other)
    assert made(one) != made(attrs.evolve(one, by_path={"a": (3, TWO)}))


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
    ],
)
def test_every_difference_between_states_is_one_between_manifests(change: dict[str, Any]) -> None:
    one = Files({"a.yml": b"1"})

    assert manifest_of(Tree({"main": one}))[0] != manifest_of(Tree({"main": attrs.evolve(one, **change)}))[0]


def test_labels_share_equal_contents() -> None:
    content = b"x" * 1_000
    _, chunks = manifest_of(Tree({"main": Files({"a": content}), "v1": Files({"b": content, "c": bytes(content)})}))

    assert [content] == [each.data for each in chunks]


def test_a_content_that_is_left_out_makes_its_files_unreadable() -> None:
    data, chunks = manifest_of(tree(a="12", b="1"))
    files = read(data, {each.name: each.data for each in chunks}, most=1).labels["main"]

    assert ({"b": b"1"}, {"a": "2 is too large"}) == (files.contents, files.unreadable)


def test_the_origin_of_a_key_is_the_same_as_at_the_node_that_published() -> None:
    edits, published = rich().labels["main"].edits, again(rich()).labels["main"].edits
    assert edits is not None
    assert published is not None

    for paths in (["a.yml"], ["bin"], ["bin", "gone.yml"], ["old.yml"], ["none"], ["bin", "a.yml"]):
        assert edits.last(paths) == published.last(paths)


# Manifests that other programs may have written.


def changed(change: Callable[[Any], object]) -> bytes:
    document = json.loads(manifest_of(rich())[0])
    change(document)
    return json.dumps(document).encode()


def layer(document: Any) -> Any:
    return document["labels"][0][1][0]


def put(table: Any, name: Any, value: object) -> None:
    table[name] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda all: put(all, "chunks", "x"),
        lambda all: put(all, "chunks", ["x"]),
        lambda all: put(all, "default_label", None),
        lambda all: put(all, "default_label", "../x"),
        lambda all: put(all, "labels", {}),
        lambda all: all["labels"].append(["v2"]),
        lambda all: all["labels"].append(["v2", []]),
        lambda all: all["labels"].append(["v2", [layer(all)] * 257]),
        lambda all: all["labels"].append([7, [layer(all)]]),
        lambda all: all["labels"].append(["v2", [7]]),
        lambda all: put(all, "contents", None),
        lambda all: put(all["contents"][0], 0, "x"),
        lambda all: put(all["contents"][0], 1, -1),
        lambda all: put(all["contents"][0], 1, all["contents"][0][1] + 1),
        lambda all: put(all["contents"][0], 2, None),
        lambda all: put(all["contents"][0], 2, [[0, 0]]),
        lambda all: put(all["contents"][0], 2, [[len(all["chunks"]), 0, all["contents"][0][1]]]),
        lambda all: put(all["contents"][0], 2, [[0, 524_288, all["contents"][0][1]]]),
        lambda all: put(all["contents"][0], 2, [[-1, 0, all["contents"][0][1]]]),
        lambda all: put(all["contents"][0], 2, [[True, 0, all["contents"][0][1]]]),
        lambda all: put(layer(all), "root", None),
        lambda all: put(layer(all), "locations", [7]),
        lambda all: put(layer(all), "revision", 7),
        lambda all: put(layer(all), "origin", ["c"]),
        lambda all: put(layer(all), "origin", ["c", "a", 7]),
        lambda all: put(layer(all), "applications", None),
        lambda all: put(layer(all), "group", -1),
        lambda all: put(layer(all), "files", None),
        lambda all: layer(all)["files"].append(["x", len(all["contents"])]),
        lambda all: layer(all)["files"].append(["x", -1]),
        lambda all: layer(all)["files"].append([7, 0]),
        lambda all: layer(all)["files"].append(["/x", 0]),
        lambda all: layer(all)["files"].append(["a/../x", 0]),
        lambda all: layer(all)["files"].append(["./x", 0]),
        lambda all: layer(all)["files"].append(["locked.yml", 0]),
        lambda all: layer(all)["unreadable"].append(["../x", "y"]),
        lambda all: layer(all)["unreadable"].append(["x", 7]),
        lambda all: put(layer(all), "edits", 7),
        lambda all: put(layer(all)["edits"], "depth", None),
        lambda all: put(layer(all)["edits"], "origins", []),
        lambda all: layer(all)["edits"]["paths"].append(["x", -1, 0]),
        lambda all: layer(all)["edits"]["paths"].append(["x", 0]),
        lambda all: layer(all)["edits"]["paths"].append([7, 0, 0]),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: Callable[[Any], object]) -> None:
    with pytest.raises(Unusable):
        parse_manifest(changed(change))


def test_the_manifest_of_these_tests_is_usable() -> None:
    assert parse_manifest(changed(lambda all: all["labels"].append(["v2", [layer(all)] * 256])))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"7", b"[]", b"{}", b'{"format":0}', b"[" * 100_000])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(Unusable):
        parse_manifest(data)


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(Newer, match="its format is 3, and this version reads 1 to 2"):
        parse_manifest(b'{"format":3}')


def test_an_author_may_have_any_name() -> None:
    made = Tree({"main": Files({}, origin=Origin("c", '"\n\udcff', "t"))})

    assert seen(made) == seen(again(made))
