"""The loop: it applies versions to items when they are due, and reports each outcome to the server."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.agent.commands import Failure
from vortexd.agent.item import Outcome, State
from vortexd.agent.loop import Reconciler, Verdicts
from vortexd.agent.settings import HookSettings
from vortexd.client.replica import version_of

from .fakes import SUBJECT, FakeWatched


class FakeItem:
    """Records the versions that it applies, and refuses documents that contain its name."""

    def __init__(self, name: str, seconds: float = 0.0, **settings: float) -> None:
        self.name = name
        self.settings = HookSettings(**{"quiet_period": 1.0, "max_wait": 10.0, **settings})  # type: ignore[arg-type]  # durations only
        self.applied: list[tuple[float, dict[str, object]]] = []
        self._seconds = seconds

    async def apply(self, state: State) -> Outcome:
        self.applied.append((trio.current_time(), dict(state.document)))
        await trio.sleep(self._seconds)
        failure = Failure("check ended with status 1", "at line 3") if self.name in state.document else None
        return Outcome(state.version, failure)

    async def preview(self, state: State) -> str:
        if self.name in state.document:
            raise Failure("broken")
        return str(dict(state.document))

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.applied]


@pytest.fixture
def watched() -> FakeWatched:
    return FakeWatched({"n": 0})


def reconciler(watched: FakeWatched, *items: FakeItem, has_stderr: bool = True) -> Reconciler:
    return Reconciler(SUBJECT, items, watched.watch, lambda: 0.5, lambda name, outcome: None, has_stderr=has_stderr)


async def test_the_first_state_is_applied_at_once_and_a_change_when_it_is_quiet(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    item = FakeItem("a")
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(5)
    watched.change({"n": 1})
    await trio.sleep(0.5)
    watched.change({"n": 2})
    await trio.sleep(5)

    assert [(0.0, {"n": 0}), (6.5, {"n": 2})] == [(time, dict(document)) for time, document in item.applied]


async def test_changes_without_end_are_applied_after_the_longest_wait(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    item = FakeItem("a", max_wait=3.0)
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(1)
    for number in range(10):
        watched.change({"n": number})
        await trio.sleep(0.5)

    assert [0.0, 4.0] == item.times[:2]


async def test_splay_puts_it_off_by_chance_but_not_the_first_state(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    item = FakeItem("a", splay=60.0)
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(1)
    watched.change({"n": 1})
    await trio.sleep(100)

    assert [0.0, 32.0] == item.times


async def test_a_version_is_acknowledged_once_all_items_have_come_to_it(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    nursery.start_soon(reconciler(watched, FakeItem("a"), FakeItem("b", seconds=20.0)).run)
    await trio.sleep(10)
    assert [] == watched.acks
    await trio.sleep(20)

    assert [(version_of({"n": 0}), "applied", None)] == watched.acks


async def test_what_one_item_refuses_is_rejected_with_the_reason_and_does_not_stop_the_other(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    good = FakeItem("good")
    nursery.start_soon(reconciler(watched, FakeItem("bad"), good).run)
    await trio.sleep(1)
    version = watched.change({"bad": 1})
    await trio.sleep(5)

    assert (version, "rejected", "bad: check ended with status 1\nat line 3") == watched.acks[-1]
    assert {"bad": 1} == good.applied[-1][1]


async def test_stderr_is_left_out_where_settings_say_so(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    watched.document["bad"] = 1
    nursery.start_soon(reconciler(watched, FakeItem("bad"), has_stderr=False).run)
    await trio.sleep(1)

    assert "bad: check ended with status 1" == watched.acks[0][2]


async def test_what_changes_while_an_item_is_busy_is_applied_afterwards_and_acknowledged_as_what_it_is(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    item = FakeItem("a", seconds=30.0)
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(10)
    watched.change({"n": 1})
    newest = watched.change({"n": 2})
    await trio.sleep(100)

    assert [(version_of({"n": 0}), "applied", None), (newest, "applied", None)] == watched.acks
    assert [0.0, 30.0] == item.times


async def test_again_renders_at_once(autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery) -> None:
    item = FakeItem("a")
    one = reconciler(watched, item)
    nursery.start_soon(one.run)
    await trio.sleep(5)
    one.again()
    await wait_all_tasks_blocked()

    assert [0.0, 5.0] == item.times


async def test_a_configuration_that_ends_leaves_files_as_they_are(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    item = FakeItem("a")
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(5)
    watched.change({})
    watched.version = None
    await trio.sleep(20)

    assert [{"n": 0}] == [document for _, document in item.applied]


async def test_a_server_that_has_refused_is_asked_again(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    item = FakeItem("a")
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(5)
    watched.end()
    await trio.sleep(100)

    assert [0.0, 65.0] == item.times


async def test_what_is_known_of_a_server_that_refuses_is_worked_on(
    autojump_clock: MockClock, watched: FakeWatched, nursery: trio.Nursery
) -> None:
    watched.end()
    item = FakeItem("a", seconds=5.0)
    nursery.start_soon(reconciler(watched, item).run)
    await trio.sleep(10)

    assert [(version_of({"n": 0}), "applied", None)] == watched.acks


async def test_once_brings_all_items_to_the_state_and_says_so(autojump_clock: MockClock, watched: FakeWatched) -> None:
    watched.document["bad"] = 1
    found = await reconciler(watched, FakeItem("bad"), FakeItem("good")).once()

    assert ["bad", "good"] == [name for name, _ in found]
    assert [True, False] == [outcome.failure is not None for _, outcome in found]
    assert ["rejected"] == [status for _, status, _ in watched.acks]


async def test_a_preview_says_nothing_to_the_server(autojump_clock: MockClock, watched: FakeWatched) -> None:
    found = await reconciler(watched, FakeItem("a"), FakeItem("n")).preview()

    assert (("a", "{'n': 0}"), "n", []) == (found[0], found[1][0], watched.acks)
    assert isinstance(found[1][1], Failure)


def test_a_verdict_waits_for_all_items_to_have_the_same_version() -> None:
    verdicts = Verdicts(2)

    assert None is verdicts.note("a", Outcome("v1"))
    assert None is verdicts.note("b", Outcome("v2"))
    assert ("v2", "applied", None) == verdicts.note("a", Outcome("v2"))
