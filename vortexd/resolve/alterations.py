"""Finds the files that differ between two parsed trees, as far as they decide about keys. Pure.

The parsed files before and after a change arrive. For each altered label, the *stems* of the altered files leave. A stem
is a path without a known extension. A key reads a bounded number of stems (`spring.Selection.stems`). If none of them is
altered, its property sources stay the same objects, and its origin stays the same commit. If this can't be said of a
label, all its keys count as altered.

The cost is one comparison of identities for each file.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest

import attrs

from ..core.identity import altered
from ..core.model import Edits, Files, Key
from .stems import stem
from .tree import ParsedFiles


@attrs.frozen(slots=True, eq=False)
class Alterations:
    """The differences between two states.

    Attributes:
        stems: For each altered label, the stems of the altered files. If it is None, each key of the label may be
            altered.
        keys: Keys that may be altered, whatever files of their labels are.
    """

    stems: Mapping[str, frozenset[str] | None]
    keys: frozenset[Key] = frozenset()


def alterations(before: Mapping[str, ParsedFiles], after: Mapping[str, ParsedFiles]) -> Alterations:
    """Compare the parsed files of all labels with the former ones."""
    stems: dict[str, frozenset[str] | None] = {}
    for label in before.keys() | after.keys():
        old, new = before.get(label), after.get(label)
        if old is new:
            continue
        found = _altered(old, new) if old is not None and new is not None else None
        if found is None or found:
            stems[label] = found
    return Alterations(stems)


def _altered(before: ParsedFiles, after: ParsedFiles) -> frozenset[str] | None:
    """Return the stems of the altered files of a label, or None if its keys can't be told apart by their files."""
    stems: set[str] = set()
    for old, new in zip_longest(before.layers, after.layers):
        if old is new:
            continue
        if old is None or new is None or not are_alike(old, new):
            return None
        stems.update(map(stem, _altered_paths(old, new)))
    return frozenset(stems)


def are_alike(old: ParsedFiles, new: ParsedFiles) -> bool:
    """Return whether the same keys read the same paths of two layers, in the same order and under the same names."""
    one, other = old.files, new.files
    return _place(one) == _place(other) and old.directories == new.directories


def _place(files: Files) -> tuple[object, ...]:
    # Without a list of edits, the commit of the files is the origin of each key.
    origin = files.origin if files.edits is None else None
    return (
        files.root,
        files.locations,
        files.applications,
        files.group,
        files.edits is None,
        files.origin is None,
        origin,
    )


def _altered_paths(old: ParsedFiles, new: ParsedFiles) -> Iterator[str]:
    yield from altered(old.documents, new.documents)
    yield from altered(old.broken, new.broken)
    yield from altered(old.fallbacks, new.fallbacks)
    one, other = old.files.edits, new.files.edits
    if one is not None and other is not None:
        yield from _edited(one, other)


def _edited(old: Edits, new: Edits) -> Iterator[str]:
    """Yield the paths whose last commit, among those that count, has changed."""
    paths = dict.fromkeys(altered(old.by_path, new.by_path))
    low, high = sorted((old.newest - old.depth, new.newest - new.depth))
    if low != high:
        # These commits count on one side only.
        paths |= dict.fromkeys(path for path, (number, _) in new.by_path.items() if low < number <= high)
    for path in paths:
        if old.last((path,)) != new.last((path,)):
            yield path
