"""Facts about the way in which sources follow an etcd. Those of failures and pauses stand with each source, for both."""

from itertools import pairwise
from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import Engine, EngineAway
from vortexd.source.following import Following
from vortexd.source.status import SourceStatus


class Most(Random):
    def uniform(self, a: float, b: float) -> float:
        return b


async def test_each_attempt_has_an_engine_of_its_own_and_begun_makes_the_pause_short_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_thread(make: object) -> Engine:
        await trio.lowlevel.checkpoint()
        return MemoryEngine(MemoryStore())

    monkeypatch.setattr("vortexd.source.following.in_thread", in_thread)
    status = SourceStatus("x", "etcd")
    following = Following("x", status, lambda: MemoryEngine(MemoryStore()), Most())
    engines: list[Engine] = []
    at: list[float] = []

    async def follow(engine: Engine) -> None:
        engines.append(engine)
        at.append(trio.current_time())
        if len(at) == 4:
            following.begun()
        raise EngineAway("away")

    with trio.move_on_after(11):
        await following.run(follow)
    assert [later - earlier for earlier, later in pairwise(at)] == pytest.approx([1, 2, 4, 1, 2])
    assert len({id(each) for each in engines}) == len(at)
    assert all(each.is_closed for each in engines if isinstance(each, MemoryEngine))
    assert status.report().last_error == "away"
