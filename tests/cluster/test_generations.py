"""Facts about generations: nodes that publish, fall behind, move branches and lose their store agree about the order."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import attrs
import orjson
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster import generations as module
from vortexd.cluster import late_labels
from vortexd.cluster.engine import Delete, EngineError, Event, Put
from vortexd.cluster.generations import BACK_AFTER, LOOK_AFTER, PATIENCE, Generations
from vortexd.cluster.keys import Keys
from vortexd.cluster.positions import LabelRecord, Numbered, Position, position_of
from vortexd.cluster.store_state import StoreState
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.generation import HIGHEST_NUMBER, Generation
from vortexd.core.model import Files, Origin, Tree

KEYS = Keys("c")
NOW = 1_000.0


@attrs.define
class Repository:
    """Commits with parents. Nodes know those that they have fetched."""

    parents: dict[str, str | None] = attrs.field(factory=dict)

    def commit(self, name: str, parent: str | None = None) -> str:
        self.parents[name] = parent
        return name

    def is_before(self, commit: str, other: str) -> bool:
        at = self.parents[other]
        while at is not None and at != commit:
            at = self.parents[at]
        return at is not None


class Sources:
    """The sources of one node.

    Attributes:
        fetched: The commits that the node has.
        looks: How often it was made to look.
        looked: Set to a new event to make looks last until it is set.
        on_look: Called when a look ends.
        questions: How many pairs of commits it was asked about.
        answers: Set to a new event to make answers last until it is set.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.fetched: set[str] = set()
        self.has = True
        self.is_up = True
        self.looks = 0
        self.looked: trio.Event | None = None
        self.on_look: Callable[[], None] = lambda: None
        self.questions = 0
        self.answers: trio.Event | None = None

    def has_commits(self, root: str) -> bool:
        return self.has and root == "git:/"

    def is_current(self, root: str) -> bool:
        return self.is_up

    async def is_before(self, root: str, commit: str, other: str) -> bool | None:
        self.questions += 1
        await trio.lowlevel.checkpoint()
        if self.answers is not None:
            await self.answers.wait()
        if not self.has_commits(root) or not {commit, other} <= self.fetched:
            return None
        return self.repository.is_before(commit, other)

    def fetch_now(self) -> int:
        self.looks += 1
        return 1

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        assert (addresses, refs) == ((), ())
        await trio.lowlevel.checkpoint()
        if self.looked is not None:
            await self.looked.wait()
        self.on_look()


def files(commit: str, root: str = "git:/") -> Files:
    return Files({}, root=root, origin=Origin(commit, "Ann", "2026-01-01T00:00:00Z"))


class Node:
    """One node: what it serves, and its part of the cluster."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.sources = Sources(cluster.repository)
        self.engine = MemoryEngine(cluster.store)
        self.state = StoreState(lambda: NOW)
        self.publishes = False
        self.reports = 0
        self.waited = 0.0
        self.delay = 0.05
        self.tree = Tree({})
        self.generations = Generations(
            KEYS,
            self.sources,
            self.state,
            RecordWarnings(),
            lambda: cluster.leader == name,
            lambda: cluster.leader is not None,
            lambda: self.publishes,
            lambda low, high: self.delay if high < 0.1 else high,
            lambda: cluster.now,
        )
        self.generations.report(self._report)
        self._scope = trio.CancelScope()

    def _report(self) -> None:
        self.reports += 1

    async def publish(self, commit: str | None = None, **labels: Files) -> None:
        """Publish a commit under "main", and other files under other labels."""
        if commit is not None:
            self.sources.fetched.add(commit)
            labels = {"main": files(commit), **labels}
        self.tree = Tree({**self.tree.labels, **labels})
        self.generations.begin(self.tree)
        began = trio.current_time()
        await self.generations.settle(self.tree)
        self.waited = trio.current_time() - began

    def number(self, label: str = "main") -> int | None:
        """The number of the label that this node serves."""
        found = self.generations.numbers(self.tree).get(label)
        return found.number if found is not None else None

    def stop(self) -> None:
        """End the node, as a crash does."""
        self._scope.cancel()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self.generations.run, self.engine)
            while True:
                try:
                    reading = await self.engine.read(prefix=KEYS.prefix)
                    self.generations.read(reading)
                    self.state.worked("watch", has_read=True)
                    async with self.engine.watch(KEYS.prefix, reading.revision) as batches:
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        async for batch in batches:
                            self.generations.take(batch.events, batch.revision)
                except EngineError as error:
                    self.state.failed("watch", str(error))
                await trio.sleep(0.5)


class Cluster:
    """Several nodes with one repository and one store. The first node leads."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.store = MemoryStore()
        self.repository = Repository()
        self.leader: str | None = "a"
        self.now = NOW
        self._nursery = nursery
        for number in range(1, 10):
            self.repository.commit(f"c{number}", f"c{number - 1}" if number > 1 else None)
        self.repository.commit("x5", "c4")
        self.repository.commit("alone")

    async def node(self, name: str = "a", *commits: str) -> Node:
        node = Node(self, name)
        node.sources.fetched.update(commits)
        await self._nursery.start(node.run)
        await wait_all_tasks_blocked()
        return node

    def name(self, label: str = "main") -> str:
        """The name of a label with its sources."""
        position = position_of(label, files("c1"))
        assert position is not None
        return position.name

    def record(self, label: str = "main", of: Files | None = None) -> LabelRecord:
        position = position_of(label, of or files("c1"))
        assert position is not None
        return LabelRecord.parse(self.store.entries[KEYS.numbered(position.name)].value)

    @property
    def listed(self) -> dict[int, str]:
        """The numbers of "main", with their commits."""
        return {each.number: each.places[0] for each in self.record().publications}


