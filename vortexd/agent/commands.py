"""Commands that check and reload: run to their end or to their deadline, with the end of what they complain of.

A command has a process group of its own, which is killed with it; no shell unless settings ask for one. The invariant: `run` returns within the deadline and a
moment, whatever the command does, and nothing of it runs on after a deadline or a cancellation.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import trio

from ..core.errors import VortexdError
from ..core.text import printable
from ..process.processes import end_group

# The end of it is where the reason is. It goes over the wire in one message.
MAX_STDERR = 2_048
# What a program that stays in the background, as a reload may start one, keeps open isn't waited for.
_LAST_WORDS = 0.2
# Ours alone: what we start has no use for our token.
TOKEN_VARIABLES = ("VORTEXD_TOKEN", "VORTEXCTL_TOKEN")
_NOT_HANDED_ON = (*TOKEN_VARIABLES, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Failure(VortexdError):
    """What a check or a reload came to.

    Attributes:
        reason: For logs: a sentence without anything that the command said.
        stderr: The end of what it wrote to stderr, its lines printable; it may hold secrets.
    """

    def __init__(self, reason: str, stderr: str = "") -> None:
        self.reason = reason
        self.stderr = stderr
        super().__init__(reason)


async def run(what: str, words: Sequence[str], variables: Mapping[str, str], timeout: float, *, shell: bool) -> None:
    """Run a command.

    Args:
        what: What it is for, such as "check", for the reason.
        words: The program and its arguments, or one text for the shell.
        variables: Variables beside those of our own environment.
        timeout: Seconds.

    Raises:
        Failure: It can't be started, fails, or takes too long.
    """
    command = ["/bin/sh", "-c", words[0]] if shell else list(words)
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON} | dict(variables)
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
        raise Failure(f"{what} can't be started: {(error.strerror or 'error').lower()}") from None
    said = bytearray()
    try:
        with trio.move_on_after(timeout) as scope:
            await _finish(process, said)
    finally:
        if process.returncode is None:
            await end_group(process)
        assert process.stderr is not None
        await trio.aclose_forcefully(process.stderr)
    if scope.cancelled_caught:
        raise Failure(f"{what} took longer than {timeout:g} s", _text(said))
    if process.returncode:
        raise Failure(f"{what} {ending(process.returncode)}", _text(said))


def ending(status: int) -> str:
    """How a process ended, as the end of a sentence."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


async def _finish(process: trio.Process, said: bytearray) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_end, process, said)
        await process.wait()
        nursery.cancel_scope.deadline = trio.current_time() + _LAST_WORDS


async def _keep_end(process: trio.Process, said: bytearray) -> None:
    assert process.stderr is not None
    while data := await process.stderr.receive_some(65_536):
        said += data
        del said[:-MAX_STDERR]


def _text(said: bytearray) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    return "\n".join(printable(line) for line in lines).strip()
