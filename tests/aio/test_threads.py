"""Work in threads: errors of the function, a machine that can start no thread, and results that several callers share."""

import contextlib
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.aio import threads


async def test_R17_without_threads_it_waits_until_there_is_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def run_sync(function: Any, *arguments: Any, **options: Any) -> Any:
        tried.append(trio.current_time())
        if len(tried) < 4:
            raise RuntimeError("can't start new thread")
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    with capture_logs() as logs:
        assert 7 == await threads.run_sync(max, 3, 7)

    assert 4 == len(tried)
    assert ["no thread can be started"] == [each["event"] for each in logs]


async def test_what_else_goes_wrong_is_the_callers() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await threads.run_sync(fail)


async def test_what_several_want_at_the_same_time_is_made_once() -> None:
    flight = threads.SingleFlight()
    made: list[object] = []
    given: list[object] = []

    async def make() -> object:
        await trio.testing.wait_all_tasks_blocked()
        made.append(object())
        return made[-1]

    async def want(work: str) -> None:
        given.append(await flight.shared(work, make))

    async with trio.open_nursery() as nursery:
        for work in ("a", "a", "b", "a"):
            nursery.start_soon(want, work)
    await want("a")

    assert 3 == len(made)
    assert 4 == len(given[:4])
    assert 2 == len(set(given[:4]))
    assert given[4] is made[2]


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_if_one_caller_does_not_make_the_value_the_next_waiting_one_does(how: str) -> None:
    flight = threads.SingleFlight()
    made: list[int] = []
    given: list[int] = []
    cancelled = trio.CancelScope()
    others_wait = trio.Event()

    async def no() -> int:
        await others_wait.wait()
        raise ValueError

    async def yes() -> int:
        await trio.testing.wait_all_tasks_blocked()
        made.append(7)
        return 7

    async def first() -> None:
        with cancelled, contextlib.suppress(ValueError):
            await flight.shared("a", no)

    async def then() -> None:
        given.append(await flight.shared("a", yes))

    async with trio.open_nursery() as nursery:
        for caller in (first, then, then):
            nursery.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
        if how == "fails":
            others_wait.set()
        else:
            cancelled.cancel()

    assert ([7], [7, 7]) == (made, given)
    # The work is free again.
    await then()
    assert [7, 7] == made


async def test_an_error_reaches_only_the_caller_that_made_the_value() -> None:
    flight = threads.SingleFlight()

    async def fail() -> int:
        raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(ValueError, match="^broken$"):
            await flight.shared("a", fail)
