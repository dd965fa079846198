"""Signals that arrive while the real process is still importing. The import of a chosen module waits until the test has sent them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Python imports this module before anything else.
HOLD = """
import os, sys

class Holding:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["HELD"]:
            sys.meta_path.remove(self)
            print("held", flush=True)
            os.read(0, 1)

sys.meta_path.insert(0, Holding())
"""
SCRIPT = "import sys; from vortexd.__main__ import main; sys.exit(main())"
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = 2
[[source]]
path = "{}"
"""


class Held:
    """A process in which the import of one module waits for `release`."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process, self._log = process, log
        assert process.stdout
        assert "held\n" == process.stdout.readline()

    def release(self) -> None:
        assert self.process.stdin
        # Its workers, if there are any, read from the same pipe.
        self.process.stdin.write("xxx")
        self.process.stdin.flush()

    def wait_for(self, event: str, count: int = 1) -> None:
        """Wait until an event has been logged this many times."""
        deadline = time.monotonic() + 20
        while self._log.read_text().count(f'"{event}"') < count:
            assert time.monotonic() < deadline, self._log.read_text()
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.01)


@contextmanager
def held(tmp_path: Path, module: str, *command: str) -> Iterator[Held]:
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold/sitecustomize.py").write_text(HOLD)
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "hold"), "HELD": module}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            text=True,
        )
    with process:
        try:
            yield Held(process, log)
        finally:
            process.kill()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "billing.yml").write_text("a: 1\n")
    return directory


@pytest.mark.parametrize("start", [("-m", "vortexd"), ("-c", SCRIPT)], ids=["module", "script"])
@pytest.mark.parametrize("module", ["vortexd.cli.main", "structlog", "vortexd.reload"])
def test_SIGTERM_in_an_import_ends_with_0(tmp_path: Path, source: Path, module: str, start: tuple[str, ...]) -> None:
    arguments = ("--source", str(source), "--bind", "127.0.0.1:0")
    with held(tmp_path, module, *start, *arguments) as early:
        early.process.send_signal(signal.SIGTERM)

        assert 0 == early.process.wait(10)


def test_SIGTERM_in_an_import_of_a_supervisor_ends_with_0(tmp_path: Path, source: Path) -> None:
    settings = tmp_path / "vortexd.toml"
    settings.write_text(SETTINGS.format(source))
    with held(tmp_path, "vortexd.process.supervisor", "-m", "vortexd", "--config", str(settings)) as early:
        early.process.send_signal(signal.SIGTERM)

        assert 0 == early.process.wait(10)


@pytest.mark.parametrize("module", ["vortexd.cli.main", "vortexd.daemon"])
def test_SIGHUP_in_an_import_reloads_once_it_serves(tmp_path: Path, source: Path, module: str) -> None:
    arguments = ("--source", str(source), "--bind", "127.0.0.1:0", "--log-format", "json")
    with held(tmp_path, module, "-m", "vortexd", *arguments) as early:
        early.process.send_signal(signal.SIGHUP)
        early.release()
        early.wait_for("reloaded")
        early.wait_for("ready")
        early.process.send_signal(signal.SIGTERM)

        assert 0 == early.process.wait(10)


def test_SIGHUP_in_an_import_of_a_supervisor_reloads_every_worker(tmp_path: Path, source: Path) -> None:
    settings = tmp_path / "vortexd.toml"
    settings.write_text(SETTINGS.format(source))
    command = ("-m", "vortexd", "--config", str(settings), "--log-format", "json")
    with held(tmp_path, "vortexd.process.supervisor", *command) as early:
        early.process.send_signal(signal.SIGHUP)
        early.release()
        early.wait_for("reloaded", 2)
        early.process.send_signal(signal.SIGTERM)

        assert 0 == early.process.wait(10)


def test_SIGINT_in_an_import_is_no_traceback(tmp_path: Path, source: Path) -> None:
    with held(tmp_path, "vortexd.cli.main", "-m", "vortexd", "--source", str(source)) as early:
        early.process.send_signal(signal.SIGINT)

        assert 130 == early.process.wait(10)
    assert "" == (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_is_importing_is_ended_by_none(tmp_path: Path, number: int) -> None:
    with held(tmp_path, "vortexd.cli.main", "-m", "vortexd.cli.worker") as early:
        early.process.send_signal(number)
        early.release()

        # The process continues, and finds that no supervisor has started it.
        assert 2 == early.process.wait(10)
    assert re.search("only vortexd can start a worker", (tmp_path / "log").read_text())


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("vortexd.auth.tokens", ("token", "new", "name")),
        ("vortexd.auth.credential_files", ("--check", "--source", ".")),
    ],
    ids=["token", "--check"],
)
def test_what_does_not_serve_is_ended_as_any_program_is(
    tmp_path: Path, module: str, arguments: tuple[str, ...]
) -> None:
    with held(tmp_path, module, "-m", "vortexd", *arguments) as early:
        early.process.send_signal(signal.SIGTERM)

        assert -signal.SIGTERM == early.process.wait(10)
