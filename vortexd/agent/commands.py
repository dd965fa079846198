"""Runs the commands that check and reload, until they end or their deadline passes. Keeps the end of their stderr.

Each command has its own process group, which is killed with it. No shell runs unless the settings ask for one. Invariant: `run` returns
at the latest a moment after the deadline, whatever the command does. After a deadline or a cancellation, no process of the group is left.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import trio

from ..core.errors import VortexdError
from ..core.text import printable
from ..process.processes import end_group

# In bytes. The end of stderr usually holds the reason. It must fit into one message to the server.
MAX_STDERR = 2_048
# Seconds to read the rest of stderr after the command has ended. A reload may leave a background process that keeps stderr open; don't wait for it.
_STDERR_GRACE = 0.2
# Only the agent needs its token; the programs that it starts don't.
TOKEN_VARIABLES = ("VORTEXD_TOKEN", "VORTEXCTL_TOKEN")
_WITHHELD = (*TOKEN_VARIABLES, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Failure(VortexdError):
    """Why a check, a reload or another step failed.

    Attributes:
        reason: A sentence for logs, without any output of the command.
        stderr: The end of the command's stderr, as printable lines; it may hold secrets.
    """

    def __init__(self, reason: str, stderr: str = "") -> None:
        self.reason = reason
        self.stderr = stderr
        super().__init__(reason)


async def run(what: str, words: Sequence[str], variables: Mapping[str, str], timeout: float, *, shell: bool) -> None:
    """Run a command.

    Args:
        what: The purpose of the command, such as "check"; begins the reason of a failure.
        words: The program and its arguments, or one text for the shell.
        variables: Variables to add to the agent's own environment.
        timeout: Seconds.

    Raises:
        Failure: The command can't be started, fails, or takes too long.
    """
    command = ["/bin/sh", "-c", words[0]] if shell else list(words)
    environment = {name: value for name, value in os.environ.items() if name not in _WITHHELD} | dict(variables)
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise Failure(f"{what} can't start: {(error.strerror or 'error').lower()}") from None
    stderr = bytearray()
    try:
        with trio.move_on_after(timeout) as scope:
            await _finish(process, stderr)
    finally:
        if process.returncode is None:
            await end_group(process)
        assert process.stderr is not None
        await trio.aclose_forcefully(process.stderr)
    if scope.cancelled_caught:
        raise Failure(f"{what} took longer than {timeout:g} s", _text(stderr))
    if process.returncode:
        raise Failure(f"{what} {ending(process.returncode)}", _text(stderr))


def ending(status: int) -> str:
    """Describe how a process ended, as the end of a sentence."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


async def _finish(process: trio.Process, stderr: bytearray) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_end, process, stderr)
        await process.wait()
        nursery.cancel_scope.deadline = trio.current_time() + _STDERR_GRACE


async def _keep_end(process: trio.Process, stderr: bytearray) -> None:
    assert process.stderr is not None
    while data := await process.stderr.receive_some(65_536):
        stderr += data
        del stderr[:-MAX_STDERR]


def _text(stderr: bytearray) -> str:
    lines = stderr.decode("utf-8", "replace").splitlines()
    return "\n".join(printable(line) for line in lines).strip()
