"""Reads one version of a published state: fetches its chunks, verifies every hash, and makes the tree.

A head arrives. A `State` leaves, or an error that says what is missing or wrong. Contents that the last state has
aren't fetched again, nor pages of its manifest. Nothing of a version leaves before all of it is verified.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import attrs

from ...aio import threads
from ...cluster.engine import Engine
from ...cluster.published.fetching import Missing, fetched
from ...cluster.published.head import Head, Places
from ...cluster.published.manifest import Manifest, tree_of
from ...cluster.published.manifest_reader import Root, parse_pages, parse_root
from ...cluster.published.packing import CHUNK_BYTES, Content, digest_of, needed, stated_sizes, unpack
from ...cluster.records import Unusable
from ...core.errors import SourceError
from ...core.model import Tree
from .settings import PublishedSettings

# What an operator can do if a chunk is missing or damaged. A new leader writes all chunks that aren't there.
REMEDY = "wait for the next version, or restart the node that publishes: it then repairs the chunks"
# So many times `total_bytes` of chunks are read, and no more. A chunk may also have contents that are too large for this
# reader, or that it knows already.
_MOST_READ = 2
# The bytes of the manifest of which there is at most one row. In format 1, no row has fewer.
_BYTES_OF_ROW = 8
_NO_PAGES: Mapping[str, bytes] = MappingProxyType({})


@attrs.frozen(eq=False)
class State:
    """A verified version.

    Attributes:
        contents: The contents by their digests, for the next version.
        pages: The pages of the manifest by their names, for the next version.
    """

    tree: Tree
    contents: Mapping[str, bytes]
    pages: Mapping[str, bytes]


async def read_state(
    engine: Engine,
    head: Head,
    settings: PublishedSettings,
    known: Mapping[str, bytes],
    known_pages: Mapping[str, bytes] = _NO_PAGES,
) -> State:
    """Read a version.

    Args:
        known: Contents by their digests. They aren't fetched.
        known_pages: Pages by their names. They aren't fetched.

    Raises:
        SourceError: Something is missing or wrong, or exceeds a limit.
        EngineError: etcd can't be read now.
    """
    pages, manifest = await _read_manifest(engine, head, settings, known_pages)
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
    tree, contents = await threads.run_sync(_assembled, head, manifest, settings, wanted, known, chunks)
    return State(tree, contents, pages)


async def _read_manifest(
    engine: Engine, head: Head, settings: PublishedSettings, known: Mapping[str, bytes]
) -> tuple[Mapping[str, bytes], Manifest]:
    """Return the pages of the manifest, and the manifest. In format 1 it has no pages."""
    most_bytes = settings.total_bytes + CHUNK_BYTES
    refusal = SourceError(f"{_version(head)} has a manifest that total_bytes ({settings.total_bytes}) doesn't allow")
    if len(head.manifest) * CHUNK_BYTES > most_bytes:
        raise refusal
    data = await _chunks(engine, head, settings, dict.fromkeys(head.manifest, CHUNK_BYTES))
    root = await threads.run_sync(_root, head, data)
    if isinstance(root, Manifest):
        return {}, root
    sizes = root.sizes
    if sum(sizes.values()) > most_bytes:
        raise refusal
    pages = {name: known[name] for name in sizes if name in known}
    pages |= await _chunks(engine, head, settings, {name: sizes[name] for name in sizes if name not in known})
    return pages, await threads.run_sync(_manifest, head, root, pages, most_bytes // _BYTES_OF_ROW)


async def _chunks(
    engine: Engine, head: Head, settings: PublishedSettings, sizes: Mapping[str, int]
) -> dict[str, bytes]:
    """Fetch and verify chunks.

    Args:
        sizes: Maps the name of each chunk to the most bytes that it may have.
    """
    try:
        return await fetched(engine, Places(settings.cluster), sizes)
    except Missing as error:
        raise SourceError(
            f"{_version(head)} needs chunk {error.name[:12]}, which etcd doesn't have; {REMEDY}"
        ) from None
    except Unusable as error:
        raise SourceError(f"{_version(head)} is damaged: {error}; {REMEDY}") from None


def _root(head: Head, chunks: Mapping[str, bytes]) -> Root | Manifest:
    data = b"".join(chunks[name] for name in head.manifest)
    if digest_of(data) != head.said.id:
        raise SourceError(f"{_version(head)} is damaged: its manifest isn't what its id says; {REMEDY}")
    try:
        return parse_root(data)
    except Unusable as error:
        raise _unreadable(head, error) from None


def _manifest(head: Head, root: Root, pages: Mapping[str, bytes], most_rows: int) -> Manifest:
    try:
        return parse_pages(root, pages, most_rows)
    except Unusable as error:
        raise _unreadable(head, error) from None


def _unreadable(head: Head, error: Unusable) -> SourceError:
    return SourceError(f"{_version(head)} can't be read: {error}; upgrade this node if it is the older one")


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
) -> tuple[Tree, Mapping[str, bytes]]:
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
    return tree, contents


def _version(head: Head) -> str:
    return f"version {head.said.number} of the published state"
