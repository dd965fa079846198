"""Ends processes together with the processes that they have started."""

import contextlib
import os
import signal

import trio

# Seconds from SIGTERM to SIGKILL, and for a killed process to end.
_GRACE = 2.0


async def end_group(process: trio.Process) -> None:
    """End the process group that a process leads, by SIGTERM and then SIGKILL. Cancellation doesn't interrupt this."""
    with trio.CancelScope(shield=True):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with trio.move_on_after(_GRACE):
                await process.wait()
                break
    # Kill the members of the group that ignored SIGTERM.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
