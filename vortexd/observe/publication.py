"""What is known of one publication when it is done: for metrics, traces and the log."""

import time
from collections.abc import Iterable, Mapping, Sequence

import attrs

from ..core.model import Change, Files, Origin, Tree

# How many keys, and how many commits, one line of the log names.
MOST_NAMED = 10


@attrs.frozen
class Publication:
    """One state on its way from its source to the clients.

    Attributes:
        began: When the source noticed it, or, where it doesn't say, when it was handed over; in seconds since the epoch.
        phases: The parts one after the other, in seconds by name: "source" until it was handed over, "parse", "resolve" (with what is
            diffed), "broadcast".
        diff_seconds: What of "resolve" was diffing.
        labels, changes, deliveries: How many.
        commits: Those of the documents that became others, where a source knows them.
    """

    began: float
    phases: Mapping[str, float]
    diff_seconds: float
    labels: int
    changes: int
    deliveries: int
    commits: frozenset[str] = frozenset()


class Stopwatch:
    """How long the parts of a publication take.

    Args:
        noticed: As `Tree.noticed`.
    """

    def __init__(self, noticed: float | None) -> None:
        now = time.time()
        # A clock that was set in between makes no time that is less than none.
        self.began = now if noticed is None else min(noticed, now)
        self.laps: dict[str, float] = {"source": now - self.began}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What came since the last lap is of this name."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def named(changes: Sequence[Change], before: Tree | None, tree: Tree) -> dict[str, object]:
    """What the log says of a publication by name: the keys that changed, and who made the commits that came with it.

    Args:
        before: The state before, whose commits aren't news.

    Returns:
        `keys` and `more_keys`; `commit` and `author` of one commit, or `commits` and `more_commits` of several. What there is nothing of is left out.
    """
    # The first ones, and not those that are first by name: there may be thousands, and this is the event loop.
    keys = sorted(str(change.key) for change in changes[:MOST_NAMED])
    known = frozenset(_origins(before)) if before is not None else frozenset()
    new = [each for each in dict.fromkeys(_origins(tree)) if each not in known]
    said: dict[str, object] = {"keys": keys, "more_keys": len(changes) - len(keys)}
    if len(new) == 1:
        said |= {"commit": new[0].commit, "author": new[0].author}
    else:
        named = [f"{each.commit} by {each.author}" for each in new[:MOST_NAMED]]
        said |= {"commits": named, "more_commits": len(new[MOST_NAMED:])}
    return {name: value for name, value in said.items() if value}


def _origins(tree: Tree) -> list[Origin]:
    """The commits of all labels and sources, that of the default label first."""
    first = tree.labels.get(tree.default_label)
    layers: list[Files] = [
        layer for files in (*filter(None, [first]), *tree.labels.values()) for layer in (files, *files.others)
    ]
    return [layer.origin for layer in layers if layer.origin is not None]


def without_configuration(layers: Iterable[tuple[str, bool]]) -> frozenset[str]:
    """The roots of sources that hold no configuration file under any label.

    Args:
        layers: The root of each source under each label, and whether it holds one there.
    """
    found: dict[str, bool] = {}
    for root, has_any in layers:
        found[root] = found.get(root, False) or has_any
    return frozenset(root for root, has_any in found.items() if not has_any)
