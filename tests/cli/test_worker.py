"""The entry point of a worker: its signals, its assignment, and its status without a supervisor."""

import os
import pickle
import runpy
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest
import structlog

from vortexd.cli import worker
from vortexd.process import early_signals
from vortexd.process.assignment import VARIABLE, WorkerAssignment
from vortexd.settings.root import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Give the test process its signal handlers and its log context back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    early_signals.end()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    structlog.contextvars.unbind_contextvars("worker")


@pytest.fixture
def assigned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The environment that a supervisor gives to its worker number 2."""
    settings = tmp_path / "settings"
    settings.write_bytes(pickle.dumps(Settings()))
    ours, theirs = socket.socketpair()
    with ours:
        values = {"number": 2, "count": 3, "watchdog": 30.0, "settings": str(settings), "listening": []}
        monkeypatch.setenv(VARIABLE, orjson.dumps({**values, "link": theirs.detach()}).decode())
        yield


class FakeDaemon:
    """Replaces the daemon.

    Attributes:
        handlers: The signal handlers with which each daemon began.
    """

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.assignments: list[WorkerAssignment] = []
        self.handlers: list[object] = []

    def work(self, arguments: Sequence[str], assignment: WorkerAssignment) -> int:
        self.arguments += arguments
        self.assignments.append(assignment)
        self.handlers = [signal.getsignal(number) for number in SIGNALS]
        assignment.slot.link.close()
        return 7


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    daemon = FakeDaemon()
    monkeypatch.setattr("vortexd.cli.main.work", daemon.work)
    monkeypatch.setattr(sys, "argv", ["worker", "--config", "vortexd.toml"])
    return daemon


@pytest.mark.usefixtures("assigned")
def test_a_worker_runs_the_daemon_with_its_command_line_and_assignment_and_returns_its_status(
    daemon: FakeDaemon,
) -> None:
    assert 7 == worker.main()

    (assignment,) = daemon.assignments
    assert ["--config", "vortexd.toml"] == daemon.arguments
    assert (2, 3, 30.0) == (assignment.slot.number, assignment.slot.count, assignment.slot.watchdog)
    assert Settings() == assignment.settings


@pytest.mark.usefixtures("assigned")
def test_a_worker_takes_the_assignment_out_of_the_environment(daemon: FakeDaemon) -> None:
    worker.main()

    assert VARIABLE not in os.environ


@pytest.mark.usefixtures("assigned")
def test_each_log_event_of_a_worker_has_its_number(daemon: FakeDaemon) -> None:
    worker.main()

    assert 2 == structlog.contextvars.get_contextvars()["worker"]


@pytest.mark.usefixtures("assigned")
def test_a_worker_leaves_sigterm_and_sigint_to_its_supervisor_and_remembers_a_sighup(daemon: FakeDaemon) -> None:
    worker.main()

    assert [signal.SIG_IGN, signal.SIG_IGN] == daemon.handlers[:2]
    # Otherwise the signal would end the tests.
    assert callable(daemon.handlers[2])
    signal.raise_signal(signal.SIGHUP)
    assert early_signals.take_reload()


def test_the_signals_are_handled_before_the_assignment_is_read(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "not JSON")
    with pytest.raises(orjson.JSONDecodeError):
        worker.main()

    assert signal.SIG_IGN == signal.getsignal(signal.SIGTERM)


def test_without_a_supervisor_a_worker_says_so_and_its_status_is_2(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert 2 == worker.main()
    assert ("", "vortexd: error: only vortexd can start a worker; see server.workers\n") == capsys.readouterr()
    assert [] == daemon.assignments


def test_as_a_program_it_exits_with_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "vortexd.cli.worker")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("vortexd.cli.worker", run_name="__main__")

    assert 2 == ended.value.code
