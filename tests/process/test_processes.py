"""The end of a process and of the processes that it has started."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.process.processes import end_group

GRACE = 2.0


class Group:
    """A process that leads a group. Every process of the group keeps the output open."""

    def __init__(self, process: trio.Process, output: trio.abc.ReceiveStream) -> None:
        self.process = process
        self._output = output

    async def says(self) -> bytes:
        """Return the next output; b"" if no process of the group is left."""
        with trio.fail_after(30):
            return bytes(await self._output.receive_some())


@asynccontextmanager
async def group(command: str) -> AsyncIterator[Group]:
    """Start a command that prints a line as soon as its traps are set, and wait for that line."""
    process = await trio.lowlevel.open_process(
        ["/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    async with process.stdout:
        started = Group(process, process.stdout)
        assert b"ready\n" == await started.says()
        yield started


async def test_a_process_that_heeds_sigterm_is_not_killed(mock_clock: MockClock) -> None:
    async with group("echo ready; exec sleep 100") as found:
        await end_group(found.process)

        assert (-signal.SIGTERM, b"") == (found.process.returncode, await found.says())


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(mock_clock: MockClock) -> None:
    ended = trio.Event()

    async def end() -> None:
        await end_group(found.process)
        ended.set()

    async with group("trap '' TERM; echo ready; exec sleep 100") as found, trio.open_nursery() as nursery:
        nursery.start_soon(end)
        await wait_all_tasks_blocked()
        mock_clock.jump(GRACE - 0.001)
        await wait_all_tasks_blocked()
        assert (None, False) == (found.process.poll(), ended.is_set())
        mock_clock.jump(0.001)
        assert b"" == await found.says()
        await ended.wait()

        assert -signal.SIGKILL == found.process.returncode


async def test_a_member_of_the_group_that_ignores_sigterm_is_killed_with_its_leader(mock_clock: MockClock) -> None:
    member = "(trap '' TERM; echo ready; exec sleep 100)"
    # A shell that traps a signal just before it waits may miss it. So the leader is no shell, and ends by the signal.
    async with group(f"{member} & exec sleep 100") as found:
        await end_group(found.process)

        assert (-signal.SIGTERM, b"") == (found.process.returncode, await found.says())


async def test_a_process_that_has_ended_is_no_error(mock_clock: MockClock) -> None:
    async with group("echo ready") as found:
        await found.process.wait()
        await end_group(found.process)

        assert 0 == found.process.returncode


async def test_a_cancellation_does_not_interrupt_the_end(mock_clock: MockClock) -> None:
    async with group("echo ready; exec sleep 100") as found:
        with trio.CancelScope() as scope:
            scope.cancel()
            await end_group(found.process)

        assert -signal.SIGTERM == found.process.returncode


class Fake:
    """A process that never ends, or ends after a time."""

    pid = 4_711

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def wait(self) -> None:
        await trio.sleep_until(self._seconds)


TERM, KILL = signal.SIGTERM, signal.SIGKILL


@pytest.mark.parametrize(
    ("seconds", "sent", "took"),
    [
        (0.0, [(TERM, 0.0), (KILL, 0.0)], 0.0),
        (1.5, [(TERM, 0.0), (KILL, 1.5)], 1.5),
        (3.0, [(TERM, 0.0), (KILL, GRACE), (KILL, 3.0)], 3.0),
        # Not even SIGKILL ends a process that waits for a device.
        (100.0, [(TERM, 0.0), (KILL, GRACE), (KILL, 2 * GRACE)], 2 * GRACE),
    ],
)
async def test_each_signal_goes_to_the_group_and_has_its_own_grace(
    seconds: float,
    sent: list[tuple[int, float]],
    took: float,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[tuple[int, int, float]] = []
    began = trio.current_time()
    monkeypatch.setattr(os, "killpg", lambda pid, number: found.append((pid, number, trio.current_time() - began)))
    await end_group(cast(trio.Process, Fake(began + seconds)))

    assert [(Fake.pid, number, at) for number, at in sent] == found
    assert took == trio.current_time() - began
