"""Reads former versions of a published state, for clients that resume after a restart.

A number arrives. The verified tree of the version before it leaves. A former version is read like a new one: every hash
is verified, and the same limits hold. If the leader deletes the version meanwhile, the reading fails, and nothing of the
version leaves.
"""

from collections.abc import Callable, Collection, Mapping

import trio

from ...aio import threads
from ...cluster.engine import Engine, EngineError, Entry
from ...cluster.etcd.access import in_thread
from ...cluster.published.head import Head, Places
from ...cluster.published.packing import digest_of
from ...cluster.records import Unusable
from ...core.errors import SourceError
from ...core.model import Files, Tree
from .reading import read_state
from .settings import PublishedSettings

# Seconds until the connections must be closed.
_FAREWELL = 1.0


class PublishedHistory:
    """Reads the kept versions of a published state; a `base.FormerReader`.

    Each reading has connections of its own, because readings are rare.

    Args:
        engine: Makes an engine, in a thread. If it can't now, it raises EngineError.
        present: Returns the files of all labels that are served now. Their contents aren't fetched.
    """

    def __init__(
        self,
        settings: PublishedSettings,
        engine: Callable[[], Engine],
        present: Callable[[], Collection[Files]] = tuple,
    ) -> None:
        self._settings = settings
        self._present = present
        self._places = Places(settings.cluster)
        self._open = engine

    async def former(self, before: int = 0) -> tuple[int, Tree] | None:
        """See `base.FormerReader`. The newest version counts as a former one, too."""
        return await self.read(before, await threads.run_sync(_by_digest, self._present()))

    async def read(self, before: int, known: Mapping[str, bytes]) -> tuple[int, Tree] | None:
        """Read the version before a number, or the newest version for 0. Return its number and the tree.

        Return None if there is no such version.

        Args:
            known: Contents by their digests. They aren't fetched.

        Raises:
            SourceError: The version can't be read now, or exceeds a limit.
        """
        if before == 1:
            return None
        key = self._places.version(before - 1) if before else self._places.head
        try:
            engine = await in_thread(self._open)
            try:
                entries = (await engine.read([key])).entries
                if not entries:
                    return None
                head = _parsed(entries[0])
                state = await read_state(engine, head, self._settings, known)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
                    await engine.aclose()
        except EngineError as error:
            raise SourceError(str(error)) from None
        return head.said.number, state.tree


def _by_digest(labels: Collection[Files]) -> dict[str, bytes]:
    """Return all contents by their digests."""
    # Labels often share the objects of their contents, so each object is hashed once.
    contents = {
        id(each): each for files in labels for layer in (files, *files.others) for each in layer.contents.values()
    }
    return {digest_of(each): each for each in contents.values()}


def _parsed(entry: Entry) -> Head:
    try:
        return Head.parse(entry.value)
    except Unusable as error:
        raise SourceError(f"the version {entry.key} can't be read: {error}") from None
