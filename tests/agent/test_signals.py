"""Signals for the process that a file names."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vortexd.agent.commands import Failure
from vortexd.agent.signals import send


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"]) as started:
        yield started
        started.kill()


def pid_file(directory: Path, text: str, mode: int = 0o644) -> str:
    file = directory / "pid"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_the_process_gets_the_signal(process: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    send(pid_file(tmp_path, f"{process.pid}\n"), "USR1")

    assert -signal.SIGUSR1 == process.wait(20)


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1", "99999999999", "12 13", "1" * 100])
def test_what_is_no_process_is_not_signalled(text: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="doesn't hold a process ID"):
        send(pid_file(tmp_path, text), "HUP")


def test_a_process_that_has_ended_is_a_failure(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait(20)

    with pytest.raises(Failure, match="isn't running"):
        send(pid_file(tmp_path, str(ended.pid)), "HUP")


def test_a_file_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such file"):
        send(str(tmp_path / "pid"), "HUP")


def test_a_file_that_others_write_is_refused(process: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    with pytest.raises(Failure, match="only its owner"):
        send(pid_file(tmp_path, str(process.pid), 0o666), "USR1")

    assert process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_does_not_choose_a_process_of_ours(
    process: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    file = pid_file(tmp_path, str(process.pid))
    os.chown(file, 12_345, 12_345)

    with pytest.raises(Failure, match="belongs neither"):
        send(file, "USR1")
    assert process.poll() is None
