import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.fakes import FakeMetrics
from vortexd.protocol.close import CloseReason
from vortexd.realtime.events.input import EventReader


class Reading:
    def __init__(self, *, subscribes: bool = False, has_spoken: bool = False) -> None:
        self.ours, self.theirs = memory_stream_pair()
        self.metrics = FakeMetrics()
        self.subscribed = 0
        self.may_subscribe = trio.Event()
        subscribe = self.subscribe if subscribes else None
        self.reader = EventReader(self.ours, self.metrics, subscribe, has_spoken=has_spoken)

    async def subscribe(self) -> None:
        self.subscribed += 1
        assert not self.reader.is_listening
        await self.may_subscribe.wait()


@pytest.mark.parametrize("said", [b"x", b""])
async def test_bytes_and_the_end_are_the_end_by_the_client(said: bytes) -> None:
    reading = Reading()
    assert reading.reader.is_between
    if said:
        await reading.theirs.send_all(said)
    else:
        await reading.theirs.aclose()
    assert await reading.reader.run() is CloseReason.CLIENT
    assert len(said) == reading.metrics.counts["bytes_read"]


async def test_it_subscribes_once_before_it_listens() -> None:
    reading = Reading(subscribes=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.reader.run)
        await wait_all_tasks_blocked()
        assert (1, False) == (reading.subscribed, reading.reader.is_listening)
        reading.may_subscribe.set()
        await wait_all_tasks_blocked()
        assert reading.reader.is_listening
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.reader.run)
        await wait_all_tasks_blocked()
        assert (1, True) == (reading.subscribed, reading.reader.is_listening)
        nursery.cancel_scope.cancel()


async def test_bytes_from_before_end_it_at_once() -> None:
    early, parked = Reading(has_spoken=True), Reading()
    parked.reader.received = b"x"
    for each in (early, parked):
        assert not each.reader.is_between
        assert await each.reader.run() is CloseReason.CLIENT
        assert not each.reader.is_listening


async def test_a_broken_connection_is_an_error() -> None:
    reading = Reading()
    await reading.ours.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await reading.reader.run()
