"""Reads one version of a published state: fetches its chunks, verifies every hash, and makes the tree.

A head arrives. A `State` leaves, or an error that says what is missing or wrong. Contents that the last state has
aren't fetched again. Nothing of a version leaves before all of it is verified.
"""

from collections.abc import Mapping, Sequence

import attrs

from ...aio import threads
from ...cluster.engine import Engine
from ...cluster.published.head import Head, Places
from ...cluster.published.manifest import Manifest, parse_manifest, tree_of
from ...cluster.published.packing import CHUNK_BYTES, Content, digest_of, needed, stated_sizes, unpack, verified
from ...cluster.records import Unusable
from ...core.errors import SourceError
from ...core.model import Tree
from .settings import PublishedSettings

# What an operator can do if a chunk is missing or damaged. A new leader writes all chunks that aren't there.
REMEDY = "wait for the next version, or restart the node that publishes: it then repairs the chunks"
# So many times `total_bytes` of chunks are read, and no more. A chunk may also have contents that are too large for this
# reader, or that it knows already.
_MOST_READ = 2


@attrs.frozen(eq=False)
class State:
    """A verified version.

    Attributes:
        contents: The contents by their digests, for the next version.
    """

    tree: Tree
    contents: Mapping[str, bytes]


async def read_state(engine: Engine, head: Head, settings: PublishedSettings, known: Mapping[str, bytes]) -> State:
    """Read a version.

    Args:
        known: Contents by their digests. They aren't fetched.

    Raises:
        SourceError: Something is missing or wrong, or exceeds a limit.
        EngineError: etcd can't be read now.
    """
    if len(head.manifest) * CHUNK_BYTES > settings.total_bytes + CHUNK_BYTES:
        raise SourceError(f"{_version(head)} has a manifest that total_bytes ({settings.total_bytes}) doesn't allow")
    data = await _chunks(engine, head, settings, dict.fromkeys(head.manifest, CHUNK_BYTES))
    manifest = await threads.run_sync(_manifest, head, data)
    wanted = _wanted(head, manifest, settings)
    missing = [content.pieces for content in wanted if content.digest not in known]
    sizes = stated_sizes(manifest.contents, manifest.chunks)
    found = {name: sizes[name] for name in needed(missing, manifest.chunks)}
    if (total := sum(found.values())) > _MOST_READ * settings.total_bytes:
        raise SourceError(
            f"{_version(head)} needs chunks of {total} bytes, and total_bytes ({settings.total_bytes}) allows "
            f"{_MOST_READ} times as many as it says"
        )
    chunks = await _chunks(engine, head, settings, found)
    return await threads.run_sync(_assembled, head, manifest, settings, wanted, known, chunks)


async def _chunks(
    engine: Engine, head: Head, settings: PublishedSettings, sizes: Mapping[str, int]
) -> dict[str, bytes]:
    """Fetch and verify chunks, one after the other.

    Args:
        sizes: Maps the name of each chunk to the most bytes that it may have.
    """
    places, found = Places(settings.cluster), dict[str, bytes]()
    for name, size in sizes.items():
        entries = (await engine.read([places.chunk(name)])).entries
        if not entries:
            raise SourceError(f"{_version(head)} needs chunk {name[:12]}, which etcd doesn't have; {REMEDY}")
        try:
            found[name] = verified(name, entries[0].value, size)
        except Unusable as error:
            raise SourceError(f"{_version(head)} is damaged: {error}; {REMEDY}") from None
    return found


def _manifest(head: Head, chunks: Mapping[str, bytes]) -> Manifest:
    data = b"".join(chunks[name] for name in head.manifest)
    if digest_of(data) != head.said.id:
        raise SourceError(f"{_version(head)} is damaged: its manifest isn't what its id says; {REMEDY}")
    try:
        return parse_manifest(data)
    except Unusable as error:
        raise SourceError(
            f"{_version(head)} can't be read: {error}; upgrade this node if it is the older one"
        ) from None


def _wanted(head: Head, manifest: Manifest, settings: PublishedSettings) -> list[Content]:
    """Return the contents that are small enough.

    Raises:
        SourceError: The version exceeds a limit.
    """
    for label, layers in manifest.labels.items():
        if sum(len(each.numbers) + len(each.files.unreadable) for each in layers) > settings.files:
            raise SourceError(f"{_version(head)} has more files than {settings.files} in {label}, which files allows")
    wanted = [content for content in manifest.contents if content.size <= settings.file_bytes]
    total = sum(content.size for content in wanted)
    if total > settings.total_bytes:
        raise SourceError(f"{_version(head)} has {total} bytes, and total_bytes allows {settings.total_bytes}")
    return wanted


def _assembled(
    head: Head,
    manifest: Manifest,
    settings: PublishedSettings,
    wanted: Sequence[Content],
    known: Mapping[str, bytes],
    chunks: Mapping[str, bytes],
) -> State:
    """Put all contents together, verify each, and make the tree."""
    contents = dict[str, bytes]()
    for each in wanted:
        content = known.get(each.digest)
        try:
            contents[each.digest] = content if content is not None else unpack(each, manifest.chunks, chunks)
        except Unusable as error:
            raise SourceError(f"{_version(head)} is damaged: {error}; {REMEDY}") from None
    limit = settings.file_bytes
    found = [contents.get(each.digest) for each in manifest.contents]
    tree = tree_of(manifest, found, lambda size: f"it has {size} bytes, and file_bytes allows {limit}")
    return State(tree, contents)


def _version(head: Head) -> str:
    return f"version {head.said.number} of the published state"
