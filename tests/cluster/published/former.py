"""Manifests of format 1, as former versions of vortexd wrote them."""

import json
from typing import Any

import attrs

from vortexd.cluster.published.packing import Chunk, digest_of, pack
from vortexd.core.model import Edits, Files, Origin, Tree

FORMAT = 1


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
