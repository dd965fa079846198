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
async def test_where_one_does_not_make_it_the_next_does(how: str) -> None:
    flight = threads.SingleFlight()
    given: list[int] = []
    cancelled = trio.CancelScope()

    async def no() -> int:
        await trio.testing.wait_all_tasks_blocked()
        if how == "fails":
            raise ValueError
        cancelled.cancel()
        await trio.sleep_forever()
        raise AssertionError

    async def yes() -> int:
        return 7

    async def first() -> None:
        with cancelled, contextlib.suppress(ValueError):
            await flight.shared("a", no)

    async def then() -> None:
        given.append(await flight.shared("a", yes))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.start_soon(then)
        nursery.start_soon(then)

    assert [7, 7] == given
