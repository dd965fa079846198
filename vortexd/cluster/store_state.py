"""Whether the store can be used: the state for /status, metrics and the log.

Each part of the node reports its failures and successes by its name. The store counts as away while any part fails. The
log has one line when the store is away, and one when it is back. A reason with a remedy of its own has a line, too.
"""

from collections.abc import Callable

import structlog

log = structlog.get_logger()

_REMEDY = (
    "check that etcd runs and has space, that this node reaches cluster.endpoints, and cluster.user, password and certificates;"
    " this node tries again by itself"
)
_OWN_REMEDY = "delete the keys that no node has written; this node tries again by itself"


class StoreState:
    """Records the state of the store.

    Args:
        now: Returns the seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failing: dict[str, str] = {}
        self._logged: str | None = None
        self._since = now()
        self._last_error: str | None = None
        self._last_error_at: float | None = None
        # Until the first reading nothing is known, so the store isn't up. No log line says that.
        self._is_read = False

    @property
    def is_up(self) -> bool:
        """Whether the store was read, and no part fails."""
        return self._is_read and not self._failing

    @property
    def since(self) -> float:
        """When the present state began, in seconds since the epoch."""
        return self._since

    @property
    def last_error(self) -> str | None:
        """The present or last error, or None if there never was one."""
        return self._last_error

    @property
    def last_error_at(self) -> float | None:
        """When a part failed last, in seconds since the epoch, or None if there never was an error."""
        return self._last_error_at

    def failed(self, part: str, reason: str, *, is_own: bool = False) -> None:
        """Record that a part couldn't use the store.

        Args:
            is_own: Whether the log has the reason although the store is away already, because it has a remedy of its own.
        """
        was_failing = bool(self._failing)
        if self.is_up:
            self._since = self._now()
        self._failing[part] = self._last_error = reason
        self._last_error_at = self._now()
        if not was_failing or (is_own and reason != self._logged):
            self._logged = reason
            log.warning(
                "cluster store away",
                reason=reason,
                consequence="this node serves and fetches on its own, and hears of no other node",
                remedy=_OWN_REMEDY if is_own else _REMEDY,
            )

    def worked(self, part: str, *, has_read: bool = False) -> None:
        """Record that a part has used the store, or has nothing to do there.

        Args:
            has_read: Whether the part has read everything.
        """
        was_up, was_failing = self.is_up, bool(self._failing)
        self._failing.pop(part, None)
        self._is_read |= has_read
        if was_failing and not self._failing:
            log.info("cluster store back", away_for=round(self._now() - self._since, 1))
        if self.is_up and not was_up:
            self._since = self._now()
