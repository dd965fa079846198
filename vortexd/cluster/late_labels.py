"""Logs labels that stay behind, each once, and each once more when it isn't behind any more.

For the time of a fetch a node is often behind. That is expected, so the log says nothing about it for `PATIENCE` seconds.
"""

import math
from collections.abc import Callable, Collection

import attrs
import structlog
import trio

from ..core.text import rfc3339

log = structlog.get_logger()

# Seconds that a label may be behind before the log says so.
PATIENCE = 30.0


@attrs.define(eq=False)
class _Late:
    """A label that is behind.

    Attributes:
        began: Since when, by the event loop's clock.
        since: The same in seconds since the epoch.
        is_logged: Whether the log says so.
    """

    began: float
    since: float
    is_logged: bool = False


class LateLabels:
    """The labels that are behind.

    Args:
        now: Returns the seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._late: dict[str, _Late] = {}

    def note(self, behind: Collection[str], undecided: Collection[str], present: Collection[str]) -> None:
        """Take the labels that are behind now, and log what is due.

        Args:
            undecided: Labels that may be behind or not. If they were behind, they still count as behind.
            present: All labels. A label that is gone is forgotten without a line in the log.
        """
        now = trio.current_time()
        behind = {*behind, *(self._late.keys() & undecided)}
        for label in sorted(self._late.keys() - behind):
            late = self._late.pop(label)
            if late.is_logged and label in present:
                log.info("labels current", label=label, behind_for=round(now - late.began, 1))
        for label in sorted(behind):
            late = self._late.setdefault(label, _Late(now, self._now()))
            if not late.is_logged and now >= late.began + PATIENCE:
                late.is_logged = True
                log.warning(
                    "labels behind",
                    label=label,
                    since=rfc3339(late.since),
                    consequence="a client that moves to this node waits, and is sent on to another node or gets an older state",
                    remedy="if /status shows a failing source, mend that; else compare this node's remote with the others'",
                )

    @property
    def due(self) -> float:
        """The seconds until the next line is due, or infinity."""
        now = trio.current_time()
        begun = [each.began for each in self._late.values() if not each.is_logged]
        return max(min(begun) + PATIENCE - now, 0.0) if begun else math.inf
