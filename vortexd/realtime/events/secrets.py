"""The secrets that sign cursors: the one of the cluster, and the one of this server's state directory.

All nodes of a cluster know the first one, and all workers the second one. A server without a state directory has a secret
of its own until it ends, so a reconnect to another process begins with snapshots.
"""

import secrets
from collections.abc import Callable, Sequence

import structlog
import trio

from ...aio import threads

log = structlog.get_logger()

SECRET_BYTES = 32


class EventSecrets:
    """The secrets of one process.

    Args:
        read: Returns the secret of the state directory, and makes it if there is none. Called in a thread. May raise OSError.
            None if there is no state directory.
        cluster: Returns the secret of the cluster, or None if there is none, or if it isn't known now.
    """

    def __init__(
        self, read: Callable[[], bytes] | None = None, cluster: Callable[[], bytes | None] = lambda: None
    ) -> None:
        self._read = read
        self._cluster = cluster
        self._own: bytes | None = None
        self._loading = trio.Lock()

    async def load(self) -> None:
        """Read the secret of the state directory, once. Call this before `known`."""
        if self._own is not None:
            return
        async with self._loading:
            if self._own is None:
                self._own = await self._loaded()

    async def _loaded(self) -> bytes:
        if self._read is not None:
            try:
                return await threads.run_sync(self._read)
            except OSError as error:
                log.warning(
                    "event secret not read",
                    reason=str(error),
                    consequence="after a reconnect to another process, event streams with patterns begin with snapshots",
                )
        return secrets.token_bytes(SECRET_BYTES)

    def known(self) -> Sequence[bytes]:
        """Return the secrets that are known now. The first one signs."""
        cluster = self._cluster()
        own = () if self._own is None else (self._own,)
        return own if cluster is None else (cluster, *own)
