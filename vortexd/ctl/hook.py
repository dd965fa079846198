"""Runs a command for each change, with the document on its standard input.

Invariant: `run_hook` returns at the latest a moment after its timeout, whatever the command does. After that, or after a cancellation, no
process of the command is left.
"""

import contextlib
import json
import os
import subprocess

import trio

from ..client import Change
from ..core.text import printable
from ..process.processes import end_group
from .server import TOKEN_VARIABLES


async def run_hook(command: str, change: Change, timeout: float, stdout: int | None) -> str | None:
    """Run a text in the shell. Return the reason for a failure, or None.

    Args:
        timeout: Seconds.
        stdout: The descriptor of its standard output. None: that of this process.
    """
    environment = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
    try:
        process = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=stdout,
            env=environment | variables_of(change),
            # A process group of its own, so that the command can be killed with everything that it has started.
            start_new_session=True,
        )
    except OSError as error:
        return f"can't start the command: {(error.strerror or 'error').lower()}"
    try:
        with trio.move_on_after(timeout) as scope:
            await _fed(process, b"" if change.document is None else json.dumps(change.document).encode())
    finally:
        if process.returncode is None:
            await end_group(process)
    if scope.cancelled_caught:
        return f"the command took longer than {timeout:g} s, and was killed"
    return f"the command ended with status {process.returncode}" if process.returncode else None


def variables_of(change: Change) -> dict[str, str]:
    """Return the variables that describe a change to the command."""
    key, origin = change.key, change.origin or {}
    values = {
        "APP": key.application,
        "PROFILE": key.profile,
        "LABEL": key.label,
        "VERSION": change.version or "",
        "OLD_VERSION": change.old_version or "",
        "COMMIT": origin.get("commit", ""),
        "AUTHOR": origin.get("author", ""),
    }
    return {f"VORTEX_{name}": printable(str(value)) for name, value in values.items()}


async def _fed(process: trio.Process, data: bytes) -> None:
    assert process.stdin is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed, process.stdin, data)
        await process.wait()
        nursery.cancel_scope.cancel()


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    # The command may exit without reading its input.
    with contextlib.suppress(trio.BrokenResourceError):
        async with stream:
            await stream.send_all(data)
