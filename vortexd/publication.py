"""What is known of one publication when it is done: for metrics and traces."""

import time
from collections.abc import Mapping

import attrs


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
