"""Sends a signal to the process that a file names. Blocks on the file system for a moment.

Invariant: the signal reaches the process that the file names, or no process. An author of the file could choose which process is
signalled, so the file must belong to root, to the agent's user or to the user of the process. If another process has got the number in
the meantime, it isn't signalled.
"""

import os
import signal
import stat
from pathlib import Path

from .commands import Failure

_MAX_BYTES = 32


def send(pid_file: str, name: str) -> None:
    """Send a signal; its name is given without SIG.

    Raises:
        Failure: There is no such process, or the agent may not signal it.
    """
    try:
        pid, owner = _read(Path(pid_file))
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Failure(f"signal: the process that {pid_file} names isn't running") from None
    except OSError as error:
        raise Failure(f"signal: {pid_file}: {(error.strerror or 'I/O error').lower()}") from None
    try:
        if owner not in (0, os.geteuid(), os.stat(f"/proc/{pid}").st_uid):
            raise Failure(f"signal: {pid_file} belongs neither to root nor to the user of the process that it names")
        signal.pidfd_send_signal(descriptor, signal.Signals[f"SIG{name}"])
    except (ProcessLookupError, FileNotFoundError):
        raise Failure(f"signal: the process that {pid_file} names isn't running") from None
    except PermissionError:
        raise Failure(
            f"signal: no permission to signal the process that {pid_file} names; the agent needs CAP_KILL"
        ) from None
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[int, int]:
    """Return the process ID in a file, and the file's owner."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022:
            raise Failure(f"signal: {path} must be a regular file that only its owner can write; run chmod 644 on it")
        text = file.read(_MAX_BYTES).strip()
    # 1 is init. 0 and negative numbers stand for process groups or all processes.
    if not text.isdigit() or not 1 < int(text) < 2**31:
        raise Failure(f"signal: {path} doesn't hold a process ID")
    return int(text), status.st_uid
