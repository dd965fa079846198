"""Facts about the engine in memory: those of every engine, and how it fails when a test asks for it."""

import pytest
import trio
from trio.testing import MockClock

from vortexd.cluster.engine import Compacted, EngineAway, OutcomeUnknown, Put

from .contract import *  # noqa: F403
from .contract import Engines
from .memory_engine import MemoryEngine, MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def engines(store: MemoryStore) -> Engines:
    return MemoryEngine(store), MemoryEngine(store)


@pytest.fixture
def prefix() -> str:
    return "/t/"


async def test_a_store_that_is_away_refuses_everything(store: MemoryStore, engines: Engines) -> None:
    one, _ = engines
    async with one.watch("/t/", 1) as batches:
        store.set_away(True)
        with pytest.raises(EngineAway):
            await anext(batches)
    with pytest.raises(EngineAway):
        await one.read(["/t/a"])
    with pytest.raises(EngineAway):
        await one.commit([Put("/t/a", b"")])


async def test_a_lost_answer_leaves_the_write_in_force(store: MemoryStore, engines: Engines) -> None:
    one, _ = engines
    store.loses_answers = True
    with pytest.raises(OutcomeUnknown):
        await one.commit([Put("/t/a", b"")])
    assert len((await one.read(prefix="/t/")).entries) == 1


async def test_a_watch_of_forgotten_revisions_says_so(store: MemoryStore, engines: Engines) -> None:
    one, _ = engines
    await one.commit([Put("/t/a", b"")])
    async with one.watch("/t/", store.revision) as batches:
        await one.commit([Put("/t/a", b"2")])
        store.compact()
        with pytest.raises(Compacted) as caught:
            await anext(batches)
    assert caught.value.oldest == store.revision + 1


async def test_a_restored_store_ends_a_watch(store: MemoryStore, engines: Engines) -> None:
    one, _ = engines
    before = store.revision
    await one.commit([Put("/t/a", b"")])
    async with one.watch("/t/", store.revision) as batches:
        store.restore(before)
        with pytest.raises(Compacted):
            await anext(batches)


async def test_a_lease_ends_by_its_time_while_the_store_is_away(
    store: MemoryStore, engines: Engines, autojump_clock: MockClock
) -> None:
    one, two = engines
    async with one.lease(6) as lease:
        await one.commit([Put("/t/a", b"", lease.id)])
        await trio.sleep(100)
        assert lease.is_held
        store.set_away(True)
        begin = trio.current_time()
        await lease.wait_lost()
        assert not lease.is_held
        assert trio.current_time() - begin <= 6
        store.set_away(False)
        assert (await two.read(prefix="/t/")).entries == ()
