"""Processes that others' commands start: ended with all that they have started themselves."""

import contextlib
import os
import signal

import trio

# From SIGTERM to SIGKILL, and for a killed process to go.
_GRACE = 2.0


async def end_group(process: trio.Process) -> None:
    """End the process group of a process that leads one, cancelled or not: first it is asked to, then it is killed."""
    with trio.CancelScope(shield=True):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with trio.move_on_after(_GRACE):
                await process.wait()
                break
    # What ignored SIGTERM in it goes, too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
