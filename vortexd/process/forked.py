"""Processes that another process has forked for this one: adopted as children, and awaited as children are."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator

import trio

# prctl(2)
_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of descendants whose own parent ends meanwhile. Afterwards they belong to init again.

    Raises:
        OSError: The kernel refuses.
    """
    _set_subreaper(True)
    try:
        yield
    finally:
        _set_subreaper(False)


def _set_subreaper(is_wanted: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(is_wanted), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class ForkedProcess:
    """A child that this process has adopted. It has the part of `trio.Process` that a supervisor uses.

    Args:
        pid: Its process id, which no other part of this process waits for.

    Raises:
        OSError: It isn't a child of this process, or the kernel has no process descriptors.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._fd = os.pidfd_open(pid)
        try:
            os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError:
            self.kill()
            os.close(self._fd)
            raise

    async def wait(self) -> int:
        """Wait for its end. Returns the exit status, or the negative number of the signal that ended it."""
        if self.returncode is None:
            await trio.lowlevel.wait_readable(self._fd)
            return self._reap()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal. If the process has ended, nothing happens."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> int:
        result = os.waitid(os.P_PIDFD, self._fd, os.WEXITED)
        assert result is not None
        os.close(self._fd)
        self.returncode = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        return self.returncode
