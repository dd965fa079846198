"""Questions between workers, over a link in memory. The test acts as the supervisor."""

import signal
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.process.peers import ANSWER_TIMEOUT, Answers, Peers, WorkerSlot
from vortexd.process.peers.link import Link
from vortexd.process.peers.wire import MOST, Frame


class Supervisor:
    """The other end of a worker's link."""

    def __init__(self, ours: socket.socket) -> None:
        self.link = Link(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self._heard, self._frames = trio.open_memory_channel[Frame](100)

    def hear(self, frame: Frame) -> None:
        self._heard.send_nowait(frame)

    async def next(self) -> Frame:
        with trio.fail_after(5):
            return await self._frames.receive()


@pytest.fixture
async def ends(nursery: trio.Nursery) -> AsyncIterator[tuple[Peers, Supervisor]]:
    ours, theirs = socket.socketpair()
    peers, supervisor = Peers(WorkerSlot(1, 3, theirs, 6.0)), Supervisor(ours)
    nursery.start_soon(peers.run)
    nursery.start_soon(supervisor.link.run, supervisor.hear)
    yield peers, supervisor
    nursery.cancel_scope.cancel()


async def test_who_is_alone_asks_nobody_and_waits_for_nobody(autojump_clock: MockClock) -> None:
    alone = Peers()
    alone.tell("anything")

    assert Answers() == await alone.ask("anything")
    assert not alone.are_there
    assert 0.0 == trio.current_time()


async def test_answers_are_those_of_everybody_asked(ends: tuple[Peers, Supervisor], nursery: trio.Nursery) -> None:
    peers, supervisor = ends
    give, take = trio.open_memory_channel[Answers](1)

    async def ask() -> None:
        give.send_nowait(await peers.ask("metrics", "all"))

    nursery.start_soon(ask)
    asked = await supervisor.next()
    supervisor.link.say(Frame("answer", asked.id, "0", "zero"))
    supervisor.link.say(Frame("asked", asked.id, text="2"))
    supervisor.link.say(Frame("answer", asked.id, "2", "two"))
    with trio.fail_after(5):
        found = await take.receive()

    assert ("ask", "metrics", "all") == (asked.kind, asked.name, asked.text)
    assert Answers({"0": "zero", "2": "two"}) == found


async def test_who_is_stuck_is_missing_and_holds_nobody_up(
    ends: tuple[Peers, Supervisor], nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    peers, supervisor = ends
    autojump_clock.autojump_threshold = 0.05
    began = trio.current_time()

    async def answer_late() -> None:
        asked = await supervisor.next()
        supervisor.link.say(Frame("asked", asked.id, text="2"))
        supervisor.link.say(Frame("answer", asked.id, "0", "zero"))
        await trio.sleep(ANSWER_TIMEOUT * 2)
        supervisor.link.say(Frame("answer", asked.id, "2", "too late"))

    nursery.start_soon(answer_late)
    found = await peers.ask("metrics")

    assert Answers({"0": "zero"}, missing=1) == found
    assert ANSWER_TIMEOUT == trio.current_time() - began
    await trio.sleep(ANSWER_TIMEOUT * 2)
    assert Answers({}, missing=2) == await peers.ask("metrics")


async def test_a_question_is_answered_and_one_of_another_version_with_nothing(ends: tuple[Peers, Supervisor]) -> None:
    peers, supervisor = ends
    peers.answer("double", lambda text: text * 2)
    supervisor.link.say(Frame("ask", "0:7", "double", "ab"))
    supervisor.link.say(Frame("ask", "0:8", "unheard of", "ab"))

    assert [Frame("answer", "0:7", "", "abab"), Frame("answer", "0:8", "", "")] == [
        await supervisor.next(),
        await supervisor.next(),
    ]


async def test_each_stop_is_one_signal_and_so_is_the_end_of_the_supervisor(ends: tuple[Peers, Supervisor]) -> None:
    peers, supervisor = ends
    supervisor.link.say(Frame("stop"))

    assert signal.SIGTERM == await anext(peers.stops)

    await supervisor.link.aclose()

    assert signal.SIGTERM == await anext(peers.stops)


async def test_what_systemd_would_be_told_the_supervisor_is_told(ends: tuple[Peers, Supervisor]) -> None:
    peers, supervisor = ends
    assert peers.notifier is not None
    peers.notifier.ready("serving")
    peers.notifier.status("2 connections")

    assert 6.0 == peers.notifier.watchdog
    assert "READY=1\nSTATUS=serving" == (await supervisor.next()).text
    assert "WATCHDOG=1\nSTATUS=2 connections" == (await supervisor.next()).text


async def test_a_frame_that_the_other_end_would_refuse_is_not_sent(ends: tuple[Peers, Supervisor]) -> None:
    peers, supervisor = ends
    peers.answer("much", lambda _: "x" * (MOST + 1))
    peers.answer("little", lambda _: "x")
    supervisor.link.say(Frame("ask", "2:0", "much"))
    supervisor.link.say(Frame("ask", "2:1", "little"))

    assert Frame("answer", "2:1", "", "x") == await supervisor.next()
