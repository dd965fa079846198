"""Starting workers: real processes of a small program, forked, or started by themselves when the fork server fails."""

import ctypes
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from vortexd.process.starter import Starter, WorkerProcess

from .forking_program import STATUS

SETTINGS = {"some": "settings"}
# prctl(2)
PR_GET_CHILD_SUBREAPER = 37


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


@pytest.fixture(autouse=True)
def events() -> Iterator[LogCapture]:
    capture = LogCapture()
    former = structlog.get_config()["processors"]
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(processors=former)


class Worker:
    """A started worker.

    Attributes:
        facts: The facts that it has told about itself.
    """

    def __init__(self, process: WorkerProcess, link: socket.socket) -> None:
        self.process, self.link = process, link
        self.facts: dict[str, Any] = {}

    async def hear(self) -> None:
        self.link.settimeout(20)
        with self.link.makefile() as lines:
            self.facts = json.loads(await trio.to_thread.run_sync(lines.readline))

    async def end(self) -> int:
        self.link.close()
        return await self.process.wait()


@asynccontextmanager
async def starting(mode: str = "") -> AsyncIterator[Starter]:
    command = [sys.executable, "-m", "tests.process.forking_program", mode]
    async with Starter(command, pickle.dumps(SETTINGS)) as starter:
        yield starter


async def started(starter: Starter, listening: Sequence[int] = (), number: int = 0) -> Worker:
    values = {"number": number, "count": 3, "watchdog": 30.0}
    worker = Worker(*await starter.start(values, listening))
    await worker.hear()
    return worker


def server_of(starter: Starter) -> trio.Process:
    assert starter._server is not None
    return starter._server._process


def shown(pid: int) -> tuple[str, int]:
    """Return the name of a process, and its number of threads."""
    directory = Path(f"/proc/{pid}")
    return (directory / "comm").read_text().strip(), len(os.listdir(directory / "task"))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def warnings(events: LogCapture) -> list[object]:
    return [each["reason"] for each in events.entries if each["event"] == "fork server failed"]


async def test_a_worker_is_a_fork_and_a_child_of_this_process_in_a_session_of_its_own() -> None:
    async with starting() as starter:
        server = server_of(starter).pid
        worker = await started(starter)
        parent = parent_of(worker.process.pid)
        assert STATUS == await worker.end()

    facts = worker.facts
    assert facts["is_fork"]
    assert (worker.process.pid, os.getpid()) == (facts["pid"], parent)
    assert facts["pid"] == facts["session"] != server
    assert facts["frozen"] > 1_000


async def test_a_worker_has_its_assignment_settings_and_sockets(listening: socket.socket) -> None:
    async with starting() as starter:
        worker = await started(starter, [listening.fileno()] * 2, number=2)
        await worker.end()

    facts = worker.facts
    assert (2, 3, 30.0) == (facts["number"], facts["count"], facts["watchdog"])
    assert SETTINGS == facts["settings"]
    assert [list(listening.getsockname())] * 2 == facts["addresses"]


@pytest.mark.parametrize("is_forked", [True, False])
async def test_a_worker_has_the_environment_without_the_variables_for_others(
    monkeypatch: pytest.MonkeyPatch, is_forked: bool
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    async with starting("" if is_forked else "refusing") as starter:
        worker = await started(starter)
        await worker.end()

    assert is_forked == worker.facts["is_fork"]
    ours = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "VORTEXD_WORKER", "VORTEXD_FORK_SERVER"}
    assert set() == ours & set(worker.facts["environment"])
    assert "/run/credentials" == worker.facts["environment"]["CREDENTIALS_DIRECTORY"]


async def test_a_fork_has_no_descriptors_that_a_worker_started_by_itself_has_not(listening: socket.socket) -> None:
    counts = []
    for mode in ("", "refusing"):
        async with starting(mode) as starter:
            for _ in range(2):
                worker = await started(starter, [listening.fileno()])
                await worker.end()
                counts.append(worker.facts["descriptors"])

    assert 1 == len(set(counts)), counts


async def test_the_fork_server_has_a_name_of_its_own_and_a_fork_the_name_of_any_worker() -> None:
    async with starting() as starter:
        fork = await started(starter)
        name, threads = shown(server_of(starter).pid)
        await fork.end()
    async with starting("refusing") as starter:
        program = await started(starter)
        await program.end()

    assert "vortexd-forks" == name
    assert fork.facts["name"] == program.facts["name"] != name
    # A fork copies only one thread.
    assert 1 == threads


async def test_the_fork_server_imports_the_modules_of_this_process_and_those_it_is_given() -> None:
    async with starting("imports") as starter:
        worker = await started(starter)
        await worker.end()

    assert {"colorsys", "vortexd.process.starter"} <= set(worker.facts["modules"])


async def test_a_reload_of_the_fork_server_is_none_of_a_fork() -> None:
    async with starting("reloaded") as starter:
        worker = await started(starter)
        await worker.end()

    assert worker.facts["is_fork"]
    assert not worker.facts["reload"]


