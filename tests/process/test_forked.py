"""Adopted processes: those that aren't children are refused."""

import os
import subprocess
import time

import pytest

from vortexd.process.forked import ForkedProcess


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return "Z" != file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_process_that_is_not_a_child_is_refused_and_killed() -> None:
    shell = subprocess.run(["sh", "-c", "sleep 60 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True)
    pid = int(shell.stdout)
    before = os.listdir("/proc/self/fd")

    with pytest.raises(ChildProcessError):
        ForkedProcess(pid)

    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline
    assert before == os.listdir("/proc/self/fd")
