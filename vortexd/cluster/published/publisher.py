"""The leader's part: writes what this node serves into the store, so that nodes without its sources serve it as well.

Trees and changes of the leadership arrive. Chunks and heads leave. The steps of one publication:

    1. The record of loose chunks names all chunks of the new version that no kept version names.
    2. The chunks that aren't there are written, a large one alone, and several small ones together.
    3. One transaction writes the head and the kept version, if the former head is still the one that was read.
    4. Versions beyond the limit are deleted, each in one transaction that makes its chunks loose. Then the loose chunks
       are deleted.

Each transaction requires the fence. So a former leader writes and deletes nothing, and after a failure or a change of the
leadership everything begins at a new reading. The record of loose chunks says what an unfinished publication has left.
A commit whose outcome is unknown isn't repeated: the next reading shows by the head's id whether it was carried out.
A new leader reads the manifests of the kept versions once, because these alone name the chunks.
"""

from collections.abc import Callable, Mapping

import structlog
import trio

from ...core.model import Tree
from ..engine import CreatedAt, Denied, Engine, EngineError, Full, Put, TooLarge
from ..keys import Keys
from ..warnings import RecordWarnings
from .head import Places
from .transactions import Refused, Writer
from .version import Version, version_of

log = structlog.get_logger()

# The least seconds between two publications.
BETWEEN = 0.3
# Seconds until the next attempt after a failure, with jitter.
_AGAIN, _AGAIN_AT_MOST = 1.0, 60.0
_REMEDIES: Mapping[type[EngineError], str] = {
    Full: "give etcd more space: compact and defragment it, or raise its quota, and disarm the alarm",
    TooLarge: "serve fewer files, or raise etcd's --max-request-bytes to its default of 1.5 MiB",
    Denied: "let the user of [cluster] write the prefix of published states",
}


