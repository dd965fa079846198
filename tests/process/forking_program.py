"""A small program in place of `vortexd.cli.worker`: a fork server and a worker, which tells its link about itself.

python -m tests.process.forking_program [MODE]

Modes of the fork server: "few" may open no descriptors beyond those it has; "busy" can start no process; "half" can start the process in
between, and no worker; "refusing" answers that it can't fork; "mute" never answers.
"""

import gc
import json
import os
import pickle
import resource
import signal
import socket
import sys
import time
from pathlib import Path

from vortexd.process import early_signals, fork_server
from vortexd.process.assignment import VARIABLE

STATUS = 7


def main(mode: str) -> int:
    early_signals.begin_worker()
    request = fork_server.take_request(os.environ)
    if request is not None:
        control, modules = request
        prepare(mode, control)
        if not fork_server.serve(control, [*modules, "colorsys"] if mode == "imports" else modules, os.environ):
            return 0
    return work(request is not None)


def prepare(mode: str, control: socket.socket) -> None:
    if mode == "few":
        free = os.open("/dev/null", os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
    if mode in ("busy", "half"):
        os.fork = Refusing(allowed=mode == "half")
    if mode == "refusing":
        socket.recv_fds(control, 1_000, 10)
        control.send(b"0")
    if mode == "mute":
        time.sleep(600)
    if mode == "reloaded":
        signal.raise_signal(signal.SIGHUP)


class Refusing:
    """Replaces os.fork: each process may call it with success once at most."""

    def __init__(self, *, allowed: bool) -> None:
        self._allowed, self._fork = allowed, os.fork

    def __call__(self) -> int:
        if not self._allowed:
            raise BlockingIOError(11, "no process is left")
        pid = self._fork()
        # In the parent it stays allowed, for the next request.
        self._allowed = pid != 0
        return pid


def work(is_fork: bool) -> int:
    """Send facts about this process over the link, and wait until the other end says so or closes it."""
    assignment = json.loads(os.environ.pop(VARIABLE))
    with open(assignment["settings"], "rb") as file:
        settings = pickle.load(file)
    link = socket.socket(fileno=assignment["link"])
    facts = {
        **{name: assignment[name] for name in ("number", "count", "watchdog")},
        "is_fork": is_fork,
        "settings": settings,
        "addresses": [socket.socket(fileno=os.dup(fd)).getsockname() for fd in assignment["listening"]],
        "pid": os.getpid(),
        "session": os.getsid(0),
        "name": Path("/proc/self/comm").read_text().strip(),
        "frozen": gc.get_freeze_count(),
        "modules": sorted(sys.modules),
        "environment": dict(os.environ),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "reload": early_signals.take_reload(),
    }
    link.sendall(json.dumps(facts).encode() + b"\n")
    link.recv(1)
    return STATUS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
