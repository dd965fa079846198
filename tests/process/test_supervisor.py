"""The supervisor's handling of time, without its processes."""

import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from vortexd.process.peers.wire import Frame
from vortexd.process.supervisor import Supervisor, _Worker
from vortexd.process.systemd import Notifier
from vortexd.settings.root import Settings


class Process:
    is_killed = False

    def kill(self) -> None:
        self.is_killed = True

    def send_signal(self, number: int) -> None:
        pass


def watching(nursery: trio.Nursery) -> tuple[Supervisor, _Worker]:
    supervisor = Supervisor(Settings(), [], lambda _: None, Notifier({}, 0), Settings)
    worker = _Worker(0, Process(), SimpleNamespace(), trio.current_time(), is_ready=True)  # type: ignore[arg-type]
    supervisor._workers[0] = worker
    nursery.start_soon(supervisor._watch)
    return supervisor, worker


async def test_L09_who_is_silent_for_too_long_is_killed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    _, worker = watching(nursery)
    await trio.sleep(29.5)
    assert not worker.process.is_killed  # type: ignore[attr-defined]

    await trio.sleep(2)
    assert worker.process.is_killed  # type: ignore[attr-defined]


async def test_L09_nobody_is_killed_for_the_time_in_which_the_supervisor_was_stopped(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    _, worker = watching(nursery)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(3):
        mock_clock.jump(600)
        await trio.testing.wait_all_tasks_blocked()

    assert not worker.process.is_killed  # type: ignore[attr-defined]


class Ready(Notifier):
    """Notes the status of each READY=1."""

    def __init__(self) -> None:
        super().__init__({}, 0)
        self.statuses: list[str] = []

    def ready(self, status: str) -> None:
        self.statuses.append(status)


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
    workers = [
        _Worker(number, Process(), SimpleNamespace(), 0.0, is_ready=True)  # type: ignore[arg-type]
        for number in range(2)
    ]
    supervisor._workers = dict(enumerate(workers))

    async def once() -> AsyncIterator[int]:
        yield signal.SIGHUP

    await supervisor._reload(once())
    for worker, outcome in zip(workers, outcomes, strict=True):
        supervisor._receive(worker, Frame("notify", text=f"READY=1\nSTATUS={outcome}"))
        supervisor._receive(worker, Frame("notify", text="WATCHDOG=1\nSTATUS=3 WebSocket connections"))

    assert [expected] == ready.statuses
