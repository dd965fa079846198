"""Combines the layers of several labels in the order of precedence.

`layers_of` takes the layers of each label, in the order of the request. It returns all layers, the strongest first. As
in Spring, the order depends on the kind of source. For commits of a repository, the last label is the strongest. For
label directories, the first label is the strongest. Label directories are searched together with the files at the top,
which count once.
"""

from collections.abc import Iterator, Sequence

from ..core.model import Files
from .tree import ParsedFiles


def layers_of(labels: Sequence[Sequence[ParsedFiles]]) -> Iterator[ParsedFiles]:
    """Yield the layers of several labels. Sources override one another in the same order as for each label."""
    if len(labels) == 1:
        yield from labels[0]
        return
    sources: dict[tuple[str, int], list[ParsedFiles]] = {}
    for layers in labels:
        for layer in layers:
            sources.setdefault((layer.files.root, layer.files.group), []).append(layer)
    for layers in sources.values():
        layers.reverse()
        if layers[0].files.origin is not None:
            yield from layers
        else:
            yield _together(layers)


def _together(layers: Sequence[ParsedFiles]) -> ParsedFiles:
    files = Files(
        contents={path: content for layer in layers for path, content in layer.files.contents.items()},
        unreadable={path: reason for layer in layers for path, reason in layer.files.unreadable.items()},
        root=layers[0].files.root,
        locations=tuple(dict.fromkeys(each for layer in layers for each in layer.files.locations)),
        applications=layers[0].files.applications,
        group=layers[0].files.group,
    )
    return ParsedFiles(
        files,
        documents={path: found for layer in layers for path, found in layer.documents.items()},
        broken={path: error for layer in layers for path, error in layer.broken.items()},
        paths=frozenset().union(*(layer.paths for layer in layers)),
        directories=frozenset().union(*(layer.directories for layer in layers)),
        fallbacks={path: found for layer in layers for path, found in layer.fallbacks.items()},
    )
