"""Facts about a node: one reading and one watch for all parts, stores that fail, new settings, and the report."""

import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from tests.cluster.published.trees import tree
from vortexd.cluster import node as module
from vortexd.cluster import quota
from vortexd.cluster.engine import Compacted, Delete, Denied, EngineAway, EngineError, Put
from vortexd.cluster.etcd import access
from vortexd.cluster.etcd.engine import EtcdEngine
from vortexd.cluster.keys import Keys
from vortexd.cluster.membership import LEASE
from vortexd.cluster.node import Node, Surroundings
from vortexd.cluster.published.head import Places
from vortexd.cluster.questions import Questions
from vortexd.cluster.records import Member
from vortexd.cluster.summary_writer import Counts
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.errors import RemoteError
from vortexd.core.model import ClusterMember, ClusterOrder, ClusterPublishing, ClusterReport, Key, Tree
from vortexd.fleet import KeyState, NodeView, Question
from vortexd.settings.cluster import ClusterSettings

KEYS = Keys("c")
SETTINGS = ClusterSettings(name="c", endpoints=("http://a", "http://b"), advertise="http://x")


class FakeSources:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def fetch_now(self) -> int:
        self.asked.append("all")
        return 1

    def has_commits(self, root: str) -> bool:
        return False

    def is_current(self, root: str) -> bool:
        return True

    async def is_before(self, root: str, commit: str, other: str) -> bool | None:
        return None

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        await trio.lowlevel.checkpoint()

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        self.asked.append((tuple(addresses), tuple(refs)))
        return 1

    def behind(self, name: str, state: str) -> int:
        self.asked.append({name: state})
        return 1


class TestEngine(MemoryEngine):
    """Notes its watches, and fails as a test wants it."""

    __test__ = False

    def __init__(self, stage: "Stage") -> None:
        super().__init__(stage.store)
        self.stage = stage

    def watch(self, prefix: str, after: int) -> Any:
        self.stage.watches.append((trio.current_time(), prefix))
        return super().watch(prefix, after)

    async def aclose(self) -> None:
        await trio.sleep(self.stage.closing)
        if self.stage.close_error is not None:
            raise self.stage.close_error
        await super().aclose()


@attrs.define(eq=False)
class Stage:
    """One node, and what it does with the store."""

    store: MemoryStore = attrs.field(factory=MemoryStore)
    name: str = "a"
    is_member: bool = True
    counts: Counts | None = None
    settings: ClusterSettings = SETTINGS
    uniform: Callable[[float, float], float] = lambda low, high: high
    sources: FakeSources = attrs.field(factory=FakeSources)
    watches: list[tuple[float, str]] = attrs.field(factory=list)
    opened: list[ClusterSettings] = attrs.field(factory=list)
    engines: list[TestEngine] = attrs.field(factory=list)
    engine: type[TestEngine] = TestEngine
    open_error: EngineError | None = None
    close_error: EngineError | None = None
    closing: float = 0.0
    files: bytes | EngineError = b"1"
    node: Node = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        around = Surroundings(
            self.open, lambda low, high: self.uniform(low, high), lambda: 1e9, trio.current_time, self.fingerprint
        )
        self.node = Node(
            self.settings,
            self.name,
            "1.0",
            self.sources,
            is_member=self.is_member,
            counts=self.counts,
            surroundings=around,
        )

    async def open(self, settings: ClusterSettings) -> TestEngine:
        self.opened.append(settings)
        if self.open_error is not None:
            raise self.open_error
        self.engines.append(self.engine(self))
        return self.engines[-1]

    async def fingerprint(self, settings: ClusterSettings) -> bytes:
        await trio.lowlevel.checkpoint()
        if isinstance(self.files, EngineError):
            raise self.files
        return self.files

    def states(self) -> dict[str, str]:
        return {each.node: each.state for each in self.node.report().members}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stage"]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.node.run)
            yield self
            nursery.cancel_scope.cancel()


