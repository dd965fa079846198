"""Decides after a reload whether a node needs a new engine, because a file for the access to etcd has new content.

A new engine costs the node its lease. So after a reload that names the same files, their hash is compared with the hash
from when the engine was made. Both are computed in a thread, because a file system may hang.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from ..settings.cluster import ClusterSettings
from .engine import EngineError

log = structlog.get_logger()

Fingerprint = Callable[[ClusterSettings], Awaitable[bytes]]


def has_other_access(before: ClusterSettings, after: ClusterSettings) -> bool:
    """Return whether two settings name other members, another user or other files."""
    names = ("endpoints", "user", *ClusterSettings.access_paths)
    return any(getattr(before, name) != getattr(after, name) for name in names)


class Renewal:
    """Compares the files of the present engine after each reload.

    Args:
        fingerprint: Returns a hash of the files that settings name. Raises EngineError if they can't be read in time.
    """

    def __init__(self, fingerprint: Fingerprint) -> None:
        self._fingerprint = fingerprint
        self._known = b""
        self._reloaded = trio.Event()

    async def note(self, settings: ClusterSettings) -> None:
        """Note the files, before an engine reads them. A change between the two is found after the next reload.

        Raises:
            EngineError: They can't be read in time.
        """
        self._known = await self._fingerprint(settings)

    def reloaded(self) -> None:
        """Compare the files soon."""
        self._reloaded.set()

    async def wait_needed(self, settings: Callable[[], ClusterSettings]) -> None:
        """Wait until a file differs after a reload.

        Args:
            settings: Returns the settings that are in force.
        """
        while True:
            await self._reloaded.wait()
            self._reloaded = trio.Event()
            try:
                found = await self._fingerprint(settings())
            except EngineError as error:
                log.warning(
                    "cluster files not compared",
                    reason=str(error),
                    consequence="connections to etcd use the former files until the next reload",
                )
                continue
            if found != self._known:
                return
