"""Facts about the reading of manifests that other programs may have written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from vortexd.cluster.published.head import MOST_CHUNKS, Newer
from vortexd.cluster.published.manifest import Manifest
from vortexd.cluster.published.manifest_reader import Root, chunks_of_page, parse_pages, parse_root
from vortexd.cluster.published.manifest_writer import manifest_of
from vortexd.cluster.published.packing import CHUNK_BYTES
from vortexd.cluster.records import Unusable
from vortexd.core.model import Tree

from . import former
from .trees import rich, tree


class Document:
    """A manifest, taken apart: its root, and its pages in their order."""

    def __init__(self, made: Tree) -> None:
        written = manifest_of(made)
        self.root: Any = json.loads(written.root)
        self.pages: list[Any] = [json.loads(each.data) for each in written.pages]
        # The names need not be right, because the reader of the chunks has verified them.
        self.names = [each.name for each in written.pages]

    @property
    def layer(self) -> Any:
        return self.root["labels"][0][1][0]

    @property
    def page(self) -> Any:
        return self.pages[self.layer["files"][0][0]]

    @property
    def edits(self) -> Any:
        return self.pages[self.layer["edits"][1][0][0]]

    def read(self, most_rows: int = 10_000) -> Manifest:
        root = parse_root(json.dumps(self.root).encode())
        assert isinstance(root, Root)
        pages = {name: json.dumps(page).encode() for name, page in zip(self.names, self.pages, strict=True)}
        return parse_pages(root, pages, most_rows)


def put(table: Any, name: Any, value: object) -> None:
    table[name] = value


def test_the_manifest_of_these_tests_is_usable() -> None:
    document = Document(rich())
    document.root["labels"].append(["v2", [document.layer] * 256])
    document.root["more"] = document.layer["more"] = document.page["more"] = 1
    assert len(document.read().labels) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda one: put(one.root, "default_label", None),
        lambda one: put(one.root, "default_label", "../x"),
        lambda one: put(one.root, "labels", {}),
        lambda one: one.root["labels"].append(["v2"]),
        lambda one: one.root["labels"].append(["v2", []]),
        lambda one: one.root["labels"].append(["v2", [one.layer] * 257]),
        lambda one: one.root["labels"].append([7, [one.layer]]),
        lambda one: one.root["labels"].append(["v2", [7]]),
        lambda one: put(one.root, "pages", None),
        lambda one: put(one.root, "pages", [["x", 1]]),
        lambda one: put(one.root["pages"][0], 1, -1),
        lambda one: put(one.root["pages"][0], 1, True),
        lambda one: put(one.root["pages"][0], 1, CHUNK_BYTES + 1),
        lambda one: one.root["pages"][0].append(1),
        lambda one: one.root["pages"].append([one.root["pages"][0][0], 1]),
        lambda one: put(one.root, "pages", [[f"{number:064x}", 1] for number in range(MOST_CHUNKS + 1)]),
        lambda one: put(one.layer, "root", None),
        lambda one: put(one.layer, "locations", [7]),
        lambda one: put(one.layer, "revision", 7),
        lambda one: put(one.layer, "origin", ["c"]),
        lambda one: put(one.layer, "applications", None),
        lambda one: put(one.layer, "group", -1),
        lambda one: put(one.layer, "files", None),
        lambda one: put(one.layer, "files", [[0]]),
        lambda one: put(one.layer, "files", [[0, 0]]),
        lambda one: put(one.layer, "files", [[-1, 1]]),
        lambda one: put(one.layer, "files", [[0, True]]),
        lambda one: put(one.layer, "files", [[0, len(one.pages) + 1]]),
        lambda one: put(one.layer, "files", [[len(one.pages), 1]]),
        lambda one: put(one.layer, "files", [[10**30, 1]]),
        lambda one: put(one.pages, one.layer["files"][0][0], []),
        lambda one: put(one.page, "chunks", None),
        lambda one: put(one.page, "chunks", ["x"]),
        lambda one: put(one.page, "rows", None),
        lambda one: one.page["rows"].append(7),
        lambda one: one.page["rows"].append([]),
        lambda one: one.page["rows"].append(["x"]),
        lambda one: one.page["rows"].append(["x", 7]),
        lambda one: one.page["rows"].append(["../x", "y"]),
        lambda one: one.page["rows"].append(["/x", *one.page["rows"][0][1:]]),
        lambda one: one.page["rows"].append([7, *one.page["rows"][0][1:]]),
        lambda one: one.page["rows"].append([*one.page["rows"][0], 1]),
        lambda one: one.page["rows"].append(["locked.yml", *one.page["rows"][0][1:]]),
        lambda one: put(one.page["rows"][0], 1, "x"),
        lambda one: put(one.page["rows"][0], 1, None),
        lambda one: put(one.page["rows"][0], 2, -1),
        lambda one: put(one.page["rows"][0], 2, 5.0),
        lambda one: put(one.page["rows"][0], 2, one.page["rows"][0][2] + 1),
        lambda one: put(one.page["rows"][0], 3, None),
        lambda one: put(one.page["rows"][0], 3, [[0, 0]]),
        lambda one: put(one.page["rows"][0], 3, [[len(one.page["chunks"]), 0, one.page["rows"][0][2]]]),
        lambda one: put(one.page["rows"][0], 3, [[0, CHUNK_BYTES, one.page["rows"][0][2]]]),
        lambda one: put(one.page["rows"][0], 3, [[-1, 0, one.page["rows"][0][2]]]),
        lambda one: one.page["rows"].append(["x", one.page["rows"][0][1], 0, []]),
        lambda one: put(one.layer, "edits", 7),
        lambda one: put(one.layer, "edits", [7]),
        lambda one: put(one.layer["edits"], 0, None),
        lambda one: put(one.layer["edits"], 1, [[0, 0]]),
        lambda one: put(one.layer, "trailers", 7),
        lambda one: put(one.layer, "trailers", [["c"]]),
        lambda one: put(one.layer, "trailers", [["c", ["5"], "5"]]),
        lambda one: put(one.layer, "trailers", [[7, ["5"]]]),
        lambda one: put(one.layer, "trailers", [["c", "5"]]),
        lambda one: put(one.layer, "trailers", [["c", [5]]]),
        lambda one: one.edits["rows"].insert(0, "x"),
        lambda one: one.edits["rows"].append(7),
        lambda one: one.edits["rows"].append([0, "c", "a"]),
        lambda one: one.edits["rows"].append([-1, "c", "a", "t"]),
        lambda one: one.edits["rows"].append([0, "c", "a", 7]),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: Callable[[Document], object]) -> None:
    document = Document(rich())
    change(document)
    with pytest.raises(Unusable):
        document.read()


def test_all_rows_of_all_layers_are_bounded_together() -> None:
    document = Document(tree(a="1", b="2", c="3"))
    document.root["labels"] = [[f"v{number}", [document.layer]] for number in range(10)]
    assert len(document.read(30).labels) == 10
    with pytest.raises(Unusable, match="more than 29 rows"):
        document.read(29)


def test_edits_count_as_rows() -> None:
    document = Document(rich())
    rows = [len(each["rows"]) for each in document.pages]
    # The layer of the default label has edits, and the last label shares no page.
    assert document.read(sum(rows))
    with pytest.raises(Unusable, match=f"more than {sum(rows) - 1} rows"):
        document.read(sum(rows) - 1)


def test_pages_without_rows_are_bounded_too() -> None:
    document = Document(tree(a="1"))
    document.pages[0]["rows"] = []
    document.layer["files"] = [[0, 1]] * 1_000
    assert document.read(999)
    with pytest.raises(Unusable, match="more than 998 rows"):
        document.read(998)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"7", b"[]", b"{}", b'{"format":0}', b"[" * 100_000])
def test_garbage_is_refused(data: bytes) -> None:
    for parse in (parse_root, chunks_of_page):
        with pytest.raises(Unusable):
            parse(data)


def test_a_root_may_name_a_most_number_of_pages() -> None:
    pages = [[f"{number:064x}", 1] for number in range(MOST_CHUNKS)]
    root = parse_root(json.dumps({"format": 2, "pages": pages}).encode())
    assert isinstance(root, Root)
    assert len(root.sizes) == MOST_CHUNKS


def test_a_page_that_is_no_json_is_refused() -> None:
    root = parse_root(manifest_of(tree(a="1")).root)
    assert isinstance(root, Root)
    for data in (b"{", b"[]", b"[" * 100_000):
        with pytest.raises(Unusable):
            parse_pages(root, dict.fromkeys(root.sizes, data), 10)


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(Newer, match="its format is 3, and this version reads 1 to 2"):
        parse_root(b'{"format":3}')


def test_a_manifest_of_format_1_has_no_pages() -> None:
    assert isinstance(parse_root(former.manifest_of(rich())[0]), Manifest)


def test_a_content_that_several_pages_have_is_one() -> None:
    document = Document(rich())
    manifest = document.read()
    assert len({each.digest for each in manifest.contents}) == len(manifest.contents) == 4
