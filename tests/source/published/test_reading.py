"""Facts about the reading of one version: what is fetched, and that nothing leaves before every hash is verified."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import trio

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from tests.cluster.published.trees import rich, seen, tree
from vortexd.cluster.engine import Delete, EngineAway, Put, Reading
from vortexd.cluster.published.head import Announcement, Head, Places
from vortexd.cluster.published.packing import CHUNK_BYTES, digest_of
from vortexd.cluster.published.version import version_of
from vortexd.core.errors import SourceError
from vortexd.core.model import Tree
from vortexd.source.published.reading import read_state
from vortexd.source.published.settings import PublishedSettings

SETTINGS = PublishedSettings(cluster="c", endpoints=("http://etcd:2379",))
PLACES = Places("c")


def written(store: MemoryStore, made: Tree) -> Head:
    version = version_of(made)
    store.change([Put(PLACES.chunk(name), chunk.data) for name, chunk in version.chunks.items()])
    return version.head(1, 1e9, "a")


async def test_a_version_is_read_whole() -> None:
    store = MemoryStore()
    state = await read_state(MemoryEngine(store), written(store, rich()), SETTINGS, {})
    assert seen(state.tree) == seen(rich())
    contents = {*rich().labels["main"].contents.values(), b"weak"}
    assert state.contents == {digest_of(each): each for each in contents}


async def test_known_contents_are_the_same_objects_and_need_no_chunk() -> None:
    store = MemoryStore()
    head = written(store, tree(a="1" * 100))
    before = await read_state(MemoryEngine(store), head, SETTINGS, {})
    store.change([Delete(PLACES.chunk(name)) for name in version_of(tree(a="1" * 100)).names - {*head.manifest}])
    state = await read_state(MemoryEngine(store), head, SETTINGS, before.contents, before.pages)
    assert state.tree.labels["main"].contents["a"] is before.contents[digest_of(b"1" * 100)]
    assert seen(state.tree) == seen(before.tree)
    assert [*state.pages.items()] == [*before.pages.items()]


async def test_contents_that_the_version_does_not_have_are_not_kept() -> None:
    store = MemoryStore()
    head = written(store, tree(a="1"))
    state = await read_state(MemoryEngine(store), head, SETTINGS, {digest_of(b"2"): b"2"})
    assert state.contents == {digest_of(b"1"): b"1"}


@pytest.mark.parametrize("change", [lambda data: None, lambda data: data[:-1], lambda data: b"", lambda data: b"x"])
@pytest.mark.parametrize("number", range(3))
async def test_each_chunk_must_be_there_and_be_what_its_name_says(
    number: int, change: Callable[[bytes], bytes | None]
) -> None:
    store = MemoryStore()
    head = written(store, tree(a="1"))
    key = PLACES.chunk([*version_of(tree(a="1")).chunks][number])
    value = change(store.entries[key].value)
    store.change([Delete(key) if value is None else Put(key, value)])
    with pytest.raises(SourceError, match="version 1 of the published state"):
        await read_state(MemoryEngine(store), head, SETTINGS, {})


async def test_a_store_that_is_away_is_an_error_of_the_store() -> None:
    store = MemoryStore()
    head = written(store, tree(a="1"))
    store.set_away(True)
    with pytest.raises(EngineAway):
        await read_state(MemoryEngine(store), head, SETTINGS, {})


async def test_a_reading_can_be_cancelled() -> None:
    store = MemoryStore()
    head = written(store, tree(a="1"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await read_state(MemoryEngine(store), head, SETTINGS, {})
    assert scope.cancelled_caught


# Versions that other programs may have made.


def forged(store: MemoryStore, chunks: list[bytes], contents: list[bytes], pieces: list[list[list[int]]]) -> Head:
    """Write a version with these chunks. Each content is a file."""
    document = {
        "format": 1,
        "default_label": "main",
        "labels": [["main", [LAYER | {"files": [[f"f{number}", number] for number in range(len(contents))]}]]],
        "chunks": [digest_of(each) for each in chunks],
        "contents": [[digest_of(each), len(each), where] for each, where in zip(contents, pieces, strict=True)],
    }
    manifest = json.dumps(document).encode()
    store.change([Put(PLACES.chunk(digest_of(each)), each) for each in {*chunks, manifest}])
    said = Announcement(1, digest_of(manifest), 1e9, "a")
    return Head(said, (digest_of(manifest),), tuple(digest_of(each) for each in chunks))


LAYER: dict[str, Any] = {
    "root": "",
    "locations": [],
    "revision": None,
    "origin": None,
    "applications": [],
    "group": 0,
} | {
    "unreadable": [],
    "edits": None,
}
SMALL = attrs.evolve(SETTINGS, total_bytes=10_000, file_bytes=1_024)


def sparse(count: int, size: int) -> tuple[list[bytes], list[bytes], list[list[list[int]]]]:
    """Return chunks of a size, of which a content needs only the last byte."""
    chunks = [number.to_bytes(2, "big") * (size // 2) for number in range(count)]
    return chunks, [each[-1:] for each in chunks], [[[number, size - 1, 1]] for number in range(count)]


async def test_the_chunks_of_a_version_are_bounded_together_before_any_is_read() -> None:
    store = MemoryStore()
    engine = NotingEngine(store)
    head = forged(store, *sparse(20, 1_000))
    assert len((await read_state(engine, head, SMALL, {})).contents) == 20
    head = forged(store, *sparse(21, 1_000))
    engine.keys.clear()
    with pytest.raises(SourceError) as refused:
        await read_state(engine, head, SMALL, {})
    assert str(refused.value) == (
        "version 1 of the published state needs chunks of 21000 bytes, and total_bytes (10000) allows 2 times as many as "
        "it says"
    )
    assert engine.keys == [PLACES.chunk(head.manifest[0])]


async def test_chunks_whose_contents_are_known_or_too_large_do_not_count() -> None:
    store = MemoryStore()
    chunks, contents, pieces = sparse(30, 1_000)
    head = forged(store, chunks, contents, pieces)
    known = {digest_of(each): each for each in contents[:10]}
    assert len((await read_state(MemoryEngine(store), head, SMALL, known)).contents) == 30
    large = bytes(30_000)
    head = forged(store, [*chunks[:20], large], [*contents[:20], large], [*pieces[:20], [[20, 0, 30_000]]])
    state = await read_state(MemoryEngine(store), head, SMALL, {})
    assert state.tree.labels["main"].unreadable == {"f20": "it has 30000 bytes, and file_bytes allows 1024"}


async def test_a_chunk_that_is_longer_than_the_manifest_says_is_damage() -> None:
    store = MemoryStore()
    head = forged(store, [b"ab" + bytes(9_000)], [b"ab"], [[[0, 0, 2]]])
    with pytest.raises(SourceError, match="has 9002 bytes, and the manifest allows 2"):
        await read_state(MemoryEngine(store), head, SMALL, {})


async def test_a_chunk_of_the_manifest_has_at_most_the_size_of_a_chunk() -> None:
    store = MemoryStore()
    data = bytes(CHUNK_BYTES + 1)
    store.change([Put(PLACES.chunk(digest_of(data)), data)])
    head = Head(Announcement(1, digest_of(data), 1e9, "a"), (digest_of(data),), ())
    with pytest.raises(SourceError, match=f"has {CHUNK_BYTES + 1} bytes, and the manifest allows {CHUNK_BYTES}"):
        await read_state(MemoryEngine(store), head, SETTINGS, {})


class NotingEngine(MemoryEngine):
    """Notes the keys that are read."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.keys: list[str] = []

    async def read(self, keys: Sequence[str] = (), **options: Any) -> Reading:
        self.keys += keys
        return await super().read(keys, **options)