class Publisher:
    """Publishes the state of this node while it leads.

    Args:
        keys: The names of the cluster's entries.
        node: The name of this node.
        fence: Returns the condition for every write of the leader, or None if this node doesn't publish now.
        keep: The number of versions that are kept.
        uniform: Returns a random number between two others, for jitter.
        now: Returns the seconds since the epoch.
        published: Called with a tree and the number of the version that has it.

    Attributes:
        last_error: The present or last error, or None if there never was one.
        is_failing: Whether the last attempt failed.
        written: The number of versions that this process has written.
    """

    def __init__(
        self,
        keys: Keys,
        node: str,
        fence: Callable[[], CreatedAt | None],
        keep: int,
        uniform: Callable[[float, float], float],
        now: Callable[[], float],
        published: Callable[[Tree, int], None] = lambda _tree, _number: None,
    ) -> None:
        self._published = published
        self._places = Places(keys.cluster)
        self._announcement = keys.published
        self._node = node
        self._fence = fence
        self._keep = keep
        self._uniform = uniform
        self._now = now
        self._warnings = RecordWarnings()
        self._tree: Tree | None = None
        self._version: tuple[Tree, Version] | None = None
        # What was published last: the fence at that time, the tree and the number of versions to keep.
        self._done: tuple[CreatedAt, Tree, int] | None = None
        # The chunks that are certainly in the store, as long as this fence holds.
        self._stored: tuple[CreatedAt, set[str]] | None = None
        # The chunks of the versions by their ids, as long as this fence holds.
        self._names: tuple[CreatedAt, dict[str, frozenset[str]]] | None = None
        self._changed = trio.Event()
        self.last_error: str | None = None
        self.is_failing = False
        self.written = 0

    # From the daemon.

    def offer(self, tree: Tree) -> None:
        """Publish this tree soon, if this node leads, without waiting. A newer tree replaces one that waits."""
        self._tree = tree
        self.changed()

    def changed(self) -> None:
        """Look soon whether this node leads."""
        self._changed.set()
        self._changed = trio.Event()

    def replace(self, keep: int) -> None:
        """Apply a new number of versions to keep."""
        self._keep = keep
        self.changed()

    async def run(self, engine: Engine) -> None:
        """Publish until this is cancelled. Raises no error of the store."""
        pause = _AGAIN
        while True:
            changed = self._changed
            try:
                is_written = await self._advance(engine)
            except Refused as refused:
                log.info("publication refused", reason=str(refused), consequence="this node reads the head again")
                self._stored = None
                await trio.sleep(_AGAIN * self._uniform(0.5, 1.0))
                continue
            except EngineError as error:
                self._failed(error)
                self._stored = None
                await trio.sleep(pause * self._uniform(0.5, 1.0))
                pause = min(2 * pause, _AGAIN_AT_MOST)
                continue
            pause = _AGAIN
            self._worked()
            if is_written:
                await trio.sleep(BETWEEN)
            await changed.wait()

    # The publication.

    async def _advance(self, engine: Engine) -> bool:
        """Publish the newest tree, if this node leads and hasn't done so. Return whether a version was written."""
        fence, tree, keep = self._fence(), self._tree, self._keep
        if fence is None or tree is None:
            return False
        if self._done is not None and self._done[0] == fence and self._done[1] is tree and self._done[2] == keep:
            return False
        if self._version is None or self._version[0] is not tree:
            self._version = (tree, await trio.to_thread.run_sync(version_of, tree))
        version = self._version[1]
        names = self._named(fence)
        names[version.id] = version.names
        writer = Writer(engine, self._places, fence, self._known(fence), names, version.id, self._warnings)
        kept = await writer.delete_loose(await writer.read(self._announcement), version.chunks)
        head = version.head(kept.newest + 1, round(self._now(), 3), self._node)
        await writer.write_chunks(version.chunks, kept.names)
        is_new = kept.head is None or kept.head.said.id != version.id
        if is_new:
            await writer.write_head(head, kept.head_revision, self._announcement)
            self.written += 1
            log.info("state published", number=head.said.number, id=version.id[:12], chunks=len(version.chunks))
        elif kept.head is not None and kept.announced != kept.head.said.encoded():
            await writer.commit([Put(self._announcement, kept.head.said.encoded())])
        await self._tidy(writer, keep)
        self._done = (fence, tree, keep)
        self._published(tree, head.said.number if is_new or kept.head is None else kept.head.said.number)
        return is_new

    def _known(self, fence: CreatedAt) -> set[str]:
        """Return the chunks that are in the store. A new leader trusts nothing, so it repairs what was damaged."""
        if self._stored is None or self._stored[0] != fence:
            self._stored = (fence, set())
        return self._stored[1]

    def _named(self, fence: CreatedAt) -> dict[str, frozenset[str]]:
        """Return the chunks of versions by their ids. A new leader reads them anew."""
        if self._names is None or self._names[0] != fence:
            self._names = (fence, {})
        return self._names[1]

    async def _tidy(self, writer: "Writer", keep: int) -> None:
        """Delete versions beyond the limit, and chunks that no kept version names."""
        kept = await writer.delete_loose(await writer.read(self._announcement))
        newest = kept.head.said.number if kept.head is not None else 0
        old = sorted(number for number in kept.versions if number != newest)
        for number in old[: max(len(old) + bool(newest) - keep, 0)]:
            kept = await writer.delete_loose(await writer.drop(kept, number))

    # The state for /status, metrics and the log.

    def _failed(self, error: EngineError) -> None:
        reason = str(error)
        if not self.is_failing or reason != self.last_error:
            log.warning(
                "publication failed",
                reason=reason,
                consequence="sources of kind published serve the last version",
                remedy=_remedy(error),
            )
        self.is_failing, self.last_error = True, reason

    def _worked(self) -> None:
        if self.is_failing:
            log.info("publication possible again")
        self.is_failing = False


def _remedy(error: EngineError) -> str:
    found = (text for kind, text in _REMEDIES.items() if isinstance(error, kind))
    return next(found, "vortexd tries again by itself")
