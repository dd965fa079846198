"""The fork server: a process that has imported all of vortexd, and forks a worker for each request of the supervisor.

Workers share the memory of its modules, and need no time for imports. It runs no event loop and no thread, because a fork
copies only the thread that forks. Requests and answers are packets on a pair of sockets (see `starter`): an
assignment and its descriptors arrive, and the process id of a worker leaves. The server ends when the supervisor closes the socket.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from pathlib import Path

import orjson

from . import early_signals, imports
from .assignment import VARIABLE, encode

# The environment variable with the data for the fork server.
SERVER_VARIABLE = "VORTEXD_FORK_SERVER"
# Room for the longest request. Its descriptors are sent beside it.
_REQUEST_BYTES = 65_536
# The kernel passes at most this many descriptors at once (SCM_MAX_FD).
_MOST_DESCRIPTORS = 253
# The name of the server for ps and top. Its command line is that of its workers.
_NAME = "vortexd-forks"
_NAME_FILE = Path("/proc/self/comm")
# The answer if no process could be forked.
_FAILED = 0


def take_request(environment: MutableMapping[str, str]) -> tuple[socket.socket, list[str]] | None:
    """Take the socket to the supervisor and the names of the modules to import. Returns None if this isn't a fork server."""
    text = environment.pop(SERVER_VARIABLE, None)
    if text is None:
        return None
    request = orjson.loads(text)
    os.set_inheritable(request["control"], False)
    return socket.socket(fileno=request["control"]), request["modules"]


def serve(control: socket.socket, modules: list[str], environment: MutableMapping[str, str]) -> bool:
    """Import the modules, and fork workers until the supervisor closes the socket.

    Returns:
        True in each worker, which has its assignment in the environment, as a worker without a fork server has.
        False in the fork server, at its end.
    """
    with imports.uncollected():
        for module in modules:
            import_module(module)
    # A collection in a worker doesn't examine frozen objects, so it doesn't copy their memory.
    imports.freeze()
    with control, _named(_NAME):
        for request, fds in _requests(control):
            pid = _fork()
            if pid is None:
                # A reload that the fork server received is no concern of a worker.
                early_signals.take_reload()
                environment[VARIABLE] = encode(orjson.loads(request), fds)
                return True
            for fd in fds:
                os.close(fd)
            if not _send(control, pid):
                break
    return False


def _requests(control: socket.socket) -> Iterator[tuple[bytes, list[int]]]:
    """Yield requests and their descriptors until the supervisor has gone."""
    while True:
        try:
            request, fds, flags, _ = socket.recv_fds(control, _REQUEST_BYTES, _MOST_DESCRIPTORS)
        except ConnectionError:
            return
        if not request:
            return
        if not flags & socket.MSG_CTRUNC:
            yield request, fds
            continue
        # The limit of descriptors leaves no room for all of them.
        for fd in fds:
            os.close(fd)
        if not _send(control, _FAILED):
            return


def _send(control: socket.socket, pid: int) -> bool:
    try:
        control.send(str(pid).encode())
    except ConnectionError:
        return False
    return True


def _fork() -> int | None:
    """Fork a worker whose parent is not this process but the nearest subreaper, the supervisor.

    So the supervisor waits for a worker as for any child, whether the fork server lives or not. For this, a process in between
    forks the worker and ends.

    Returns:
        The worker's process id, `_FAILED`, or None in the worker.
    """
    try:
        reader, writer = os.pipe()
    except OSError:
        return _FAILED
    try:
        between = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        return _FAILED
    if between == 0:
        if _fork_worker(writer):
            os._exit(0)
        os.close(reader)
        os.close(writer)
        # A terminal's Ctrl-C is meant for the supervisor.
        os.setsid()
        return None
    os.close(writer)
    with open(reader, "rb") as answer:
        # The worker closes its end, too, so this is the whole answer.
        pid = answer.read()
    os.waitpid(between, 0)
    return int(pid) if pid else _FAILED


def _fork_worker(writer: int) -> bool:
    """Fork the worker, and write its process id. Returns False in the worker."""
    try:
        worker = os.fork()
    except OSError:
        return True
    if worker:
        os.write(writer, str(worker).encode())
    return worker != 0


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Give this process a name, and the former one again at the end. Without /proc nothing happens."""
    try:
        former = _NAME_FILE.read_text()
        _NAME_FILE.write_text(name)
    except OSError:
        former = ""
    try:
        yield
    finally:
        if former:
            with contextlib.suppress(OSError):
                _NAME_FILE.write_text(former.strip())
