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

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import attrs
import structlog
import trio

from ...core.model import Tree
from ...settings.cluster import MOST_VERSIONS
from ..engine import (
    Committed,
    CreatedAt,
    Delete,
    Denied,
    Engine,
    EngineError,
    Entry,
    Full,
    Put,
    TooLarge,
    Unmodified,
    Write,
)
from ..keys import Keys
from ..records import Unusable
from ..warnings import RecordWarnings
from .fetching import fetched
from .head import MOST_CHUNKS, RECORD_BYTES, Head, Newer, Places, loose_chunks, loose_record
from .manifest import Manifest
from .manifest_reader import chunks_of_page, parse_root
from .packing import CHUNK_BYTES, Chunk, batches, digest_of
from .version import Version, version_of

log = structlog.get_logger()
T = TypeVar("T")

# The least seconds between two publications.
BETWEEN = 0.3
# Seconds until the next attempt after a failure, with jitter.
_AGAIN, _AGAIN_AT_MOST = 1.0, 60.0
# The most chunks that one transaction deletes. etcd takes 128 writes.
_DELETED = 64
# The most chunks that one transaction writes, and the most bytes of them. A larger chunk is written alone.
_WRITTEN, _WRITTEN_BYTES = 60, 131_072
# More than this isn't read of all kept versions. While the oldest ones aren't deleted yet, there are more than the
# settings keep.
_MOST_READ = (MOST_VERSIONS + 10) * RECORD_BYTES
_REMEDIES: Mapping[type[EngineError], str] = {
    Full: "give etcd more space: compact and defragment it, or raise its quota, and disarm the alarm",
    TooLarge: "serve fewer files, or raise etcd's --max-request-bytes to its default of 1.5 MiB",
    Denied: "let the user of [cluster] write the prefix of published states",
}


class _Refused(Exception):
    """A condition didn't hold: this node doesn't lead any more, or another one has written the head."""


@attrs.frozen(eq=False)
class _Kept:
    """The records of published states, as they were read.

    Attributes:
        head: The head, or None if there is none that can be read.
        head_names: The chunks of the head's version.
        head_revision: The revision of the head's entry, or 0.
        versions: Maps the number of each kept version to its chunks. A version that can't be read has none.
        loose: The loose chunks, and whether there is such a record.
        announced: The announcement, or b"".
    """

    head: Head | None
    head_names: frozenset[str]
    head_revision: int
    versions: Mapping[int, frozenset[str]]
    loose: tuple[str, ...]
    has_loose: bool
    announced: bytes

    @property
    def names(self) -> frozenset[str]:
        """The chunks that a kept version or the head names."""
        return self.head_names.union(*self.versions.values())

    @property
    def newest(self) -> int:
        """The number of the newest version, or 0."""
        return max(*self.versions, self.head.said.number if self.head is not None else 0, 0)


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
            except _Refused as refused:
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
        writer = _Writer(engine, self._places, fence, self._known(fence), names, version.id, self._warnings)
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

    async def _tidy(self, writer: "_Writer", keep: int) -> None:
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


def _chunks_of_pages(pages: Sequence[bytes]) -> list[tuple[str, ...]]:
    return [*map(chunks_of_page, pages)]


class _NewerFormat(EngineError):
    """A newer version of vortexd has written a record. This one must not replace it."""


