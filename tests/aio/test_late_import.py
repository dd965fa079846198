"""Imports at the first use."""

import threading

import pytest
import trio

from vortexd.aio.late_import import LateImport


async def test_the_first_use_imports_in_a_thread_and_later_ones_do_not() -> None:
    threads: list[threading.Thread] = []

    def load() -> list[int]:
        threads.append(threading.current_thread())
        return [1]

    late = LateImport(load)
    assert (None, []) == (late.loaded, threads)
    first = await late.get()

    assert [1] == first
    assert first is await late.get() is late.loaded
    assert [True] == [each is not threading.main_thread() for each in threads]


async def test_uses_at_the_same_time_import_once() -> None:
    may_load, loads, found = threading.Event(), 0, list[object]()

    def load() -> object:
        nonlocal loads
        loads += 1
        may_load.wait(20)
        return object()

    late = LateImport(load)

    async def use() -> None:
        found.append(await late.get())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(use)
        await trio.lowlevel.checkpoint()
        may_load.set()

    assert 1 == loads
    assert 3 == len(found)
    assert 1 == len(set(map(id, found)))


@pytest.mark.parametrize("error", [OSError("too many open files"), ImportError("no such module")])
async def test_after_an_import_that_fails_the_next_use_tries_again(error: Exception) -> None:
    errors = [error]

    def load() -> str:
        if errors:
            raise errors.pop()
        return "loaded"

    late = LateImport(load)
    with pytest.raises(type(error), match=str(error)):
        await late.get()

    assert late.loaded is None
    assert "loaded" == await late.get()


async def test_a_use_after_the_import_does_not_yield() -> None:
    late = LateImport(lambda: 1)
    await late.get()
    with trio.CancelScope() as scope:
        scope.cancel()
        assert 1 == await late.get()

    assert not scope.cancelled_caught
