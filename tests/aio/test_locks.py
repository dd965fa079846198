"""Locks that are taken at once if they are free."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes import Rounds
from vortexd.aio.locks import Held


async def test_a_free_lock_is_taken_and_released_without_a_pass_of_the_loop() -> None:
    lock, rounds = trio.Lock(), Rounds.counting()
    async with Held(lock):
        assert lock.locked()

    assert not lock.locked()
    assert 0 == rounds.count


async def test_waiting_tasks_get_the_lock_in_their_order(nursery: trio.Nursery) -> None:
    lock = trio.Lock()
    order: list[int] = []

    async def take(number: int) -> None:
        async with Held(lock):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with Held(lock):
        for number in range(3):
            nursery.start_soon(take, number)
            await wait_all_tasks_blocked()
        assert [] == order
    await wait_all_tasks_blocked()

    assert [0, 1, 2] == order


async def test_an_error_releases_the_lock_and_is_not_hidden() -> None:
    lock = trio.Lock()
    with pytest.raises(ValueError, match="a bug"):
        async with Held(lock):
            raise ValueError("a bug")

    assert not lock.locked()


async def test_a_wait_that_is_cancelled_takes_nothing() -> None:
    lock = trio.Lock()
    taken: list[bool] = []

    async def take() -> None:
        async with Held(lock):
            taken.append(True)

    async with Held(lock), trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert ([], False) == (taken, lock.locked())
