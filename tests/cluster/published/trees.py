"""Trees for tests of published states, and views of them and of what is published that can be compared."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from vortexd.cluster.published.head import Head
from vortexd.cluster.published.manifest import Manifest, tree_of
from vortexd.cluster.published.manifest_reader import Root, chunks_of_page, parse_pages, parse_root
from vortexd.cluster.published.packing import digest_of, unpack, verified
from vortexd.core.model import Edits, Files, Origin, Tree

ONE, TWO = Origin("c1", "Ann", "2026-01-01T00:00:00Z"), Origin("c2", "Bob", "2026-01-02T00:00:00Z")


def tree(**files: str) -> Tree:
    """Return a tree with one label. An underscore in a name stands for a dot."""
    contents = {name.replace("_", "."): text.encode() for name, text in files.items()}
    return Tree({"main": Files(contents, root="git:/")})


def rich() -> Tree:
    """Return a tree that has everything that a tree can have."""
    weak = Files({"w.yml": b"weak"}, root="file:/w/", applications=("billing/*",), group=1)
    main = Files(
        {"a.yml": b"a: 1\n", "d/b.yml": b"", "bin": bytes(range(256)), "same.yml": b"a: 1\n"},
        {"locked.yml": "permission denied"},
        "https://git.example/c.git/",
        ("", "{application}/"),
        "c2",
        TWO,
        edits=Edits(7, {"a.yml": (7, TWO), "bin": (5, ONE), "gone.yml": (6, ONE), "old.yml": (4, ONE)}, 3),
        others=(weak,),
    )
    return Tree({"main": main, "v1": Files({"a.yml": b"a: 1\n"}, revision="c1", origin=ONE)}, "main")


def seen(made: Tree) -> Any:
    """Return everything that a published tree keeps, in a form that can be compared."""

    def layer(files: Files) -> Mapping[str, Any]:
        edits = files.edits
        counted = (
            None
            if edits is None
            else {
                path: (edits.newest - number, origin)
                for path, (number, origin) in edits.by_path.items()
                if edits.newest - number < edits.depth
            }
        )
        names = ("contents", "unreadable", "root", "locations", "revision", "origin", "applications", "group")
        return {name: getattr(files, name) for name in names} | {
            "edits": counted,
            "depth": None if edits is None else edits.depth,
        }

    return made.default_label, {
        label: [layer(each) for each in (files, *files.others)] for label, files in made.labels.items()
    }


def without_edits(made: Tree) -> Tree:
    """Return a tree without lists of edits."""
    return attrs.evolve(made, labels={label: attrs.evolve(each, edits=None) for label, each in made.labels.items()})


def root_in(head: Head, chunk: Callable[[str], bytes]) -> Root | Manifest:
    """Return the root of a version, whose chunks a function returns."""
    data = b"".join(verified(name, chunk(name)) for name in head.manifest)
    assert digest_of(data) == head.said.id
    return parse_root(data)


def names_in(head: Head, chunk: Callable[[str], bytes]) -> set[str]:
    """Return the names of all chunks of a version."""
    root = root_in(head, chunk)
    if isinstance(root, Manifest):
        return {*head.names}
    pages = {name: chunk(name) for name in root.sizes}
    return {*head.names, *pages, *(name for page in pages.values() for name in chunks_of_page(page))}


def tree_in(head: Head, chunk: Callable[[str], bytes]) -> Tree:
    """Return the tree of a version."""
    root = root_in(head, chunk)
    if not isinstance(root, Manifest):
        root = parse_pages(root, {name: verified(name, chunk(name), size) for name, size in root.pages}, 1_000_000)
    chunks = {name: verified(name, chunk(name)) for name in root.chunks}
    return tree_of(root, [unpack(each, root.chunks, chunks) for each in root.contents], str)