@pytest.fixture
async def cluster(autojump_clock: MockClock, nursery: trio.Nursery) -> Cluster:
    return Cluster(nursery)


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    began = trio.current_time()
    yield
    assert trio.current_time() - began <= seconds


# Publications.


async def test_publications_get_rising_numbers_that_begin_with_the_time(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node()
    numbers = []
    for number in range(1, 4):
        await a.publish(f"c{number}")
        numbers.append(a.number())

    assert [1_000, 1_001, 1_002] == numbers
    assert {1_000: "c1", 1_001: "c2", 1_002: "c3"} == cluster.listed
    assert cluster.record().label == "main"
    assert not a.generations.behind


async def test_the_generation_names_the_epoch_of_the_store(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    await a.publish("c1")
    await b.publish("c1")

    epoch = a.generations.epoch
    assert epoch is not None
    assert epoch == b.generations.epoch == cluster.record().epoch
    assert {"main": Generation(epoch, 1_000)} == a.generations.numbers(a.tree) == b.generations.numbers(b.tree)


async def test_a_node_that_finds_the_position_listed_writes_nothing(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    await a.publish("c1")
    await wait_all_tasks_blocked()
    revision = cluster.store.revision
    await b.publish("c1")

    assert (1_000, 0.0) == (b.number(), b.waited)
    assert revision == cluster.store.revision


async def test_all_nodes_that_publish_at_once_get_one_number_by_one_commit(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = [await cluster.node(name) for name in "abcd"]
    await nodes[0].publish("c1")
    await wait_all_tasks_blocked()
    revision = cluster.store.revision
    for node in nodes:
        node.sources.fetched.add("c1")
    async with trio.open_nursery() as nursery:
        for node in reversed(nodes):
            nursery.start_soon(node.publish, "c2")

    assert {1_001} == {node.number() for node in nodes}
    assert revision + 1 == cluster.store.revision
    assert max(node.waited for node in nodes) < 0.01


async def test_a_node_does_not_wait_for_long_for_a_leader_that_is_slow(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    _, b = await cluster.node(), await cluster.node("b")
    await b.publish("c1")

    assert 1_000 == b.number()
    assert b.waited == pytest.approx(0.05)


async def test_without_a_leader_a_node_numbers_at_once(autojump_clock: MockClock, cluster: Cluster) -> None:
    cluster.leader = None
    b = await cluster.node("b")
    await b.publish("c1")

    assert (1_000, 0.0) == (b.number(), b.waited)


async def test_two_nodes_that_commit_at_once_take_the_numbers_of_the_faster_one(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    cluster.leader = None
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.publish, "c1")
        nursery.start_soon(b.publish, "c2")

    assert {1_000: "c1", 1_001: "c2"} == cluster.listed or {1_000: "c2"} == cluster.listed
    await a.publish("c2")
    assert a.number() == b.number()


async def test_many_labels_are_numbered_in_few_commits(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    revision = cluster.store.revision
    labels = {f"label-{number}": files("c1") for number in range(100)}
    await a.publish(None, **labels)

    assert {1_000} == {a.number(label) for label in labels}
    assert revision + 3 == cluster.store.revision


async def test_each_of_many_labels_is_compared_once(autojump_clock: MockClock, cluster: Cluster) -> None:
    """Each comparison may start git."""
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2")
    cluster.leader = None
    for node, commit in ((a, "c1"), (b, "c2")):
        await node.publish(None, **{f"label-{each}": files(commit) for each in range(100)})
        await trio.sleep(0.1)

    assert {1_001} == {b.number(f"label-{each}") for each in range(100)}
    assert 100 == b.sources.questions


async def test_labels_that_were_moved_here_are_not_compared(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node("a", "c5", "x5")
    for commit in ("c5", "x5"):
        await a.publish(None, **{f"label-{each}": files(commit) for each in range(100)})
        await trio.sleep(0.1)

    assert {1_001} == {a.number(f"label-{each}") for each in range(100)}
    assert 0 == a.sources.questions


async def test_labels_that_a_newer_tree_has_moved_are_not_compared_any_more(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "alone", "c1", "c2")
    await a.publish(None, **{f"label-{each}": files("c1") for each in range(100)})
    await b.publish(None, **{f"label-{each}": files("alone") for each in range(100)})
    await wait_all_tasks_blocked()
    b.sources.questions, b.sources.answers = 0, trio.Event()
    await a.publish(None, **{f"label-{each}": files("c2") for each in range(100)})
    await wait_all_tasks_blocked()
    # Its first comparison takes so long that the source has read the newer state meanwhile.
    await b.publish(None, **{f"label-{each}": files("c2") for each in range(100)})
    b.sources.answers.set()
    await trio.sleep(0.1)

    assert {1_001} == {b.number(f"label-{each}") for each in range(100)}
    assert b.sources.questions == 2


async def test_the_events_of_its_own_commits_are_no_news_for_a_node(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node()
    await a.publish(None, **{f"label-{each}": files("c1") for each in range(100)})
    await trio.sleep(0.1)
    a.reports = 0
    await a.publish(None, **{f"label-{each}": files("c2") for each in range(100)})
    await trio.sleep(0.1)

    # There are three commits.
    assert 3 == a.reports
    cluster.store.change([Put(KEYS.numbered("unknown"), b"")])
    cluster.store.change([Delete(KEYS.numbered("unknown"))])
    await trio.sleep(0.1)
    assert 5 == a.reports


async def test_the_positions_of_the_served_tree_are_made_once(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a newer tree is prepared, the numbers of the served one are asked for again and again."""
    a = await cluster.node()
    await a.publish("c1")
    served = a.tree
    await a.publish("c2")
    made: list[str] = []

    def counted(label: str, files: Files) -> Position | None:
        made.append(label)
        return position_of(label, files)

    monkeypatch.setattr(module, "position_of", counted)
    numbers = [a.generations.numbers(tree)["main"].number for tree in (served, served, a.tree)]
    assert ([1_000, 1_000, 1_001], ["main"]) == (numbers, made)
    other = Tree({"main": files("c3")})
    assert [{}, {}] == [a.generations.numbers(other) for _ in range(2)]
    assert 2 == len(made)
    a.generations.begin(a.tree)
    a.generations.numbers(served)
    assert 3 == len(made)


async def test_the_large_records_of_many_labels_fit_into_the_commits(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    """With many sources, the commit of so many labels would have more bytes than etcd takes."""
    a = await cluster.node()

    def layered(number: int) -> Files:
        others = [
            Files({}, root=f"etcd:{each}", position=f"{number}-{256 * number + each:0480x}") for each in range(63)
        ]
        return attrs.evolve(files("c1", "git:/"), others=tuple(others))

    for number in (1, 2):
        await a.publish(None, **{f"label-{each}": layered(number) for each in range(40)})
        await trio.sleep(0.1)

    assert {1_001} == {a.number(f"label-{each}") for each in range(40)}
    assert a.state.is_up


async def test_an_unchanged_label_keeps_its_number(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1", old=files("c1"))
    await a.publish("c2")

    assert (1_001, 1_000) == (a.number(), a.number("old"))
    # New objects with the same content are the same position.
    await a.publish(old=files("c1"))
    assert 1_000 == a.number("old")


async def test_sources_of_another_kind_have_numbers_of_their_own(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    await a.publish("c1")
    await a.publish("c2")
    await b.publish(main=files("c1", "other:/"))

    assert (1_001, 1_000) == (a.number(), b.number())


async def test_a_label_that_is_gone_is_forgotten(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1", old=files("c1", "file:/"))
    a.tree = Tree({})
    await a.publish("c1")

    assert a.number("old") is None
    assert not a.generations.unordered


# A store that doesn't answer.


async def test_nobody_waits_while_the_store_is_away_and_the_number_follows(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node()
    await a.publish("c1")
    cluster.store.set_away(True)
    await trio.sleep(1)
    await a.publish("c2")
    assert (None, 0.0) == (a.number(), a.waited)
    await a.publish("c3")
    reports = a.reports
    cluster.store.set_away(False)
    await trio.sleep(20)

    assert 1_001 == a.number()
    assert {1_000: "c1", 1_001: "c3"} == cluster.listed
    assert a.reports > reports
    assert a.state.is_up


async def test_a_publication_waits_a_bounded_time_for_a_slow_store(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    commit = a.engine.commit

    async def slow(*arguments: object) -> object:
        await trio.sleep(3)
        return await commit(*arguments)  # type: ignore[arg-type]

    a.engine.commit = slow  # type: ignore[assignment, method-assign]
    await a.publish("c2")
    assert a.waited == pytest.approx(PATIENCE)
    assert a.number() is None
    await trio.sleep(3)

    assert 1_001 == a.number()


async def test_a_commit_whose_answer_is_lost_is_not_repeated(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    cluster.store.loses_answers = True
    await a.publish("c2")
    cluster.store.loses_answers = False
    await trio.sleep(5)

    assert 1_001 == a.number()
    assert {1_000: "c1", 1_001: "c2"} == cluster.listed


async def test_before_the_first_reading_nothing_waits_and_nothing_is_written(
    autojump_clock: MockClock, cluster: Cluster, nursery: trio.Nursery
) -> None:
    a = Node(cluster, "a")
    nursery.start_soon(a.generations.run, a.engine)
    await a.publish("c1")
    await wait_all_tasks_blocked()

    assert (None, 0.0, None) == (a.number(), a.waited, a.generations.epoch)
    assert not cluster.store.entries


# Nodes that are behind.


async def test_a_node_with_an_older_commit_is_behind_and_takes_no_number(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2", "c3")
    await a.publish("c1")
    await a.publish("c3")
    await b.publish("c2")

    assert (None, ["main"], True) == (b.number(), b.generations.behind, b.generations.is_behind("main"))
    assert not b.generations.is_behind("old")
    assert b.waited < PATIENCE
    assert {1_000: "c1", 1_001: "c3"} == cluster.listed
    await b.publish("c3")
    assert (1_001, []) == (b.number(), b.generations.behind)


async def test_a_label_that_stays_behind_is_one_warning_on_time_and_one_line_when_it_is_current(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2", "c3", "c4")
    await a.publish("c1")
    await b.publish("c1")
    with capture_logs() as logs:
        await a.publish("c2")
        await trio.sleep(0.01)
        assert b.generations.behind
        await trio.sleep(late_labels.PATIENCE - 0.02)
        assert not logs
        await trio.sleep(0.02)
        assert [("labels behind", "main", "1970-01-01T00:16:40.000Z")] == [
            (each["event"], each["label"], each["since"]) for each in logs
        ]
        # It stays behind with a newer state.
        await a.publish("c4")
        await b.publish("c3")
        await trio.sleep(late_labels.PATIENCE * 2)
        assert 1 == len(logs)
        await b.publish("c4")
        await wait_all_tasks_blocked()
    assert [("labels behind", "main"), ("labels current", "main")] == [(each["event"], each["label"]) for each in logs]


async def test_a_label_that_is_behind_for_the_time_of_a_fetch_is_not_logged(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2")
    await a.publish("c1")
    await b.publish("c1")
    with capture_logs() as logs:
        await a.publish("c2")
        await trio.sleep(late_labels.PATIENCE - 1)
        await b.publish("c2")
        await trio.sleep(late_labels.PATIENCE * 2)
    assert not logs


async def test_a_node_with_a_listed_older_commit_has_its_old_number(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2")
    await a.publish("c1")
    await b.publish("c1")
    assert not b.generations.behind
    reports = b.reports
    await a.publish("c2")
    await wait_all_tasks_blocked()

    assert (1_000, ["main"]) == (b.number(), b.generations.behind)
    assert b.reports > reports


async def test_a_node_with_an_older_commit_of_the_same_branch_does_not_look_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2")
    await a.publish("c1")
    await b.publish("c1")
    assert 0 == b.sources.looks
    await a.publish("c2")
    await trio.sleep(BACK_AFTER * 3)

    assert 0 == a.sources.looks == b.sources.looks
    assert b.generations.behind
    assert {1_000: "c1", 1_001: "c2"} == cluster.listed


async def test_a_node_that_has_not_fetched_the_newest_commit_is_behind_until_it_looks(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2")
    await a.publish("c1")
    await a.publish("c3")
    b.sources.looked = trio.Event()
    await b.publish("c2")
    await trio.sleep(5)
    assert (None, ["main"], 1) == (b.number(), b.generations.behind, b.sources.looks)

    # The look brings the newest commit.
    await b.publish("c3")
    b.sources.looked.set()
    await trio.sleep(BACK_AFTER)
    assert (1_001, []) == (b.number(), b.generations.behind)
    assert {1_000: "c1", 1_001: "c3"} == cluster.listed


# Branches that are moved.


async def test_a_node_that_sees_a_branch_move_back_numbers_it_at_once(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node("a", "c1", "c3"), await cluster.node("b", "c1", "c3")
    for commit in ("c1", "c3"):
        await a.publish(commit)
        await b.publish(commit)
    await a.publish("c1")
    assert (1_002, []) == (a.number(), a.generations.behind)
    await wait_all_tasks_blocked()
    assert (1_001, ["main"]) == (b.number(), b.generations.behind)
    await b.publish("c1")

    assert (1_002, []) == (b.number(), b.generations.behind)
    assert {1_000: "c1", 1_001: "c3", 1_002: "c1"} == cluster.listed


async def test_a_branch_that_moved_away_is_numbered_after_a_look_that_confirms_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node("a", "c1", "c5"), await cluster.node("b", "c5", "x5")
    await a.publish("c5")
    b.sources.looked = trio.Event()
    await b.publish("x5")
    await trio.sleep(LOOK_AFTER + 0.5)
    a.stop()
    assert (None, ["main"], 1) == (b.number(), b.generations.behind, b.sources.looks)
    b.sources.looked.set()
    await trio.sleep(0.1)

    assert (1_001, []) == (b.number(), b.generations.behind)
    assert {1_000: "c5", 1_001: "x5"} == cluster.listed


async def test_a_commit_that_the_remote_has_no_more_is_left_behind_after_a_look(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    await a.publish("alone")
    a.stop()
    await b.publish("c1")
    await trio.sleep(LOOK_AFTER + 0.1)

    assert ({1_000: "alone", 1_001: "c1"}, []) == (cluster.listed, b.generations.behind)


async def test_a_look_that_fails_confirms_nothing_and_is_repeated(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    await a.publish("alone")
    a.stop()
    b.sources.is_up = False
    await b.publish("c1")
    await trio.sleep(35)
    assert ({1_000: "alone"}, ["main"]) == (cluster.listed, b.generations.behind)
    assert 3 <= b.sources.looks <= 5
    b.sources.is_up = True
    await trio.sleep(15)

    assert {1_000: "alone", 1_001: "c1"} == cluster.listed


async def test_a_look_that_never_ends_confirms_nothing(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    await a.publish("alone")
    b.sources.looked = trio.Event()
    await b.publish("c1")
    await trio.sleep(200)

    assert {1_000: "alone"} == cluster.listed
    assert 2 <= b.sources.looks <= 4


async def test_a_node_without_commits_never_numbers_what_it_cannot_compare(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    b.sources.has = False
    for commit in ("c1", "c2"):
        await a.publish(commit)
        await b.publish(commit)
    assert 1_001 == b.number()
    # It reads states that another node has published, and this one is older.
    await b.publish("c1")
    await trio.sleep(BACK_AFTER * 3)
    assert (1_000, ["main"]) == (b.number(), b.generations.behind)
    await b.publish("c3")
    await trio.sleep(BACK_AFTER * 3)
    assert (None, ["main"]) == (b.number(), b.generations.behind)
    await a.publish("c3")
    await wait_all_tasks_blocked()

    assert (1_002, []) == (b.number(), b.generations.behind)


async def test_the_leader_numbers_a_branch_that_was_moved_back_while_no_node_ran(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node("a", "c1", "c3")
    await a.publish("c1")
    await a.publish("c3")
    a.stop()
    cluster.leader = "c"
    b, c = await cluster.node("b", "c1", "c3"), await cluster.node("c", "c1", "c3")
    await b.publish("c1")
    await c.publish("c1")
    await trio.sleep(BACK_AFTER - 1)
    assert {1_000: "c1", 1_001: "c3"} == cluster.listed
    await trio.sleep(5)

    assert {1_000: "c1", 1_001: "c3", 1_002: "c1"} == cluster.listed
    assert 1_002 == b.number() == c.number()
    assert ([], []) == (b.generations.behind, c.generations.behind)


# Epochs.


async def test_a_store_that_goes_back_begins_a_new_epoch(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c1", "c2", "c3")
    await a.publish("c1")
    await b.publish("c1")
    backup = cluster.store.revision
    await a.publish("c2")
    await b.publish("c2")
    before = a.generations.epoch
    cluster.store.restore(backup)
    await trio.sleep(10)

    after = a.generations.epoch
    assert after is not None
    assert after != before
    assert after == b.generations.epoch
    assert {"main": Generation(after, 1_000)} == a.generations.numbers(a.tree) == b.generations.numbers(b.tree)
    # It doesn't begin once more at the next reading.
    cluster.store.compact()
    await trio.sleep(10)
    assert after == a.generations.epoch == b.generations.epoch


async def test_another_store_is_another_epoch(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    before = a.generations.epoch
    cluster.store.name = "store-2"
    cluster.store.set_away(True)
    await trio.sleep(1)
    cluster.store.set_away(False)
    await trio.sleep(10)

    assert a.generations.epoch not in (None, before)
    assert 1_000 == a.number()


async def test_numbers_are_higher_after_a_restore_that_nobody_has_seen(
    autojump_clock: MockClock, cluster: Cluster, nursery: trio.Nursery
) -> None:
    a = await cluster.node()
    await a.publish("c1")
    backup = cluster.store.revision
    for commit in ("c2", "c3"):
        await a.publish(commit)
    cluster.store.restore(backup)
    cluster.now += 3_600
    b = await Cluster.node(cluster, "b", "c1", "c3")
    await b.publish("c3")

    number = b.number()
    assert number is not None
    assert number >= NOW + 3_600


@pytest.mark.parametrize("value", [b"garbage", b'{"format":1,"epoch":"zz","store":"store-1"}'])
async def test_an_epoch_that_cannot_be_read_is_replaced(
    autojump_clock: MockClock, cluster: Cluster, value: bytes
) -> None:
    cluster.store.change([Put(KEYS.epoch, value)])
    with capture_logs() as logs:
        a = await cluster.node()
        await a.publish("c1")

    assert 1_000 == a.number()
    assert ["cluster record unusable"] == [each["event"] for each in logs if each["log_level"] == "warning"]


async def test_an_epoch_that_is_deleted_begins_anew(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    before = a.generations.epoch
    cluster.store.change([Delete(KEYS.epoch)])
    await trio.sleep(0.1)

    assert a.generations.epoch not in (None, before)
    assert 1_000 == a.number()


async def test_records_of_a_newer_format_stay_and_nobody_waits_for_a_number(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    newer = orjson.dumps({"format": 2})
    cluster.store.change([Put(KEYS.epoch, newer)])
    a = await cluster.node()
    await a.publish("c1")
    assert (None, 0.0) == (a.number(), a.waited)
    assert newer == cluster.store.entries[KEYS.epoch].value
    await a.publish("c2")
    assert a.waited == 0.0


# Records of others.


async def test_a_label_record_of_a_newer_format_stays(autojump_clock: MockClock, cluster: Cluster) -> None:
    position = position_of("main", files("c1"))
    assert position is not None
    key, newer = KEYS.numbered(position.name), orjson.dumps({"format": 2})
    cluster.store.change([Put(key, newer)])
    a = await cluster.node()
    await a.publish("c1")

    assert (None, 0.0) == (a.number(), a.waited)
    assert newer == cluster.store.entries[key].value


async def test_a_label_record_that_cannot_be_read_is_replaced(autojump_clock: MockClock, cluster: Cluster) -> None:
    position = position_of("main", files("c1"))
    assert position is not None
    cluster.store.change([Put(KEYS.numbered(position.name), b"garbage")])
    a = await cluster.node()
    await a.publish("c1")

    assert 1_000 == a.number()


async def test_a_label_record_that_is_deleted_is_written_again(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    position = position_of("main", files("c1"))
    assert position is not None
    cluster.now += 7
    cluster.store.change([Delete(KEYS.numbered(position.name))])
    await wait_all_tasks_blocked()

    assert {1_007: "c1"} == cluster.listed
    assert 1_007 == a.number()


@pytest.mark.parametrize("value", [None, b"garbage"])
async def test_a_label_record_that_is_lost_never_makes_numbers_fall(
    autojump_clock: MockClock, cluster: Cluster, value: bytes | None
) -> None:
    """The clock of another node may be ahead by hours, and its numbers too."""
    a = await cluster.node()
    cluster.now += 7_200
    await a.publish("c1")
    cluster.now -= 7_200
    key = KEYS.numbered(cluster.name())
    cluster.store.change([Delete(key) if value is None else Put(key, value)])
    await wait_all_tasks_blocked()
    assert 8_201 == a.number()
    await a.publish("c2")

    assert 8_202 == a.number()


async def test_a_record_whose_numbers_have_fallen_is_replaced(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    await a.publish("c2")
    epoch = a.generations.epoch
    assert epoch is not None
    lower = LabelRecord(epoch, "main", NOW, (Numbered(3, ("c2",)),))
    cluster.store.change([Put(KEYS.numbered(cluster.name()), lower.encoded())])
    await wait_all_tasks_blocked()

    assert 1_002 == a.number()
    assert {1_002: "c2"} == cluster.listed


async def test_a_record_with_the_highest_number_ends_the_epoch(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b", "c2")
    await a.publish("c1")
    before = a.generations.epoch
    assert before is not None
    last = LabelRecord(before, "main", NOW, (Numbered(HIGHEST_NUMBER, ("c1",)),))
    cluster.store.change([Put(KEYS.numbered(cluster.name()), last.encoded())])
    with capture_logs() as logs:
        await trio.sleep(0.1)
        await a.publish("c2")
        await b.publish("c2")

    assert before != a.generations.epoch == b.generations.epoch
    assert {1_000: "c1", 1_001: "c2"} == cluster.listed
    assert (1_001, 1_001) == (a.number(), b.number())
    assert ["order begun"] == [each["event"] for each in logs]


async def test_the_number_before_the_highest_is_followed_by_it_and_then_by_a_new_epoch(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node()
    await a.publish("c1")
    before = a.generations.epoch
    assert before is not None
    last = LabelRecord(before, "main", NOW, (Numbered(HIGHEST_NUMBER - 1, ("c1",)),))
    cluster.store.change([Put(KEYS.numbered(cluster.name()), last.encoded())])
    await trio.sleep(0.1)
    assert (before, HIGHEST_NUMBER - 1) == (a.generations.epoch, a.number())
    await a.publish("c2")
    await trio.sleep(2)

    assert a.generations.epoch not in (None, before)
    assert 1_000 == a.number()


async def test_the_highest_number_of_a_label_that_is_not_served_ends_nothing(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node()
    await a.publish("c1")
    epoch = a.generations.epoch
    assert epoch is not None
    last = LabelRecord(epoch, "other", NOW, (Numbered(HIGHEST_NUMBER, ("c1",)),))
    cluster.store.change([Put(KEYS.numbered("other"), last.encoded())])
    await trio.sleep(2)

    assert epoch == a.generations.epoch


async def test_a_new_epoch_may_begin_with_lower_numbers(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    cluster.now += 7_200
    await a.publish("c1")
    cluster.now -= 7_200
    cluster.store.change([Delete(KEYS.epoch)])
    await trio.sleep(0.1)

    assert 1_000 == a.number()


async def test_an_old_event_does_not_undo_a_newer_record(autojump_clock: MockClock, cluster: Cluster) -> None:
    a = await cluster.node()
    await a.publish("c1")
    position = position_of("main", files("c1"))
    assert position is not None
    entry = cluster.store.entries[KEYS.numbered(position.name)]
    old = attrs.evolve(entry, value=b"garbage", modified=entry.modified - 1)
    a.generations.take([Event(entry.key, old, old.modified)], old.modified)
    a.generations.take([Event(entry.key, None, old.modified)], old.modified)

    assert 1_000 == a.number()


async def test_the_leader_deletes_old_records_of_labels_that_are_gone(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    month = 30 * 86_400
    b = await cluster.node("b")
    await b.publish("c1", old=files("c1"), young=files("c1"))
    cluster.now += month - 10
    b.tree = Tree({})
    await b.publish("c1", young=files("c2"))
    b.sources.fetched.add("c2")
    cluster.now += 20
    await trio.sleep(4_000)
    assert len([key for key in cluster.store.entries if KEYS.is_numbered(key)]) == 3
    a = await cluster.node("a")
    await a.publish("c1")
    await trio.sleep(4_000)

    assert {"main", "young"} == {
        LabelRecord.parse(each.value).label for key, each in cluster.store.entries.items() if KEYS.is_numbered(key)
    }


# Sources without an order.


async def test_content_without_a_place_has_no_number_and_the_log_says_so_once(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a = await cluster.node()
    with capture_logs() as logs:
        await a.publish(main=Files({}, root="file:/"), old=Files({}, root="file:/"))
        await a.publish(main=Files({}, root="file:/"))

    assert (None, 0.0) == (a.number(), a.waited)
    assert ["main", "old"] == a.generations.unordered
    assert [("labels without order", "main", 2)] == [(each["event"], each["label"], each["count"]) for each in logs]


async def test_a_published_version_gives_content_without_a_place_its_number(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    a.publishes = True
    with capture_logs() as logs:
        await a.publish(main=Files({}, root="file:/"))
    assert not logs
    a.generations.published(a.tree, 7)
    await wait_all_tasks_blocked()
    await b.publish(main=Files({}, root="file:/", position="7"))

    assert 1_000 == a.number() == b.number()
    assert not a.generations.unordered
    # A version of another tree says nothing about this one.
    a.generations.published(Tree({"main": Files({}, root="file:/")}), 9)
    await wait_all_tasks_blocked()
    assert 1_000 == a.number()


async def test_numbers_of_a_source_decide_by_themselves(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.node(), await cluster.node("b")
    at = {place: Files({}, root="etcd:/", position=place) for place in ("3-aa", "5-bb", "9-bb")}
    await a.publish(main=at["5-bb"])
    await b.publish(main=at["3-aa"])
    assert (1_000, None, ["main"]) == (a.number(), b.number(), b.generations.behind)
    await b.publish(main=at["9-bb"])

    assert (1_000, []) == (b.number(), b.generations.behind)
    assert [Numbered(1_000, ("5-bb",))] == [*cluster.record("main", at["5-bb"]).publications]


async def test_several_sources_in_another_order_are_apart(autojump_clock: MockClock, cluster: Cluster) -> None:
    def both(commit: str, number: str) -> Files:
        return attrs.evolve(files(commit), others=(Files({}, root="git:/", position=number),))

    a, b = await cluster.node("a", "c1", "c2"), await cluster.node("b", "c1", "c2")
    await a.publish(main=both("c1", "1"))
    await a.publish(main=both("c2", "1"))
    await b.publish(main=both("c1", "2"))
    a.stop()
    await trio.sleep(LOOK_AFTER + 0.5)
    assert (1_001, 1_002, 1) == (a.number(), b.number(), b.sources.looks)
    await b.publish(main=both("c2", "2"))

    assert 1_003 == b.number()


async def test_if_the_remotes_of_nodes_disagree_for_a_minute_the_position_of_the_leader_counts(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.node("a", "c5", "x5"), await cluster.node("b", "c5", "x5")
    await a.publish("c5")
    await b.publish("x5")
    await trio.sleep(BACK_AFTER - 1)
    assert ({1_000: "c5", 1_001: "x5"}, ["main"], []) == (cluster.listed, a.generations.behind, b.generations.behind)
    await trio.sleep(5 * BACK_AFTER)

    assert ({1_000: "c5", 1_001: "x5", 1_002: "c5"}, [], ["main"]) == (
        cluster.listed,
        a.generations.behind,
        b.generations.behind,
    )
    assert (1, 1) == (a.sources.looks, b.sources.looks)
