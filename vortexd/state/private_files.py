"""Files that only vortexd's user can read, and that are replaced in one step. Synchronous: call it in a thread."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A file that isn't complete yet has this ending.
PART = ".part"
# A file that was set aside has this ending, and then perhaps a number from 1.
ASIDE = ".unknown"
# The most files with the same name that are set aside.
MOST_ASIDE = 5
# Seconds between two attempts to lock a file.
_PAUSE = 0.01


def check_private(directory: Path) -> None:
    """Check that no other user could have written to a directory.

    Raises:
        OSError: Other users could have written to it.
    """
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise OSError(0, f"{directory} must be a directory of vortexd's own user with mode 700")


def read(file: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes`. Raises OSError."""
    with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(0, "not a regular file")
        content = opened.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(0, f"larger than {max_bytes} bytes")
    return content


def replace(file: Path, *parts: bytes) -> None:
    """Write a whole file from the parts of its content, sync it to the disk, and move it to its place in one step. Raises OSError."""
    part = file.with_name(file.name + PART)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(part, flags, 0o600), "wb") as opened:
            opened.writelines(parts)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    except OSError:
        # A partial file on a full disk would keep the disk full.
        with suppress(OSError):
            part.unlink()
        raise


def set_aside(file: Path) -> Path:
    """Rename a file that can't be used, so that the operator can examine it. Return its new name.

    Files that were set aside before stay. If there are `MOST_ASIDE` of them, the one that was set aside first is replaced.

    Raises:
        OSError: It can't be renamed. FileNotFoundError means that there is no such file.
    """
    names = [file.with_name(file.name + ASIDE + (f".{number}" if number else "")) for number in range(MOST_ASIDE)]
    free = (each for each in names if not os.path.lexists(each))
    # A rename sets this time. The time of the content stays for the operator.
    name = next(free, None) or min(names, key=lambda each: each.lstat().st_ctime_ns)
    return file.replace(name)


def sync(directory: Path) -> None:
    """Sync the entries of a directory to the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(file: Path) -> int | None:
    """Lock a file, and return the lock as a descriptor, or None if another process has it. Raises OSError."""
    lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


@contextmanager
def waiting_lock(file: Path, patience: float) -> Iterator[None]:
    """Lock a file, and wait so many seconds for another process that has it.

    Raises:
        OSError: It can't be locked in time.
    """
    deadline = time.monotonic() + patience
    while (lock := locked(file)) is None:
        if time.monotonic() > deadline:
            raise OSError(0, "another process has locked it")
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        os.close(lock)


def words(error: OSError) -> str:
    """Return the reason of an error, for a log."""
    return (error.strerror or "I/O error").lower() if error.errno else str(error.strerror)
