"""Makes a tree of files that have no labels of their own. Pure.

The files are those of one label, or each top directory is a label.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from ..core import names
from ..core.errors import InvalidName
from ..core.model import Files, Tree

_Value = TypeVar("_Value")


def tree_of(
    contents: Mapping[str, bytes],
    unreadable: Mapping[str, str],
    root: str,
    default_label: str,
    *,
    label_directories: bool,
) -> tuple[Tree, dict[str, str]]:
    """Make a tree. Return it, and the directories that it leaves out, with the reasons.

    Args:
        contents: As in `Files.contents`.
        unreadable: As in `Files.unreadable`.
        root: As in `Files.root`.
        label_directories: Whether each top directory is a label. The files beside the directories belong to all labels.
    """
    if not label_directories:
        shared = Files(contents, unreadable, root)
        return Tree({default_label: shared}, default_label, shared), {}
    labels, skipped = {}, {}
    for name in _directories((*contents, *unreadable)):
        try:
            label = names.label(name)
        except InvalidName:
            skipped[name] = "its name can't be a label"
        else:
            prefix = f"{label}/"
            labels[label] = Files(below(contents, prefix), below(unreadable, prefix), root, ("", prefix))
    shared = Files(below(contents, None), below(unreadable, None), root)
    return Tree(labels, default_label, shared), skipped


def _directories(paths: Iterable[str]) -> Iterator[str]:
    """Yield the names of the top directories that hold a file, or whose files can't be read."""
    yield from sorted({path.partition("/")[0] for path in paths if "/" in path})


def below(found: Mapping[str, _Value], prefix: str | None) -> dict[str, _Value]:
    """Return the files of a label: the files at the top, which belong to all labels, and those in its directory.

    Args:
        prefix: The directory, with `/`. None if the label has none.
    """
    return {
        path: value
        for path, value in found.items()
        if "/" not in path or (prefix is not None and path.startswith(prefix))
    }
