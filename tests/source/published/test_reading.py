"""Facts about the reading of one version: what is fetched, and that nothing leaves before every hash is verified."""

from collections.abc import Callable

import pytest
import trio

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from tests.cluster.published.trees import rich, seen, tree
from vortexd.cluster.engine import Delete, EngineAway, Put
from vortexd.cluster.published.head import Head, Places
from vortexd.cluster.published.packing import digest_of
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
    known = (await read_state(MemoryEngine(store), head, SETTINGS, {})).contents
    store.change([Delete(PLACES.chunk(name)) for name in head.chunks])
    state = await read_state(MemoryEngine(store), head, SETTINGS, known)
    assert state.tree.labels["main"].contents["a"] is known[digest_of(b"1" * 100)]


async def test_contents_that_the_version_does_not_have_are_not_kept() -> None:
    store = MemoryStore()
    head = written(store, tree(a="1"))
    state = await read_state(MemoryEngine(store), head, SETTINGS, {digest_of(b"2"): b"2"})
    assert state.contents == {digest_of(b"1"): b"1"}


@pytest.mark.parametrize("change", [lambda data: None, lambda data: data[:-1], lambda data: b"", lambda data: b"x"])
@pytest.mark.parametrize("number", range(2))
async def test_each_chunk_must_be_there_and_be_what_its_name_says(
    number: int, change: Callable[[bytes], bytes | None]
) -> None:
    store = MemoryStore()
    head = written(store, tree(a="1"))
    key = PLACES.chunk([*head.manifest, *head.chunks][number])
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
