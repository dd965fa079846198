"""Turns at the event loop: the number of pieces in one round, their order, and that the end of one task doesn't stop the others."""

from collections.abc import Iterator

import pytest
import trio

from tests.fakes import Rounds
from vortexd.aio.fair_queue import FairQueue


@pytest.fixture
async def rounds() -> Rounds:
    return Rounds.counting()


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_round_of_the_loop_does_as_many_pieces_as_it_may(rounds: Rounds, at_once: int) -> None:
    turns = FairQueue(at_once)
    done: list[int] = []

    async def work() -> None:
        def steps() -> Iterator[None]:
            for _ in range(5):
                done.append(rounds.count)
                yield

        await turns.work(steps())

    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(work)
    sizes = [done.count(number) for number in set(done)]

    assert 45 == len(done)
    assert at_once == max(sizes)


async def test_a_client_with_much_work_waits_behind_all_others_before_each_piece() -> None:
    turns = FairQueue()
    done: list[str] = []
    ten_done = trio.Event()

    def steps(name: str, count: int) -> Iterator[None]:
        for _ in range(count):
            done.append(name)
            if len(done) == 10:
                ten_done.set()
            yield

    async with trio.open_nursery() as nursery:
        for name, count in (("much", 50), ("little", 2), ("as little", 2)):
            nursery.start_soon(turns.work, steps(name, count))
        await ten_done.wait()
        await turns.take()
        before = len(done)

    assert [{"much", "little", "as little"}] * 2 == [set(done[start : start + 3]) for start in (0, 3)]
    assert 10 <= before <= 12
    assert 54 == len(done)


async def test_work_without_steps_takes_one_turn(rounds: Rounds) -> None:
    turns = FairQueue()
    began = rounds.count
    await turns.work(iter(()))
    one = rounds.count - began
    await turns.take()

    assert 1 == one == rounds.count - began - one


async def test_the_last_turn_is_the_callers_until_it_waits_again(rounds: Rounds) -> None:
    turns = FairQueue()
    ends: list[int] = []

    async def work() -> None:
        await turns.work(iter([None]))
        ends.append(rounds.count)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(work)

    assert 5 == len(set(ends))


async def test_who_is_cancelled_while_it_waits_takes_no_turn() -> None:
    turns = FairQueue()
    done: list[int] = []

    def steps(number: int) -> Iterator[None]:
        for _ in range(3):
            done.append(number)
            yield

    async with trio.open_nursery() as nursery:
        scopes = []
        for number in range(3):

            async def work(number: int = number, scope: trio.CancelScope | None = None) -> None:
                assert scope is not None
                with scope:
                    await turns.work(steps(number))

            scopes.append(trio.CancelScope())
            nursery.start_soon(work, number, scopes[-1])
        scopes[1].cancel()

    assert sorted([0, 2] * 3) == sorted(done)


async def test_steps_that_fail_leave_the_turns_to_others() -> None:
    turns = FairQueue()

    def steps() -> Iterator[None]:
        yield
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await turns.work(steps())
    with trio.fail_after(1):
        await turns.take()
