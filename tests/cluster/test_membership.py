"""Facts about membership: what a node writes of itself, what it does if its name is taken, and who leads."""

from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import (
    Committed,
    Condition,
    CreatedAt,
    Delete,
    Denied,
    EngineAway,
    EngineError,
    Put,
    Write,
)
from vortexd.cluster.keys import Keys
from vortexd.cluster.membership import GRACE, LEASE, LISTED, NAME_TAKEN, NOT_LISTED, PATIENCE, Membership
from vortexd.cluster.records import Member
from vortexd.cluster.roster import Roster
from vortexd.cluster.store_state import StoreState
from vortexd.cluster.warnings import RecordWarnings

KEYS = Keys("c")
FORGET = 60.0


class CountingEngine(MemoryEngine):
    """Notes every commit, and fails as a test wants it."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.commits: list[tuple[list[Write], list[Condition]]] = []
        self.error: EngineError | None = None
        self.delay = 0.0

    async def commit(self, writes: object, conditions: object = ()) -> Committed:
        self.commits.append((list(writes), list(conditions)))  # type: ignore[call-overload]  # as in the contract
        await trio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return await super().commit(writes, conditions)  # type: ignore[arg-type]  # as in the contract


@attrs.define(eq=False)
class Person:
    """One node: its engine, the roster that a watch keeps, and its membership."""

    store: MemoryStore
    name: str
    process: str = "p"
    forget_after: float = FORGET
    publishes: bool = False
    engine: CountingEngine = attrs.field(init=False)
    state: StoreState = attrs.field(init=False)
    roster: Roster = attrs.field(init=False)
    membership: Membership = attrs.field(init=False)
    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self.engine = CountingEngine(self.store)
        self.state = StoreState(trio.current_time)
        self.state.worked("watch", has_read=True)
        self.roster = Roster(KEYS, trio.current_time, RecordWarnings())
        record = Member(self.name, "http://x", "2030", "1.0", "serving", self.publishes)
        self.membership = Membership(
            KEYS, record, self.process, self.roster, self.state, self.forget_after, lambda low, high: high
        )

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self.membership.run, self.engine)

    async def _watch(self) -> None:
        while True:
            try:
                reading = await self.engine.read(prefix=KEYS.prefix)
                self.roster.read(reading.entries)
                self.membership.changed()
                async with self.engine.watch(KEYS.prefix, reading.revision) as batches:
                    async for batch in batches:
                        self.roster.take(batch.events)
                        self.membership.changed()
            except EngineAway:
                await trio.sleep(0.1)

    def states(self) -> dict[str, str]:
        return {each.node: each.state for each in self.roster.members()}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def keys(store: MemoryStore) -> list[str]:
    return sorted(each.removeprefix(KEYS.prefix) for each in store.entries)


def value(store: MemoryStore, key: str) -> bytes:
    return store.entries[key].value


async def test_a_node_shows_its_record_and_its_sign_of_life_and_leads(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    assert keys(store) == ["alive/a", "leader", "members/a"]
    assert Member.parse(value(store, KEYS.member("a"))) == Member("a", "http://x", "2030", "1.0", "serving")
    assert value(store, KEYS.alive("a")) == b"p"
    assert value(store, KEYS.leader) == b"a"
    assert store.entries[KEYS.member("a")].lease == ""
    assert store.entries[KEYS.alive("a")].lease == store.entries[KEYS.leader].lease != ""
    assert one.membership.is_leader
    assert one.membership.fence == CreatedAt(KEYS.leader, store.entries[KEYS.leader].created)
    assert one.state.is_up


async def test_a_node_at_rest_writes_nothing(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    before = len(one.engine.commits)
    await trio.sleep(600)
    assert len(one.engine.commits) == before == 2


async def test_one_of_several_nodes_leads_and_another_follows_it(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    persons = [Person(store, name, name) for name in "abc"]
    for each in persons:
        nursery.start_soon(each.run)
    await trio.sleep(3)
    [leader] = [each for each in persons if each.membership.is_leader]
    assert {each.roster.leader for each in persons} == {leader.name}
    assert [each.membership.fence for each in persons if each is not leader] == [None, None]
    fence = leader.membership.fence
    leader.scope.cancel()
    await trio.sleep(3)
    [other] = [each for each in persons if each.membership.is_leader]
    assert other is not leader
    assert other.membership.fence != fence


async def test_a_node_that_hears_of_another_leader_withdraws_its_bid(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(0.4)
    store.change([Put(KEYS.leader, b"b")])
    await trio.sleep(10)
    assert one.roster.leader == "b"
    assert [len(writes) for writes, _ in one.engine.commits] == [2]


async def test_nothing_is_written_before_the_store_was_read(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.membership.run, one.engine)
    one.membership.replace("http://y", FORGET)
    await trio.sleep(10)
    assert (one.engine.commits, store.ends) == ([], {})


async def test_bids_for_the_leadership_are_spread(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    store.change([Delete(KEYS.leader)])
    await trio.sleep(0.4)
    assert KEYS.leader not in store.entries
    assert not one.membership.is_leader
    await trio.sleep(0.2)
    assert one.membership.is_leader


async def test_the_fence_is_gone_with_the_lease_and_before_another_node_can_lead(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    store.set_away(True)
    await trio.sleep(LEASE + 0.1)
    # The roster still names this node, because nothing else could be read.
    assert one.roster.leader == "a"
    assert not one.membership.is_leader


async def test_an_entry_of_a_former_lease_is_no_leadership(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.change([Put(KEYS.leader, b"a")])
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(30)
    assert one.roster.leader == "a"
    assert not one.membership.is_leader
    assert Person(store, "b").membership.fence is None


async def test_a_lost_lease_is_replaced(autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    former = store.entries[KEYS.alive("a")].lease
    store.end_lease(former)
    assert keys(store) == ["members/a"]
    await trio.sleep(LEASE + 5)
    assert keys(store) == ["alive/a", "leader", "members/a"]
    assert store.entries[KEYS.alive("a")].lease != former


async def test_a_node_takes_over_the_sign_of_life_of_its_own_former_lease(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.change([Put(KEYS.alive("a"), b"p", store.new_lease(1_000))])
    one = Person(store, "a")
    with capture_logs() as logs:
        nursery.start_soon(one.run)
        await trio.sleep(0.1)
    assert one.states() == {"a": "serving"}
    assert store.entries[KEYS.alive("a")].lease == "2"
    assert logs == []


async def test_a_node_knows_how_the_store_lists_it(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.change([Put(KEYS.alive("a"), b"other", store.new_lease(1_000))])
    one = Person(store, "a")
    found = [one.membership.listing]
    nursery.start_soon(one.run)
    await trio.sleep(0.1)
    found.append(one.membership.listing)
    store.change([Delete(KEYS.alive("a"))])
    await trio.sleep(2)
    found.append(one.membership.listing)
    store.set_away(True)
    await trio.sleep(LEASE * 2)
    found.append(one.membership.listing)
    assert [NOT_LISTED, NAME_TAKEN, LISTED, LISTED] == found
    one.scope.cancel()
    await trio.sleep(0.1)
    store.set_away(False)
    one.roster.read(())
    assert NOT_LISTED == one.membership.listing


async def test_a_name_that_another_process_holds_is_waited_for(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    lease = store.new_lease(1_000)
    store.change([Put(KEYS.alive("a"), b"other", lease), Put(KEYS.member("a"), b"theirs")])
    one = Person(store, "a")
    with capture_logs() as logs:
        nursery.start_soon(one.run)
        await trio.sleep(PATIENCE - 0.1)
        assert [each["event"] for each in logs if "taken" in each["event"]] == []
        await trio.sleep(100)
        assert [each for each in logs if "taken" in each["event"]] == [
            {
                "event": "cluster node name taken",
                "log_level": "warning",
                "node": "a",
                "consequence": "another process of the cluster has this name; this node isn't listed, but hears hints",
                "remedy": "give each node a name of its own, in cluster.node",
            }
        ]
        assert one.engine.commits == []
        assert value(store, KEYS.member("a")) == b"theirs"
        assert one.state.is_up
        store.end_lease(lease)
        await trio.sleep(1)
        assert one.states() == {"a": "serving"}
        assert value(store, KEYS.alive("a")) == b"p"
        # Later the name is taken again, and the log says so again.
        store.change([Put(KEYS.alive("a"), b"other")])
        await trio.sleep(PATIENCE + 5)
        assert len([each for each in logs if "taken" in each["event"]]) == 2


async def test_of_two_processes_with_one_name_the_first_one_stays(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one, two = Person(store, "a", "one"), Person(store, "a", "two")
    one.engine.delay = two.engine.delay = 0.01
    nursery.start_soon(one.run)
    nursery.start_soon(two.run)
    await trio.sleep(10)
    holder = value(store, KEYS.alive("a"))
    await trio.sleep(100)
    assert value(store, KEYS.alive("a")) == holder
    assert sum(each.membership.is_leader for each in (one, two)) == 1


async def test_a_record_that_someone_has_changed_or_removed_is_written_again(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    whole = value(store, KEYS.member("a"))
    for write in (Delete(KEYS.member("a")), Put(KEYS.member("a"), b"garbage")):
        store.change([write])
        await trio.sleep(1.1)
        assert value(store, KEYS.member("a")) == whole
    writes, conditions = one.engine.commits[-1]
    assert [type(each) for each in writes] == [Put]
    assert conditions == [CreatedAt(KEYS.alive("a"), store.entries[KEYS.alive("a")].created)]


async def test_new_settings_are_shown_at_once(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    one.membership.replace("http://y", FORGET)
    await trio.sleep(0.01)
    assert Member.parse(value(store, KEYS.member("a"))).address == "http://y"


# Leaving.


async def test_a_node_that_drains_says_so_and_removes_its_record_at_the_end(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    store.change([Put(KEYS.hint("a"), b"x"), Put(KEYS.hint("b"), b"x")])
    one.membership.drain()
    await trio.sleep(0.01)
    assert Member.parse(value(store, KEYS.member("a"))).state == "draining"
    assert "alive/a" in keys(store)
    one.scope.cancel()
    await trio.sleep(0.01)
    assert keys(store) == ["hints/b"]


async def test_a_node_that_drains_does_not_begin_to_lead(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    one.membership.drain()
    nursery.start_soon(one.run)
    await trio.sleep(10)
    assert keys(store) == ["alive/a", "members/a"]


async def test_a_leader_that_drains_gives_up_the_lead_at_once_and_another_node_leads(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one, two = Person(store, "a", "1", publishes=True), Person(store, "b", "2", publishes=True)
    nursery.start_soon(one.run)
    await trio.sleep(2)
    nursery.start_soon(two.run)
    await trio.sleep(2)
    lead, alive = one.membership.fence, CreatedAt(KEYS.alive("a"), store.entries[KEYS.alive("a")].created)
    assert lead is not None
    one.membership.drain()
    # From now on it publishes and forgets nothing, even before the store has heard of it.
    assert (one.membership.fence, one.membership.is_leader) == (None, False)
    await trio.sleep(0.01)
    # One commit says both.
    writes, conditions = one.engine.commits[-1]
    assert ([type(each) for each in writes], conditions) == ([Put, Delete], [alive, lead])
    assert one.states()["a"] == "draining"
    await trio.sleep(0.6)
    assert two.membership.is_leader
    before = len(one.engine.commits)
    await trio.sleep(600)
    assert two.membership.is_leader
    assert len(one.engine.commits) == before


async def test_a_node_that_drains_withdraws_its_bid(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(0.4)
    one.membership.drain()
    await trio.sleep(30)
    assert keys(store) == ["alive/a", "members/a"]
    assert one.states() == {"a": "draining"}


async def test_a_bid_that_succeeds_after_the_drain_has_begun_is_given_up(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(0.3)
    one.engine.delay = 0.5
    await trio.sleep(0.4)
    one.membership.drain()
    await trio.sleep(0.4)
    assert "leader" in keys(store)
    assert not one.membership.is_leader
    await trio.sleep(1.5)
    assert keys(store) == ["alive/a", "members/a"]
    assert one.states() == {"a": "draining"}


async def test_the_lead_of_another_node_is_not_given_up(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one, two = Person(store, "a", "1"), Person(store, "b", "2")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    nursery.start_soon(two.run)
    await trio.sleep(2)
    fence = one.membership.fence
    two.membership.drain()
    await trio.sleep(10)
    assert one.membership.fence == fence is not None
    assert one.states() == {"a": "serving", "b": "draining"}


async def test_a_node_that_ends_without_a_drain_stays_listed_as_away(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    one.scope.cancel()
    await trio.sleep(0.01)
    assert keys(store) == ["members/a"]


async def test_a_store_that_hangs_does_not_hold_up_the_end(autojump_clock: MockClock, store: MemoryStore) -> None:
    one = Person(store, "a")
    async with trio.open_nursery() as inner:
        inner.start_soon(one.run)
        await trio.sleep(2)
        one.membership.drain()
        await trio.sleep(0.01)
        one.engine.delay = 1_000.0
        began = trio.current_time()
        one.scope.cancel()
    assert trio.current_time() - began == pytest.approx(1.0)
    assert keys(store) == ["members/a"]


async def test_a_store_that_fails_at_the_end_is_logged(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    one.membership.drain()
    await trio.sleep(0.01)
    one.engine.error = EngineAway("gone")
    with capture_logs() as logs:
        one.scope.cancel()
        await trio.sleep(0.01)
    assert logs == [
        {
            "event": "cluster not left",
            "log_level": "info",
            "reason": "gone",
            "consequence": "the others list this node as away",
        }
    ]
    assert keys(store) == ["members/a"]


@pytest.mark.parametrize("is_taken", [True, False])
async def test_a_node_whose_name_is_taken_or_whose_store_is_away_removes_nothing_at_the_end(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery, is_taken: bool
) -> None:
    if is_taken:
        store.change([Put(KEYS.alive("a"), b"other"), Put(KEYS.member("a"), b"theirs")])
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    one.membership.drain()
    await trio.sleep(0.01)
    if not is_taken:
        one.state.failed("hints", "full")
    before = len(one.engine.commits)
    one.scope.cancel()
    await trio.sleep(0.01)
    assert "members/a" in keys(store)
    assert len(one.engine.commits) == before


# Nodes that are away.


async def test_the_leader_forgets_a_node_that_was_away_for_too_long(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.change([Put(KEYS.hint("b"), b"x"), Put(KEYS.hint("a"), b"x")])
    one, two, three = Person(store, "a", "1"), Person(store, "b", "2"), Person(store, "c", "3")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    nursery.start_soon(two.run)
    nursery.start_soon(three.run)
    await trio.sleep(2)
    assert one.membership.is_leader
    with capture_logs() as logs:
        two.scope.cancel()
        await trio.sleep(GRACE - 0.1)
        assert logs == []
        await trio.sleep(FORGET - GRACE)
        assert "members/b" in keys(store)
        assert one.states() == {"a": "serving", "b": "away", "c": "serving"}
        await trio.sleep(2)
        assert keys(store) == ["alive/a", "alive/c", "hints/a", "leader", "members/a", "members/c"]
    away = {
        "event": "cluster member away",
        "log_level": "warning",
        "node": "b",
        "consequence": "it is forgotten after 60 s",
    }
    forgotten = {
        "event": "cluster member forgotten",
        "log_level": "warning",
        "node": "b",
        "reason": "it was away for 60 s",
        "consequence": "nothing lists it any more, until it comes back",
    }
    # Both nodes that are left notice that it is away, and the leader forgets it.
    assert logs == [away, away, forgotten]


async def test_a_node_that_comes_back_in_time_is_not_forgotten(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one, two = Person(store, "a", "1"), Person(store, "b", "2")
    nursery.start_soon(one.run)
    nursery.start_soon(two.run)
    await trio.sleep(2)
    with capture_logs() as logs:
        two.scope.cancel()
        await trio.sleep(FORGET - 2)
        again = Person(store, "b", "3")
        nursery.start_soon(again.run)
        await trio.sleep(FORGET * 2)
    assert one.states() == {"a": "serving", "b": "serving"}
    assert [(each["event"], each["log_level"]) for each in logs if each["event"] != "cluster member away"] == [
        ("cluster member back", "info")
    ]
    assert [each["node"] for each in logs] == ["b", "b"]


async def test_a_short_absence_is_not_logged(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one, two = Person(store, "a", "1"), Person(store, "b", "2")
    nursery.start_soon(one.run)
    nursery.start_soon(two.run)
    await trio.sleep(2)
    with capture_logs() as logs:
        two.scope.cancel()
        await trio.sleep(GRACE - 1.5)
        nursery.start_soon(Person(store, "b", "3").run)
        await trio.sleep(GRACE)
    assert logs == []


async def test_new_settings_say_when_a_node_is_forgotten(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.change([Put(KEYS.member("b"), Member("b", "", "", "", "serving").encoded())])
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(10)
    one.membership.replace("", 9.0)
    await trio.sleep(1)
    assert "members/b" not in keys(store)


async def test_a_former_leader_forgets_nobody(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    """The fence: its commit comes after another node's entry."""
    store.change([Put(KEYS.member("b"), Member("b", "", "", "", "serving").encoded())])
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(FORGET - 1)
    one.engine.delay = 3.0
    await trio.sleep(2)
    assert [type(each) for each in one.engine.commits[-1][0]] == [Delete, Delete]
    store.change([Delete(KEYS.leader)])
    store.change([Put(KEYS.leader, b"c")])
    with capture_logs() as logs:
        await trio.sleep(10)
    assert "members/b" in keys(store)
    assert logs == []


