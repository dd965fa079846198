import os
import select
import sys
import threading
from pathlib import Path

import pytest

from . import base
from .base import Program, Unavailable, free_port, last_line, replace, step

# A server with a child that ignores SIGTERM.
SERVER = """
import os, signal, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pause()
"""


def has_ended(descriptor: int) -> bool:
    """Say whether a process ends within ten seconds."""
    return bool(select.select([descriptor], [], [], 10)[0])


def test_a_server_is_stopped_with_the_processes_that_it_started(tmp_path: Path) -> None:
    port = free_port()
    program = Program([sys.executable, "-c", SERVER, port], port, lambda _: None, tmp_path, processes=2)
    descriptors = [os.pidfd_open(each) for each in program.pids()]

    program.stop()

    assert 2 == len(descriptors)
    assert all(has_ended(each) for each in descriptors)
    for each in descriptors:
        os.close(each)


def test_a_server_can_be_stopped_after_it_has_ended(tmp_path: Path) -> None:
    port = free_port()
    program = Program([sys.executable, "-c", SERVER, port], port, lambda _: None, tmp_path)
    program.stop()

    program.stop()

    with pytest.raises(Unavailable, match="it ended: without a message"):
        program.pids()


def test_the_last_line_of_its_output_says_why_a_server_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="it didn't start: no luck"):
        Program(["sh", "-c", "echo no luck"], free_port(), lambda _: None, tmp_path)


def test_a_step_returns_its_output(tmp_path: Path) -> None:
    assert "it is on\n" == step(["sh", "-c", "echo it is $SWITCH"], tmp_path, {"SWITCH": "on"})


def test_a_step_that_fails_is_named_without_directories(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="^sh -c echo no; exit 1 failed: no$"):
        step([Path("/bin/sh"), "-c", "echo no; exit 1"], tmp_path)


def test_a_step_that_takes_too_long_ends_with_the_processes_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_INSTALL_SECONDS", 1)
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    found: list[int] = []
    watcher = threading.Thread(target=lambda: found.append(os.pidfd_open(int(pids.read_text()))), daemon=True)
    watcher.start()

    with pytest.raises(Unavailable, match="took more than 1 s"):
        step(["sh", "-c", "sleep 100 & echo $! > pids; wait"], tmp_path)

    watcher.join(10)
    assert has_ended(found[0])
    os.close(found[0])


def test_a_file_with_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace(path, "one")
    os.utime(path, (1, 1))

    replace(path, "one")
    assert 1 == path.stat().st_mtime

    replace(path, "two")
    assert "two" == path.read_text()


@pytest.mark.parametrize(
    ("output", "line"), [("one\ntwo\n \n", "two"), ("", "without a message"), (" \n", "without a message")]
)
def test_last_line(output: str, line: str) -> None:
    assert line == last_line(output)
