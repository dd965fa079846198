"""Finds the trailers of the commits that a publication brings. Pure."""

from collections.abc import Mapping, Sequence

from ..core.model import Tree


def new_trailers(before: Tree | None, now: Tree) -> Mapping[str, Sequence[str]]:
    """Return the trailers of the commits of each label that aren't commits of the tree before.

    If there is no tree before, all commits were published by an earlier process.
    """
    found: dict[str, Sequence[str]] = {}
    if before is None:
        return found
    for label, files in now.labels.items():
        former = before.labels.get(label)
        if former is None or former is files:
            continue
        known = {commit for layer in (former, *former.others) for commit in layer.trailers}
        values = [
            value
            for layer in (files, *files.others)
            for commit, several in layer.trailers.items()
            if commit not in known
            for value in several
        ]
        if values:
            found[label] = values
    return found
