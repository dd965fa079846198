"""The state of a source: when it was last read, and why it can't be read now.

For /status, metrics, headers and readiness.

The source reports its state. All other parts only read it. The two clocks are arguments, which the composition root
chooses.
"""

import time
from collections.abc import Callable, Mapping

import structlog

from ..core.model import SourceReport

log = structlog.get_logger()


class SourceStatus:
    """Records the state of a source, and logs when it changes.

    Args:
        max_staleness: The seconds for which a failing source still counts as ready; 0 means no limit.
        now: Returns the seconds since the epoch.
        monotonic: Returns the seconds of a clock that is never set.
        root: The root of its files, as in `Files.root`.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        max_staleness: float = 0.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        root: str = "",
    ) -> None:
        self._name = name
        self._root = root
        self._kind = kind
        self._max_staleness = max_staleness
        self._now = now
        self._monotonic = monotonic
        self._revision: str | None = None
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._last_error_at: float | None = None
        self._fresh_at = monotonic()
        self._is_failing = False
        self._has_state = False
        self._errors = 0
        self._unfinished: Mapping[str, str] = {}

    def succeeded(self, revision: str | None = None) -> None:
        """Record that the source was read in its current state."""
        self._has_state = True
        self._revision = revision
        self._last_success = self._now()
        self._fresh_at = self._monotonic()
        if self._is_failing:
            log.info("source readable again", source=self._name)
        self._is_failing = False

    def failed(self, reason: str) -> None:
        """Record that the source couldn't be read. Each reason is logged once until the source can be read again."""
        if not self._is_failing or reason != self._last_error:
            log.warning(
                "source unreadable",
                source=self._name,
                reason=reason,
                consequence="the server keeps serving the last state"
                if self._has_state
                else "this source has no state yet, so the server serves nothing of it",
            )
        self._last_error = reason
        self._last_error_at = self._now()
        self._is_failing = True
        self._errors += 1

    def noted(self, reason: str) -> None:
        """Record a problem with a part of the source, although the source itself was read."""
        self._last_error = reason
        self._last_error_at = self._now()

    @property
    def unfinished(self) -> Mapping[str, str]:
        """See `SourceReport`."""
        return self._unfinished

    def published(self, unfinished: Mapping[str, str]) -> None:
        """Record the unfinished files of a publication, with the reasons; see `SourceReport`."""
        self._unfinished = unfinished

    def rooted(self, root: str) -> None:
        """Record the root of the files, which this source learns from what it reads."""
        self._root = root

    def serves(self, revision: str | None) -> None:
        """Record the served revision, which may be older than the source's newest revision."""
        self._has_state = True
        self._revision = revision

    def report(self) -> SourceReport:
        """Return the current state of the source."""
        stale_for = self._monotonic() - self._fresh_at if self._is_failing else 0.0
        return SourceReport(
            self._name,
            self._kind,
            self._revision,
            self._last_success,
            self._last_error,
            self._last_error_at,
            self._is_failing,
            stale_for,
            0 < self._max_staleness < stale_for,
            self._errors,
            self._root,
            self._unfinished,
        )
