"""Facts about the leader's publications: their order, the fence, what is kept, and how they go on after failures."""

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from typing import Any

import orjson
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
    Full,
    OutcomeUnknown,
    Put,
    Reading,
    TooLarge,
    Unmodified,
    Write,
)
from vortexd.cluster.keys import Keys
from vortexd.cluster.published.head import RECORD_BYTES, Announcement, Head, Places, loose_chunks, loose_record
from vortexd.cluster.published.packing import digest_of
from vortexd.cluster.published.publisher import BETWEEN, Publisher
from vortexd.cluster.published.version import version_of
from vortexd.core.model import Files, Tree
from vortexd.settings.cluster import MOST_VERSIONS

from . import former
from .trees import names_in, rich, seen, tree, tree_in

KEYS, PLACES = Keys("c"), Places("c")
Commit = tuple[tuple[Write, ...], tuple[Condition, ...]]


class Stage:
    """A store, and publishers that lead it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.store = MemoryStore()
        self.nursery = nursery
        self.commits: list[Commit] = []
        # Called before each commit. It may raise what the store says, or change the store.
        self.before: Callable[[Sequence[Write]], None] = lambda writes: None
        self.reads: list[str] = []
        self.before_read: Callable[[str], None] = lambda key: None
        self.leader: CreatedAt | None = None

    def lead(self, node: str = "a") -> CreatedAt:
        """Make a node the leader, and return its fence."""
        self.store.change([Delete(KEYS.leader)])
        self.leader = CreatedAt(KEYS.leader, self.store.change([Put(KEYS.leader, node.encode())]))
        return self.leader

    def begin(self, fence: Callable[[], CreatedAt | None] | None = None, node: str = "a", keep: int = 5) -> Publisher:
        made = Publisher(KEYS, node, fence or (lambda: self.leader), keep, lambda low, high: high, lambda: 1e9)
        self.nursery.start_soon(made.run, Engine(self))
        return made

    # What is in the store.

    def head(self) -> Head | None:
        entry = self.store.entries.get(PLACES.head)
        return Head.parse(entry.value) if entry is not None else None

    def number(self) -> int:
        head = self.head()
        return head.said.number if head is not None else 0

    def versions(self) -> list[int]:
        return [PLACES.number_of(key) for key in sorted(self.store.entries) if key.startswith(PLACES.versions)]

    def chunks(self) -> set[str]:
        start = PLACES.chunk("")
        return {key.removeprefix(start) for key in self.store.entries if key.startswith(start)}

    def chunk(self, name: str) -> bytes:
        return self.store.entries[PLACES.chunk(name)].value

    def named(self) -> set[str]:
        """The chunks that the kept versions name."""
        values = [entry.value for key, entry in self.store.entries.items() if key.startswith(PLACES.versions)]
        return {name for value in values for name in names_in(Head.parse(value), self.chunk)}

    def published(self) -> Tree:
        """The tree that the head names."""
        head = self.head()
        assert head is not None
        return tree_in(head, self.chunk)

    def is_tidy(self) -> bool:
        """Whether the store has exactly the chunks that kept versions name."""
        return self.chunks() == self.named() and PLACES.loose not in self.store.entries


class Engine(MemoryEngine):
    """Notes all commits, and fails as a test wants it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.store)
        self.stage = stage

    async def read(self, keys: Sequence[str] = (), **options: Any) -> Reading:
        for key in keys:
            self.stage.before_read(key)
        self.stage.reads += keys
        return await super().read(keys, **options)

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        self.stage.before(writes)
        self.stage.commits.append((tuple(writes), tuple(conditions)))
        return await super().commit(writes, conditions)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        yield Stage(nursery)
        nursery.cancel_scope.cancel()


