"""A signal for the process that a file names. Blocks on the file system, for a moment.

The invariant: it reaches the process that the file was about, or none. Whoever could write the file could choose whom we signal, so it belongs to root, to
us, or to whom the process belongs; a number that was given to another process meanwhile isn't signalled.
"""

import os
import signal
import stat
from pathlib import Path

from .commands import Failure

_MAX_BYTES = 32


def send(pid_file: str, name: str) -> None:
    """Send a signal by its name without SIG.

    Raises:
        Failure: There is no such process, or we may not.
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
        raise Failure(f"signal: no permission to signal the process that {pid_file} names; it needs CAP_KILL") from None
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[int, int]:
    """The number in a file, and to whom the file belongs."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022:
            raise Failure(f"signal: {path} must be a regular file that only its owner writes; run chmod 644 on it")
        text = file.read(_MAX_BYTES).strip()
    # 1 is the system's own; groups and "everybody" are no process.
    if not text.isdigit() or not 1 < int(text) < 2**31:
        raise Failure(f"signal: {path} holds no number of a process")
    return int(text), status.st_uid
