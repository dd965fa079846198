"""Reads a manifest of any format: first its root, and then its pages. Pure.

Everything may have been written by another program. So each part is checked, and the rows of all pages are bounded
together: layers may name one page any number of times.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from ...core.model import Edits, Origin
from ..records import Unusable
from .checks import as_count, as_label, as_list, as_origin, as_row, as_text, is_count, is_path
from .head import FORMAT, MOST_CHUNKS, digests, is_digest
from .manifest import Layer, Manifest, content_of, labels_of, layer_of, manifest_of_table, table_of_manifest
from .packing import CHUNK_BYTES, Content


@attrs.frozen(eq=False)
class Root:
    """A root.

    Attributes:
        table: The parsed document.
        pages: The name and the size of each page.
    """

    table: Mapping[str, Any]
    pages: tuple[tuple[str, int], ...]

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each page by its name."""
        return dict(self.pages)


def parse_root(data: bytes) -> Root | Manifest:
    """Read a root. In format 1, it is the whole manifest.

    Raises:
        Newer: See the class.
        Unusable: It can't be read, or contradicts itself.
    """
    table = table_of_manifest(data)
    return Root(table, _pages(table)) if table["format"] == FORMAT else manifest_of_table(table)


def _pages(table: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    found = as_list(table.get("pages"))
    if len(found) > MOST_CHUNKS:
        raise Unusable(f"the manifest has more than {MOST_CHUNKS} pages")
    pages = []
    for each in found:
        name, size = as_row(each, 2)
        if not is_digest(name) or not is_count(size) or size > CHUNK_BYTES:
            raise Unusable("the manifest has a page whose name or size isn't valid")
        pages.append((name, size))
    if len({name for name, _ in pages}) < len(pages):
        raise Unusable("the manifest names a page twice")
    return tuple(pages)


def chunks_of_page(data: bytes) -> tuple[str, ...]:
    """Return the names of the chunks that a page needs.

    Raises:
        Unusable: It isn't a page.
    """
    return digests(_page(data), "chunks")


def _page(data: bytes) -> Mapping[str, Any]:
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise Unusable("the manifest has a page that isn't JSON") from None
    if not isinstance(table, dict):
        raise Unusable("the manifest has a page that isn't a table")
    return table


def parse_pages(root: Root, pages: Mapping[str, bytes], most_rows: int) -> Manifest:
    """Read a manifest of which all pages are there.

    Args:
        pages: The pages by name. They are verified.
        most_rows: The most rows of all layers together.

    Raises:
        Unusable: A page can't be read, or something contradicts something else, or there are more rows.
    """
    reader = _Reader([pages[name] for name, _ in root.pages], most_rows)
    labels = labels_of(root.table, reader.layer)
    return Manifest(as_label(root.table.get("default_label")), labels, tuple(reader.chunks), tuple(reader.contents))


class _Reader:
    """Collects the chunks and contents of all pages.

    Attributes:
        chunks: The chunks, each with its number.
        contents: The contents.
    """

    def __init__(self, pages: Sequence[bytes], most_rows: int) -> None:
        self._tables = [*map(_page, pages)]
        self._most_rows = most_rows
        self._rows = 0
        self._files: dict[int, list[tuple[str, int | str]]] = {}
        self._numbers: dict[str, int] = {}
        self.chunks: dict[str, int] = {}
        self.contents: list[Content] = []

    def layer(self, value: object) -> Layer:
        """Return a layer."""
        if not isinstance(value, dict):
            raise Unusable("the manifest has a layer that isn't a table")
        numbers, unreadable = dict[str, int](), dict[str, str]()
        for page in self._run(value.get("files")):
            for path, found in self._files_of(page):
                if isinstance(found, int):
                    numbers[path] = found
                else:
                    unreadable[path] = found
        edits = value.get("edits")
        return layer_of(value, numbers, unreadable, None if edits is None else self._edits(edits))

    def _run(self, value: object) -> list[int]:
        """Return the numbers of the pages of a layer, and count their rows."""
        found = list[int]()
        for each in as_list(value):
            first, count = map(as_count, as_row(each, 2))
            if not 0 < count <= len(self._tables) - first:
                raise Unusable("the manifest has a layer with a page that isn't there")
            found += range(first, first + count)
            self._rows += sum(len(as_list(self._tables[page].get("rows"))) for page in range(first, first + count))
            # A page may have no rows.
            if self._rows > self._most_rows or len(found) > len(self._tables) + self._most_rows:
                raise Unusable(f"the manifest has more than {self._most_rows} rows")
        return found

    def _files_of(self, page: int) -> list[tuple[str, int | str]]:
        """Return the paths of a page, each with the number of its content, or with the reason why it is unreadable."""
        found = self._files.get(page)
        if found is None:
            table = self._tables[page]
            chunks = [self.chunks.setdefault(name, len(self.chunks)) for name in digests(table, "chunks")]
            found = self._files[page] = [*map(partial(self._file, chunks), as_list(table.get("rows")))]
        return found

    def _file(self, chunks: Sequence[int], row: object) -> tuple[str, int | str]:
        path, *rest = as_list(row) or [None]
        if not is_path(path):
            raise Unusable("the manifest has a file without a usable path")
        if len(rest) == 1:
            return path, as_text(rest[0])
        content = content_of(*as_row(rest, 3), chunks)  # type: ignore[call-arg]  # as_row returns three items
        number = self._numbers.setdefault(content.digest, len(self.contents))
        if number == len(self.contents):
            self.contents.append(content)
        elif self.contents[number].size != content.size:
            raise Unusable("the manifest has a content of two sizes")
        return path, number

    def _edits(self, value: object) -> Edits:
        depth, runs = as_row(value, 2)
        by_path = dict[str, tuple[int, Origin]]()
        distance, origin = 0, None
        for page in self._run(runs):
            for row in as_list(self._tables[page].get("rows")):
                if isinstance(row, str) and origin is not None:
                    by_path[row] = (-distance, origin)
                else:
                    gap, *rest = as_row(row, 4)
                    distance, origin = distance + as_count(gap), as_origin(rest)
        return Edits(0, by_path, as_count(depth))