# The clock would not wait for a real thread.
@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(function: Callable[..., object], *arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr("trio.to_thread.run_sync", run_sync)


def has(writes: Sequence[Write], key: str) -> bool:
    return any(each.key == key for each in writes)


def is_chunk(writes: Sequence[Write]) -> bool:
    return any(isinstance(each, Put) and each.key.startswith(PLACES.chunk("")) for each in writes)


def large(*seeds: int) -> Tree:
    """Return a tree with one file, and so one chunk, for each number."""
    return Tree({"main": Files({f"f{seed}": seed.to_bytes(4, "big") * 40_000 for seed in seeds})})


# What is published.


async def test_the_leader_publishes_what_it_is_offered(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    with capture_logs() as logs:
        publisher.offer(rich())
        await trio.sleep(1)
    assert seen(stage.published()) == seen(rich())
    version = version_of(rich())
    said = Announcement(1, version.id, 1e9, "a")
    assert stage.head() == version.head(1, 1e9, "a")
    assert stage.store.entries[PLACES.version(1)].value == stage.store.entries[PLACES.head].value
    assert stage.store.entries[KEYS.published].value == said.encoded()
    assert stage.is_tidy()
    assert (publisher.is_failing, publisher.last_error, publisher.written) == (False, None, 1)
    [event] = logs
    assert event == {
        "event": "state published",
        "log_level": "info",
        "number": 1,
        "id": version.id[:12],
        "chunks": len(version.chunks),
    }


async def test_a_node_that_does_not_lead_publishes_nothing_until_it_leads(
    stage: Stage, autojump_clock: MockClock
) -> None:
    publisher = stage.begin()
    publisher.offer(tree(a="1"))
    await trio.sleep(1)
    assert not stage.commits
    stage.lead()
    publisher.changed()
    await trio.sleep(1)
    assert stage.number() == 1


async def test_a_leader_without_a_state_leaves_what_was_published(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.changed()
    await trio.sleep(1)
    assert not stage.commits


async def test_an_equal_state_is_no_new_version(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    for _ in range(3):
        publisher.offer(tree(a="1"))
        await trio.sleep(1)
    assert (stage.number(), publisher.written) == (1, 1)


async def test_a_leader_that_has_published_its_state_asks_the_store_nothing(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(tree(a="1"))
    await trio.sleep(1)
    stage.store.set_away(True)
    publisher.changed()
    await trio.sleep(10)
    assert not publisher.is_failing


async def test_a_former_state_is_a_version_of_its_own(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    for text in ("1", "2", "1"):
        publisher.offer(tree(a=text))
        await trio.sleep(1)
    assert (stage.number(), stage.versions()) == (3, [1, 2, 3])
    assert seen(stage.published()) == seen(tree(a="1"))


async def test_a_change_writes_only_the_chunks_that_are_new(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(large(*range(10)))
    await trio.sleep(1)
    before = stage.chunks()
    stage.commits.clear()
    publisher.offer(large(*range(11)))
    await trio.sleep(1)
    written = [each.key for writes, _ in stage.commits if is_chunk(writes) for each in writes]
    # The content, a page and the root.
    assert {*written} == {PLACES.chunk(name) for name in stage.chunks() - before}
    assert len(written) == 3


async def test_states_that_follow_closely_are_one_version(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(tree(a="0"))
    await trio.sleep(BETWEEN / 10)
    assert stage.number() == 1
    for number in range(1, 5):
        publisher.offer(tree(a=str(number)))
        await trio.sleep(BETWEEN / 10)
    assert stage.number() == 1
    await trio.sleep(BETWEEN)
    assert stage.number() == 2
    assert seen(stage.published()) == seen(tree(a="4"))


async def test_a_state_that_comes_while_another_is_written_is_published_next(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()

    def offer_another(writes: Sequence[Write]) -> None:
        if has(writes, PLACES.head) and stage.number() == 0:
            publisher.offer(tree(a="2"))

    stage.before = offer_another
    publisher.offer(tree(a="1"))
    await trio.sleep(1)
    assert stage.number() == 2
    assert seen(stage.published()) == seen(tree(a="2"))


# The order.


async def test_the_head_is_written_after_all_its_chunks_and_these_in_small_transactions(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()
    there: list[bool] = []

    def look(writes: Sequence[Write]) -> None:
        for each in writes:
            if isinstance(each, Put) and each.key == PLACES.head:
                there.append(names_in(Head.parse(each.value), stage.chunk) <= stage.chunks())
            if isinstance(each, Put) and each.key.startswith(PLACES.chunk("")):
                sizes = [len(chunk.value) for chunk in writes if isinstance(chunk, Put)]
                assert len(sizes) == 1 or sum(sizes) <= 131_072
                # So whatever ends this publication, no chunk is forgotten.
                loose = loose_chunks(stage.store.entries[PLACES.loose].value)
                assert each.key.removeprefix(PLACES.chunk("")) in loose

    stage.before = look
    for count in (5, 9):
        publisher.offer(large(*range(count)))
        await trio.sleep(1)
    assert there == [True, True]


async def test_the_head_the_version_and_the_announcement_appear_together(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    stage.begin().offer(tree(a="1"))
    await trio.sleep(1)
    [batch] = [each for each in stage.store.log if any(event.key == PLACES.head for event in each.events)]
    assert {event.key for event in batch.events} == {PLACES.head, PLACES.version(1), KEYS.published, PLACES.loose}


@pytest.mark.parametrize("number", range(4))
async def test_a_publication_that_ends_early_shows_nothing_and_is_finished_later(
    stage: Stage, autojump_clock: MockClock, number: int
) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(tree(a="1"))
    await trio.sleep(1)
    former, written = stage.head(), 0

    def cut(writes: Sequence[Write]) -> None:
        nonlocal written
        if is_chunk(writes):
            written += 1
            if written > number:
                raise EngineAway("cut")

    stage.before = cut
    publisher.offer(large(1, 2, 3))
    await trio.sleep(0.9)
    assert stage.head() == former
    assert publisher.is_failing
    stage.before = lambda writes: None
    await trio.sleep(5)
    assert seen(stage.published()) == seen(large(1, 2, 3))
    assert stage.is_tidy()


async def test_chunks_of_the_next_version_that_are_there_are_not_deleted(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()
    written = 0

    def cut(writes: Sequence[Write]) -> None:
        nonlocal written
        if is_chunk(writes):
            written += 1
            if written == 3:
                raise EngineAway("cut")
        assert not any(isinstance(each, Delete) and each.key.startswith(PLACES.chunk("")) for each in writes)

    stage.before = cut
    publisher.offer(large(1, 2, 3))
    await trio.sleep(5)
    assert stage.number() == 1
    assert stage.is_tidy()


async def test_what_an_unfinished_publication_has_left_is_deleted(stage: Stage, autojump_clock: MockClock) -> None:
    left = version_of(large(*range(150)))
    writes = [Put(PLACES.chunk(name), chunk.data) for name, chunk in left.chunks.items()]
    stage.store.change([*writes, Put(PLACES.loose, loose_record([*left.chunks]))])
    stage.lead()
    stage.begin().offer(tree(a="1"))
    await trio.sleep(1)
    assert stage.number() == 1
    assert stage.is_tidy()
    deletions = [len(writes) for writes, _ in stage.commits if isinstance(writes[0], Delete)]
    assert max(deletions) == 64


async def test_what_is_left_of_a_record_that_can_not_be_read_stays_and_the_record_goes(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.store.change([Put(PLACES.loose, b"x"), Put(PLACES.chunk("a" * 64), b"x")])
    stage.lead()
    stage.begin().offer(tree(a="1"))
    await trio.sleep(1)
    assert PLACES.loose not in stage.store.entries
    assert stage.chunks() == stage.named() | {"a" * 64}


# The fence.


async def test_each_commit_requires_the_fence_and_the_head_the_former_head(
    stage: Stage, autojump_clock: MockClock
) -> None:
    fence = stage.lead()
    publisher = stage.begin(keep=1)
    stage.store.change([Put(PLACES.loose, loose_record(["a" * 64]))])
    for text in ("1", "2", "3"):
        former = stage.store.entries.get(PLACES.head)
        publisher.offer(tree(a=text))
        await trio.sleep(1)
        [conditions] = [conditions for writes, conditions in stage.commits if has(writes, PLACES.head)]
        assert conditions == (fence, Unmodified(PLACES.head, former.modified if former is not None else 0))
        assert all(conditions[0] == fence for _, conditions in stage.commits)
        stage.commits.clear()
    assert stage.versions() == [3]


async def test_a_former_leader_writes_nothing(stage: Stage, autojump_clock: MockClock) -> None:
    old = stage.lead("a")
    former = stage.begin(lambda: old, "a", keep=1)
    former.offer(tree(a="1"))
    await trio.sleep(1)
    new = stage.lead("b")
    stage.begin(lambda: new, "b").offer(tree(a="2"))
    await trio.sleep(1)
    before, entries = stage.head(), dict(stage.store.entries)
    with capture_logs() as logs:
        former.offer(tree(a="3"))
        former.replace(1)
        await trio.sleep(1.5)
    assert stage.head() == before
    assert stage.store.entries == entries
    assert before is not None
    assert before.said.by == "b"
    assert logs[0] == {
        "event": "publication refused",
        "log_level": "info",
        "reason": "this node doesn't lead any more",
        "consequence": "this node reads the head again",
    }
    assert not former.is_failing


@pytest.mark.parametrize("step", range(6))
async def test_a_change_of_the_leadership_in_the_middle_leaves_one_order(
    stage: Stage, autojump_clock: MockClock, step: int
) -> None:
    stage.lead("a")
    first = stage.leader
    publishers = {"a": stage.begin(lambda: first, "a"), "b": stage.begin(lambda: second, "b")}
    second: CreatedAt | None = None
    publishers["a"].offer(tree(a="0"))
    await trio.sleep(1)
    count = 0

    def change(writes: Sequence[Write]) -> None:
        nonlocal count, first, second
        count += 1
        if count == step + 1:
            second = stage.lead("b")
            publishers["b"].offer(large(7))
            publishers["b"].changed()

    stage.before = change
    publishers["a"].offer(large(1, 2, 3))
    await trio.sleep(0.9)
    first = None
    stage.before = lambda writes: None
    publishers["b"].offer(large(8))
    await trio.sleep(3)
    assert seen(stage.published()) == seen(large(8))
    assert stage.is_tidy()
    assert stage.versions() == [*range(1, stage.number() + 1)]


async def test_a_head_that_another_writer_has_written_is_not_overwritten_unread(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()
    other = version_of(tree(b="9")).head(7, 1.0, "x")

    def intrude(writes: Sequence[Write]) -> None:
        if has(writes, PLACES.head) and stage.number() == 0:
            stage.store.change([Put(PLACES.head, other.encoded())])

    stage.before = intrude
    with capture_logs() as logs:
        publisher.offer(tree(a="1"))
        await trio.sleep(5)
    assert "another node has written the head" in [each.get("reason") for each in logs]
    assert stage.number() == 8


# What is kept.


@pytest.mark.parametrize("keep", [1, 2, 5])
async def test_the_last_versions_are_kept_and_chunks_that_none_names_are_deleted(
    stage: Stage, autojump_clock: MockClock, keep: int
) -> None:
    stage.lead()
    publisher = stage.begin(keep=keep)
    for number in range(8):
        publisher.offer(large(number, 100))
        await trio.sleep(1)
        assert stage.versions() == [*range(max(number + 2 - keep, 1), number + 2)]
        assert stage.is_tidy()
        assert seen(stage.published()) == seen(large(number, 100))


async def test_the_most_versions_with_the_largest_records_do_not_stop_publishing(
    stage: Stage, autojump_clock: MockClock
) -> None:
    # One more than the settings keep, as just before the oldest one is deleted.
    record = b" " * RECORD_BYTES
    stage.store.change([Put(PLACES.version(1_000 + number), record) for number in range(MOST_VERSIONS + 1)])
    stage.lead()
    publisher = stage.begin(keep=MOST_VERSIONS)
    publisher.offer(tree(a="1"))
    await trio.sleep(1)
    assert (publisher.last_error, stage.number()) == (None, 1_001 + MOST_VERSIONS)


async def test_a_lower_number_of_versions_is_applied_at_once(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    for number in range(4):
        publisher.offer(large(number))
        await trio.sleep(1)
    publisher.replace(2)
    await trio.sleep(1)
    assert stage.versions() == [3, 4]
    assert stage.is_tidy()


async def test_a_chunk_that_a_new_version_needs_again_stays(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin(keep=1)
    for seeds in ((1, 2), (2, 3), (1, 3)):
        publisher.offer(large(*seeds))
        await trio.sleep(1)
        assert seen(stage.published()) == seen(large(*seeds))
        assert stage.is_tidy()


async def test_a_head_whose_version_is_missing_still_names_its_chunks(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin(keep=1)
    publisher.offer(large(1))
    await trio.sleep(1)
    head = stage.head()
    assert head is not None
    stage.store.change([Delete(PLACES.version(1)), Put(PLACES.loose, loose_record([*head.names]))])
    stage.lead()
    publisher.changed()
    await trio.sleep(1)
    assert head.names <= stage.chunks()


async def test_entries_that_are_no_versions_are_left_alone(stage: Stage, autojump_clock: MockClock) -> None:
    stage.store.change([Put(PLACES.versions + "note", b"x")])
    stage.lead()
    publisher = stage.begin(keep=1)
    for text in "12":
        publisher.offer(tree(a=text))
        await trio.sleep(1)
    assert stage.number() == 2
    assert PLACES.versions + "note" in stage.store.entries


# Failures.


async def test_a_commit_of_the_head_whose_answer_is_lost_is_not_repeated(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()

    def lose(writes: Sequence[Write]) -> None:
        stage.store.loses_answers = has(writes, PLACES.head)

    stage.before = lose
    publisher.offer(tree(a="1"))
    await trio.sleep(5)
    assert [writes for writes, _ in stage.commits if has(writes, PLACES.head)][1:] == []
    assert (stage.number(), stage.versions()) == (1, [1])
    assert stage.is_tidy()
    assert not publisher.is_failing


async def test_a_commit_of_the_head_that_arrives_late_is_recognized(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    late: list[Sequence[Write]] = []

    def delay(writes: Sequence[Write]) -> None:
        if has(writes, PLACES.head) and not late:
            late.append(writes)
            raise OutcomeUnknown("lost")
        if has(writes, PLACES.head) and len(late) == 1:
            late.append(writes)
            stage.store.change(late[0])

    stage.before = delay
    publisher.offer(tree(a="1"))
    await trio.sleep(5)
    assert (stage.number(), stage.versions()) == (1, [1])
    assert stage.is_tidy()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (Full("no space"), "give etcd more space: compact and defragment it, or raise its quota, and disarm the alarm"),
        (TooLarge("too large"), "serve fewer files, or raise etcd's --max-request-bytes to its default of 1.5 MiB"),
        (Denied("permission denied"), "let the user of [cluster] write the prefix of published states"),
        (EngineAway("away"), "vortexd tries again by itself"),
        (OutcomeUnknown("lost"), "vortexd tries again by itself"),
    ],
)
async def test_a_failure_is_reported_once_with_a_remedy_and_the_node_tries_again(
    stage: Stage, autojump_clock: MockClock, error: EngineError, remedy: str
) -> None:
    stage.lead()
    publisher = stage.begin()
    attempts: list[float] = []

    def fail(writes: Sequence[Write]) -> None:
        attempts.append(trio.current_time())
        raise error

    stage.before = fail
    with capture_logs() as logs:
        publisher.offer(tree(a="1"))
        await trio.sleep(200)
        assert (publisher.is_failing, publisher.last_error) == (True, str(error))
        stage.before = lambda writes: None
        await trio.sleep(61)
    pauses = [round(after - before) for before, after in pairwise(attempts)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (publisher.is_failing, publisher.last_error) == (False, str(error))
    assert [each["event"] for each in logs] == [
        "publication failed",
        "state published",
        "publication possible again",
    ]
    assert logs[0] == {
        "event": "publication failed",
        "log_level": "warning",
        "reason": str(error),
        "consequence": "sources of kind published serve the last version",
        "remedy": remedy,
    }


async def test_another_reason_is_logged_too_and_the_back_off_begins_anew_after_a_success(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead()
    publisher = stage.begin()
    errors: list[EngineError] = [Full("one"), Full("one"), Denied("two")]
    attempts: list[float] = []

    def fail(writes: Sequence[Write]) -> None:
        if errors:
            attempts.append(trio.current_time())
            raise errors.pop(0)

    stage.before = fail
    with capture_logs() as logs:
        publisher.offer(tree(a="1"))
        await trio.sleep(10)
        errors += [Full("one"), Full("one")]
        publisher.offer(tree(a="2"))
        await trio.sleep(10)
    assert [each["reason"] for each in logs if each["event"] == "publication failed"] == ["one", "two", "one"]
    assert round(attempts[-1] - attempts[-2]) == 1


async def test_a_state_that_is_too_large_for_a_head_is_reported(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(Tree({"main": Files({str(n): n.to_bytes(4, "big") * 32_769 for n in range(5_001)})}))
    await trio.sleep(0.5)
    assert publisher.last_error == "the state has more than 5000 chunks; serve fewer files or labels"
    assert not stage.commits


async def test_records_that_can_not_be_read_are_replaced_with_one_warning(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.store.change([Put(PLACES.head, b"x"), Put(PLACES.version(6), b"x")])
    stage.lead()
    publisher = stage.begin(keep=2)
    with capture_logs() as logs:
        for text in "123":
            publisher.offer(tree(a=text))
            await trio.sleep(1)
    assert stage.versions() == [8, 9]
    warned = [each["key"] for each in logs if each["event"] == "cluster record unusable"]
    assert sorted(warned) == sorted([PLACES.head, PLACES.version(6)])
    assert stage.is_tidy()


@pytest.mark.parametrize("key", [PLACES.head, PLACES.version(1), PLACES.loose])
async def test_a_record_of_a_newer_version_is_not_replaced(stage: Stage, autojump_clock: MockClock, key: str) -> None:
    stage.store.change([Put(key, b'{"format":3}')])
    stage.lead()
    publisher = stage.begin()
    publisher.offer(tree(a="1"))
    await trio.sleep(0.5)
    assert not stage.commits
    assert publisher.last_error == (
        f"{key} can't be replaced: its format is 3, and this version reads 1 to 2; a newer vortexd wrote it; "
        "upgrade this node, or delete all published states"
    )


async def test_a_new_leader_repairs_chunks_and_says_which_were_damaged(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(large(1, 2))
    await trio.sleep(1)
    damaged, missing = sorted(stage.chunks())[:2]
    stage.store.change([Put(PLACES.chunk(damaged), b"x"), Delete(PLACES.chunk(missing))])
    publisher.changed()
    await trio.sleep(1)
    assert missing not in stage.chunks()
    stage.lead()
    with capture_logs() as logs:
        publisher.changed()
        await trio.sleep(1)
    assert seen(stage.published()) == seen(large(1, 2))
    assert stage.number() == 1
    assert logs == [
        {
            "event": "chunk repaired",
            "log_level": "warning",
            "key": PLACES.chunk(damaged),
            "reason": "it had another content than its name says",
        }
    ]


@pytest.mark.parametrize("value", [None, b"x"])
async def test_a_new_leader_repairs_the_announcement(
    stage: Stage, autojump_clock: MockClock, value: bytes | None
) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(tree(a="1"))
    await trio.sleep(1)
    before = stage.store.entries[KEYS.published].value
    stage.store.change([Delete(KEYS.published) if value is None else Put(KEYS.published, value)])
    stage.lead()
    publisher.changed()
    await trio.sleep(1)
    assert stage.store.entries[KEYS.published].value == before


async def test_a_store_that_was_made_anew_gets_everything_again(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    publisher = stage.begin()
    publisher.offer(large(1, 2))
    await trio.sleep(1)
    stage.store.entries.clear()
    stage.lead()
    publisher.changed()
    await trio.sleep(1)
    assert seen(stage.published()) == seen(large(1, 2))
    assert stage.number() == 1


async def test_the_number_of_each_version_is_told_with_its_tree(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    stage, told = Stage(nursery), list[tuple[Tree, int]]()
    stage.lead()
    made = Publisher(
        *(KEYS, "a", lambda: stage.leader, 5, lambda low, high: high, lambda: 1e9),
        lambda tree, number: told.append((tree, number)),
    )
    nursery.start_soon(made.run, Engine(stage))
    first, same, second = tree(a="1"), tree(a="1"), tree(a="2")
    for each in (first, same, second):
        made.offer(each)
        await trio.sleep(5)

    assert [(first, 1), (same, 1), (second, 2)] == told


# Manifests, which alone name the chunks of a version.


def small(*seeds: int) -> Tree:
    """Return a tree with many small chunks."""
    return Tree({"main": Files({f"f{seed:03}": seed.to_bytes(4, "big") * 1_000 for seed in seeds})})


async def test_small_chunks_are_written_together(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead()
    stage.begin().offer(small(*range(200)))
    await trio.sleep(1)
    written = [writes for writes, _ in stage.commits if is_chunk(writes)]
    assert sum(map(len, written)) == len(stage.chunks()) > 100
    assert max(map(len, written)) <= 60
    assert len(written) < 12
    for writes, conditions in stage.commits:
        if is_chunk(writes):
            assert conditions == (stage.leader, *(Unmodified(each.key, 0) for each in writes))


@pytest.mark.parametrize("number", range(3))
async def test_chunks_that_are_there_are_not_written_again_and_damaged_ones_are_repaired(
    stage: Stage, autojump_clock: MockClock, number: int
) -> None:
    version = version_of(tree(a="1"))
    names = [*version.chunks]
    there, damaged = names[number], names[number - 1]
    stage.store.change([Put(PLACES.chunk(there), version.chunks[there].data), Put(PLACES.chunk(damaged), b"x")])
    before = stage.store.entries[PLACES.chunk(there)]
    stage.lead()
    with capture_logs() as logs:
        stage.begin().offer(tree(a="1"))
        await trio.sleep(1)
    assert seen(stage.published()) == seen(tree(a="1"))
    assert stage.store.entries[PLACES.chunk(there)] == before
    assert [each["key"] for each in logs if each["event"] == "chunk repaired"] == [PLACES.chunk(damaged)]
    assert stage.is_tidy()


async def test_a_new_leader_reads_which_chunks_the_kept_versions_have(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead("a")
    before = stage.begin()
    for seeds in ((1, 2, 50), (2, 3, 50), (3, 4, 50)):
        before.offer(small(*seeds))
        await trio.sleep(1)
    assert stage.versions() == [1, 2, 3]
    fence = stage.lead("b")
    stage.begin(lambda: fence, "b", keep=2).offer(small(4, 5, 50))
    await trio.sleep(1)
    assert stage.versions() == [3, 4]
    assert stage.is_tidy()
    assert seen(stage.published()) == seen(small(4, 5, 50))


async def test_the_manifests_are_read_once_for_each_leadership(stage: Stage, autojump_clock: MockClock) -> None:
    stage.lead("a")
    stage.begin().offer(small(1))
    await trio.sleep(1)
    fence = stage.lead("b")
    publisher = stage.begin(lambda: fence, "b")
    stage.reads.clear()
    for seed in (2, 3):
        publisher.offer(small(seed))
        await trio.sleep(1)
    # The root and the page of the one version that this leader didn't write.
    assert [key for key in stage.reads if key.startswith(PLACES.chunk(""))] == [
        PLACES.chunk(name) for name in reversed([*version_of(small(1)).chunks][1:])
    ]


@pytest.mark.parametrize("number", range(1, 3))
@pytest.mark.parametrize("value", [None, b"x"])
async def test_a_version_whose_manifest_is_damaged_is_one_warning_and_does_not_stop_publishing(
    stage: Stage, autojump_clock: MockClock, number: int, value: bytes | None
) -> None:
    stage.lead("a")
    stage.begin().offer(small(1))
    await trio.sleep(1)
    key = PLACES.chunk([*version_of(small(1)).chunks][number])
    stage.store.change([Delete(key) if value is None else Put(key, value)])
    fence = stage.lead("b")
    publisher = stage.begin(lambda: fence, "b")
    with capture_logs() as logs:
        for seed in (2, 3):
            publisher.offer(small(seed))
            await trio.sleep(1)
    assert (stage.number(), publisher.is_failing) == (3, False)
    warned = [each for each in logs if each["event"] == "cluster record unusable"]
    assert [each["key"] for each in warned] == [PLACES.chunk(version_of(small(1)).manifest[0])]
    assert warned[0]["reason"].startswith("the manifest of version 1 is damaged: chunk ")


async def test_a_manifest_that_is_not_the_one_of_its_head_is_damaged(stage: Stage, autojump_clock: MockClock) -> None:
    version = version_of(small(1))
    stage.store.change([Put(PLACES.chunk(name), chunk.data) for name, chunk in version.chunks.items()])
    head = Head(Announcement(1, "0" * 64, 1.0, "x"), version.manifest)
    stage.store.change([Put(PLACES.head, head.encoded()), Put(PLACES.version(1), head.encoded())])
    stage.lead()
    with capture_logs() as logs:
        stage.begin().offer(small(2))
        await trio.sleep(1)
    assert stage.number() == 2
    assert [each["reason"] for each in logs if each["event"] == "cluster record unusable"] == [
        "the manifest of version 1 is damaged: it isn't what its id says"
    ]


@pytest.mark.parametrize(("count", "is_usable"), [(4_998, True), (4_999, False)])
async def test_a_manifest_names_a_most_number_of_chunks(
    stage: Stage, autojump_clock: MockClock, count: int, is_usable: bool
) -> None:
    names = [f"{number:064x}" for number in range(count)]
    pages = [orjson.dumps({"chunks": part, "rows": []}) for part in (names[:2_500], names[2_500:])]
    root = orjson.dumps({"format": 2, "pages": [[digest_of(page), len(page)] for page in pages]})
    stage.store.change([Put(PLACES.chunk(digest_of(each)), each) for each in (*pages, root)])
    head = Head(Announcement(1, digest_of(root), 1.0, "x"), (digest_of(root),)).encoded()
    stage.store.change([Put(PLACES.head, head), Put(PLACES.version(1), head)])
    stage.lead()
    with capture_logs() as logs:
        stage.begin().offer(small(2))
        await trio.sleep(1)
    assert [each["reason"] for each in logs if each["event"] == "cluster record unusable"] == (
        [] if is_usable else ["the manifest of version 1 is damaged: it names more than 5000 chunks"]
    )


async def test_a_store_that_is_away_while_a_manifest_is_read_is_tried_again(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.lead("a")
    stage.begin().offer(small(1))
    await trio.sleep(1)
    root = PLACES.chunk(version_of(small(1)).manifest[0])

    def cut(key: str) -> None:
        if key == root:
            stage.before_read = lambda key: None
            raise EngineAway("cut")

    stage.before_read = cut
    fence = stage.lead("b")
    publisher = stage.begin(lambda: fence, "b", keep=1)
    publisher.offer(small(2))
    await trio.sleep(0.5)
    assert publisher.is_failing
    await trio.sleep(3)
    assert stage.versions() == [2]
    assert stage.is_tidy()


async def test_versions_of_format_1_are_followed_by_those_of_format_2_and_their_chunks_deleted(
    stage: Stage, autojump_clock: MockClock
) -> None:
    for number, made in enumerate((large(1, 2), large(2, 3)), 1):
        manifest, chunks = former.manifest_of(made)
        stage.store.change([Put(PLACES.chunk(each.name), each.data) for each in chunks])
        stage.store.change([Put(PLACES.chunk(digest_of(manifest)), manifest)])
        said = Announcement(number, digest_of(manifest), 1.0, "x")
        head = Head(said, (digest_of(manifest),), tuple(each.name for each in chunks)).encoded()
        stage.store.change([Put(PLACES.head, head), Put(PLACES.version(number), head)])
    assert seen(stage.published()) == seen(large(2, 3))
    stage.lead()
    publisher = stage.begin(keep=2)
    publisher.offer(large(2, 3))
    await trio.sleep(1)
    # The same state has another id in the new format.
    assert stage.versions() == [2, 3]
    assert [Head.parse(stage.store.entries[PLACES.version(number)].value).chunks is None for number in (2, 3)] == [
        False,
        True,
    ]
    assert stage.is_tidy()
    publisher.offer(large(4))
    await trio.sleep(1)
    assert stage.versions() == [3, 4]
    assert stage.is_tidy()
    assert seen(stage.published()) == seen(large(4))