async def test_signals_reach_a_fork_and_its_status_is_the_signal() -> None:
    async with starting() as starter:
        worker = await started(starter)
        assert worker.process.returncode is None
        worker.process.kill()

        assert -signal.SIGKILL == await worker.end()
        assert -signal.SIGKILL == worker.process.returncode == await worker.process.wait()
        # It has ended, so this has no effect on any process.
        worker.process.send_signal(signal.SIGTERM)


async def test_several_starts_at_once_give_each_worker_its_own_link() -> None:
    workers: dict[int, Worker] = {}
    async with starting() as starter:

        async def start(number: int) -> None:
            workers[number] = await started(starter, number=number)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(start, number)
        assert {0: 0, 1: 1, 2: 2} == {number: each.facts["number"] for number, each in workers.items()}
        for each in workers.values():
            assert STATUS == await each.end()


async def test_sockets_may_be_closed_while_a_start_waits(listening: socket.socket) -> None:
    address = list(listening.getsockname())
    async with starting() as starter, trio.open_nursery() as nursery:
        workers: list[Worker] = []
        is_started = trio.Event()

        async def start() -> None:
            workers.append(await started(starter, [listening.fileno()]))
            is_started.set()

        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        listening.close()
        await is_started.wait()
        await workers[0].end()

    assert [address] == workers[0].facts["addresses"]


async def test_if_the_fork_server_has_ended_workers_start_by_themselves_and_one_warning_says_so(
    events: LogCapture,
) -> None:
    async with starting() as starter:
        before = await started(starter)
        server = server_of(starter)
        server.kill()
        await server.wait()
        workers = [await started(starter) for _ in range(2)]
        statuses = [await each.end() for each in (before, *workers)]

    assert [False, False] == [each.facts["is_fork"] for each in workers]
    assert [STATUS] * 3 == statuses
    assert ["it has ended"] == warnings(events)


@pytest.mark.parametrize("mode", ["refusing", "few", "busy", "half"])
async def test_if_the_fork_server_cannot_fork_workers_start_by_themselves(events: LogCapture, mode: str) -> None:
    async with starting(mode) as starter:
        server = server_of(starter)
        worker = await started(starter)

        assert STATUS == await worker.end()
        # It is of no use any more.
        assert server.returncode is not None
    assert not worker.facts["is_fork"]
    assert ["it can't fork"] == warnings(events)


async def test_if_there_are_more_sockets_than_the_kernel_passes_at_once_workers_start_by_themselves(
    events: LogCapture, listening: socket.socket
) -> None:
    async with starting() as starter:
        worker = await started(starter, [listening.fileno()] * 254)
        await worker.end()

    assert 254 == len(worker.facts["addresses"])
    assert not worker.facts["is_fork"]
    assert 1 == len(warnings(events))


async def test_a_fork_server_that_does_not_answer_is_killed_after_a_minute(
    events: LogCapture, autojump_clock: MockClock
) -> None:
    async with starting("mute") as starter:
        server = server_of(starter)
        began = trio.current_time()
        process, link = await starter.start({"number": 0, "count": 1, "watchdog": 30.0}, ())
        autojump_clock.autojump_threshold = float("inf")
        assert 60 <= trio.current_time() - began < 65
        worker = Worker(process, link)
        await worker.hear()
        assert STATUS == await worker.end()
        assert -signal.SIGKILL == await server.wait()

    assert ["silent for 60 s"] == warnings(events)


async def test_all_starts_that_wait_for_a_fork_server_that_fails_start_by_themselves_with_one_warning(
    events: LogCapture,
) -> None:
    workers: list[Worker] = []
    async with starting("mute") as starter:

        async def start() -> None:
            workers.append(await started(starter))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            server_of(starter).kill()
        assert [STATUS] * 3 == [await each.end() for each in workers]

    assert 1 == len(warnings(events))


async def test_a_kernel_that_refuses_the_adoption_is_a_failure(
    events: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        @staticmethod
        def prctl(*_: int) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing)
    async with starting() as starter:
        worker = await started(starter)
        assert STATUS == await worker.end()

    assert ["operation not permitted"] == warnings(events)


async def test_the_fork_server_ends_with_the_starter_and_the_workers_continue() -> None:
    async with starting() as starter:
        server = server_of(starter)
        worker = await started(starter)
    assert server.returncode is not None

    assert STATUS == await worker.end()


async def test_the_fork_server_ends_by_itself_when_the_socket_closes() -> None:
    async with starting() as starter:
        worker = await started(starter)
        await worker.end()
        server = starter._server
        assert server is not None
        server._control.close()

        assert 0 == await server._process.wait()


async def test_nothing_is_left_behind(listening: socket.socket) -> None:
    async with starting() as starter:
        worker = await started(starter)
        await worker.end()
        before = os.listdir("/proc/self/fd")
        worker = await started(starter, [listening.fileno()])
        await worker.end()
        assert before == os.listdir("/proc/self/fd")

    is_subreaper = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(is_subreaper), 0, 0, 0)
    assert 0 == is_subreaper.value
