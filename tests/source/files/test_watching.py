"""The reading of events, and the log of directories that can't be watched. The test plays the watches."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import Rounds
from vortexd.source.files import watching as module
from vortexd.source.files.directory import Identity
from vortexd.source.files.watches import Followed, Place
from vortexd.source.files.watching import Watching
from vortexd.source.files.writes import Event, Kind

WANTED = {(1, 1): Place("/x")}


class FakeWatches:
    """Events of a byte each. What `follow` answers is given; None is that it never ends.

    Attributes:
        taken: When events were taken.
        endless: As soon as an event is taken, there is another one.
    """

    def __init__(self) -> None:
        self.answers: list[Followed] = []
        self.left: list[Event] = []
        self.taken: list[float] = []
        self.endless = False
        self.announced = 0
        self.closed = 0
        self._told = trio.Event()

    def tell(self, *events: Event) -> None:
        self.left += events
        self._told.set()

    async def wait(self) -> None:
        await self._told.wait()

    def waiting(self) -> int:
        return len(self.left)

    def take(self) -> tuple[list[Event], int]:
        self.taken.append(trio.current_time())
        if not self.left:
            return [], 0
        event = self.left.pop(0)
        if self.endless:
            self.left.append(event)
        if not self.left:
            self._told = trio.Event()
        return [event], 1

    def follow(self, wanted: Mapping[Identity, Place]) -> Followed:
        return self.answers.pop(0)

    def follows(self, wanted: Mapping[Identity, Place]) -> bool:
        return wanted == WANTED

    def announce(self) -> None:
        self.announced += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> FakeWatches:
    async def inline(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    watches = FakeWatches()
    monkeypatch.setattr(module, "Watches", lambda: watches)
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    return watches


def event(name: str = "shop.yml", kind: Kind = Kind.CLOSED) -> Event:
    return Event(kind, (1, 1), name)


async def test_events_are_handed_over_in_their_order_with_the_time(
    watches: FakeWatches, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    heard: list[tuple[Event, float]] = []
    watching = Watching("files:/x", 5.0, lambda *each: heard.append(each))
    nursery.start_soon(watching.run)
    await trio.sleep(1)
    watches.tell(event("a"), event("b"))
    await trio.sleep(1)
    nursery.cancel_scope.cancel()

    assert [(event("a"), 1.0), (event("b"), 1.0)] == heard


async def test_while_events_go_on_they_are_taken_now_and_then(
    watches: FakeWatches, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    watches.endless = True
    watching = Watching("files:/x", 5.0, lambda *_: None)
    nursery.start_soon(watching.run)
    watches.tell(event(), event())
    await trio.sleep(0.0024)
    nursery.cancel_scope.cancel()

    assert [0.0, 0.0, 0.001, 0.001, 0.002, 0.002] == pytest.approx(watches.taken)


async def test_after_a_pause_the_first_event_is_taken_at_once_and_nothing_wakes_without_events(
    watches: FakeWatches, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    waits: list[float] = []
    wait = watches.wait

    async def noting() -> None:
        waits.append(trio.current_time())
        await wait()

    watches.wait = noting  # type: ignore[method-assign]
    nursery.start_soon(Watching("files:/x", 5.0, lambda *_: None).run)
    for _ in range(2):
        watches.tell(event())
        await trio.sleep(1)
    nursery.cancel_scope.cancel()

    assert [0.0, 1.0] == watches.taken
    assert [0.0, 0.0, 1.0] == waits


async def test_other_tasks_run_between_groups_of_events_but_not_after_the_last(watches: FakeWatches) -> None:
    rounds = Rounds.counting()
    at: list[int] = []
    watches.tell(event(), event(), event())
    await Watching("files:/x", 5.0, lambda *_: at.append(rounds.count)).take_all()

    assert [0, 1, 2] == at
    assert 2 == rounds.count


async def test_all_events_of_the_moment_are_taken_and_no_later_ones(
    watches: FakeWatches, autojump_clock: MockClock
) -> None:
    watches.endless = True
    watches.tell(event(), event(), event())
    await Watching("files:/x", 5.0, lambda *_: None).take_all()

    assert 3 == len(watches.taken)


async def test_events_that_another_task_has_taken_meanwhile_are_not_waited_for(
    watches: FakeWatches, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "waiting", lambda: 100)
    await Watching("files:/x", 5.0, lambda *_: None).take_all()

    assert 1 == len(watches.taken)


async def test_no_event_is_taken_while_watches_are_added(
    watches: FakeWatches, autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could say which directory the events of a new watch are about."""

    async def slowly(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
        await trio.sleep(2)
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", slowly)
    watches.answers = [Followed(True, True)]
    watching = Watching("files:/x", 5.0, lambda *_: None)
    nursery.start_soon(watching.follow, WANTED)
    await wait_all_tasks_blocked()
    watches.tell(event())
    await watching.take_all()

    assert [2.0] == watches.taken


async def test_what_becomes_of_the_directories_is_told(watches: FakeWatches, autojump_clock: MockClock) -> None:
    watching = Watching("files:/x", 5.0, lambda *_: None)
    seen: list[tuple[bool | None, bool]] = [(None, watching.is_complete)]
    for watches.answers in ([Followed(True, True)], [Followed(False, False)], [Followed(False, True)]):
        seen.append((await watching.follow(WANTED), watching.is_complete))
    watches.answers = [Followed(True, False)]
    await watching.follow(WANTED)
    seen.append((await watching.follow(None), watching.is_complete))

    assert [(None, False), (True, True), (False, False), (False, True), (False, True)] == seen
    assert 4 == watches.announced
    assert [True, False] == [watching.follows(WANTED), watching.follows({})]


async def test_trouble_is_logged_once_and_again_after_it_was_over(
    watches: FakeWatches, autojump_clock: MockClock
) -> None:
    watching = Watching("files:/x", 5.0, lambda *_: None)
    with capture_logs() as logs:
        for trouble in ("one", "one", "two", None, "two"):
            watches.answers = [Followed(False, trouble is None, trouble)]
            await watching.follow(WANTED)
        await watching.follow(None)
        watches.answers = [Followed(False, False, "two")]
        await watching.follow(WANTED)

    assert ["one", "two", "two", "two"] == [entry["reason"] for entry in logs]
    assert {
        "event": "directory not watched",
        "log_level": "info",
        "source": "files:/x",
        "reason": "one",
        "consequence": "the periodic scan finds its changes",
    } == logs[0]


async def test_lost_events_are_logged_once_while_it_lasts(watches: FakeWatches, autojump_clock: MockClock) -> None:
    heard = []
    watching = Watching("files:/x", 5.0, lambda each, _: heard.append(each.kind))
    logged = []
    with capture_logs() as logs:
        for pause in (0.0, 4.0, 5.0, 5.01, 0.0):
            await trio.sleep(pause)
            watches.tell(Event(Kind.LOST))
            await watching.take_all()
            logged.append(len(logs))

    assert [1, 1, 1, 2, 2] == logged
    assert [Kind.LOST] * 5 == heard
    assert {
        "event": "directory events lost",
        "log_level": "info",
        "source": "files:/x",
        "consequence": "the periodic scan finds its changes",
    } == logs[0]


async def test_closing_it_ends_the_watches(watches: FakeWatches) -> None:
    Watching("files:/x", 5.0, lambda *_: None).close()

    assert 1 == watches.closed
