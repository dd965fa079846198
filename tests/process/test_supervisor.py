"""The supervisor's handling of time, signals and messages, without its processes."""

import itertools
import signal
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NoReturn, cast

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.net.binding import Bound
from vortexd.process.peers import SUPERVISOR
from vortexd.process.peers.link import Link
from vortexd.process.peers.wire import Frame
from vortexd.process.supervisor import Supervisor, _Worker
from vortexd.process.systemd import Notifier
from vortexd.settings.root import Settings


class Process:
    def __init__(self) -> None:
        self.is_killed = False
        self.signals: list[int] = []

    def kill(self) -> None:
        self.is_killed = True

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class Said:
    """A link that keeps the frames that are said."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def say(self, frame: Frame) -> bool:
        self.frames.append(frame)
        return True


def running(number: int, heard: float = 0.0, *, is_ready: bool = True) -> tuple[_Worker, Process, Said]:
    process, link = Process(), Said()
    worker = _Worker(number, cast(trio.Process, process), cast(Link, link), heard, is_ready=is_ready)
    return worker, process, link


def watching(nursery: trio.Nursery) -> Process:
    supervisor = Supervisor(Settings(), [], lambda _: None, Notifier({}, 0), Settings)
    worker, process, _ = running(0, trio.current_time())
    supervisor._workers[0] = worker
    nursery.start_soon(supervisor._watch)
    return process


async def test_L09_who_is_silent_for_too_long_is_killed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    process = watching(nursery)
    await trio.sleep(29.5)
    assert not process.is_killed

    await trio.sleep(2)
    assert process.is_killed


async def test_L09_nobody_is_killed_for_the_time_in_which_the_supervisor_was_stopped(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    process = watching(nursery)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(3):
        mock_clock.jump(600)
        await trio.testing.wait_all_tasks_blocked()

    assert not process.is_killed


class Waiting:
    """Replaces the starter: its fork server doesn't answer."""

    is_cancelled = False

    async def start(self, values: object, listening: object) -> NoReturn:
        try:
            await trio.sleep_forever()
        finally:
            self.is_cancelled = True


async def test_a_worker_that_has_not_started_when_the_supervisor_stops_is_not_awaited(nursery: trio.Nursery) -> None:
    supervisor = Supervisor(Settings(), [], lambda _: None, Notifier({}, 0), Settings)
    supervisor._starter = starter = Waiting()  # type: ignore[assignment]
    ended = trio.Event()

    async def keep() -> None:
        await supervisor._keep_running(0, Bound([], is_ours=True))
        ended.set()

    nursery.start_soon(keep)
    await trio.testing.wait_all_tasks_blocked()
    assert not ended.is_set()

    supervisor._stopping.set()
    await ended.wait()
    assert starter.is_cancelled
    assert {} == supervisor._workers


class Ready(Notifier):
    """Notes the status of each READY=1, and the other statuses."""

    def __init__(self) -> None:
        super().__init__({}, 0)
        self.statuses: list[str] = []
        self.lines: list[str] = []
        self.stored: list[int] = []
        self.is_stopping = False

    def ready(self, status: str) -> None:
        self.statuses.append(status)

    def status(self, text: str) -> None:
        self.lines.append(text)

    def store(self, listening: Iterable[socket.socket]) -> None:
        self.stored += [each.fileno() for each in listening]

    def stopping(self) -> None:
        self.is_stopping = True


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (("reloaded", "reloaded"), "reloaded"),
        (("restart needed for server.bind", "reloaded"), "restart needed for server.bind"),
        (("reloaded", "reload refused"), "reload refused"),
    ],
)
async def test_the_outcome_of_a_reload_is_known_whatever_a_worker_reports_afterwards(
    outcomes: tuple[str, str], expected: str
) -> None:
    ready = Ready()
    supervisor = Supervisor(Settings(), [], lambda _: None, ready, Settings)
    workers = [running(number)[0] for number in range(2)]
    supervisor._workers = dict(enumerate(workers))

    async def once() -> AsyncIterator[int]:
        yield signal.SIGHUP

    await supervisor._reload(once())
    for worker, outcome in zip(workers, outcomes, strict=True):
        supervisor._receive(worker, Frame("notify", text=f"READY=1\nSTATUS={outcome}"))
        supervisor._receive(worker, Frame("notify", text="WATCHDOG=1\nSTATUS=3 WebSocket connections"))

    assert [expected] == ready.statuses


# Messages of workers.


def supervising(*ready: bool, workers: int = 3) -> tuple[Supervisor, Ready, list[tuple[_Worker, Process, Said]]]:
    """Return a supervisor and its running workers, each of which is ready or not."""
    notifier = Ready()
    settings = Settings(server=attrs.evolve(Settings().server, workers=workers, drain_timeout=5.0))
    supervisor = Supervisor(settings, [], lambda _: None, notifier, Settings)
    found = [running(number, is_ready=is_ready) for number, is_ready in enumerate(ready)]
    supervisor._workers = {worker.number: worker for worker, _, _ in found}
    return supervisor, notifier, found


