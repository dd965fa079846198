"""Threads where there may be none."""

from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd import threads


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
