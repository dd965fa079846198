"""A transport other than WebSockets needs only one module. This file has a small one, on the existing pipeline and chain."""

import re
from typing import Any

import jsonpatch
import orjson
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.wiring import Wired
from vortexd.core.model import Files, Key, Tree
from vortexd.pipeline.broadcast import Delivery
from vortexd.realtime.chain import CatchUp, Chain, Lagged

KEY = Key("shop", "dev", "main")
FILLER = "".join(f"filler{number}: {number}\n" for number in range(50))


def event(payload: bytes) -> bytes:
    """A payload as an event of text/event-stream."""
    return b"data: %b\n\n" % payload


class EventStream:
    """One client that reads events."""

    def __init__(self, wired: Wired, version: str | None = None, queue_messages: int = 8) -> None:
        self._wired = wired
        self._has_more = trio.Event()
        self._has_written = trio.Event()
        self.is_allowed = True
        self.may_go_on = trio.Event()
        self.may_go_on.set()
        self.written: list[bytes] = []
        self.lagged = 0
        self._chain = Chain(
            KEY, version, lambda _: self.is_allowed, lambda _: None, self._wake, queue_messages, 1_000_000
        )

    def deliver(self, delivery: Delivery) -> None:
        self._chain.offer(delivery)

    def _wake(self) -> None:
        self._has_more.set()

    async def run(self) -> None:
        self._wired.pipeline.hold(KEY)
        self._wired.registry.add(self, KEY)
        while True:
            match self._chain.step():
                case CatchUp() as asked:
                    delivery = await self._wired.pipeline.catch_up(KEY, asked.base(self._wired.pipeline.version_of))
                    if self._chain.caught_up(asked, delivery, self._wired.pipeline.version_of(KEY)):
                        self._write(delivery)
                case Lagged(dropped):
                    self.lagged += dropped
                case _:
                    item = self._chain.take()
                    if isinstance(item, Delivery):
                        self._write(item)
                    else:
                        self._has_more, self._chain.is_awaited = trio.Event(), True
                        await self._has_more.wait()
            await self.may_go_on.wait()

    def _write(self, delivery: Delivery) -> None:
        self.written.append(delivery.payload.framed(event))
        self._has_written.set()

    async def wait_written(self) -> None:
        """Wait until one more event is written."""
        self._has_written = trio.Event()
        await self._has_written.wait()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [orjson.loads(re.fullmatch(rb"data: (.*)\n\n", each)[1]) for each in self.written]  # type: ignore[index]


async def publish(wired: Wired, number: int) -> None:
    await wired.publisher.publish(Tree({"main": Files({"shop.yml": f"a: {number}\n{FILLER}".encode()})}))


async def until_it_has(stream: EventStream, number: int) -> None:
    """Wait until a client has a state. The pipeline makes diffs in threads, so that blocked tasks say nothing."""
    with trio.fail_after(10):
        while not stream.written or replayed(stream.messages)["a"] != number:
            await stream.wait_written()


def replayed(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The document that a client has after these messages; each has to build on the one before."""
    document: dict[str, Any] = {}
    version = None
    for each in messages:
        if each["type"] == "config_snapshot":
            document, version = each["config"], each["version"]
        else:
            assert version == each["old_version"]
            document, version = jsonpatch.apply_patch(document, each["diff"]), each["new_version"]
    return document


async def test_another_transport_follows_a_key_through_the_same_chain(nursery: trio.Nursery) -> None:
    wired = Wired()
    await publish(wired, 1)
    first, second = EventStream(wired), EventStream(wired)
    for each in (first, second):
        nursery.start_soon(each.run)
        await until_it_has(each, 1)
    for number in range(2, 5):
        await publish(wired, number)
        for each in (first, second):
            await until_it_has(each, number)

    assert ["config_snapshot", *["config_change"] * 3] == [each["type"] for each in first.messages]
    assert 4 == replayed(first.messages)["a"]
    # Each payload is framed once for all clients of a transport.
    assert all(one is other for one, other in zip(first.written, second.written, strict=True))


async def test_it_resumes_by_version_and_catches_up_after_an_overflow(nursery: trio.Nursery) -> None:
    wired = Wired()
    await publish(wired, 1)
    stream = EventStream(wired, queue_messages=2)
    nursery.start_soon(stream.run)
    await until_it_has(stream, 1)
    stream.may_go_on = trio.Event()
    for number in range(2, 8):
        await publish(wired, number)
    stream.may_go_on.set()
    await until_it_has(stream, 7)
    assert stream.lagged > 0

    known = wired.pipeline.version_of(KEY)
    await publish(wired, 8)
    resumed = EventStream(wired, known)
    nursery.start_soon(resumed.run)
    with trio.fail_after(10):
        await resumed.wait_written()
    assert [("config_change", known)] == [(each["type"], each["old_version"]) for each in resumed.messages]


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_it_writes_nothing_that_the_client_may_not_have(nursery: trio.Nursery, is_allowed: bool) -> None:
    wired = Wired()
    await publish(wired, 1)
    stream, witness = EventStream(wired), EventStream(wired)
    for each in (stream, witness):
        nursery.start_soon(each.run)
        await until_it_has(each, 1)
    stream.is_allowed = is_allowed
    await publish(wired, 2)
    await until_it_has(witness, 2)
    await wait_all_tasks_blocked()

    assert (2 if is_allowed else 1) == len(stream.written)