def test_a_question_goes_to_the_other_workers_that_are_ready() -> None:
    supervisor, _, workers = supervising(True, True, False)
    supervisor._receive(workers[0][0], Frame("ask", "7", "fleet", "all"))

    assert [[Frame("asked", "7", text="1")], [Frame("ask", "0:7", "fleet", "all")], []] == [
        said.frames for _, _, said in workers
    ]


def test_the_supervisor_answers_a_question_for_metrics_too() -> None:
    supervisor, _, workers = supervising(True, True)
    supervisor._receive(workers[1][0], Frame("ask", "7", "metrics"))

    asked, answer = workers[1][2].frames
    assert Frame("asked", "7", text="2") == asked
    assert ("answer", "7", SUPERVISOR) == (answer.kind, answer.id, answer.name)
    assert 'vortexd_worker_restarts_total{worker="2"} 0.0' in answer.text


@pytest.mark.parametrize(("id", "answers"), [("0:7", [Frame("answer", "7", "1", "yes")]), ("5:7", []), ("0:", [])])
def test_an_answer_goes_to_the_worker_that_asked(id: str, answers: list[Frame]) -> None:
    supervisor, _, workers = supervising(True, True)
    supervisor._receive(workers[1][0], Frame("answer", id, "", "yes"))

    assert [answers, []] == [said.frames for _, _, said in workers]


async def test_a_worker_that_is_ready_after_a_reload_reloads_too() -> None:
    supervisor, _, workers = supervising(True, False)
    supervisor._has_reloaded = True
    for worker, _, _ in workers:
        supervisor._receive(worker, Frame("notify", text="READY=1\nSTATUS=serving"))

    assert [[], [signal.SIGHUP]] == [process.signals for _, process, _ in workers]
    assert all(worker.is_ready for worker, _, _ in workers)


async def test_a_message_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    supervisor, _, [(worker, process, _)] = supervising(True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor._watch)
        await trio.sleep(25)
        supervisor._receive(worker, Frame("notify", text="WATCHDOG=1"))
        await trio.sleep(25)
        assert not process.is_killed
        nursery.cancel_scope.cancel()


async def test_the_state_of_all_workers_is_reported_every_ten_seconds(autojump_clock: MockClock) -> None:
    supervisor, notifier, workers = supervising(True, True, False)
    workers[1][0].status = "3 connections"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor._watch)
        await trio.sleep(5.5)
        assert [] == notifier.lines
        supervisor._is_announced = True
        await trio.sleep(20)
        nursery.cancel_scope.cancel()

    assert ["2 of 3 workers: 0: starting; 1: 3 connections"] * 2 == notifier.lines


async def test_a_worker_that_is_not_ready_may_be_silent(autojump_clock: MockClock) -> None:
    supervisor, _, workers = supervising(True, False)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor._watch)
            await trio.sleep(31.5)
            nursery.cancel_scope.cancel()

    assert [True, False] == [process.is_killed for _, process, _ in workers]
    assert {
        "event": "worker killed",
        "log_level": "error",
        "worker": 0,
        "reason": "silent for 30 s",
    } == logs[0]


# Restarts.


async def kept(supervisor: Supervisor, *lives: tuple[float, int]) -> list[float]:
    """Keep worker 0 running through lives of so many seconds and a status. Return when each began."""
    began: list[float] = []
    left = list(lives)

    async def live(number: int, bound: Bound) -> int:
        began.append(trio.current_time() - start)
        seconds, status = left.pop(0)
        await trio.sleep(seconds)
        if not left:
            supervisor._stopping.set()
        return status

    supervisor._run_worker = live  # type: ignore[method-assign]  # the seam to the processes
    start = trio.current_time()
    await supervisor._keep_running(0, cast(Bound, None))
    return began


async def test_a_worker_that_ends_again_and_again_is_started_after_longer_pauses(autojump_clock: MockClock) -> None:
    supervisor, _, _ = supervising()
    supervisor._is_announced = True
    with capture_logs() as logs:
        began = await kept(supervisor, *[(1.0, 9)] * 8)

    pauses = [0.0, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]
    assert pauses == [later - earlier - 1.0 for earlier, later in itertools.pairwise(began)]
    assert pauses == [each["started_again_in"] for each in logs]
    assert {("worker ended", "error", 0, 9)} == {
        (each["event"], each["log_level"], each["worker"], each["status"]) for each in logs
    }
    assert 'vortexd_worker_restarts_total{worker="0"} 7.0' in supervisor._metrics.render().decode()


