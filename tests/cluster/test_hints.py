"""Facts about hints: what is announced and when, what is coalesced, and which sources look."""

from collections.abc import Collection
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import EngineAway, Entry, Event, Full, Put
from vortexd.cluster.hints import BETWEEN, NEWS_DELAY, Hints
from vortexd.cluster.keys import Keys
from vortexd.cluster.records import MOST_ITEMS, Hint, Push
from vortexd.cluster.store_state import StoreState
from vortexd.cluster.warnings import RecordWarnings

KEYS = Keys("c")


class FakeSources:
    """Notes what it is asked, and finds so many sources each time."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.count = 1

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        self.asked.append((tuple(addresses), tuple(refs)))
        return self.count

    def behind(self, name: str, state: str) -> int:
        self.asked.append({name: state})
        return self.count


@attrs.define(eq=False)
class Stage:
    store: MemoryStore = attrs.field(factory=MemoryStore)
    delay: float = 0.0
    sources: FakeSources = attrs.field(factory=FakeSources)
    state: StoreState = attrs.field(init=False)
    hints: Hints = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.state = StoreState(trio.current_time)
        self.state.worked("watch", has_read=True)
        self.hints = Hints(
            KEYS,
            "a",
            "me",
            self.sources,
            self.state,
            RecordWarnings(),
            lambda low, high: high if self.delay else low,
            lambda: 12.3456,
        )

    def written(self) -> list[Hint]:
        events = [event for batch in self.store.log for event in batch.events]
        assert {each.key for each in events} <= {KEYS.hint("a")}
        return [Hint.parse(each.entry.value) for each in events if each.entry is not None]

    def hear(self, *hints: Hint, node: str = "b") -> None:
        self.hints.take([event(KEYS.hint(node), each.encoded()) for each in hints])


def event(key: str, value: bytes) -> Event:
    return Event(key, Entry(key, value, 1, 1), 1)


@pytest.fixture
async def stage(autojump_clock: MockClock, nursery: trio.Nursery) -> Stage:
    stage = Stage()
    nursery.start_soon(stage.hints.run, MemoryEngine(stage.store))
    await trio.testing.wait_all_tasks_blocked()
    return stage


# From here to the others.


async def test_a_webhook_is_written_at_once(autojump_clock: MockClock, stage: Stage) -> None:
    stage.delay = 1.0
    with capture_logs() as logs:
        stage.hints.announce_push(["https://git/a"], ["refs/heads/main"])
        await trio.sleep(0.001)
    [hint] = stage.written()
    assert hint == Hint("me-1", Push(("https://git/a",), ("refs/heads/main",)), {}, 12.346)
    assert stage.hints.announced == 1
    assert logs == [{"event": "hint announced", "log_level": "info", "webhook": True, "sources": 0}]


async def test_webhooks_in_quick_succession_are_few_writes_and_lose_nothing(
    autojump_clock: MockClock, stage: Stage
) -> None:
    for number in range(60):
        stage.hints.announce_push([f"https://git/{number}"], [f"refs/heads/{number}"])
        await trio.sleep(0.01)
    await trio.sleep(1)
    hints = stage.written()
    assert len(hints) == 3
    assert hints[0].push == Push(("https://git/0",), ("refs/heads/0",))
    addresses = [each for hint in hints if hint.push is not None for each in hint.push.addresses]
    assert addresses == [f"https://git/{number}" for number in range(60)]
    assert [each.id for each in hints] == ["me-1", "me-2", "me-3"]


@pytest.mark.parametrize(("wait", "count"), [(BETWEEN - 0.01, 1), (BETWEEN + 0.01, 2)])
async def test_two_writes_are_a_time_apart(autojump_clock: MockClock, stage: Stage, wait: float, count: int) -> None:
    stage.hints.announce_push(["https://git/a"], [])
    await trio.lowlevel.checkpoint()
    stage.hints.announce_push(["https://git/b"], [])
    await trio.sleep(0.001)
    stage.hints.announce_push(["https://git/c"], [])
    await trio.sleep(wait)
    assert len(stage.written()) == count


async def test_a_webhook_with_large_lists_is_for_everything(autojump_clock: MockClock, stage: Stage) -> None:
    stage.hints.announce_push(["https://git/a"], [f"refs/heads/{number}" for number in range(MOST_ITEMS + 1)])
    await trio.sleep(1)
    assert [each.push for each in stage.written()] == [Push(("https://git/a",), ())]


async def test_news_that_no_record_can_hold_are_for_everything(autojump_clock: MockClock, stage: Stage) -> None:
    stage.hints.announce_news("git:" + "x" * 600, "s1")
    await trio.sleep(1)
    assert [(each.push, each.sources) for each in stage.written()] == [(Push(), {})]


async def test_the_news_of_a_source_waits_a_little(autojump_clock: MockClock, stage: Stage) -> None:
    stage.delay = 1.0
    with capture_logs() as logs:
        stage.hints.announce_news("git:x", "s1")
        await trio.sleep(NEWS_DELAY - 0.01)
        assert stage.written() == []
        await trio.sleep(0.02)
    assert stage.written() == [Hint("me-1", None, {"git:x": "s1"}, 12.346)]
    assert logs == [{"event": "hint announced", "log_level": "info", "webhook": False, "sources": 1}]


async def test_a_webhook_takes_the_news_that_waits_along(autojump_clock: MockClock, stage: Stage) -> None:
    stage.delay = 1.0
    stage.hints.announce_news("git:x", "s1")
    await trio.sleep(0.1)
    stage.hints.announce_push(["https://git/y"], [])
    await trio.sleep(0.001)
    assert stage.written() == [Hint("me-1", Push(("https://git/y",), ()), {"git:x": "s1"}, 12.346)]


async def test_news_that_another_node_has_announced_meanwhile_is_not_written(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.delay = 1.0
    stage.hints.announce_news("git:x", "s1")
    stage.hints.announce_news("git:y", "s1")
    await trio.sleep(0.1)
    stage.hear(Hint("other-1", None, {"git:x": "s1"}))
    await trio.sleep(2)
    assert [each.sources for each in stage.written()] == [{"git:y": "s1"}]
    stage.hints.announce_news("git:x", "s1")
    stage.hints.announce_news("git:z", "s1")
    stage.hear(Hint("other-2", None, {"git:z": "s1"}))
    await trio.sleep(2)
    assert len(stage.written()) == 1
    assert stage.hints.announced == 1


async def test_a_state_that_comes_back_is_news_again(autojump_clock: MockClock, stage: Stage) -> None:
    for state in ("s1", "s2", "s1", "s1"):
        stage.hints.announce_news("git:x", state)
        await trio.sleep(1)
    assert [each.sources["git:x"] for each in stage.written()] == ["s1", "s2", "s1"]


async def test_the_newest_state_of_a_source_is_written(autojump_clock: MockClock, stage: Stage) -> None:
    stage.delay = 1.0
    stage.hints.announce_news("git:x", "s1")
    stage.hints.announce_news("git:x", "s2")
    await trio.sleep(2)
    assert [each.sources for each in stage.written()] == [{"git:x": "s2"}]


async def test_a_reading_says_which_states_are_announced(autojump_clock: MockClock, stage: Stage) -> None:
    def entry(node: str, state: str, revision: int) -> Entry:
        return Entry(KEYS.hint(node), Hint("other-1", None, {"git:x": state}).encoded(), 1, revision)

    with capture_logs() as logs:
        stage.hints.read(
            [
                entry("b", "new", 9),
                entry("c", "old", 8),
                Entry(KEYS.hint("d"), b"garbage", 1, 10),
                Entry(KEYS.member("b"), b"{}", 1, 10),
            ]
        )
    assert [(each["event"], each["key"]) for each in logs] == [("cluster record unusable", KEYS.hint("d"))]
    # The caller makes all sources look.
    assert stage.sources.asked == []
    assert stage.hints.heard == 0
    stage.hints.announce_news("git:x", "new")
    await trio.sleep(2)
    assert stage.written() == []
    stage.hints.announce_news("git:x", "old")
    await trio.sleep(2)
    assert len(stage.written()) == 1


async def test_only_so_many_announced_states_are_remembered(autojump_clock: MockClock, stage: Stage) -> None:
    names = [f"git:{number}" for number in range(257)]
    for start in range(0, 257, 64):
        stage.hear(Hint("other-1", None, dict.fromkeys(names[start : start + 64], "s")))
    # The last one is named again, so another one is the oldest.
    for name in names:
        stage.hints.announce_news(name, "s")
    await trio.sleep(2)
    assert [each.sources for each in stage.written()] == [{"git:0": "s"}]


# A store that fails.


@pytest.mark.parametrize("error", [EngineAway("gone"), Full("no space")])
async def test_a_hint_that_can_not_be_written_is_written_later_with_what_came_since(
    autojump_clock: MockClock, nursery: trio.Nursery, error: Exception
) -> None:
    class FailingEngine(MemoryEngine):
        def __init__(self, store: MemoryStore) -> None:
            super().__init__(store)
            self.attempts: list[float] = []

        async def commit(self, *arguments: Any) -> Any:
            self.attempts.append(trio.current_time())
            if len(self.attempts) <= 8:
                raise error
            return await super().commit(*arguments)

    stage, engine = Stage(), FailingEngine(MemoryStore())
    stage.store = engine.store
    stage.delay = 1.0
    with capture_logs() as logs:
        nursery.start_soon(stage.hints.run, engine)
        stage.hints.announce_push(["https://git/a"], ["r"])
        stage.hints.announce_news("git:x", "s1")
        await trio.sleep(0.1)
        assert (stage.state.is_up, stage.state.last_error, stage.hints.announced) == (False, str(error), 0)
        stage.hints.announce_push(["https://git/b"], ["r"])
        stage.hints.announce_news("git:x", "s2")
        stage.hints.announce_news("git:y", "s1")
        await trio.sleep(100)
    [hint] = stage.written()
    assert hint.push == Push(("https://git/a", "https://git/b"), ("r",))
    assert hint.sources == {"git:x": "s2", "git:y": "s1"}
    waits = [round(two - one) for one, two in zip(engine.attempts, engine.attempts[1:], strict=False)]
    assert waits == [1, 2, 4, 8, 10, 10, 10, 10]
    assert stage.state.is_up
    assert stage.hints.announced == 1
    assert [each["event"] for each in logs] == ["cluster store away", "cluster store back", "hint announced"]
    # The next failure begins with a short pause again.
    engine.attempts.clear()
    stage.hints.announce_push(["https://git/a"], ["r"])
    await trio.sleep(1.5)
    assert len(engine.attempts) == 2


async def test_news_alone_is_kept_for_later_too(autojump_clock: MockClock, stage: Stage) -> None:
    stage.store.set_away(True)
    stage.hints.announce_news("git:x", "s1")
    await trio.sleep(3)
    stage.store.set_away(False)
    await trio.sleep(20)
    assert [(each.push, each.sources) for each in stage.written()] == [(None, {"git:x": "s1"})]


async def test_news_that_failed_and_that_another_node_has_announced_leaves_no_failure(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.store.set_away(True)
    stage.hints.announce_news("git:x", "s1")
    await trio.sleep(0.1)
    assert not stage.state.is_up
    stage.store.set_away(False)
    stage.hear(Hint("other-1", None, {"git:x": "s1"}))
    await trio.sleep(5)
    assert stage.state.is_up
    assert stage.written() == []


async def test_a_hint_whose_write_was_cancelled_is_written_by_the_next_engine(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class HangingEngine(MemoryEngine):
        async def commit(self, *arguments: Any) -> Any:
            await trio.sleep_forever()

    stage = Stage()
    stage.hints.announce_push(["https://git/a"], ["r"])
    stage.hints.announce_news("git:x", "s1")
    with trio.move_on_after(5):
        await stage.hints.run(HangingEngine(stage.store))
    assert stage.written() == []
    nursery.start_soon(stage.hints.run, MemoryEngine(stage.store))
    await trio.sleep(0.1)
    [hint] = stage.written()
    assert (hint.push, hint.sources) == (Push(("https://git/a",), ("r",)), {"git:x": "s1"})


# From the others to here.


@pytest.mark.parametrize(
    ("hint", "asked"),
    [
        (Hint("other-1", Push(("https://git/a",), ("r",))), [(("https://git/a",), ("r",))]),
        (Hint("other-1", Push()), [((), ())]),
        (Hint("other-1", None, {"git:x": "s1", "git:y": "s2"}), [{"git:x": "s1"}, {"git:y": "s2"}]),
        (Hint("other-1", Push(("a",), ()), {"git:x": "s1"}), [(("a",), ()), {"git:x": "s1"}]),
        (Hint("other-1"), []),
    ],
)
async def test_the_sources_that_a_hint_concerns_look(
    autojump_clock: MockClock, stage: Stage, hint: Hint, asked: list[object]
) -> None:
    with capture_logs() as logs:
        stage.hear(hint)
    assert stage.sources.asked == asked
    assert stage.hints.heard == 1
    said = {
        "event": "hint heard",
        "log_level": "info",
        "node": "b",
        "sources": len(asked),
        "consequence": "these sources fetch now",
    }
    assert logs == ([said] if asked else [])


async def test_a_hint_that_concerns_no_source_is_not_logged(autojump_clock: MockClock, stage: Stage) -> None:
    stage.sources.count = 0
    with capture_logs() as logs:
        stage.hear(Hint("other-1", Push(), {"git:x": "s1"}))
    assert len(stage.sources.asked) == 2
    assert logs == []


async def test_a_hint_of_this_process_is_not_acted_on_and_one_of_another_worker_is(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.hear(Hint("me-1", Push()), node="a")
    assert (stage.sources.asked, stage.hints.heard) == ([], 0)
    stage.hear(Hint("me2-1", Push()), node="a")
    assert (stage.sources.asked, stage.hints.heard) == ([((), ())], 1)


async def test_every_hint_of_a_batch_is_heard_and_other_entries_are_passed_over(
    autojump_clock: MockClock, stage: Stage
) -> None:
    good = Hint("other-1", Push()).encoded()
    with capture_logs() as logs:
        stage.hints.take(
            [
                event(KEYS.hint("b"), good),
                event(KEYS.member("b"), good),
                event(KEYS.leader, b"b"),
                Event(KEYS.hint("b"), None, 1),
                event(KEYS.hint("c"), b"garbage"),
                event(KEYS.hint("c"), b"garbage"),
                event(KEYS.hint("d"), good.replace(b'"format":1', b'"format":2')),
                event(KEYS.hint("e"), good),
            ]
        )
    assert stage.hints.heard == 2
    assert [(each["event"], each.get("key")) for each in logs] == [
        ("hint heard", None),
        ("cluster record unusable", KEYS.hint("c")),
        ("cluster record unusable", KEYS.hint("d")),
        ("hint heard", None),
    ]


async def test_a_hint_that_can_be_read_again_is_warned_of_anew(autojump_clock: MockClock, stage: Stage) -> None:
    with capture_logs() as logs:
        for value in (b"garbage", Hint("other-1").encoded(), b"garbage"):
            stage.hints.take([event(KEYS.hint("b"), value)])
    assert len(logs) == 2


async def test_what_one_node_writes_the_other_understands(autojump_clock: MockClock, stage: Stage) -> None:
    other = Stage()
    stage.hints.announce_push(["https://git/a"], ["refs/heads/größe"])
    await trio.sleep(1)
    record = stage.store.entries[KEYS.hint("a")]
    other.hints = Hints(
        KEYS, "b", "you", other.sources, other.state, RecordWarnings(), lambda low, high: low, lambda: 0.0
    )
    other.hints.take([Event(record.key, record, record.modified)])
    assert other.sources.asked == [(("https://git/a",), ("refs/heads/größe",))]
    assert Put(record.key, record.value) == Put(KEYS.hint("a"), stage.written()[0].encoded())
