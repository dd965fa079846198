"""Facts about writing a summary: how often, under which lease, only what has changed, and stores that fail."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster import summaries
from vortexd.cluster.engine import (
    Committed,
    Condition,
    CreatedAt,
    Delete,
    EngineAway,
    EngineError,
    OutcomeUnknown,
    Put,
    Write,
)
from vortexd.cluster.keys import Keys
from vortexd.cluster.questions import Questions
from vortexd.cluster.records import Member
from vortexd.cluster.roster import Roster
from vortexd.cluster.store_state import StoreState
from vortexd.cluster.summary_writer import SummaryWriter
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.model import Key
from vortexd.fleet import KeyState
from vortexd.settings.cluster import ClusterSettings

KEYS = Keys("c")


def state(name: str = "orders", connected: int = 1) -> KeyState:
    return KeyState(Key(name, "prod", "main"), "v1", 0.0, connected, 0, 0, 0, 0)


class Engine(MemoryEngine):
    """Notes commits of the writer, and fails as a test wants it."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.commits: list[tuple[float, list[Write]]] = []
        self.error: EngineError | None = None

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        self.commits.append((trio.current_time(), list(writes)))
        if self.error is not None:
            await trio.lowlevel.checkpoint()
            raise self.error
        return await super().commit(writes, conditions)


@attrs.define(eq=False)
class Stage:
    """A writer of node "a", and the store that a watch would keep the roster by."""

    states: list[KeyState] = attrs.field(factory=lambda: [state()])
    took: float = 0.0
    nodes: int = 1
    collected: int = 0
    has_secret: bool = True
    fence: CreatedAt | None = None
    store: MemoryStore = attrs.field(factory=MemoryStore)
    engine: Engine = attrs.field(init=False)
    roster: Roster = attrs.field(init=False)
    state: StoreState = attrs.field(init=False)
    questions: Questions = attrs.field(init=False)
    writer: SummaryWriter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        warnings = RecordWarnings()
        self.engine = Engine(self.store)
        self.roster = Roster(KEYS, trio.current_time, warnings)
        self.state = StoreState(trio.current_time)
        self.state.worked("watch", has_read=True)
        settings = ClusterSettings(name="c", endpoints=("http://e",))
        self.questions = Questions(KEYS, "a", lambda: settings, warnings)
        self.writer = SummaryWriter(
            KEYS,
            "a",
            "p",
            self.roster,
            self.state,
            self.questions,
            self.counts,
            lambda low, high: high,
            lambda: self.fence,
        )
        if self.has_secret:
            self.store.change([Put(KEYS.secret, bytes(32))])
        self.join()

    def join(self, process: str = "p", seconds: float = 1e6) -> str:
        lease = self.store.new_lease(seconds)
        records = [
            Put(KEYS.member(f"{node}"), Member(f"{node}", "", "2030", "1", "serving").encoded())
            for node in ["a", *range(1, self.nodes)]
        ]
        self.store.change([Put(KEYS.alive("a"), process.encode(), lease), *records])
        self.look()
        return lease

    def look(self) -> None:
        self.roster.read(self.store.entries.values())
        self.questions.read(self.store.entries.values())

    async def counts(self) -> Sequence[KeyState]:
        self.collected += 1
        await trio.sleep(self.took)
        return self.states

    def parts(self) -> list[str]:
        return [key for key in sorted(self.store.entries) if KEYS.part_of(key)]

    def read(self) -> list[KeyState]:
        return [each for key in self.parts() for each in summaries.parse(self.store.entries[key].value)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stage"]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run, self.engine)
            await trio.sleep(0.5)
            yield self
            nursery.cancel_scope.cancel()


def large(count: int) -> list[KeyState]:
    """States that fill a little more than this many parts."""
    return [state(f"{number:06}" + "x" * 2_000, 1) for number in range(count * 130)]


async def test_the_summary_is_written_under_the_lease_of_the_node(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        [key] = one.parts()
        assert KEYS.summary("a", 0) == key
        assert one.store.entries[KEYS.alive("a")].lease == one.store.entries[key].lease != ""
        assert (one.states, 1) == (one.read(), one.writer.written)
        assert one.state.is_up


async def test_a_node_without_instances_says_so(autojump_clock: MockClock) -> None:
    async with Stage([]).running() as one:
        assert ([KEYS.summary("a", 0)], []) == (one.parts(), one.read())


async def test_only_what_has_changed_is_written_and_at_most_once_a_second(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(10)
        assert 1 == len(one.engine.commits)
        for number in range(2, 40):
            one.states = [state(connected=number)]
            await trio.sleep(0.25)
        await trio.sleep(1)
        times = [time for time, _ in one.engine.commits]
        assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))
        assert 9 <= len(times) <= 12
        assert one.states == one.read()
        assert len(times) == one.writer.written


@pytest.mark.parametrize(("nodes", "between"), [(20, 1.0), (40, 2.0), (100, 5.0)])
async def test_in_a_large_cluster_commits_are_rarer(nodes: int, between: float, autojump_clock: MockClock) -> None:
    async with Stage(nodes=nodes).running() as one:
        before = one.collected
        await trio.sleep(10 * between)
        assert 10 == one.collected - before


@pytest.mark.parametrize(("took", "between"), [(0.01, 1.0), (0.1, 2.0), (3.0, 10.0)])
async def test_counting_takes_only_a_small_share_of_the_time(
    took: float, between: float, autojump_clock: MockClock
) -> None:
    async with Stage(took=took).running() as one:
        await trio.sleep(5 * (between + took))
        assert 5 <= one.collected <= 6


async def test_a_large_summary_is_written_in_several_commits(autojump_clock: MockClock) -> None:
    async with Stage(large(6)).running() as one:
        await trio.sleep(5)
        assert one.states == one.read()
        assert [4, len(one.parts()) - 4] == [len(writes) for _, writes in one.engine.commits]
        one.states = one.states[:10]
        await trio.sleep(5)
        assert one.states == one.read()
        assert [KEYS.summary("a", 0)] == one.parts()
        deleted = [each for _, writes in one.engine.commits for each in writes if isinstance(each, Delete)]
        assert 6 == len(deleted)
        count = len(one.engine.commits)
        await trio.sleep(5)
        assert count == len(one.engine.commits)


async def test_a_summary_that_is_too_large_is_cut_and_logged_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "MOST_PARTS", 2)
    with capture_logs() as logs:
        async with Stage(large(3)).running() as one:
            await trio.sleep(5)
            assert 2 == len(one.parts())
            one.states = one.states[:200]
            await trio.sleep(5)
            assert one.states == one.read()
            one.states = large(3)
            await trio.sleep(5)
    assert ["cluster summary cut"] * 2 == [each["event"] for each in logs]
    assert ("warning", 390) == (logs[0]["log_level"], logs[0]["keys"])


