"""A parsed manifest and its tree, and manifests of format 1. Pure.

A manifest names the contents of all files by their hashes. It has labels, the layers of each label, and for each layer what
`Files` has: paths, locations, commits and origins. In format 1 it is one document. `manifest_writer` writes format 2.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ...core.model import Edits, Files, Origin, Tree
from ..records import Unusable
from .checks import as_count, as_label, as_list, as_origin, as_row, as_text, is_count, is_path
from .head import check_format, digests, is_digest
from .packing import CHUNK_BYTES, Content, Piece

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


def table_of_manifest(data: bytes) -> Mapping[str, Any]:
    """Parse a document of a manifest, and check its format number.

    Raises:
        Newer: See the class.
        Unusable: It isn't such a document.
    """
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise Unusable("the manifest isn't JSON") from None
    check_format(table)
    found: Mapping[str, Any] = table
    return found


def labels_of(table: Mapping[str, Any], layer: Callable[[object], Layer]) -> dict[str, tuple[Layer, ...]]:
    """Return the labels of a manifest, each with its layers."""
    labels: dict[str, tuple[Layer, ...]] = {}
    for each in as_list(table.get("labels")):
        label, layers = as_row(each, 2)
        found = as_list(layers)
        if not 0 < len(found) <= _MOST_LAYERS:
            raise Unusable(f"the manifest has a label without layers, or with more than {_MOST_LAYERS}")
        labels[as_label(label)] = tuple(map(layer, found))
    return labels


def content_of(digest: object, size: object, pieces: object, numbers: Sequence[int]) -> Content:
    """Return a content.

    Args:
        numbers: Maps the numbers of chunks in the pieces to those in the manifest.
    """
    found = tuple(_piece(each, numbers) for each in as_list(pieces))
    if not isinstance(digest, str) or not is_digest(digest) or not isinstance(size, int) or not is_count(size):
        raise Unusable("the manifest has a content whose digest or size isn't valid")
    if sum(length for _, _, length in found) != size:
        raise Unusable("the manifest has a content whose pieces aren't valid")
    return Content(digest, size, found)


def _piece(value: object, numbers: Sequence[int]) -> Piece:
    number, offset, length = as_row(value, 3)
    if not all(map(is_count, (number, offset, length))) or number >= len(numbers) or offset + length > CHUNK_BYTES:
        raise Unusable("the manifest has a piece that no chunk has")
    return numbers[number], offset, length


def layer_of(
    table: Mapping[str, Any], numbers: Mapping[str, int], unreadable: Mapping[str, str], edits: Edits | None
) -> Layer:
    """Return a layer, whose other members are in a table."""
    if numbers.keys() & unreadable.keys():
        raise Unusable("the manifest has a file that is unreadable, and has a content")
    revision, origin = table.get("revision"), table.get("origin")
    files = Files(
        {},
        unreadable,
        as_text(table.get("root")),
        tuple(map(as_text, as_list(table.get("locations")))),
        None if revision is None else as_text(revision),
        None if origin is None else as_origin(origin),
        tuple(map(as_text, as_list(table.get("applications")))),
        as_count(table.get("group")),
        edits=edits,
        trailers=_trailers(table.get("trailers", [])),
    )
    return Layer(files, numbers)


def _trailers(value: object) -> Mapping[str, tuple[str, ...]]:
    rows = [as_row(each, 2) for each in as_list(value)]
    return {as_text(commit): tuple(map(as_text, as_list(values))) for commit, values in rows}


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


# Format 1.


def manifest_of_table(table: Mapping[str, Any]) -> Manifest:
    """Return a manifest of format 1.

    Raises:
        Unusable: It contradicts itself.
    """
    chunks = digests(table, "chunks")
    contents = tuple(
        content_of(*as_row(each, 3), range(len(chunks)))  # type: ignore[call-arg]  # as_row returns three items
        for each in as_list(table.get("contents"))
    )
    labels = labels_of(table, lambda layer: _parsed_layer(layer, len(contents)))
    return Manifest(as_label(table.get("default_label")), labels, chunks, contents)


def _parsed_layer(value: object, contents: int) -> Layer:
    if not isinstance(value, dict):
        raise Unusable("the manifest has a layer that isn't a table")
    numbers = dict[str, int]()
    for each in as_list(value.get("files")):
        path, number = as_row(each, 2)
        if not is_path(path) or not is_count(number) or number >= contents:
            raise Unusable("the manifest has a file without a usable path or content")
        numbers[path] = number
    unreadable = dict[str, str]()
    for each in as_list(value.get("unreadable")):
        path, reason = as_row(each, 2)
        if not is_path(path):
            raise Unusable("the manifest has an unreadable file without a usable path")
        unreadable[path] = as_text(reason)
    edits = value.get("edits")
    return layer_of(value, numbers, unreadable, None if edits is None else _parsed_edits(edits))


def _parsed_edits(value: object) -> Edits:
    if not isinstance(value, dict):
        raise Unusable("the manifest has edits that aren't a table")
    origins = [*map(as_origin, as_list(value.get("origins")))]
    by_path = dict[str, tuple[int, Origin]]()
    for each in as_list(value.get("paths")):
        path, distance, number = as_row(each, 3)
        if not is_count(distance) or not is_count(number) or number >= len(origins):
            raise Unusable("the manifest has an edit without a commit")
        by_path[as_text(path)] = (-distance, origins[number])
    return Edits(0, by_path, as_count(value.get("depth")))