async def test_a_node_reports_itself_and_the_store(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        epoch = one.node.numbering.epoch
        assert epoch is not None
        assert one.node.report() == ClusterReport(
            "c",
            "a",
            True,
            1e9,
            None,
            (ClusterMember("a", "serving", "1.0", "http://x", "2001-09-09T01:46:40.000Z"),),
            "a",
            order=ClusterOrder(epoch, (), ()),
            member="listed",
        )
        assert one.node.fence is not None


async def test_before_the_first_reading_nothing_is_known(autojump_clock: MockClock) -> None:
    stage = Stage()
    assert stage.node.report() == ClusterReport("c", "a", False, 1e9, None, (), None, member="not listed")
    assert stage.node.fence is None


async def test_a_node_whose_name_is_taken_says_so_and_so_does_a_worker_that_keeps_no_record(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with (
        Stage(store).running() as one,
        Stage(store).running() as two,
        Stage(store, is_member=False).running() as three,
    ):
        await trio.sleep(3)
        listings = [each.node.report().member for each in (one, two, three)]
        assert listings in (["listed", "name taken", None], ["name taken", "listed", None])
        store.set_away(True)
        await trio.sleep(1)
        assert listings == [each.node.report().member for each in (one, two, three)]


async def test_a_node_reports_the_last_error_of_the_store_with_its_time(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        one.store.set_away(True)
        await trio.sleep(1)
        report = one.node.report()
        assert (False, 1e9) == (report.is_up, report.last_error_at)
        assert report.last_error


async def test_a_node_reports_whether_the_published_state_stands_in(autojump_clock: MockClock) -> None:
    one = Stage()
    assert not one.node.report().stands_in
    one.node.report_stand_in(lambda: True)
    assert one.node.report().stands_in


async def test_two_nodes_see_each_other_and_hear_each_others_hints(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with Stage(store).running() as one, Stage(store, "b").running() as two:
        await trio.sleep(3)
        assert one.states() == two.states() == {"a": "serving", "b": "serving"}
        assert one.node.report().leader == two.node.report().leader
        one.sources.asked.clear()
        two.sources.asked.clear()
        one.node.announce_push(["https://git/x"], ["r"])
        one.node.announce_news("git:y", "s1")
        await trio.sleep(0.01)
        assert (one.sources.asked, two.sources.asked) == ([], [(("https://git/x",), ("r",)), {"git:y": "s1"}])
        assert (one.node.report().announced, one.node.report().heard) == (1, 0)
        assert (two.node.report().announced, two.node.report().heard) == (0, 1)


async def test_each_worker_knows_for_how_long_the_nodes_have_been_steady(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with Stage(store).running() as one, Stage(store, is_member=False).running() as worker:
        await trio.sleep(10)
        assert [9 < each.node.steady_for < 11 for each in (one, worker)] == [True, True]
        async with Stage(store, "b").running():
            await trio.sleep(3)
            assert [each.node.steady_for < 3.1 for each in (one, worker)] == [True, True]


async def test_a_worker_that_is_no_member_hears_hints_and_writes_no_record(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with Stage(store).running() as one, Stage(store, is_member=False).running() as two:
        await trio.sleep(3)
        assert two.states() == {"a": "serving"}
        assert (two.node.report().leader, two.node.fence) == ("a", None)
        two.node.drain()
        two.node.replace(attrs.evolve(SETTINGS, advertise="http://other"))
        await trio.sleep(1)
        assert one.states() == {"a": "serving"}
        two.node.announce_push([], [])
        await trio.sleep(0.01)
        assert one.sources.asked[-1] == ((), ())


async def test_one_watch_covers_the_prefix_of_the_cluster(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        one.store.change([Put(Keys("other").member("z"), b"garbage")])
        await trio.sleep(60)
        assert [prefix for _, prefix in one.watches] == ["/vortexd/c/"]
        assert one.states() == {"a": "serving"}


async def test_after_each_reading_all_sources_look_once(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        assert one.sources.asked == ["all"]
        one.store.set_away(True)
        await trio.sleep(30)
        assert one.sources.asked == ["all"]
        one.store.set_away(False)
        await trio.sleep(12)
        assert one.sources.asked == ["all"] * 2


# A store that fails.


async def test_a_store_that_is_away_is_tried_again_with_growing_pauses_and_logged_once(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with Stage(store).running() as one:
        await trio.sleep(2)
        with capture_logs() as logs:
            store.set_away(True)
            await trio.sleep(1)
            report = one.node.report()
            assert (report.is_up, report.last_error) == (False, "the store is away")
            # The nodes are as they were.
            assert one.states() == {"a": "serving"}
            await trio.sleep(60)
            store.set_away(False)
            await trio.sleep(12)
            assert one.node.report().is_up
        assert [each["event"] for each in logs] == ["cluster store away", "cluster store back"]
        assert one.states() == {"a": "serving"}


@pytest.mark.parametrize(("share", "waits"), [(1.0, [1, 2, 4, 8, 10, 10]), (0.5, [0.5, 1, 2, 4, 5, 5])])
async def test_the_pauses_between_attempts_double_up_to_a_limit_and_vary(
    autojump_clock: MockClock, share: float, waits: list[float]
) -> None:
    readings: list[float] = []

    class AwayEngine(TestEngine):
        async def read(self, *arguments: Any, **named: Any) -> Any:
            if named["prefix"] != KEYS.prefix:
                return await super().read(*arguments, **named)
            readings.append(trio.current_time())
            if len(readings) <= len(waits) or len(readings) == len(waits) + 2:
                raise EngineAway("gone")
            return await super().read(*arguments, **named)

        @asynccontextmanager
        async def watch(self, prefix: str, after: int) -> AsyncIterator[AsyncIterator[Any]]:
            yield self.compacted()

        async def compacted(self) -> AsyncIterator[Any]:
            raise Compacted("compacted")
            yield

    stage = Stage()
    stage.uniform = lambda low, high: share if (low, high) == (0.5, 1.0) else low
    stage.engine = AwayEngine
    async with stage.running():
        await trio.sleep(sum(waits) + 3)
        found = [two - one for one, two in pairwise(readings)]
        assert found[: len(waits)] == pytest.approx(waits)
        # Once a watch has begun the pause is short again.
        assert found[len(waits)] == pytest.approx(share)


class WatchlessEngine(TestEngine):
    """Can be read, but not watched, as behind a proxy that keeps answers back."""

    __test__ = False

    def watch(self, prefix: str, after: int) -> Any:
        super().watch(prefix, after)
        raise EngineAway("the watch doesn't begin")


async def test_while_no_watch_begins_the_sources_look_ever_more_rarely(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with Stage(engine=WatchlessEngine).running() as one:
            await trio.sleep(60)
            # A reading alone doesn't make the store usable.
            assert (one.node.report().is_up, one.node.report().last_error) == (False, "the watch doesn't begin")
    assert [each["event"] for each in logs if each["event"].startswith("cluster store")] == ["cluster store away"]
    assert [round(later - earlier) for (earlier, _), (later, _) in pairwise(one.watches)][:6] == [1, 2, 4, 8, 10, 10]
    assert one.sources.asked.count("all") == len(one.watches)


async def test_a_compacted_watch_reads_everything_again_and_the_store_is_not_away(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        with capture_logs() as logs:
            # The node's task hasn't seen this event when it is compacted.
            one.store.change([Put(KEYS.hint("b"), b"x")])
            one.store.compact()
            await trio.sleep(3)
        assert one.node.report().is_up
        assert [each for each in logs if each["event"] != "cluster record unusable"] == [
            {"event": "cluster read anew", "log_level": "info", "reason": "compacted"}
        ]
        assert one.sources.asked == ["all"] * 2
        assert len(one.watches) == 2


async def test_a_restored_store_is_read_anew_and_gets_the_record_again(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        with capture_logs() as logs:
            one.store.restore(1)
            assert one.store.entries == {}
            await trio.sleep(LEASE + 5)
        assert one.states() == {"a": "serving"}
        assert [each["event"] for each in logs] == ["cluster read anew", "order begun"]


async def test_an_engine_that_can_not_be_made_is_tried_again(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.open_error = EngineError("the certificates can't be used")
    with capture_logs() as logs:
        async with stage.running() as one:
            await trio.sleep(40)
            # At the beginning, and after 1, 2, 4, 8, 10 and 10 seconds more.
            assert len(one.opened) == 7
            report = one.node.report()
            assert (report.is_up, report.last_error) == (False, "the certificates can't be used")
            stage.open_error = None
            await trio.sleep(13)
            assert one.node.report().is_up
            assert len(one.engines) == 1
            # The next failure begins with a short pause again.
            stage.open_error = EngineError("the certificates can't be used")
            one.opened.clear()
            one.node.replace(attrs.evolve(SETTINGS, endpoints=("http://c",)))
            await trio.sleep(3.5)
            assert len(one.opened) == 3
            stage.open_error = None
            await trio.sleep(5)
    events = [each["event"] for each in logs if each["event"] != "order begun"]
    assert events == ["cluster store away", "cluster store back"] * 2


async def test_records_that_are_gone_when_everything_is_read_are_warned_of_anew(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        with capture_logs() as logs:
            one.store.change([Put(KEYS.member("b"), b"garbage")])
            await trio.sleep(0.01)
            one.store.set_away(True)
            await trio.sleep(0.01)
            del one.store.entries[KEYS.member("b")]
            one.store.set_away(False)
            await trio.sleep(5)
            one.store.change([Put(KEYS.member("b"), b"garbage")])
            await trio.sleep(0.01)
        assert [each["event"] for each in logs].count("cluster record unusable") == 2


def foreign(number: int, size: int = 1_000_000) -> Put:
    return Put(f"{KEYS.prefix}foreign/{number}", bytes(size))


@pytest.mark.parametrize("is_there_first", [True, False])
async def test_a_prefix_that_another_program_fills_is_reported_once_and_the_node_recovers(
    autojump_clock: MockClock, is_there_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "SHARED_BYTES", 0)
    store, writes = MemoryStore(), [foreign(number) for number in range(60)]
    if is_there_first:
        store.change(writes)
    with capture_logs() as logs:
        async with Stage(store).running() as one:
            await trio.sleep(2)
            if not is_there_first:
                assert one.node.report().is_up
                store.change(writes)
            await trio.sleep(600)
            report = one.node.report()
            assert not report.is_up
            assert report.last_error is not None
            assert report.last_error.startswith("/vortexd/c/ has more than ")
            assert "delete the keys there that no node has written" in report.last_error
            # Each attempt reads much, so there is one a minute.
            assert one.sources.asked.count("all") == (not is_there_first)
            store.change([Delete(each.key) for each in writes])
            await trio.sleep(61)
            assert one.node.report().is_up
            assert one.states() == {"a": "serving"}
    told = [each for each in logs if each["event"].startswith("cluster store")]
    assert [(each["event"], each.get("reason")) for each in told] == [
        ("cluster store away", report.last_error),
        ("cluster store back", None),
    ]


async def test_a_prefix_that_is_full_is_read_once_a_minute(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "SHARED_BYTES", 0)
    readings = list[float]()

    class NotingEngine(TestEngine):
        async def read(self, *arguments: Any, **named: Any) -> Any:
            if named["prefix"] == KEYS.prefix:
                readings.append(trio.current_time())
            return await super().read(*arguments, **named)

    store = MemoryStore()
    store.change([foreign(number) for number in range(60)])
    async with Stage(store, engine=NotingEngine).running():
        await trio.sleep(200)
    assert [later - earlier for earlier, later in pairwise(readings)] == pytest.approx([60.0, 60.0, 60.0])


# The end.


async def test_a_node_that_drains_is_seen_to_drain_and_leaves(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with Stage(store).running() as one:
        async with Stage(store, "b").running() as two:
            await trio.sleep(3)
            two.node.drain()
            await trio.sleep(0.01)
            assert one.states() == {"a": "serving", "b": "draining"}
        await trio.sleep(0.01)
        assert one.states() == {"a": "serving"}
        assert two.engines[0].is_closed


async def test_connections_that_do_not_close_hold_up_the_end_for_a_second_only(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.closing = 1_000.0
    async with stage.running():
        await trio.sleep(2)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_connections_that_fail_to_close_harm_nothing(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.close_error = EngineError("broken")
    async with stage.running():
        await trio.sleep(2)
        stage.node.replace(attrs.evolve(SETTINGS, endpoints=("http://c",)))
        await trio.sleep(2)
        assert len(stage.opened) == 2


# New settings.


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": ("http://c",)},
        {"user": "u"},
        {"password_file": "p"},
        {"ca_file": "f"},
        {"certificate": "f"},
        {"key": "f"},
    ],
)
async def test_settings_that_concern_the_way_to_the_store_make_a_new_engine(
    autojump_clock: MockClock, changes: dict[str, Any]
) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        with capture_logs() as logs:
            settings = attrs.evolve(SETTINGS, **changes)
            one.node.replace(settings)
            await trio.sleep(2)
            assert one.opened == [SETTINGS, settings]
            assert [each.is_closed for each in one.engines] == [True, False]
            assert one.node.report().is_up
            assert one.states() == {"a": "serving"}
            assert one.node.fence is not None
            # A reload that changes nothing keeps the engine, and so the lease and the leadership.
            fence, lease = one.node.fence, one.store.entries[KEYS.alive("a")].lease
            one.node.replace(settings)
            await trio.sleep(2)
            assert len(one.opened) == 2
            assert (one.node.fence, one.store.entries[KEYS.alive("a")].lease) == (fence, lease)
        assert logs == []


async def test_a_file_with_new_content_under_its_old_name_makes_a_new_engine_after_a_reload(
    autojump_clock: MockClock,
) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        for number in (b"2", b"3"):
            one.files = number
            before = len(one.opened)
            await trio.sleep(60)
            assert len(one.opened) == before
            one.node.replace(SETTINGS)
            await trio.sleep(2)
            assert len(one.opened) == before + 1
            one.node.replace(SETTINGS)
            await trio.sleep(2)
            assert len(one.opened) == before + 1


async def test_files_that_can_not_be_read_in_time_keep_the_engine(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        one.files = EngineError("the certificates can't be read within 10 s")
        with capture_logs() as logs:
            one.node.replace(SETTINGS)
            await trio.sleep(2)
        assert logs == [
            {
                "event": "cluster files not compared",
                "log_level": "warning",
                "reason": "the certificates can't be read within 10 s",
                "consequence": "connections to etcd use the former files until the next reload",
            }
        ]
        assert len(one.opened) == 1
        assert one.node.report().is_up
        one.files = b"2"
        one.node.replace(SETTINGS)
        await trio.sleep(2)
        assert len(one.opened) == 2


async def test_a_reload_during_the_opening_is_not_lost(autojump_clock: MockClock) -> None:
    class SlowStage(Stage):
        async def open(self, settings: ClusterSettings) -> TestEngine:
            await trio.sleep(3)
            return await super().open(settings)

    async with SlowStage().running() as one:
        await trio.sleep(1)
        one.files = b"2"
        one.node.replace(SETTINGS)
        await trio.sleep(2.5)
        # The attempt has begun anew, so that it reads the new file.
        assert one.opened == []
        await trio.sleep(1)
        assert len(one.opened) == 1
        one.node.replace(SETTINGS)
        await trio.sleep(10)
        assert len(one.opened) == 1


async def test_a_reload_ends_the_wait_for_files_that_could_not_be_used(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.files = EngineError("the certificates can't be read within 10 s")
    async with stage.running() as one:
        await trio.sleep(30)
        assert (one.node.report().is_up, one.node.report().last_error, one.opened) == (False, str(stage.files), [])
        stage.files = b"2"
        one.node.replace(SETTINGS)
        await trio.sleep(0.01)
        assert one.node.report().is_up


async def test_other_settings_keep_the_engine_and_are_shown(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        one.node.replace(attrs.evolve(SETTINGS, advertise="http://y"))
        await trio.sleep(1)
        assert [each.address for each in one.node.report().members] == ["http://y"]
        one.store.change([Put(KEYS.member("b"), one.store.entries[KEYS.member("a")].value)])
        one.node.replace(attrs.evolve(SETTINGS, advertise="http://y", forget_after=3.0))
        await trio.sleep(5)
        assert one.states() == {"a": "serving"}
        assert len(one.opened) == 1


async def test_without_the_section_the_node_stays_what_it_is_until_the_restart(autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(2)
        one.node.replace(ClusterSettings(name="c"))
        await trio.sleep(2)
        assert len(one.opened) == 1
        assert [each.address for each in one.node.report().members] == ["http://x"]


async def test_new_settings_end_the_wait_for_a_store_that_is_away(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.open_error = Denied("no")
    async with stage.running() as one:
        await trio.sleep(30)
        stage.open_error = None
        one.node.replace(attrs.evolve(SETTINGS, endpoints=("http://c",)))
        await trio.sleep(0.01)
        assert one.node.report().is_up


async def test_by_default_a_node_speaks_to_etcd_and_uses_the_clocks_of_the_machine() -> None:
    around = Surroundings()
    assert (around.now, around.monotonic) == (time.time, time.monotonic)
    assert 0.5 <= around.uniform(0.5, 1.0) <= 1.0
    assert around.fingerprint is access.fingerprint
    engine = await around.open(SETTINGS)
    assert isinstance(engine, EtcdEngine)
    await engine.aclose()
    with pytest.raises(EngineError, match="the certificates can't be used"):
        await around.open(ClusterSettings(endpoints=("https://a",), ca_file="/nowhere"))


async def test_a_file_system_that_hangs_is_a_failure_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(module, "open_etcd", lambda settings: is_over.wait(20))
    monkeypatch.setattr(access, "OPENING", 0.05)
    try:
        with pytest.raises(EngineError, match=re.escape("the certificates can't be read within 0.05 s")):
            await Surroundings().open(SETTINGS)
    finally:
        is_over.set()


# The fleet.

ORDERS = Key("orders", "prod", "main")


async def one_instance() -> list[KeyState]:
    return [KeyState(ORDERS, "v1", 0.0, 1, 1, 0, 0, 0)]


async def test_each_node_knows_the_counts_of_the_others_and_has_the_secret(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    settings = attrs.evolve(SETTINGS, advertise="")
    one = Stage(store, counts=one_instance, settings=settings)
    two = Stage(store, "b", counts=one_instance, settings=settings)
    worker = Stage(store, "b", is_member=False, counts=one_instance, settings=settings)
    async with one.running(), two.running(), worker.running():
        await trio.sleep(4)
        assert {ORDERS} == set(one.node.keys()) == set(two.node.keys())
        found = await one.node.pages(Question((ORDERS,)))
        assert [("a", True), ("b", True)] == [(each.name, each.is_whole) for each in found.nodes]
        assert [1] == [each.connected for page in found.pages for each in page.keys]
        assert (1, 1, 0) == tuple(each.node.report().summaries for each in (one, two, worker))
        # The secret is the same everywhere.
        secret = store.entries[KEYS.secret].value
        asks = Questions(KEYS, "x", lambda: settings, RecordWarnings())
        mac = asks._mac(secret, "b", "/p", b"body")
        for each in (two, worker):
            each.node.check(f"node=a, mac={mac}", "/p", b"body")
            assert not each.node.announces("mac=x", "/p", 4)
            length_mac = asks._length_mac(secret, "b", "/p", 4)
            assert each.node.announces(f"mac={length_mac}", "/p", 4)
        with pytest.raises(RemoteError):
            one.node.check(f"node=a, mac={mac}", "/p", b"body")
        assert {"answered": 0, "failed": 0, "refused": 1} == one.node.report().questions


async def test_a_secret_that_can_not_be_used_is_replaced_and_all_nodes_take_the_new_one(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    one, two = (Stage(store, name, counts=one_instance) for name in "ab")
    async with one.running(), two.running():
        await trio.sleep(4)
        with capture_logs() as logs:
            store.change([Put(KEYS.secret, b"foreign")])
            await trio.sleep(4)
        made = store.entries[KEYS.secret].value
        assert len(made) == 32
        asks = Questions(KEYS, "x", lambda: SETTINGS, RecordWarnings())
        for each, name in ((one, "a"), (two, "b")):
            each.node.check(f"node=x, mac={asks._mac(made, name, '/p', b'')}", "/p", b"")
    events = [each["event"] for each in logs]
    assert events.count("cluster secret replaced") == 1
    assert events.count("cluster record unusable") == 2


async def test_a_node_that_was_killed_has_its_last_counts(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with Stage(store, counts=one_instance).running() as one:
        async with Stage(store, "b", counts=one_instance).running():
            await trio.sleep(4)
            store.set_away(True)
        store.set_away(False)
        await trio.sleep(2 * LEASE)
        found = await one.node.pages(Question((ORDERS,)))
        [view] = [each for each in found.nodes if each.name == "b"]
        assert view == NodeView("b", "away", "last", view.as_of, "it is away", is_whole=False)
        assert [1] == [each.away for page in found.pages for each in page.keys]
        await one.node.forget("b")
        await trio.sleep(0.1)
        assert {"a": "serving"} == one.states()
        assert set() == set(one.node.keys())


@pytest.mark.parametrize("seconds", range(20, 31))
async def test_the_summary_is_written_as_soon_as_the_store_is_back(seconds: int, autojump_clock: MockClock) -> None:
    async def growing() -> list[KeyState]:
        return [KeyState(ORDERS, "v1", 0.0, int(trio.current_time()), 0, 0, 0, 0)]

    async with Stage(counts=growing).running() as one:
        await trio.sleep(3)
        one.store.set_away(True)
        await trio.sleep(seconds)
        one.store.set_away(False)
        with trio.fail_after(11):
            while not one.node.report().is_up:  # noqa: ASYNC110
                await trio.sleep(0.01)
        watched = one.watches[-1][0]
        assert trio.current_time() - watched < 2.5


def dead(store: MemoryStore, name: str = "b") -> None:
    record = Member(name, "", "2030", "1.0", "serving").encoded()
    store.change([Put(KEYS.member(name), record), Put(KEYS.hint(name), b"{}")])


async def test_a_node_that_is_away_is_forgotten_with_its_hint_and_logged(autojump_clock: MockClock) -> None:
    stage = Stage()
    dead(stage.store)
    async with stage.running() as one:
        await trio.sleep(3)
        with capture_logs() as logs:
            await one.node.forget("b")
        assert KEYS.member("b") not in one.store.entries
        assert KEYS.hint("b") not in one.store.entries
    assert [("cluster member forgotten", "b", "a request asked for it", "warning")] == [
        (each["event"], each["node"], each["reason"], each["log_level"]) for each in logs
    ]


@pytest.mark.parametrize(("name", "status"), [("x", 404), ("", 404), ("a", 409)])
async def test_only_a_node_that_is_away_is_forgotten(name: str, status: int, autojump_clock: MockClock) -> None:
    async with Stage().running() as one:
        await trio.sleep(3)
        with pytest.raises(RemoteError) as refused:
            await one.node.forget(name)
    assert status == refused.value.status
    assert KEYS.member("a") in one.store.entries


@pytest.mark.parametrize("writes", [Put(KEYS.alive("b"), b"p"), Put(KEYS.member("b"), b"{}")])
async def test_a_node_that_has_just_come_back_is_not_forgotten(writes: Put, autojump_clock: MockClock) -> None:
    stage = Stage()
    dead(stage.store)
    async with stage.running() as one:
        await trio.sleep(3)
        # The watch hasn't brought it yet.
        one.store.change([writes])
        with pytest.raises(RemoteError, match="just come back") as refused:
            await one.node.forget("b")
    assert 409 == refused.value.status
    assert KEYS.member("b") in one.store.entries


async def test_without_the_store_no_node_is_forgotten(autojump_clock: MockClock) -> None:
    stage = Stage()
    dead(stage.store)
    async with stage.running() as one:
        await trio.sleep(3)
        one.store.set_away(True)
        with capture_logs() as logs, pytest.raises(RemoteError) as refused:
            await one.node.forget("b")
        assert ("cluster member not forgotten", "b") == (logs[0]["event"], logs[0]["node"])
        assert 503 == refused.value.status
    with pytest.raises(RemoteError, match="can't be used now") as refused:
        await one.node.forget("b")
    assert 503 == refused.value.status


@pytest.mark.parametrize("name", ["a", "b", "x"])
async def test_a_node_that_can_not_read_the_store_says_so_rather_than_that_it_knows_no_such_node(
    name: str, autojump_clock: MockClock
) -> None:
    stage = Stage()
    dead(stage.store)
    stage.store.set_away(True)
    async with stage.running() as one:
        await trio.sleep(3)
        with pytest.raises(RemoteError, match="can't be used now") as refused:
            await one.node.forget(name)
    assert 503 == refused.value.status


@pytest.mark.parametrize("name", ["a", "b", "x"])
async def test_once_the_store_is_away_no_node_is_unknown_or_counts_as_serving(
    name: str, autojump_clock: MockClock
) -> None:
    stage = Stage()
    dead(stage.store)
    async with stage.running() as one:
        await trio.sleep(3)
        one.store.set_away(True)
        await trio.sleep(3)
        with pytest.raises(RemoteError, match="can't be used now") as refused:
            await one.node.forget(name)
    assert 503 == refused.value.status


async def test_before_the_first_reading_no_count_is_whole(autojump_clock: MockClock) -> None:
    [view] = (await Stage().node.pages(Question(()))).nodes
    assert ("a", False) == (view.name, view.is_whole)


# Published states.

PUBLISHING = attrs.evolve(SETTINGS, publish=True, published_versions=2)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock would not wait for a real thread.
    async def run_sync(function: Callable[..., object], *arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr("trio.to_thread.run_sync", run_sync)


class Pipeline:
    """Notes what is published at this node."""

    def __init__(self) -> None:
        self.trees: list[Tree] = []

    async def publish(self, tree: Tree) -> None:
        self.trees.append(tree)
        await trio.lowlevel.checkpoint()


async def test_the_leader_publishes_what_it_serves_and_each_node_shows_it(
    autojump_clock: MockClock, no_threads: None
) -> None:
    store, pipeline = MemoryStore(), Pipeline()
    reader = Stage(store, "b")
    async with Stage(store, settings=PUBLISHING).running() as one, reader.running():
        await trio.sleep(3)
        publish = one.node.publishing(pipeline.publish)
        for number in range(3):
            made = tree(a=str(number))
            await publish(made)
            assert pipeline.trees[-1] is made
            await trio.sleep(1)
        [said, other] = [each.node.report() for each in (one, reader)]
        assert said.published is not None
        assert (said.published.number, said.published.at, said.published.by) == (3, 1e9, "a")
        assert said.published == other.published
        assert said.publishing == ClusterPublishing(False, None, 3)
        assert other.publishing is None
        versions = [key for key in store.entries if key.startswith(Places("c").versions)]
        assert len(versions) == 2


async def test_a_leader_that_is_behind_publishes_nothing_until_it_has_caught_up(
    autojump_clock: MockClock, no_threads: None
) -> None:
    store = MemoryStore()
    newer, older = (Tree({"main": attrs.evolve(tree(a=at).labels["main"], position=at)}) for at in ("9", "7"))
    async with Stage(store).running() as other:
        other.node.numbering.begin(newer)
        await trio.sleep(3)
    store.change([Delete(KEYS.member("a"))])
    async with Stage(store, "b", settings=PUBLISHING).running() as one:
        await trio.sleep(30)
        publish = one.node.publishing(Pipeline().publish)
        one.node.numbering.begin(older)
        await trio.sleep(1)
        await publish(older)
        await trio.sleep(5)
        assert one.node.fence is not None
        assert one.node.report().order.behind == ("main",)
        assert Places("c").head not in store.entries
        one.node.numbering.begin(newer)
        await trio.sleep(1)
        await publish(newer)
        await trio.sleep(5)
        assert one.node.report().order.behind == ()
        assert Places("c").head in store.entries


async def test_a_published_version_orders_content_that_has_no_commits(
    autojump_clock: MockClock, no_threads: None
) -> None:
    async with Stage(settings=PUBLISHING).running() as one:
        await trio.sleep(3)
        made = tree(a="1")
        one.node.numbering.begin(made)
        assert one.node.report().order.unordered == ("main",)
        await one.node.publishing(Pipeline().publish)(made)
        await trio.sleep(5)
        assert one.node.report().order.unordered == ()
        assert one.node.numbering.numbers(made).keys() == {"main"}


async def test_what_is_not_published_here_is_not_offered(autojump_clock: MockClock, no_threads: None) -> None:
    class Broken(Pipeline):
        async def publish(self, tree: Tree) -> None:
            raise RuntimeError

    store = MemoryStore()
    async with Stage(store, settings=PUBLISHING).running() as one:
        await trio.sleep(3)
        with pytest.raises(RuntimeError):
            await one.node.publishing(Broken().publish)(tree(a="1"))
        await trio.sleep(3)
    assert Places("c").head not in store.entries


async def test_of_a_tree_that_a_gate_holds_back_the_served_one_is_offered(
    autojump_clock: MockClock, no_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[Tree] = []
    monkeypatch.setattr("vortexd.cluster.published.publisher.Publisher.offer", lambda _, made: offered.append(made))
    node = Stage(settings=PUBLISHING).node
    new, served = tree(a="2"), tree(a="1")
    await node.publishing(Pipeline().publish, lambda: served)(new)
    await node.publishing(Pipeline().publish)(new)

    assert [served, new] == offered


async def test_a_further_worker_publishes_nothing() -> None:
    stage, publish = Stage(settings=PUBLISHING, is_member=False), Pipeline().publish
    assert stage.node.publishing(publish) == publish
    assert stage.node.report().publishing is None


async def test_publishing_begins_and_ends_without_a_restart(autojump_clock: MockClock, no_threads: None) -> None:
    store, head = MemoryStore(), Places("c").head
    async with Stage(store).running() as one:
        publish = one.node.publishing(Pipeline().publish)
        await publish(tree(a="1"))
        await trio.sleep(5)
        assert head not in store.entries
        assert one.node.report().publishing is None
        one.node.replace(PUBLISHING)
        await trio.sleep(5)
        assert head in store.entries
        assert Member.parse(store.entries[KEYS.member("a")].value).publishes
        before = store.entries[head]
        one.node.replace(SETTINGS)
        await publish(tree(a="2"))
        await trio.sleep(5)
        assert store.entries[head] == before
        assert one.node.report().publishing is None
        assert not Member.parse(store.entries[KEYS.member("a")].value).publishes


async def test_a_state_that_came_before_the_store_is_published_once_it_is_there(
    autojump_clock: MockClock, no_threads: None
) -> None:
    store = MemoryStore()
    store.set_away(True)
    async with Stage(store, settings=PUBLISHING).running() as one:
        await one.node.publishing(Pipeline().publish)(tree(a="1"))
        await trio.sleep(5)
        store.set_away(False)
        await trio.sleep(30)
        assert Places("c").head in store.entries


async def test_another_number_of_versions_is_applied_without_a_restart(
    autojump_clock: MockClock, no_threads: None
) -> None:
    store = MemoryStore()
    async with Stage(store, settings=PUBLISHING).running() as one:
        await trio.sleep(3)
        for number in range(3):
            await one.node.publishing(Pipeline().publish)(tree(a=str(number)))
            await trio.sleep(1)
        one.node.replace(attrs.evolve(PUBLISHING, published_versions=1))
        await trio.sleep(3)
        assert [key for key in store.entries if key.startswith(Places("c").versions)] == [Places("c").version(3)]


async def test_a_node_that_publishes_takes_the_lead_from_one_that_does_not(
    autojump_clock: MockClock, no_threads: None
) -> None:
    store = MemoryStore()
    async with Stage(store, "b").running() as reader:
        await trio.sleep(3)
        assert reader.node.fence is not None
        async with Stage(store, settings=PUBLISHING).running() as one:
            await one.node.publishing(Pipeline().publish)(tree(a="1"))
            await trio.sleep(5)
            assert one.node.fence is not None
            assert Places("c").head in store.entries


async def test_a_leader_that_drains_leaves_the_publishing_to_another_node(
    autojump_clock: MockClock, no_threads: None
) -> None:
    store = MemoryStore()
    async with Stage(store, settings=PUBLISHING).running() as one:
        await trio.sleep(3)
        async with Stage(store, "b", settings=PUBLISHING).running() as two:
            await trio.sleep(3)
            assert one.node.fence is not None
            one.node.drain()
            for number, each in enumerate((one, two)):
                await each.node.publishing(Pipeline().publish)(tree(a=str(number)))
            await trio.sleep(0.7)
            assert one.node.fence is None
            assert two.node.fence is not None
            report = two.node.report()
            assert report.published is not None
            assert (report.leader, report.published.number, report.published.by) == ("b", 1, "b")
