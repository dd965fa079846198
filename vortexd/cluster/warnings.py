"""Logs records of the cluster that can't be read, each once for as long as its reason stays."""

import structlog

log = structlog.get_logger()


class RecordWarnings:
    """Remembers the records that can't be read. There are at most as many as there are entries in the store."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def unusable(self, key: str, reason: str) -> None:
        """Log that a record can't be read, unless the log says so already."""
        if self._reasons.get(key) != reason:
            log.warning("cluster record unusable", key=key, reason=reason, consequence="this node passes over it")
        self._reasons[key] = reason

    def usable(self, key: str) -> None:
        """Record that a record can be read, or is gone."""
        self._reasons.pop(key, None)

    def keep(self, keys: frozenset[str]) -> None:
        """Forget all records but these."""
        self._reasons = {key: self._reasons[key] for key in self._reasons.keys() & keys}
