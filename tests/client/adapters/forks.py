"""Forks a process for each `forked`. The imports of the adapter take several times as long as most conversations.

python -m tests.client.adapters.forks SOCKET

It says when it is ready, and ends when its standard input ends. A fork ends at the latest when its `forked` has ended.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from .python_trio import run

_MOST_BYTES = 65_536
FORKED = Path(__file__).with_name("forked.py")


def serve(path: str) -> None:
    """Fork until standard input ends."""
    # The kernel reaps the keepers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        gc.freeze()
        print("ready", flush=True)
        while listener.fileno() in select.select([listener.fileno(), 0], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _end_with(partial(_keep, connection))


def _end_with(work: Callable[[], int]) -> NoReturn:
    """Do the work of a fork, and end with the status that it returns."""
    status = 1
    try:
        status = work()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # A fork never returns to the code of its parent.
        os._exit(status)


def _keep(connection: socket.socket) -> int:
    """Fork the adapter, wait until it or its `forked` has ended, and pass its status on."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, fds, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
    adapter = os.fork()
    if adapter == 0:
        connection.close()
        _end_with(partial(_adapt, text.decode(), fds))
    for each in fds:
        os.close(each)
    ended = os.pidfd_open(adapter)
    if ended not in select.select([ended, connection.fileno()], [], [])[0]:
        os.kill(adapter, signal.SIGKILL)
    _, status = os.waitpid(adapter, 0)
    with contextlib.suppress(OSError):
        connection.send(bytes([os.waitstatus_to_exitcode(status) & 255]))
    return 0


def _adapt(text: str, fds: list[int]) -> int:
    """Be the adapter."""
    for number, each in enumerate(fds):
        os.dup2(each, number)
        os.close(each)
    os.environ |= dict(each.split("=", 1) for each in text.split("\0"))
    run()
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