@pytest.mark.parametrize(("lived", "pause"), [(59.5, 1.0), (60.0, 0.0)])
async def test_a_worker_that_has_lived_for_a_minute_is_started_at_once(
    lived: float, pause: float, autojump_clock: MockClock
) -> None:
    supervisor, _, _ = supervising()
    supervisor._is_announced = True
    began = await kept(supervisor, (1.0, 9), (1.0, 9), (lived, 9), (1.0, 9))

    assert pause == began[3] - began[2] - lived


@pytest.mark.parametrize(("status", "expected"), [(0, 1), (1, 1), (2, 2), (3, 1), (-9, 1)])
async def test_a_worker_that_ends_before_all_are_ready_ends_the_supervisor(
    status: int, expected: int, autojump_clock: MockClock
) -> None:
    supervisor, _, _ = supervising()
    assert [0.0] == await kept(supervisor, (1.0, status), (1.0, 0))

    assert (True, expected) == (supervisor._stopping.is_set(), supervisor._status)


async def test_no_worker_is_started_while_the_supervisor_stops(autojump_clock: MockClock) -> None:
    supervisor, _, _ = supervising()
    supervisor._is_announced = True
    start = trio.current_time()
    # The fourth life ends after 5.5 s. The stop comes during the pause of 2 s that follows.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept, supervisor, *[(1.0, 9)] * 9)
        await trio.sleep(6.0)
        supervisor._stopping.set()

    assert 6.0 == trio.current_time() - start


# Signals and the end.


class Ports:
    """The bound sockets, as far as the announcement and the stop use them."""

    def __init__(self) -> None:
        self.is_closed = False
        self.duplicate = socket.socket()

    def urls(self, scheme: str) -> list[str]:
        return [f"{scheme}://127.0.0.1:1"]

    def storable(self) -> list[socket.socket]:
        return [self.duplicate]

    def close(self) -> None:
        self.is_closed = True
        self.duplicate.close()


async def test_the_first_signal_begins_the_drain_and_the_second_ends_it() -> None:
    supervisor, notifier, workers = supervising(True, False)
    ports = Ports()
    give, take = trio.open_memory_channel[int](2)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor._handle_signals, take)
            nursery.start_soon(supervisor._stop, cast(Bound, ports))
            await wait_all_tasks_blocked()
            assert (False, False) == (ports.is_closed, notifier.is_stopping)
            give.send_nowait(signal.SIGTERM)
            await wait_all_tasks_blocked()
            assert (True, True) == (ports.is_closed, notifier.is_stopping)
            assert [[Frame("stop")]] * 2 == [said.frames for _, _, said in workers]
            give.send_nowait(signal.SIGINT)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    assert [[Frame("stop")] * 2] * 2 == [said.frames for _, _, said in workers]
    assert ["signal received", "stopping", "signal received"] == [each["event"] for each in logs]
    assert ["SIGTERM", "SIGINT"] == [each["signal"] for each in logs if "signal" in each]
    assert 2 == logs[1]["workers"]


async def test_a_worker_that_does_not_end_after_its_drain_is_killed(autojump_clock: MockClock) -> None:
    supervisor, _, workers = supervising(True, True)
    supervisor._stopping.set()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor._stop, cast(Bound, Ports()))
            # drain_timeout is 5 s, and workers have 4 s in addition.
            await trio.sleep(8.9)
            assert [False, False] == [process.is_killed for _, process, _ in workers]
            del supervisor._workers[0]

    assert [False, True] == [process.is_killed for _, process, _ in workers]
    assert {
        "event": "worker killed",
        "log_level": "error",
        "worker": 1,
        "reason": "it hasn't ended after its drain",
    } == logs[-1]


# The announcement.


async def test_the_server_is_ready_once_when_all_workers_are() -> None:
    supervisor, notifier, workers = supervising(True, False, False)
    started: list[Sequence[str]] = []
    ports = Ports()
    number = ports.duplicate.fileno()
    supervisor._started = started.append
    supervisor._announce = lambda: supervisor._announce_ready(cast(Bound, ports))
    ready = Frame("notify", text="READY=1\nSTATUS=serving")
    with capture_logs() as logs:
        supervisor._receive(workers[1][0], ready)
        assert ([], []) == (notifier.statuses, started)
        supervisor._receive(workers[2][0], ready)
        supervisor._receive(workers[2][0], ready)

    assert (["serving"], [["http://127.0.0.1:1"]], [number]) == (notifier.statuses, started, notifier.stored)
    # systemd has its own descriptor by now.
    assert -1 == ports.duplicate.fileno()
    assert [{"event": "ready", "log_level": "info", "addresses": ["http://127.0.0.1:1"], "workers": 3}] == logs
