"""Writes the manifest of a tree: one root, and pages with the rows of all files. Pure.

A page is a chunk, and has rows of files that follow each other. It depends on nothing outside: it names the chunks of its
contents itself. The end of a page depends on the paths in it. So a changed file changes one or two pages, and layers with
equal files share pages. The root has the names of the pages, and everything else of each layer. The same state makes the
same bytes at every node. So the hash of the root identifies the state.

A page of edits has the commits, the newest first, and the paths that each has changed last. A new commit is put before them.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ...core.model import Edits, Files, Origin, Tree
from ..engine import TooLarge
from .head import FORMAT
from .packing import CHUNK_BYTES, Chunk, Piece, digest_of, pack

# A page has at least so many bytes, if others follow, and as many more on average. The estimate is about twice the bytes.
_LEAST_BYTES, _FURTHER_BYTES = 8_192, 8_192
# The most pages. If a state has more, each page gets twice the bytes. Pages of the largest size may be more.
_MOST_PAGES = 1_500
# The bytes of a row beside its path, and of a piece with the name of its chunk. No row has more.
_ROW_BYTES, _PIECE_BYTES = 112, 100
# A chunk has room for a page of this size.
_PAGE_BYTES = CHUNK_BYTES - 64


@attrs.frozen(eq=False)
class Written:
    """The manifest of a tree.

    Attributes:
        root: The root.
        pages: The pages, each once.
        chunks: The chunks of the contents.
    """

    root: bytes
    pages: Sequence[Chunk]
    chunks: Sequence[Chunk]


def manifest_of(tree: Tree) -> Written:
    """Return the manifest of a tree, and the chunks of its contents.

    Raises:
        TooLarge: A file has too long a path, or too many chunks.
    """
    order = [tree.default_label, *sorted(tree.labels.keys() - {tree.default_label})]
    labels = [(label, (tree.labels[label], *tree.labels[label].others)) for label in order if label in tree.labels]
    contents: dict[str, bytes] = {}
    # Labels often share the objects of their contents, so each object is hashed once.
    known: dict[int, str] = {}
    files = [[_digests(layer, contents, known) for layer in layers] for _, layers in labels]
    chunks, pieces = pack(contents)
    names = [chunk.name for chunk in chunks]
    rows = dict(zip(contents, map(_Content, contents, map(len, contents.values()), pieces), strict=True))
    scale = 1
    while True:
        pages = _Pages(names, rows, scale)
        layers = [
            [label, [pages.layer(layer, digests) for layer, digests in zip(stack, found, strict=True)]]
            for (label, stack), found in zip(labels, files, strict=True)
        ]
        if len(pages.pages) <= _MOST_PAGES or scale * _LEAST_BYTES >= _PAGE_BYTES:
            break
        scale *= 2
    document = {"format": FORMAT, "default_label": tree.default_label, "pages": pages.listed, "labels": layers}
    return Written(_json(document), pages.pages, chunks)


def _digests(files: Files, contents: dict[str, bytes], known: dict[int, str]) -> list[tuple[str, str]]:
    """Return the paths of a layer with the digests of their contents. Add contents that are new."""
    found = []
    for path, content in sorted(files.contents.items()):
        digest = known.get(id(content)) or known.setdefault(id(content), digest_of(content))
        contents.setdefault(digest, content)
        found.append((path, digest))
    return found


# Unlike orjson, this module writes lone surrogates, which stand for bytes that aren't UTF-8.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def _json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


# These two aren't frozen, because a state has many of them, and a frozen class takes twice as long to make.
@attrs.define(eq=False)
class _Content:
    digest: str
    size: int
    pieces: Sequence[Piece]


@attrs.define(eq=False)
class _Row:
    """One row of a page.

    Attributes:
        hash: Decides together with `size` whether a page ends after the row. It depends on the path alone.
        size: The most bytes of the row. It depends on the path and the number of pieces alone.
        value: Identifies the row among those of this writer.
        content: The content, or None if the value is the row itself.
    """

    hash: int
    size: int
    value: Any
    content: _Content | None = None


class _Pages:
    """Cuts rows into pages.

    Args:
        names: The names of the chunks, by the numbers in pieces.
        contents: The contents, by their digests.
        scale: Multiplies the bytes of a page.

    Attributes:
        pages: The pages, each once.
        listed: The name and the size of each, as the root has them.
    """

    def __init__(self, names: Sequence[str], contents: Mapping[str, _Content], scale: int) -> None:
        self._names = names
        self._contents = contents
        self._least, self._further = (min(bytes * scale, _PAGE_BYTES) for bytes in (_LEAST_BYTES, _FURTHER_BYTES))
        # The rows of files by path and digest, and the number of each page by its rows.
        self._rows: dict[tuple[str, str], _Row] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._by_name: dict[str, int] = {}
        self.pages: list[Chunk] = []
        self.listed: list[tuple[str, int]] = []

    def layer(self, files: Files, digests: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return a layer, as the root has it."""
        rows = [self._file(path, digest) for path, digest in digests]
        rows += [self._text((path, reason), path) for path, reason in sorted(files.unreadable.items())]
        layer = {
            "root": files.root,
            "locations": files.locations,
            "revision": files.revision,
            "origin": None if files.origin is None else attrs.astuple(files.origin),
            "applications": files.applications,
            "group": files.group,
            "files": self._cut(rows),
            "edits": None if files.edits is None else [files.edits.depth, self._cut(self._edits(files.edits))],
        }
        # Older versions pass over this member. Without trailers, the state keeps the identity that it has for them.
        return {**layer, "trailers": [*files.trailers.items()]} if files.trailers else layer

    def _edits(self, edits: Edits) -> list[_Row]:
        """Return rows for the edits that count. Only the distances between commits count, alike at every node."""
        commits: dict[tuple[int, Origin], list[str]] = {}
        for path, (number, origin) in sorted(edits.by_path.items()):
            if edits.newest - number < edits.depth:
                commits.setdefault((edits.newest - number, origin), []).append(path)
        rows, last = [], 0
        for (distance, origin), paths in sorted(
            commits.items(), key=lambda each: (each[0][0], attrs.astuple(each[0][1]))
        ):
            rows.append(self._text((distance - last, *attrs.astuple(origin)), origin.commit))
            rows += [self._text(path, path) for path in paths]
            last = distance
        return rows

    def _file(self, path: str, digest: str) -> _Row:
        value = path, digest
        row = self._rows.get(value)
        if row is None:
            encoded, content = _json(path), self._contents[digest]
            size = len(encoded) + _ROW_BYTES + _PIECE_BYTES * len(content.pieces)
            row = self._rows[value] = _Row(zlib.crc32(encoded), size, value, content)
        return row

    def _text(self, value: Any, text: str) -> _Row:
        return _Row(zlib.crc32(_json(text)), 2 * (len(_json(value)) + 1), value)

    def _cut(self, rows: Sequence[_Row]) -> list[tuple[int, int]]:
        """Cut rows into pages. Return runs of pages: the number of the first one, and how many there are."""
        runs: list[tuple[int, int]] = []
        page, size = list[_Row](), 0
        for row in rows:
            if row.size > _PAGE_BYTES:
                raise TooLarge("a file has too long a path or too many bytes to be published")
            if size + row.size > _PAGE_BYTES:
                _add(runs, self._number(page))
                page, size = [], 0
            page.append(row)
            size += row.size
            # The larger the row, the likelier a page ends with it.
            if size >= self._least and row.hash * self._further < row.size << 32:
                _add(runs, self._number(page))
                page, size = [], 0
        if page:
            _add(runs, self._number(page))
        return runs

    def _number(self, rows: Sequence[_Row]) -> int:
        """Return the number of a page. If there is none with these rows, make it."""
        key = tuple((row.value, row.content is None) for row in rows)
        found = self._numbers.get(key)
        if found is None:
            data = self._page(rows)
            name = digest_of(data)
            found = self._by_name.get(name)
            if found is None:
                found = self._by_name[name] = len(self.pages)
                self.pages.append(Chunk(name, [memoryview(data)]))
                self.listed.append((name, len(data)))
            self._numbers[key] = found
        return found

    def _page(self, rows: Sequence[_Row]) -> bytes:
        numbers: dict[int, int] = {}
        values = [
            row.value
            if row.content is None
            else (
                *row.value,
                row.content.size,
                [(numbers.setdefault(chunk, len(numbers)), *rest) for chunk, *rest in row.content.pieces],
            )
            for row in rows
        ]
        return _json({"chunks": [self._names[number] for number in numbers], "rows": values})


def _add(runs: list[tuple[int, int]], number: int) -> None:
    first, count = runs[-1] if runs else (0, 0)
    if count and first + count == number:
        runs[-1] = first, count + 1
    else:
        runs.append((number, 1))
