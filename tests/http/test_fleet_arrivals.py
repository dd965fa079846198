"""Instances that move between workers: the worker that remembers them as gone forgets them, and hands over what it knows."""

import orjson
import pytest
import trio
from trio.testing import MockClock

from vortexd.core.model import Key
from vortexd.fleet import Fleet, Instance, Question, Record, make_ack
from vortexd.http import fleet_arrivals as module
from vortexd.http.fleet_arrivals import PAUSE, FleetArrivals
from vortexd.process.peers import Answers, Peers
from vortexd.settings.fleet import FleetSettings

KEY = Key("orders", "prod", "main")
NOW = 1e9
APPLIED = make_ack("v1", "applied", None, NOW - 60)


class Workers(Peers):
    """One of several workers; the others are in `others`. A test makes some of them silent."""

    are_there = True

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.others: list[Workers] = []
        self.silent: set[int] = set()
        self.asked: list[str] = []

    async def ask(self, name: str, text: str = "") -> Answers:
        await trio.lowlevel.checkpoint()
        self.asked.append(text)
        texts = {
            str(number): other._handlers[name](text)
            for number, other in enumerate(self.others)
            if number not in self.silent
        }
        return Answers(texts, missing=self.count - 1 - len(texts))


class Worker:
    """One worker with its fleet."""

    def __init__(self, count: int = 2) -> None:
        self.fleet = Fleet(FleetSettings(), lambda _: "v1")
        self.peers = Workers(count)
        self.arrivals = FleetArrivals(self.fleet, self.peers)

    def join(self, name: str) -> Instance:
        instance = Instance(KEY, f"id-{name}", "", name, NOW)
        self.fleet.join(instance, NOW)
        return instance

    def remember(self, *names: str) -> None:
        self.fleet.restore([Record(KEY, name, "old", APPLIED, NOW - 1) for name in names], NOW)

    @property
    def states(self) -> dict[str, tuple[str, bool]]:
        """The state of each instance, and whether it is known what it acknowledged before the restart."""
        return {
            each.name: (each.state, each.before_restart == APPLIED)
            for state in self.fleet.page(Question((KEY,)), NOW).keys
            for each in state.instances
        }


def workers(count: int = 2) -> list[Worker]:
    found = [Worker(count) for _ in range(count)]
    for each in found:
        each.peers.others = [other.peers for other in found if other is not each]
    return found


async def run_for(seconds: float, *running: Worker) -> None:
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for each in running:
                nursery.start_soon(each.arrivals.run)


async def test_who_comes_back_at_another_worker_is_no_longer_gone_and_its_former_word_goes_along(
    autojump_clock: MockClock,
) -> None:
    one, two, three = workers(3)
    one.remember("a", "b")
    two.remember("c")
    for name in ("a", "c", "new"):
        three.join(name)
    await run_for(PAUSE * 1.5, one, two, three)

    assert [{"b": ("gone", True)}, {}] == [one.states, two.states]
    assert {"a": ("silent", True), "c": ("silent", True), "new": ("silent", False)} == three.states


async def test_who_moves_without_a_restart_is_no_longer_gone_and_no_word_goes_along(autojump_clock: MockClock) -> None:
    one, two = workers()
    left = one.join("a")
    one.fleet.acknowledge(left, KEY, make_ack("v1", "applied", None, NOW))
    one.fleet.leave(left, NOW)
    two.join("a")
    await run_for(PAUSE * 1.5, one, two)

    assert ({}, {"a": ("silent", False)}) == (one.states, two.states)


async def test_arrivals_are_collected_and_no_name_is_sent_while_nobody_is_gone(autojump_clock: MockClock) -> None:
    one, two = workers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(two.arrivals.run)
        await trio.sleep(10)
        assert [] == two.peers.asked
        two.join("a"), two.join("b")
        await trio.sleep(PAUSE / 2)
        assert [] == two.peers.asked
        await trio.sleep(10)
        assert ["[]"] == two.peers.asked
        one.remember("c")
        two.join("c")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()

    assert ["[]", "[]", orjson.dumps([["orders", "prod", "main", "c"]]).decode()] == two.peers.asked
    assert ({}, {}) == (one.states, two.arrivals._waiting)


async def test_many_arrivals_are_told_in_batches_without_a_pause(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    one, two = workers()
    one.remember("d", "stays")
    for name in "abcde":
        two.join(name)
    await run_for(PAUSE * 1.5, two)

    names = [[row[3] for row in orjson.loads(text)] for text in two.peers.asked if text != "[]"]
    assert [["a", "b"], ["c", "d"], ["e"]] == names
    assert {"stays"} == one.states.keys()


async def test_a_worker_that_is_starting_is_told_when_it_answers(autojump_clock: MockClock) -> None:
    one, two, three = workers(3)
    two.remember("a")
    three.peers.silent = {0}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(three.arrivals.run)
        three.join("a"), three.join("b")
        await trio.sleep(PAUSE * 1.5)
        assert ({}, {"a": ("silent", True), "b": ("silent", False)}) == (two.states, three.states)
        one.remember("b")
        await trio.sleep(10)
        asked = len(three.peers.asked)
        # It is asked again and again, but not all the time.
        assert 10 < asked < 60
        three.peers.silent = set()
        await trio.sleep(PAUSE * 1.5)
        assert ({}, {"a": ("silent", True), "b": ("silent", True)}) == (one.states, three.states)
        asked = len(three.peers.asked)
        await trio.sleep(10)
        assert asked == len(three.peers.asked)
        nursery.cancel_scope.cancel()


async def test_who_comes_again_while_a_batch_is_told_is_told_again(autojump_clock: MockClock) -> None:
    one, two = workers()
    one.remember("a", "b")
    first = two.join("a")
    ask = two.peers.ask

    async def slow(name: str, text: str = "") -> Answers:
        answers = await ask(name, text)
        if len(two.peers.asked) == 2:
            two.fleet.leave(first, NOW)
            two.join("a")
            two.join("b")
        return answers

    two.peers.ask = slow  # type: ignore[method-assign]
    await run_for(PAUSE * 3, two)

    assert 4 == len(two.peers.asked)
    assert ({}, {}) == (one.states, two.arrivals._waiting)
    assert ("silent", True) == two.states["b"]


async def test_the_arrivals_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    _, two = workers()
    for name in "abc":
        two.join(name)

    assert [(KEY, "a"), (KEY, "b")] == list(two.arrivals._waiting)


async def test_a_single_daemon_collects_no_arrivals() -> None:
    fleet, peers = Fleet(FleetSettings(), lambda _: "v1"), Peers()
    arrivals = FleetArrivals(fleet, peers)
    fleet.join(Instance(KEY, "id", "", "a", NOW), NOW)

    assert ({}, {}) == (arrivals._waiting, peers._handlers)
