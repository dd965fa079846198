"""How a source is: when it could last be read, and what is wrong since. For /status, metrics, headers and readiness.

The source reports; everybody else only reads. Time is given as arguments-to-be: two clocks that the composition root chooses.
"""

import time
from collections.abc import Callable

from ..core.model import SourceReport


class SourceStatus:
    """What a source says of itself.

    Args:
        max_staleness: Seconds after which it is too stale to be called ready; 0 means never.
        now: Seconds since the epoch.
        monotonic: Seconds of a clock that nobody sets.
        root: As `Files.root` of what it gives.
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
        self._errors = 0

    def succeeded(self, revision: str | None = None) -> None:
        """It was read as it is now."""
        self._revision = revision
        self._last_success = self._now()
        self._fresh_at = self._monotonic()
        self._is_failing = False

    def failed(self, reason: str) -> None:
        """It couldn't be read."""
        self._last_error = reason
        self._last_error_at = self._now()
        self._is_failing = True
        self._errors += 1

    def noted(self, reason: str) -> None:
        """Something is wrong with a part of it, and it was read nonetheless."""
        self._last_error = reason
        self._last_error_at = self._now()

    def serves(self, revision: str | None) -> None:
        """What is served of it now, though it may not be what it is now."""
        self._revision = revision

    def report(self) -> SourceReport:
        """How it is now."""
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
        )