async def test_a_node_that_is_back_at_the_last_moment_is_not_forgotten(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.change([Put(KEYS.member("b"), Member("b", "", "", "", "serving").encoded())])
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(FORGET - 1)
    one.engine.delay = 3.0
    await trio.sleep(2)
    store.change([Put(KEYS.alive("b"), b"x")])
    with capture_logs() as logs:
        await trio.sleep(10)
    assert "members/b" in keys(store)
    assert [each["event"] for each in logs] == ["cluster member back"]


async def test_a_node_that_has_written_its_record_again_is_not_forgotten(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    """It was back for a moment, and is away anew."""
    record = Put(KEYS.member("b"), Member("b", "", "", "", "serving").encoded())
    store.change([record])
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(FORGET - 1)
    one.engine.delay = 3.0
    await trio.sleep(2)
    store.change([record])
    await trio.sleep(10)
    assert "members/b" in keys(store)
    await trio.sleep(FORGET)
    assert "members/b" not in keys(store)


async def test_an_entry_that_another_process_holds_at_the_last_moment_is_not_removed(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(2)
    one.membership.drain()
    await trio.sleep(0.01)
    one.engine.delay = 0.5
    one.scope.cancel()
    await trio.sleep(0.1)
    store.change([Delete(KEYS.alive("a"))])
    store.change([Put(KEYS.alive("a"), b"other")])
    await trio.sleep(1)
    assert keys(store) == ["alive/a", "members/a"]


def test_the_times_are_those_of_the_operators_page() -> None:
    page = (Path(__file__).parent.parent.parent / "man/vortexd-operations.7").read_text()
    assert f"It ends {LEASE:g} seconds after" in page
    assert f"after {PATIENCE:g} seconds it logs\n.Dq cluster node name taken" in page


# Failures.


@pytest.mark.parametrize("error", [EngineAway("gone"), Denied("permission denied")])
async def test_a_write_that_fails_is_reported_and_tried_again(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery, error: EngineError
) -> None:
    one = Person(store, "a")
    one.engine.error = error
    with capture_logs() as logs:
        nursery.start_soon(one.run)
        await trio.sleep(60)
        assert (one.state.is_up, one.state.last_error) == (False, str(error))
        assert 20 < len(one.engine.commits) < 60
        one.engine.error = None
        await trio.sleep(5)
    assert one.state.is_up
    assert keys(store) == ["alive/a", "leader", "members/a"]
    assert [each["event"] for each in logs] == ["cluster store away", "cluster store back"]


async def test_a_lease_that_is_refused_is_reported_and_tried_again(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.set_away(True)
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(0.01)
    one.membership.changed()
    await trio.sleep(10)
    assert (one.state.is_up, one.state.last_error) == (False, "the store is away")
    store.set_away(False)
    await trio.sleep(5)
    assert one.state.is_up
    assert one.membership.is_leader


async def test_a_commit_whose_answer_is_lost_is_looked_up_in_the_store(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    store.loses_answers = True
    one = Person(store, "a")
    nursery.start_soon(one.run)
    await trio.sleep(0.01)
    assert (one.state.is_up, one.state.last_error) == (False, "the answer is lost")
    await trio.sleep(1)
    store.loses_answers = False
    await trio.sleep(5)
    assert keys(store) == ["alive/a", "leader", "members/a"]
    assert one.state.is_up


async def test_a_node_that_publishes_leads_rather_than_one_that_does_not(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    reader, publisher = Person(store, "a"), Person(store, "b", publishes=True)
    nursery.start_soon(reader.run)
    await trio.sleep(3)
    assert reader.membership.is_leader
    former = reader.membership.fence
    nursery.start_soon(publisher.run)
    await trio.sleep(3)
    assert publisher.membership.is_leader
    assert not reader.membership.is_leader
    # The former leader gave up only what was its own.
    [(_, conditions)] = [each for each in reader.engine.commits if each[0] == [Delete(KEYS.leader)]]
    assert conditions == [former]
    publisher.scope.cancel()
    await trio.sleep(LEASE + 3)
    assert reader.membership.is_leader


async def test_a_node_that_does_not_publish_leads_if_the_publisher_drains(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    reader, publisher = Person(store, "a"), Person(store, "b", publishes=True)
    nursery.start_soon(publisher.run)
    await trio.sleep(3)
    nursery.start_soon(reader.run)
    await trio.sleep(3)
    assert publisher.membership.is_leader
    publisher.membership.drain()
    await trio.sleep(1)
    publisher.scope.cancel()
    await trio.sleep(3)
    assert reader.membership.is_leader


async def test_of_two_nodes_that_publish_the_leader_stays(
    autojump_clock: MockClock, store: MemoryStore, nursery: trio.Nursery
) -> None:
    one, two = Person(store, "a", publishes=True), Person(store, "b", publishes=True)
    nursery.start_soon(one.run)
    await trio.sleep(3)
    fence = one.membership.fence
    nursery.start_soon(two.run)
    await trio.sleep(30)
    assert one.membership.fence == fence is not None
