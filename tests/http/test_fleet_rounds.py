"""Rounds of questions to all nodes: which requests share one, and which begin another."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.http import fleet_rounds
from vortexd.http.fleet_rounds import FleetRounds


class Nodes:
    """Counts the rounds, and answers when it may."""

    def __init__(self) -> None:
        self.rounds = FleetRounds[str]()
        self.asked: list[str] = []
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.error: Exception | None = None

    def asks(self, question: str) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            self.asked.append(question)
            number = len(self.asked)
            await self.may_answer.wait()
            if self.error is not None:
                raise self.error
            return f"{question}{number}"

        return ask

    async def ask(self, question: str = "q") -> str:
        return await self.rounds.shared(question, self.asks(question))


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


async def test_requests_at_the_same_time_share_one_round(autojump_clock: MockClock, nodes: Nodes) -> None:
    nodes.may_answer = trio.Event()
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await nodes.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert (["q"], []) == (nodes.asked, answers)
        nodes.may_answer.set()

    assert ["q1"] * 50 == answers
    assert ["q"] == nodes.asked


async def test_a_round_is_shared_for_a_second_from_its_begin(mock_clock: MockClock, nodes: Nodes) -> None:
    assert "q1" == await nodes.ask()
    mock_clock.jump(0.99)
    assert "q1" == await nodes.ask()
    mock_clock.jump(0.01)
    assert "q2" == await nodes.ask()
    mock_clock.jump(0.99)
    assert "q2" == await nodes.ask()
    # What is too old is forgotten with the next question, whatever it asks.
    mock_clock.jump(1)
    assert "r3" == await nodes.ask("r")
    assert 1 == len(nodes.rounds)


async def test_a_round_that_takes_long_is_shared_no_longer(autojump_clock: MockClock, nodes: Nodes) -> None:
    nodes.may_answer = trio.Event()
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await nodes.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)
            await trio.sleep(0.5)
        nodes.may_answer.set()

    assert ["q1", "q1", "q2", "q2"] == sorted(answers)
    # The end of the older one doesn't end the newer one.
    assert "q3" == await nodes.ask()


async def test_an_older_round_that_ends_late_leaves_the_newer_one(autojump_clock: MockClock, nodes: Nodes) -> None:
    nodes.may_answer = trio.Event()
    first = trio.CancelScope()

    async def old() -> None:
        with first:
            await nodes.ask()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(old)
        await trio.sleep(1.5)
        nursery.start_soon(nodes.ask)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        nodes.may_answer.set()
    assert ["q", "q"] == nodes.asked
    assert "q2" == await nodes.ask()


async def test_other_questions_have_their_own_rounds(autojump_clock: MockClock, nodes: Nodes) -> None:
    assert ["a1", "b2", "a1"] == [await nodes.ask(each) for each in "aba"]


async def test_if_the_caller_that_asks_is_cancelled_the_next_one_asks(autojump_clock: MockClock, nodes: Nodes) -> None:
    nodes.may_answer = trio.Event()
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await nodes.ask())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as leaving:
                leaving.start_soon(nodes.ask)
                await wait_all_tasks_blocked()
                nursery.start_soon(ask)
                nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert ["q", "q"] == nodes.asked
        nodes.may_answer.set()

    assert ["q2", "q2"] == answers


async def test_an_error_reaches_one_caller_and_is_not_kept(autojump_clock: MockClock, nodes: Nodes) -> None:
    nodes.error = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await nodes.ask()
    assert 0 == len(nodes.rounds)
    nodes.error = None
    assert "q2" == await nodes.ask()


async def test_the_number_of_rounds_that_are_kept_is_bounded_and_the_oldest_is_forgotten(
    autojump_clock: MockClock, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet_rounds._MOST == 16
    monkeypatch.setattr(fleet_rounds, "_MOST", 2)
    assert ["a1", "b2", "a1", "c3", "b2", "c3", "a4"] == [await nodes.ask(each) for each in "abacbca"]
    assert 2 == len(nodes.rounds)


async def test_a_round_that_is_forgotten_while_it_is_under_way_still_answers(
    autojump_clock: MockClock, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_rounds, "_MOST", 1)
    nodes.may_answer = trio.Event()
    answers: list[str] = []

    async def ask(question: str) -> None:
        answers.append(await nodes.ask(question))

    async with trio.open_nursery() as nursery:
        for each in "aab":
            nursery.start_soon(ask, each)
            await wait_all_tasks_blocked()
        nodes.may_answer.set()

    assert ["a1", "a1", "b2"] == sorted(answers)
