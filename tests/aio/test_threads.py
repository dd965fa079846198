"""Work in threads: errors of the function, a machine that can start no thread, and results that several callers share."""

import contextlib
import threading
import time
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.fakes import Rounds
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


async def test_a_free_token_is_taken_before_other_tasks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter, rounds = trio.CapacityLimiter(1), Rounds.counting()
    started: list[int] = []

    async def run_sync(function: Any, *arguments: Any, limiter: Any, **options: Any) -> Any:
        await limiter.acquire_on_behalf_of(arguments)
        started.append(rounds.count)
        limiter.release_on_behalf_of(arguments)
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    assert 7 == await threads.run_sync(max, 3, 7, limiter=limiter)

    assert [0] == started
    assert 0 == limiter.borrowed_tokens


@pytest.mark.parametrize("is_default", [False, True])
async def test_no_more_threads_run_than_there_are_tokens(is_default: bool) -> None:
    limiter = trio.to_thread.current_default_thread_limiter() if is_default else trio.CapacityLimiter(2)
    limiter.total_tokens = 2
    lock = threading.Lock()
    running, most = 0, []

    def work() -> None:
        nonlocal running
        with lock:
            running += 1
            most.append(running)
        time.sleep(0.002)
        with lock:
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(7):
            if is_default:
                nursery.start_soon(threads.run_sync, work)
            else:
                nursery.start_soon(partial(threads.run_sync, work, limiter=limiter))

    assert 7 == len(most)
    assert max(most) <= 2
    assert 0 == limiter.borrowed_tokens
