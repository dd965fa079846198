"""The transactions of one attempt to publish, and the records that it has read.

The publisher decides the order. Each transaction here requires the fence of the leader.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import attrs
import structlog
import trio

from ...settings.cluster import MOST_VERSIONS
from ..engine import Committed, CreatedAt, Delete, Engine, EngineError, Entry, Put, Unmodified, Write
from ..records import Unusable
from ..warnings import RecordWarnings
from .fetching import fetched
from .head import MOST_CHUNKS, RECORD_BYTES, Head, Newer, Places, loose_chunks, loose_record
from .manifest import Manifest
from .manifest_reader import chunks_of_page, parse_root
from .packing import CHUNK_BYTES, Chunk, batches, digest_of

log = structlog.get_logger()
T = TypeVar("T")

# The most chunks that one transaction deletes. etcd takes 128 writes.
_DELETED = 64
# The most chunks that one transaction writes, and the most bytes of them. A larger chunk is written alone.
_WRITTEN, _WRITTEN_BYTES = 60, 131_072
# More than this isn't read of all kept versions. While the oldest ones aren't deleted yet, there are more than the
# settings keep.
_MOST_READ = (MOST_VERSIONS + 10) * RECORD_BYTES


class Refused(Exception):
    """A condition didn't hold: this node doesn't lead any more, or another one has written the head."""


@attrs.frozen(eq=False)
class Kept:
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


class NewerFormat(EngineError):
    """A newer version of vortexd has written a record. This one must not replace it."""


def _chunks_of_pages(pages: Sequence[bytes]) -> list[tuple[str, ...]]:
    return [*map(chunks_of_page, pages)]


@attrs.frozen(eq=False)
class Writer:
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
            Refused: They don't hold.
        """
        self._check(await self.engine.commit([*writes], [self.fence, *conditions]))

    def _check(self, done: Committed) -> None:
        if not done.is_done:
            holds = any((each.key, each.created) == (self.fence.key, self.fence.revision) for each in done.found)
            raise Refused("another node has written the head" if holds else "this node doesn't lead any more")

    async def read(self, announcement: str) -> Kept:
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
        return Kept(
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
            NewerFormat: See the class.
        """
        try:
            record = parse(entry.value)
        except Newer as error:
            raise NewerFormat(
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

    async def drop(self, kept: Kept, number: int) -> Kept:
        """Delete a version. Its chunks that no other version names become loose. There must be no loose chunks."""
        versions = {each: names for each, names in kept.versions.items() if each != number}
        left = attrs.evolve(kept, versions=versions)
        loose = sorted(kept.versions[number] - left.names)
        writes: list[Write] = [Delete(self.places.version(number)), Put(self.places.loose, loose_record(loose))]
        await self.commit(writes)
        return attrs.evolve(left, loose=tuple(loose), has_loose=True)

    async def delete_loose(self, kept: Kept, spared: Collection[str] = ()) -> Kept:
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