async def test_a_process_that_is_no_member_writes_nothing(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.join("another")
    async with stage.running() as one:
        await trio.sleep(5)
        assert ([], 0) == (one.engine.commits, one.collected)
        one.join()
        await trio.sleep(0.3)
        assert one.states == one.read()


async def test_a_process_that_is_no_member_any_more_fails_at_nothing(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.engine.error = EngineAway("gone")
    async with stage.running() as one:
        assert not one.state.is_up
        one.join("another")
        await trio.sleep(10)
        assert one.state.is_up


async def test_a_process_whose_name_was_taken_meanwhile_writes_nothing(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        one.store.change([Delete(KEYS.alive("a"))])
        one.store.change([Put(KEYS.alive("a"), b"another")])
        one.states = [state(connected=7)]
        await trio.sleep(2)
        assert [state()] == one.read()
        assert 1 == one.writer.written


async def test_under_a_new_lease_everything_is_written_again(autojump_clock: MockClock) -> None:
    async with Stage(large(2)).running() as one:
        await trio.sleep(2)
        before = one.parts()
        old = one.store.entries[before[0]].lease
        lease = one.join()
        one.store.end_lease(old)
        assert [] == one.parts()
        await trio.sleep(2)
        assert before == one.parts()
        assert {lease} == {one.store.entries[key].lease for key in before}


async def test_a_new_lease_also_takes_parts_away_that_are_not_needed_any_more(autojump_clock: MockClock) -> None:
    async with Stage(large(2)).running() as one:
        await trio.sleep(2)
        assert 3 == len(one.parts())
        one.join()
        one.states = [state()]
        await trio.sleep(2)
        assert [KEYS.summary("a", 0)] == one.parts()


async def test_the_first_node_makes_the_secret_and_no_node_replaces_it(autojump_clock: MockClock) -> None:
    async with Stage(has_secret=False).running() as one:
        made = one.store.entries[KEYS.secret]
        assert (32, "") == (len(made.value), made.lease)
        # The watch hasn't brought the secret yet.
        await trio.sleep(3)
        assert made == one.store.entries[KEYS.secret]
        one.look()
        count = len(one.engine.commits)
        await trio.sleep(3)
        assert count == len(one.engine.commits)
    async with Stage(has_secret=False).running() as other:
        assert made.value != other.store.entries[KEYS.secret].value


@pytest.mark.parametrize("value", [b"", bytes(31), bytes(33), b"\xff" * 64])
async def test_the_leader_replaces_a_secret_that_can_not_be_used(autojump_clock: MockClock, value: bytes) -> None:
    stage = Stage(has_secret=False)
    stage.store.change([Put(KEYS.leader, b"a"), Put(KEYS.secret, value)])
    stage.look()
    with capture_logs() as logs:
        async with stage.running() as one:
            # Another node leads.
            await trio.sleep(3)
            assert value == one.store.entries[KEYS.secret].value
            assert [] == [writes for _, writes in one.engine.commits if writes[0].key == KEYS.secret]
            one.fence = CreatedAt(KEYS.leader, one.store.entries[KEYS.leader].created)
            await trio.sleep(1)
            made = one.store.entries[KEYS.secret]
            assert (32, "") == (len(made.value), made.lease)
            # The watch hasn't brought the new secret yet.
            await trio.sleep(3)
            assert made == one.store.entries[KEYS.secret]
            one.look()
            assert one.questions.has_secret
            count = len(one.engine.commits)
            await trio.sleep(3)
            assert count == len(one.engine.commits)
    assert [
        {
            "event": "cluster secret replaced",
            "log_level": "warning",
            "key": KEYS.secret,
            "reason": "another program had written one that can't be used",
            "consequence": "all nodes take the new one",
        }
    ] == [each for each in logs if each["event"] == "cluster secret replaced"]


@pytest.mark.parametrize("key", [KEYS.leader, KEYS.secret])
async def test_a_former_leader_and_one_that_read_a_former_secret_replace_nothing(
    autojump_clock: MockClock, key: str
) -> None:
    stage = Stage(has_secret=False)
    stage.store.change([Put(KEYS.leader, b"a"), Put(KEYS.secret, b"short")])
    stage.look()
    stage.fence = CreatedAt(KEYS.leader, stage.store.entries[KEYS.leader].created)
    # The watch hasn't brought it yet.
    stage.store.change([Delete(key)])
    stage.store.change([Put(key, b"other")])
    with capture_logs() as logs:
        async with stage.running() as one:
            await trio.sleep(3)
            expected = b"short" if key == KEYS.leader else b"other"
            assert expected == one.store.entries[KEYS.secret].value
    assert [] == [each for each in logs if each["event"] == "cluster secret replaced"]


async def test_a_store_that_is_away_is_reported_and_tried_again_ever_more_rarely(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.engine.error = EngineAway("gone")
    async with stage.running() as one:
        assert (False, "gone") == (one.state.is_up, one.state.last_error)
        await trio.sleep(60)
        pauses = [round(later - earlier, 3) for (earlier, _), (later, _) in pairwise(one.engine.commits)]
        assert [2.0, 4.0, 8.0, 10.0, 10.0] == pauses[:5]
        one.engine.error = None
        await trio.sleep(10)
        assert one.state.is_up
        assert one.states == one.read()


async def test_when_the_store_was_read_again_the_next_attempt_is_at_once(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.engine.error = EngineAway("gone")
    async with stage.running() as one:
        await trio.sleep(30)
        one.engine.error = None
        one.writer.retry()
        await trio.sleep(0.001)
        assert one.state.is_up
        # It doesn't shorten the time between two commits.
        one.states = [state(connected=2)]
        one.writer.retry()
        await trio.sleep(0.9)
        assert [state()] == one.read()


async def test_a_summary_whose_fate_is_unknown_is_written_again(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        one.engine.error = OutcomeUnknown("lost")
        one.states = [state(connected=2)]
        await trio.sleep(1)
        one.engine.error = None
        # Meanwhile the counts are again those that were written before.
        one.states = [state()]
        await trio.sleep(5)
        assert isinstance(one.engine.commits[-1][1][0], Put)
        assert 3 == len(one.engine.commits)
        assert one.states == one.read()


async def test_other_tasks_run_while_many_keys_are_encoded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = summaries.encode

    def noted(states: list[KeyState]) -> list[bytes]:
        sizes.append(len(states))
        return encode(states)

    monkeypatch.setattr(summaries, "encode", noted)
    async with Stage([state(f"a{number}") for number in range(1_100)]).running():
        assert [500, 500, 100] == sizes
        # Counts that haven't changed aren't encoded again.
        await trio.sleep(5)
        assert 3 == len(sizes)
