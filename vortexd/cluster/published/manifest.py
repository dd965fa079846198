"""A tree as one document that names the contents of all files by their hashes, and back. Pure.

The document has labels, the layers of each label, and for each layer what `Files` has: paths, locations, commits and
origins. The same state makes the same bytes at every node. So their hash identifies the state.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ...core import names
from ...core.errors import InvalidName
from ...core.model import Edits, Files, Origin, Tree
from ..records import Unusable
from .head import FORMAT, check_format, digests, is_digest
from .packing import CHUNK_BYTES, Chunk, Content, Piece, digest_of, pack

# The most layers of a label.
_MOST_LAYERS = 256


@attrs.frozen(eq=False)
class Manifest:
    """A parsed manifest.

    Attributes:
        chunks: The names of the chunks of the contents. Pieces name them by their position.
        labels: Maps each label to its layers, the strongest first. `Layer` has the numbers of its contents.
    """

    default_label: str
    labels: Mapping[str, tuple["Layer", ...]]
    chunks: tuple[str, ...]
    contents: tuple[Content, ...]


@attrs.frozen(eq=False)
class Layer:
    """The files of one source under one label.

    Attributes:
        files: As `Files`, but without contents.
        numbers: Maps each path to the number of its content.
    """

    files: Files
    numbers: Mapping[str, int]


# From a tree to a document.


def manifest_of(tree: Tree) -> tuple[bytes, list[Chunk]]:
    """Return the manifest of a tree, and the chunks of its contents."""
    order = [tree.default_label, *sorted(tree.labels.keys() - {tree.default_label})]
    labels = [(label, (tree.labels[label], *tree.labels[label].others)) for label in order if label in tree.labels]
    contents: dict[str, bytes] = {}
    # Labels often share the objects of their contents, so each object is hashed once.
    known: dict[int, str] = {}
    written = [(label, [_layer(files, contents, known) for files in layers]) for label, layers in labels]
    chunks, pieces = pack(contents)
    positions = {digest: position for position, digest in enumerate(contents)}
    for _, layers in written:
        for layer in layers:
            layer["files"] = [[path, positions[digest]] for path, digest in layer["files"]]
    document = {
        "format": FORMAT,
        "default_label": tree.default_label,
        "labels": written,
        "chunks": [chunk.name for chunk in chunks],
        "contents": [
            [digest, len(content), each] for (digest, content), each in zip(contents.items(), pieces, strict=True)
        ],
    }
    # Unlike orjson, this module writes lone surrogates, which stand for bytes that aren't UTF-8.
    return json.dumps(document, separators=(",", ":")).encode(), chunks


def _layer(files: Files, contents: dict[str, bytes], known: dict[int, str]) -> dict[str, Any]:
    found = []
    for path, content in sorted(files.contents.items()):
        digest = known.get(id(content)) or known.setdefault(id(content), digest_of(content))
        contents.setdefault(digest, content)
        found.append((path, digest))
    return {
        "root": files.root,
        "locations": files.locations,
        "revision": files.revision,
        "origin": None if files.origin is None else attrs.astuple(files.origin),
        "applications": files.applications,
        "group": files.group,
        "files": found,
        "unreadable": sorted(files.unreadable.items()),
        "edits": None if files.edits is None else _edits(files.edits),
    }


def _edits(edits: Edits) -> dict[str, Any]:
    """Write the edits that count. The number of an edit is its distance from the newest, alike at every node."""
    origins: dict[Origin, int] = {}
    paths = [
        [path, edits.newest - number, origins.setdefault(origin, len(origins))]
        for path, (number, origin) in sorted(edits.by_path.items())
        if edits.newest - number < edits.depth
    ]
    return {"depth": edits.depth, "origins": [*map(attrs.astuple, origins)], "paths": paths}


# From a document to a tree.


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        Unusable: It can't be read, or contradicts itself.
    """
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise Unusable("the manifest isn't JSON") from None
    check_format(table)
    chunks = digests(table, "chunks")
    contents = tuple(_content(each, len(chunks)) for each in _list(table.get("contents")))
    labels: dict[str, tuple[Layer, ...]] = {}
    for each in _list(table.get("labels")):
        label, layers = _row(each, 2)
        found = _list(layers)
        if not 0 < len(found) <= _MOST_LAYERS:
            raise Unusable(f"the manifest has a label without layers, or with more than {_MOST_LAYERS}")
        labels[_label(label)] = tuple(_parsed_layer(layer, len(contents)) for layer in found)
    return Manifest(_label(table.get("default_label")), labels, chunks, contents)


