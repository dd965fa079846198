"""The fork server, without its forks: requests, answers, and its end. `test_starter` runs it with real forks."""

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from vortexd.process import fork_server
from vortexd.process.assignment import VARIABLE
from vortexd.process.fork_server import SERVER_VARIABLE, serve, take_request

NAME = Path("/proc/self/comm")


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The supervisor's end of the socket. Nothing of this process is frozen."""
    monkeypatch.setattr(gc, "freeze", lambda: None)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(fork_server, "_control", theirs, raising=False)
    yield ours
    ours.close()
    theirs.close()


def control() -> socket.socket:
    found: socket.socket = vars(fork_server)["_control"]
    return found


def forking(monkeypatch: pytest.MonkeyPatch, *pids: int | None) -> None:
    """Let the forks have these results."""
    results = list(pids)
    monkeypatch.setattr(fork_server, "_fork", lambda: results.pop(0))


def request(supervisor: socket.socket, *fds: int) -> None:
    socket.send_fds(supervisor, [orjson.dumps({"slot": 1})], list(fds))


def test_without_its_variable_a_process_is_no_fork_server() -> None:
    environment = {"OTHER": "x"}

    assert take_request(environment) is None
    assert {"OTHER": "x"} == environment


def test_its_socket_and_modules_are_in_its_variable_which_no_worker_gets() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.set_inheritable(theirs.fileno(), True)
    environment = {SERVER_VARIABLE: orjson.dumps({"control": theirs.detach(), "modules": ["a", "b"]}).decode()}
    taken = take_request(environment)

    assert taken is not None
    assert ({}, ["a", "b"]) == (environment, taken[1])
    assert not taken[0].get_inheritable()
    ours.close()
    taken[0].close()


def test_it_imports_its_modules_and_ends_with_the_supervisor(supervisor: socket.socket) -> None:
    sys.modules.pop("this_is_no_module", None)
    before = NAME.read_text()
    supervisor.close()

    assert not serve(control(), ["colorsys"], {})
    assert "colorsys" in sys.modules
    assert before == NAME.read_text()


def test_the_answer_is_the_id_of_the_worker_and_the_descriptors_are_closed(
    supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forking(monkeypatch, 1234, 0)
    reader, writer = os.pipe()
    request(supervisor, writer)
    request(supervisor)
    os.close(writer)
    supervisor.shutdown(socket.SHUT_WR)

    assert not serve(control(), [], {})
    # Without forks, all copies of the writing end are closed now.
    assert b"" == os.read(reader, 1)
    assert [b"1234", b"0"] == [supervisor.recv(100), supervisor.recv(100)]
    os.close(reader)


def test_a_worker_has_the_assignment_in_its_environment_with_the_numbers_of_its_descriptors(
    supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forking(monkeypatch, None)
    link, settings = os.pipe()
    request(supervisor, link, settings)
    environment: dict[str, str] = {}

    assert serve(control(), [], environment)
    assert [VARIABLE] == list(environment)
    assigned = orjson.loads(environment[VARIABLE])
    assert (1, []) == (assigned["slot"], assigned["listening"])
    for fd in (assigned["link"], assigned["settings"], link, settings):
        os.close(fd)


def truncated(fd: int) -> Callable[..., tuple[bytes, list[int], int, None]]:
    """What the kernel returns if it has no room for all descriptors, and then the end."""
    answers = [(b"{}", [fd], int(socket.MSG_CTRUNC), None), (b"", [], 0, None)]
    return lambda *_: answers.pop(0)


def test_a_request_whose_descriptors_do_not_fit_fails_and_leaves_none_open(
    supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forking(monkeypatch)
    reader, writer = os.pipe()
    monkeypatch.setattr(socket, "recv_fds", truncated(writer))

    assert not serve(control(), [], {})
    assert b"0" == supervisor.recv(100)
    assert b"" == os.read(reader, 1)
    os.close(reader)


def test_a_supervisor_that_is_gone_ends_it_whether_it_reads_or_writes(
    supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forking(monkeypatch, 1234)

    def gone(*_: object) -> None:
        raise ConnectionResetError

    request(supervisor)
    supervisor.close()
    assert not serve(control(), [], {})
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(socket, "recv_fds", gone)
    assert not serve(theirs, [], {})
    ours.close()


def test_without_descriptors_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> tuple[int, int]:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "pipe", full)

    assert 0 == fork_server._fork()


def test_if_no_process_can_be_forked_the_pipe_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "fork", full)

    assert 0 == fork_server._fork()
    assert len(before) == len(os.listdir("/proc/self/fd"))
