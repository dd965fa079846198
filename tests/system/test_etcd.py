"""Facts about the engine on a real etcd with three members: those of every engine, and what happens when members fail."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.cluster.contract import *  # noqa: F403
from tests.cluster.contract import Engines, values
from tests.cluster.etcd_servers import EtcdServers, etcd_program
from vortexd.cluster.connection import Endpoint
from vortexd.cluster.engine import Compacted, EngineAway, EngineError, Event, OutcomeUnknown, Put
from vortexd.cluster.etcd.engine import EtcdEngine
from vortexd.cluster.etcd.gateway import Gateway

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd; on Debian, apt-get install etcd-server"),
]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    with EtcdServers(tmp_path_factory.mktemp("etcd")) as servers:
        yield servers


@pytest.fixture
async def gateways(servers: EtcdServers) -> AsyncIterator[tuple[Gateway, Gateway]]:
    endpoints = list(map(Endpoint.parse, servers.endpoints))
    one, two = Gateway(endpoints), Gateway(endpoints[1:] + endpoints[:1])
    yield one, two
    await one.aclose()
    await two.aclose()


@pytest.fixture
async def engines(gateways: tuple[Gateway, Gateway]) -> Engines:
    return EtcdEngine(gateways[0]), EtcdEngine(gateways[1])


@pytest.fixture
def prefix() -> str:
    return f"/test/{next(_numbers)}/"


async def written(engine: EtcdEngine, prefix: str) -> int:
    """Write until a member answers, and return the revision."""
    with trio.fail_after(30):
        while True:
            try:
                return (await engine.commit([Put(prefix + "a", b"after")])).revision
            except EngineError:
                await trio.sleep(0.1)


async def test_a_watch_moves_on_when_its_member_is_killed(
    servers: EtcdServers, engines: tuple[EtcdEngine, EtcdEngine], prefix: str
) -> None:
    one, two = engines
    start = (await two.read(prefix=prefix)).revision
    seen: list[Event] = []
    async with two.watch(prefix, start) as batches:
        await one.commit([Put(prefix + "a", b"before")])
        seen += (await anext(batches)).events
        servers.kill(1)
        try:
            await written(one, prefix)
            with trio.fail_after(30):
                while values(seen[-1:]) != [("a", b"after")]:
                    seen += (await anext(batches)).events
        finally:
            servers.start(1)
            servers.wait_ready(1)
    assert values(seen)[0] == ("a", b"before")


async def test_a_watch_moves_on_when_its_member_is_frozen(
    servers: EtcdServers, engines: tuple[EtcdEngine, EtcdEngine], prefix: str
) -> None:
    one, two = engines
    start = (await two.read(prefix=prefix)).revision
    async with two.watch(prefix, start) as batches:
        servers.freeze(1)
        try:
            await written(one, prefix)
            with trio.fail_after(40):
                batch = await anext(batches)
        finally:
            servers.resume(1)
            servers.wait_ready(1)
    assert values(batch.events)[0] == ("a", b"after")


async def test_without_a_majority_nothing_is_read_or_written_and_all_comes_back(
    servers: EtcdServers, engines: tuple[EtcdEngine, EtcdEngine], prefix: str
) -> None:
    one, _ = engines
    start = (await one.read(prefix=prefix)).revision
    async with one.watch(prefix, start) as batches:
        servers.kill(1)
        servers.kill(2)
        try:
            with pytest.raises(EngineAway):
                await one.read([prefix + "a"])
            with pytest.raises((EngineAway, OutcomeUnknown)):
                await one.commit([Put(prefix + "a", b"during")])
            with trio.fail_after(60), pytest.raises(EngineAway):
                await anext(batches)
        finally:
            for number in (1, 2):
                servers.start(number)
            for number in (0, 1, 2):
                servers.wait_ready(number)
        await written(one, prefix)
        with trio.fail_after(30):
            seen = list((await anext(batches)).events)
            while values(seen[-1:]) != [("a", b"after")]:
                seen += (await anext(batches)).events


async def test_a_watch_of_compacted_revisions_names_the_oldest_that_is_kept(
    servers: EtcdServers, gateways: tuple[Gateway, Gateway], prefix: str
) -> None:
    one = EtcdEngine(gateways[0])
    first = await one.commit([Put(prefix + "a", b"1")])
    await one.commit([Put(prefix + "a", b"2")])
    last = await one.commit([Put(prefix + "a", b"3")])
    await gateways[0].change("/v3/kv/compaction", {"revision": str(last.revision), "physical": True})
    with pytest.raises(Compacted) as caught:
        async with one.watch(prefix, first.revision) as batches:
            with trio.fail_after(10):
                await anext(batches)
    assert caught.value.oldest == last.revision


async def test_a_watch_from_a_revision_that_the_store_never_had_is_refused(
    engines: tuple[EtcdEngine, EtcdEngine], prefix: str
) -> None:
    one, _ = engines
    start = (await one.read(prefix=prefix)).revision
    with pytest.raises(Compacted, match="restored"):
        async with one.watch(prefix, start + 1_000_000):
            pass


async def test_a_lease_is_kept_alive_and_its_loss_is_noticed_in_time(
    servers: EtcdServers, engines: tuple[EtcdEngine, EtcdEngine], prefix: str
) -> None:
    one, two = engines
    async with one.lease(2) as lease:
        await one.commit([Put(prefix + "a", b"", lease.id)])
        await trio.sleep(4)
        assert lease.is_held
        assert len((await two.read(prefix=prefix)).entries) == 1
        for number in range(3):
            servers.freeze(number)
        try:
            with trio.fail_after(2.5):
                await lease.wait_lost()
            assert not lease.is_held
        finally:
            for number in range(3):
                servers.resume(number)
            for number in range(3):
                servers.wait_ready(number)
