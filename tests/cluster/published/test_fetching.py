"""Facts about the fetching of chunks: what one request has, and what is refused."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import Put, Reading
from vortexd.cluster.published.fetching import Missing, fetched
from vortexd.cluster.published.head import Places
from vortexd.cluster.published.packing import digest_of
from vortexd.cluster.records import Unusable

PLACES = Places("c")


class NotingEngine(MemoryEngine):
    """Notes how many keys each request has."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.counts: list[int] = []

    async def read(self, keys: Sequence[str] = (), **options: Any) -> Reading:
        self.counts.append(len(keys))
        return await super().read(keys, **options)


def written(*contents: bytes) -> tuple[NotingEngine, dict[str, int]]:
    store = MemoryStore()
    store.change([Put(PLACES.chunk(digest_of(each)), each) for each in contents])
    return NotingEngine(store), {digest_of(each): len(each) for each in contents}


async def test_several_chunks_are_fetched_with_one_request() -> None:
    engine, sizes = written(*(bytes([number]) for number in range(65)))
    found = await fetched(engine, PLACES, sizes)
    assert [*found] == [*sizes]
    assert found == {digest_of(each): each for each in found.values()}
    assert engine.counts == [64, 1]


async def test_a_request_has_a_most_number_of_bytes() -> None:
    engine, sizes = written(*(bytes([number]) * 262_144 for number in range(5)))
    assert len(await fetched(engine, PLACES, sizes)) == 5
    assert engine.counts == [4, 1]


async def test_nothing_is_fetched_if_nothing_is_wanted() -> None:
    engine, _ = written()
    assert await fetched(engine, PLACES, {}) == {}
    assert engine.counts == []


async def test_a_chunk_that_is_not_there_is_named() -> None:
    engine, sizes = written(b"a")
    with pytest.raises(Missing, match=f"chunk {digest_of(b'b')[:12]} isn't there") as caught:
        await fetched(engine, PLACES, {**sizes, digest_of(b"b"): 1})
    assert caught.value.name == digest_of(b"b")


async def test_a_chunk_of_another_content_or_a_larger_size_is_refused() -> None:
    engine, sizes = written(b"abc")
    [name] = sizes
    with pytest.raises(Unusable, match="has 3 bytes, and the manifest allows 2"):
        await fetched(engine, PLACES, {name: 2})
    engine.store.change([Put(PLACES.chunk(name), b"abd")])
    with pytest.raises(Unusable, match="has another content than its name says"):
        await fetched(engine, PLACES, sizes)
