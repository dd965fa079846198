"""Acts: one after the other, with a limit for those that wait and a deadline for each caller. The keepers have more."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import RemoteError
from vortexd.shelf.acts import Acts


class Doing:
    """Acts with a task that does them once it is woken."""

    def __init__(self, most: int = 2) -> None:
        self.woken = 0
        self.done: list[str] = []
        self.may_go_on = trio.Event()
        self.acts = Acts[str]("pins", 5.0, most, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def do(self, name: str) -> str:
        await self.may_go_on.wait()
        self.done.append(name)
        return name.upper()

    async def ask(self, name: str, found: list[object]) -> None:
        try:
            found.append(await self.acts.done(lambda: self.do(name)))
        except RemoteError as error:
            found.append((error.status, error.reason))


async def test_acts_are_done_in_their_order_and_each_caller_gets_its_result() -> None:
    doing, found = Doing(), list[object]()
    doing.may_go_on.set()
    async with trio.open_nursery() as nursery:
        for name in ("a", "b"):
            nursery.start_soon(doing.ask, name, found)
            await wait_all_tasks_blocked()
        await doing.acts.do_all()

    assert (doing.done, found, doing.woken) == (["a", "b"], ["A", "B"], 2)


async def test_an_error_of_an_act_reaches_its_caller_alone() -> None:
    doing, found = Doing(), list[object]()
    doing.may_go_on.set()

    async def refused() -> str:
        raise RemoteError("no", 409)

    async def ask() -> None:
        with pytest.raises(RemoteError, match="no"):
            await doing.acts.done(refused)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        nursery.start_soon(doing.ask, "b", found)
        await wait_all_tasks_blocked()
        await doing.acts.do_all()

    assert found == ["B"]


async def test_only_so_many_acts_wait() -> None:
    doing, found = Doing(most=1), list[object]()
    doing.may_go_on.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(doing.ask, "a", found)
        await wait_all_tasks_blocked()
        await doing.ask("b", found)
        await doing.acts.do_all()

    assert found == [(503, "too many changes of pins wait; try again"), "A"]


async def test_an_act_that_has_not_begun_in_time_is_never_done(autojump_clock: MockClock) -> None:
    doing, found = Doing(), list[object]()
    await doing.ask("a", found)
    doing.may_go_on.set()
    await doing.acts.do_all()

    assert found == [(503, "the change isn't done after 5 s; nothing has changed")]
    assert doing.done == []


async def test_an_act_that_has_begun_is_done_as_a_whole(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    doing, found = Doing(), list[object]()
    nursery.start_soon(doing.ask, "a", found)
    await wait_all_tasks_blocked()
    nursery.start_soon(doing.acts.do_all)
    await trio.sleep(6)
    doing.may_go_on.set()
    await wait_all_tasks_blocked()

    assert found == [(503, "the change isn't done after 5 s; it may still be done; see the list of pins")]
    assert doing.done == ["a"]


async def test_an_act_whose_caller_is_cancelled_is_given_up(nursery: trio.Nursery) -> None:
    doing = Doing()
    with trio.CancelScope() as scope:
        scope.cancel()
        await doing.ask("a", [])
    doing.may_go_on.set()
    await doing.acts.do_all()

    assert doing.done == []
