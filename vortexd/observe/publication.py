"""The facts about a finished publication, for metrics, traces and the log."""

import time
from collections.abc import Iterable, Mapping, Sequence

import attrs

from ..core.model import Change, Files, Origin, Tree

# The most keys, and the most commits, that one log line names.
MOST_NAMED = 10


@attrs.frozen
class Publication:
    """A state on its way from its source to the clients.

    Attributes:
        began: When the source noticed the change, in seconds since the epoch. If the source doesn't report that, when
            it handed over the state.
        phases: The consecutive phases with their duration in seconds: "source" (until the hand-over), "parse",
            "resolve" (including the diffs), "broadcast".
        diff_seconds: The time of the diffs within "resolve".
        labels, changes, deliveries: The number of each.
        commits: The commits of the changed documents, if a source knows them.
    """

    began: float
    phases: Mapping[str, float]
    diff_seconds: float
    labels: int
    changes: int
    deliveries: int
    commits: frozenset[str] = frozenset()


class Stopwatch:
    """Measures the phases of a publication.

    Args:
        noticed: As `Tree.noticed`.
    """

    def __init__(self, noticed: float | None) -> None:
        now = time.time()
        # If the clock was set back meanwhile, the duration is 0 rather than negative.
        self.began = now if noticed is None else min(noticed, now)
        self.laps: dict[str, float] = {"source": now - self.began}
        self._last = time.perf_counter()

    def lap(self, name: str, next_seconds: float = 0.0) -> None:
        """End a phase. It began with the previous lap.

        Args:
            next_seconds: The time since then that was spent on the next phase.
        """
        now = time.perf_counter() - next_seconds
        self.laps[name] = now - self._last
        self._last = now


def named(changes: Sequence[Change], before: Tree | None, tree: Tree) -> dict[str, object]:
    """Return the log fields of a publication: the changed keys, and the commits that came with it, with their authors.

    Args:
        before: The previous state. Its commits aren't new.

    Returns:
        `keys` and `more_keys`. A single commit gives `commit` and `author`, several give `commits` and `more_commits`.
        Empty fields are left out.
    """
    # Take the first changes without sorting them all: there may be thousands, and this runs on the event loop.
    keys = sorted(str(change.key) for change in changes[:MOST_NAMED])
    known = frozenset(_origins(before)) if before is not None else frozenset()
    new = [each for each in dict.fromkeys(_origins(tree)) if each not in known]
    fields: dict[str, object] = {"keys": keys, "more_keys": len(changes) - len(keys)}
    if len(new) == 1:
        fields |= {"commit": new[0].commit, "author": new[0].author}
    else:
        named = [f"{each.commit} by {each.author}" for each in new[:MOST_NAMED]]
        fields |= {"commits": named, "more_commits": len(new[MOST_NAMED:])}
    return {name: value for name, value in fields.items() if value}


def _origins(tree: Tree) -> list[Origin]:
    """Return the commits of all labels and sources, beginning with those of the default label."""
    first = tree.labels.get(tree.default_label)
    layers: list[Files] = [
        layer for files in (*filter(None, [first]), *tree.labels.values()) for layer in (files, *files.others)
    ]
    return [layer.origin for layer in layers if layer.origin is not None]


def without_configuration(layers: Iterable[tuple[str, bool]]) -> frozenset[str]:
    """Return the roots of sources that have no configuration file under any label.

    Args:
        layers: The root of each source under each label, and whether it has such a file there.
    """
    found: dict[str, bool] = {}
    for root, has_any in layers:
        found[root] = found.get(root, False) or has_any
    return frozenset(root for root, has_any in found.items() if not has_any)