@attrs.frozen(eq=False)
class _Writer:
    """The transactions of one attempt. Each requires the fence.

    Attributes:
        stored: The chunks that are certainly in the store.
        names: The chunks of versions by their ids.
        own: The id of the version that is published. Its chunks are known.
    """

    engine: Engine
    places: Places
    fence: CreatedAt
    stored: set[str]
    names: dict[str, frozenset[str]]
    own: str
    warnings: RecordWarnings

    async def commit(self, writes: Collection[Write], *conditions: Unmodified) -> None:
        """Write everything if the fence and the other conditions hold.

        Raises:
            _Refused: They don't hold.
        """
        self._check(await self.engine.commit([*writes], [self.fence, *conditions]))

    def _check(self, done: Committed) -> None:
        if not done.is_done:
            holds = any((each.key, each.created) == (self.fence.key, self.fence.revision) for each in done.found)
            raise _Refused("another node has written the head" if holds else "this node doesn't lead any more")

    async def read(self, announcement: str) -> _Kept:
        """Read all records."""
        places = self.places
        found = {each.key: each for each in (await self.engine.read([places.head, places.loose, announcement])).entries}
        listed = (await self.engine.read(prefix=places.versions, most_bytes=_MOST_READ)).entries
        record, loose = found.get(places.head), found.get(places.loose)
        head = self._read(record, Head.parse) if record is not None else None
        numbers = {number: entry for entry in listed if (number := places.number_of(entry.key))}
        heads = {number: self._read(entry, Head.parse) for number, entry in numbers.items()}
        ids = {each.said.id for each in (head, *heads.values()) if each is not None}
        for id in self.names.keys() - ids - {self.own}:
            del self.names[id]
        return _Kept(
            head,
            await self._names_of(head),
            record.modified if record is not None else 0,
            {number: await self._names_of(each) for number, each in heads.items()},
            (self._read(loose, loose_chunks) or ()) if loose is not None else (),
            loose is not None,
            found[announcement].value if announcement in found else b"",
        )

    async def _names_of(self, head: Head | None) -> frozenset[str]:
        """Return the chunks of a version. If its manifest is damaged, only its root is known. No reader can use it."""
        if head is None or head.chunks is not None:
            return head.names if head is not None else frozenset()
        if head.said.id not in self.names:
            root = self.places.chunk(head.manifest[0])
            try:
                self.names[head.said.id] = head.names | await self._manifest_names(head)
            except Unusable as error:
                self.warnings.unusable(root, f"the manifest of version {head.said.number} is damaged: {error}")
                self.names[head.said.id] = head.names
        return self.names[head.said.id]

    async def _manifest_names(self, head: Head) -> set[str]:
        """Return the chunks that a manifest names.

        Raises:
            Unusable: It is damaged, or names too many.
        """
        parts = await fetched(self.engine, self.places, dict.fromkeys(head.manifest, CHUNK_BYTES))
        data = b"".join(parts[name] for name in head.manifest)
        if digest_of(data) != head.said.id:
            raise Unusable("it isn't what its id says")
        root = await trio.to_thread.run_sync(parse_root, data)
        if isinstance(root, Manifest):
            return {*root.chunks}
        names = {*root.sizes}
        for part in batches(root.sizes, _DELETED, _WRITTEN_BYTES):
            pages = await fetched(self.engine, self.places, {name: root.sizes[name] for name in part})
            names.update(*await trio.to_thread.run_sync(_chunks_of_pages, [*pages.values()]))
            if len(names) > MOST_CHUNKS:
                raise Unusable(f"it names more than {MOST_CHUNKS} chunks")
        return names

    def _read(self, entry: Entry, parse: Callable[[bytes], T]) -> T | None:
        """Read a record. If it is unusable, it counts as missing. In time a publication replaces or deletes it.

        Raises:
            _NewerFormat: See the class.
        """
        try:
            record = parse(entry.value)
        except Newer as error:
            raise _NewerFormat(
                f"{entry.key} can't be replaced: {error}; upgrade this node, or delete all published states"
            ) from None
        except Unusable as error:
            self.warnings.unusable(entry.key, str(error))
            return None
        self.warnings.usable(entry.key)
        return record

    async def write_chunks(self, chunks: Mapping[str, Chunk], named: Collection[str]) -> None:
        """Write the chunks that aren't there. First name those as loose that no kept version names."""
        loose = [name for name in chunks if name not in named]
        if loose:
            await self.commit([Put(self.places.loose, loose_record(loose))])
        sizes = {name: chunk.size for name, chunk in chunks.items() if name not in self.stored}
        for names in batches(sizes, _WRITTEN, _WRITTEN_BYTES):
            if not await self._write_together([(self.places.chunk(name), chunks[name].data) for name in names]):
                for name in names:
                    await self._write_chunk(self.places.chunk(name), chunks[name].data)
            self.stored.update(names)

    async def _write_together(self, entries: Sequence[tuple[str, bytes]]) -> bool:
        """Write several chunks. Return False if there is only one, or one of them is there, or the fence doesn't hold."""
        if len(entries) == 1:
            return False
        writes = [Put(key, data) for key, data in entries]
        return (await self.engine.commit(writes, [self.fence, *(Unmodified(key, 0) for key, _ in entries)])).is_done

    async def _write_chunk(self, key: str, data: bytes) -> None:
        done = await self.engine.commit([Put(key, data)], [self.fence, Unmodified(key, 0)])
        there = next((each for each in done.found if each.key == key), None)
        if done.is_done:
            return
        if there is None:
            self._check(done)
        elif there.value != data:
            log.warning("chunk repaired", key=key, reason="it had another content than its name says")
            await self.commit([Put(key, data)], Unmodified(key, there.modified))

    async def write_head(self, head: Head, former: int, announcement: str) -> None:
        """Write the head, and everything that appears together with it.

        Args:
            former: The revision of the former head, or 0.
        """
        data = head.encoded()
        writes: list[Write] = [
            Put(self.places.head, data),
            Put(self.places.version(head.said.number), data),
            Put(announcement, head.said.encoded()),
            Delete(self.places.loose),
        ]
        await self.commit(writes, Unmodified(self.places.head, former))

    async def drop(self, kept: _Kept, number: int) -> _Kept:
        """Delete a version. Its chunks that no other version names become loose. There must be no loose chunks."""
        versions = {each: names for each, names in kept.versions.items() if each != number}
        left = attrs.evolve(kept, versions=versions)
        loose = sorted(kept.versions[number] - left.names)
        writes: list[Write] = [Delete(self.places.version(number)), Put(self.places.loose, loose_record(loose))]
        await self.commit(writes)
        return attrs.evolve(left, loose=tuple(loose), has_loose=True)

    async def delete_loose(self, kept: _Kept, spared: Collection[str] = ()) -> _Kept:
        """Delete the loose chunks that no kept version names, and then their record.

        Args:
            spared: Chunks that stay, because they are a part of the next version. Then the record stays, too.
        """
        if not kept.has_loose:
            return kept
        names = sorted({*kept.loose} - kept.names - {*spared})
        for start in range(0, len(names), _DELETED):
            part = names[start : start + _DELETED]
            self.stored.difference_update(part)
            await self.commit([Delete(self.places.chunk(name)) for name in part])
        if not kept.names.issuperset(left := {*kept.loose} & {*spared}):
            return attrs.evolve(kept, loose=tuple(left))
        await self.commit([Delete(self.places.loose)])
        return attrs.evolve(kept, loose=(), has_loose=False)
