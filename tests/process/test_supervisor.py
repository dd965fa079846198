"""What a supervisor does about time, without its processes."""

from types import SimpleNamespace

import trio
from trio.testing import MockClock

from vortexd.process.supervisor import Supervisor, _Worker
from vortexd.process.systemd import Notifier
from vortexd.settings.sections import Settings


class Process:
    is_killed = False

    def kill(self) -> None:
        self.is_killed = True


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