def tree_of(manifest: Manifest, contents: Sequence[bytes | None], too_large: Callable[[int], str]) -> Tree:
    """Return the tree of a manifest.

    Args:
        contents: The bytes of each content. If it is None, it is too large, and its files count as unreadable.
        too_large: Returns the reason for a size.
    """
    reasons = [too_large(content.size) for content in manifest.contents]

    def files(layer: Layer) -> Files:
        found: dict[str, bytes] = {}
        unreadable = dict(layer.files.unreadable)
        for path, number in layer.numbers.items():
            content = contents[number]
            if content is None:
                unreadable[path] = reasons[number]
            else:
                found[path] = content
        return attrs.evolve(layer.files, contents=found, unreadable=unreadable)

    def stack(layers: Sequence[Layer]) -> Files:
        first, *others = map(files, layers)
        return attrs.evolve(first, others=tuple(others))

    return Tree({label: stack(layers) for label, layers in manifest.labels.items()}, manifest.default_label)


def _content(value: object, chunks: int) -> Content:
    digest, size, pieces = _row(value, 3)
    found = tuple(_piece(each, chunks) for each in _list(pieces))
    if not is_digest(digest) or not _is_count(size) or sum(length for _, _, length in found) != size:
        raise Unusable("the manifest has a content whose digest, size or pieces aren't valid")
    return Content(digest, size, found)


def _piece(value: object, chunks: int) -> Piece:
    number, offset, length = _row(value, 3)
    if not all(map(_is_count, (number, offset, length))) or number >= chunks or offset + length > CHUNK_BYTES:
        raise Unusable("the manifest has a piece that no chunk has")
    return number, offset, length


def _parsed_layer(value: object, contents: int) -> Layer:
    if not isinstance(value, dict):
        raise Unusable("the manifest has a layer that isn't a table")
    numbers = dict[str, int]()
    for each in _list(value.get("files")):
        path, number = _row(each, 2)
        if not _is_path(path) or not _is_count(number) or number >= contents:
            raise Unusable("the manifest has a file without a usable path or content")
        numbers[path] = number
    unreadable = dict[str, str]()
    for each in _list(value.get("unreadable")):
        path, reason = _row(each, 2)
        if not _is_path(path):
            raise Unusable("the manifest has an unreadable file without a usable path")
        unreadable[path] = _text(reason)
    if numbers.keys() & unreadable.keys():
        raise Unusable("the manifest has a file that is unreadable, and has a content")
    revision, origin, edits = (value.get(name) for name in ("revision", "origin", "edits"))
    files = Files(
        {},
        unreadable,
        _text(value.get("root")),
        tuple(map(_text, _list(value.get("locations")))),
        None if revision is None else _text(revision),
        None if origin is None else _origin(origin),
        tuple(map(_text, _list(value.get("applications")))),
        _counted(value.get("group")),
        edits=None if edits is None else _parsed_edits(edits),
    )
    return Layer(files, numbers)


def _parsed_edits(value: object) -> Edits:
    if not isinstance(value, dict):
        raise Unusable("the manifest has edits that aren't a table")
    origins = [*map(_origin, _list(value.get("origins")))]
    by_path = dict[str, tuple[int, Origin]]()
    for each in _list(value.get("paths")):
        path, distance, number = _row(each, 3)
        if not _is_count(distance) or not _is_count(number) or number >= len(origins):
            raise Unusable("the manifest has an edit without a commit")
        by_path[_text(path)] = (-distance, origins[number])
    return Edits(0, by_path, _counted(value.get("depth")))


def _origin(value: object) -> Origin:
    commit, author, time = map(_text, _row(value, 3))
    return Origin(commit, author, time)


def _label(value: object) -> str:
    try:
        return names.label(_text(value))
    except InvalidName:
        raise Unusable("the manifest has a label whose name isn't valid") from None


def _is_path(value: object) -> bool:
    """Return whether a value is a path below a root, so that no source could have made another one."""
    return isinstance(value, str) and not {"", ".", ".."} & {*value.split("/")}


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _counted(value: Any) -> int:
    if not _is_count(value):
        raise Unusable("the manifest has a number that isn't valid")
    counted: int = value
    return counted


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unusable("the manifest lacks a text")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Unusable("the manifest lacks a list")
    return value


def _row(value: object, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise Unusable("the manifest has a row of another length")
    return value
