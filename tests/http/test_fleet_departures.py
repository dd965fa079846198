"""Instances that moved to another node during a restart: the node that restarted asks for them, and forgets them."""

import attrs
import pytest
import trio
from trio.testing import MockClock

from vortexd.core.model import Key
from vortexd.fleet import Ack, Fleet, Instance, NodePages, Question, Record, make_ack, records_of
from vortexd.http import fleet_departures as module
from vortexd.http.fleet_departures import PAUSES, FleetDepartures
from vortexd.settings.fleet import FleetSettings

A, B = Key("a", "prod", "main"), Key("b", "prod", "main")
NOW = 1e9
ACK = make_ack("v1", "applied", None, NOW)


@attrs.define(eq=False)
class OtherNodes:
    """The other nodes of the cluster, which answer from their fleets."""

    fleets: list[Fleet] = attrs.field(factory=list)
    asked: list[tuple[float, Question]] = attrs.field(factory=list)

    async def pages(self, question: Question) -> NodePages:
        await trio.lowlevel.checkpoint()
        self.asked.append((trio.current_time(), question))
        return NodePages((), tuple(each.page(question, NOW) for each in self.fleets))


def fleet(gone: int = 10_000) -> Fleet:
    return Fleet(FleetSettings(gone=gone), lambda _: "v1")


def join(made: Fleet, name: str, ack: Ack | None = None, key: Key = A) -> Instance:
    instance = Instance(key, f"id-{name}", "", name, NOW)
    made.join(instance, NOW)
    if ack is not None:
        made.acknowledge(instance, key, ack)
    return instance


def remember(made: Fleet, *places: tuple[str, Key, Ack | None]) -> None:
    made.restore([Record(key, name, "old", ack, NOW - 1) for name, key, ack in places], NOW)


def gone(made: Fleet) -> set[tuple[str, str]]:
    return {(each.key.application, each.name) for each in records_of((), made.gone(1_000))}


async def run_for(seconds: float, departures: FleetDepartures) -> None:
    with trio.move_on_after(seconds):
        await departures.run()


async def test_who_acknowledged_at_another_node_is_no_longer_gone(autojump_clock: MockClock) -> None:
    here, there, elsewhere = fleet(), fleet(), fleet()
    remember(here, ("one", A, ACK), ("two", A, ACK), ("three", A, ACK), ("one", B, ACK))
    join(there, "one", ACK)
    join(elsewhere, "two", ACK)
    join(elsewhere, "other", ACK)
    await run_for(PAUSES[0] + 0.5, FleetDepartures(here, OtherNodes([there, elsewhere])))

    assert {("a", "three"), ("b", "one")} == gone(here)


async def test_who_is_silent_at_another_node_stays_as_long_as_only_this_one_knows_its_former_word(
    autojump_clock: MockClock,
) -> None:
    here, there = fleet(), fleet()
    remember(here, ("said", A, ACK), ("silent", A, None))
    said = join(there, "said")
    join(there, "silent")
    departures = FleetDepartures(here, OtherNodes([there]))
    await run_for(PAUSES[0] + 0.5, departures)
    assert {("a", "said")} == gone(here)

    there.acknowledge(said, A, ACK)
    await run_for(PAUSES[0] + 0.5, departures)
    assert set() == gone(here)


async def test_who_is_gone_at_both_nodes_is_gone(autojump_clock: MockClock) -> None:
    here, there = fleet(), fleet()
    remember(here, ("one", A, None))
    there.leave(join(there, "one", ACK), NOW)
    await run_for(PAUSES[0] + 0.5, FleetDepartures(here, OtherNodes([there])))

    assert {("a", "one")} == gone(here)


async def test_nodes_are_asked_ever_more_rarely_for_those_who_are_gone(autojump_clock: MockClock) -> None:
    here, nodes = fleet(), OtherNodes()
    remember(here, ("b", B, ACK), ("a", A, None), ("b", A, ACK))
    await FleetDepartures(here, nodes).run()

    assert [5.0, 15.0, 35.0, 75.0, 155.0, 315.0, 615.0, 1_215.0] == [time for time, _ in nodes.asked]
    assert {Question((A, B), None, 1_000, None, ("a", "b"))} == {question for _, question in nodes.asked}


async def test_while_nobody_is_gone_no_node_is_asked(autojump_clock: MockClock) -> None:
    here, nodes = fleet(), OtherNodes()
    join(here, "one", ACK)
    await FleetDepartures(here, nodes).run()

    assert [] == nodes.asked


async def test_many_names_are_asked_for_in_several_questions(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    here, nodes = fleet(), OtherNodes()
    remember(here, *((name, A, ACK) for name in "cabed"))
    await run_for(PAUSES[0] + 0.5, FleetDepartures(here, nodes))

    assert [("a", "b"), ("c", "d"), ("e",)] == [question.names for _, question in nodes.asked]


async def test_what_a_node_of_a_former_version_lists_besides_is_passed_over(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists all instances, but not for the keys and names of other questions."""
    monkeypatch.setattr(module, "AT_ONCE", 1)
    here, there = fleet(), fleet()
    remember(here, ("one", A, ACK), ("silent", A, ACK), ("x", B, ACK))
    join(there, "one", ACK)
    join(there, "silent")

    class FormerNode(OtherNodes):
        async def pages(self, question: Question) -> NodePages:
            return await OtherNodes.pages(self, attrs.evolve(question, names=None))

    await run_for(PAUSES[0] + 0.5, FleetDepartures(here, FormerNode([there])))
    assert {("a", "silent"), ("b", "x")} == gone(here)


async def test_who_left_while_the_nodes_were_asked_is_not_taken_for_somebody_who_moved_before(
    autojump_clock: MockClock,
) -> None:
    here, there = fleet(), fleet()
    remember(here, ("one", A, ACK))
    join(there, "one", ACK)
    join(there, "two", ACK)

    class Slow(OtherNodes):
        async def pages(self, question: Question) -> NodePages:
            here.leave(join(here, "two", ACK), NOW)
            return await OtherNodes.pages(self, attrs.evolve(question, names=None))

    await run_for(PAUSES[0] + 0.5, FleetDepartures(here, Slow([there])))
    assert {("a", "two")} == gone(here)
