"""Runs the operator's command, which judges the new documents of one label.

Configurations arrive. They are the command's standard input, one JSON object a line. The exit status leaves. What the
command writes is discarded, because it may hold values. The command ends at the deadline, and with the server, even if
that is killed. The processes that it started end with it, also if it has judged. Only a process that has left its
process group is not found.
"""

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import orjson
import trio

from ..aio import threads
from ..core.model import Config
from .finding import Failure

_KEPT = ("HOME", "LANG", "PATH")
# Seconds to wait for a command that was killed.
_REAP_SECONDS = 5.0
# Waits for the end of its input, and then kills all processes of a session.
_WATCH = ("/bin/sh", "-c", 'read -r line; kill -s KILL -- "-$1"', "sh")


async def accepts(
    command: Sequence[str], configs: Sequence[Config], seconds: float, environ: Mapping[str, str] = os.environ
) -> bool:
    """Run the command. Return whether its exit status is 0.

    Raises:
        Failure: It can't be started, takes too long, or a signal has ended it.
    """
    lines = await threads.run_sync(_lines, configs, abandon_on_cancel=True)
    environment = {name: environ[name] for name in _KEPT if name in environ}
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
    except (OSError, ValueError) as error:
        raise Failure(f"can't start the command {program_of(command)}: {_reason(error)}") from None
    program = program_of(command)
    ended: int | None = None
    try:
        # Nothing may reap the process before `_end`. Until then, its number names its process group and no other.
        ended = os.pidfd_open(process.pid)
        with trio.fail_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, process.pid)
                nursery.start_soon(partial(_feed, process, lines))
                await trio.lowlevel.wait_readable(ended)
                # The command may accept without reading everything.
                nursery.cancel_scope.cancel()
    except trio.TooSlowError:
        raise Failure(f"can't judge: the command {program} takes longer than {seconds:g} s") from None
    except OSError as error:
        raise Failure(f"can't judge: the command {program} can't be watched: {_reason(error)}") from None
    finally:
        if ended is not None:
            os.close(ended)
        await _end(process)
    # A command that isn't reaped in time has ended nevertheless, with an unknown status.
    if process.returncode is None or process.returncode < 0:
        raise Failure(f"can't judge: the command {program} was ended by signal {-(process.returncode or -9)}")
    return process.returncode == 0


def problem_of(command: Sequence[str], environ: Mapping[str, str] = os.environ) -> str | None:
    """Return why this user can't execute a command, or None if it can be started. Blocks on the file system."""
    program = command[0]
    if "/" not in program:
        found = shutil.which(program, path=environ.get("PATH", os.defpath))
        return None if found else f"there is no program {program} in PATH"
    try:
        is_file = stat.S_ISREG(os.stat(program).st_mode)
    except (OSError, ValueError) as error:
        return f"{program}: {(getattr(error, 'strerror', None) or 'error').lower()}"
    if not is_file:
        return f"{program} is not a file"
    return None if os.access(program, os.X_OK) else f"{program} can't be executed; set its mode to 755"


def program_of(command: Sequence[str]) -> str:
    """Return the name of a command's program. Its arguments may hold secrets."""
    return os.path.basename(command[0])


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or "error").lower()


def _lines(configs: Sequence[Config]) -> bytes:
    lines = []
    for each in configs:
        key = each.key
        head = {"application": key.application, "profile": key.profile, "label": key.label, "version": each.version}
        lines.append(orjson.dumps(head)[:-1] + b',"document":' + each.body + b"}\n")
    return b"".join(lines)


async def _feed(process: trio.Process, lines: bytes) -> None:
    assert process.stdin is not None  # we asked for a pipe
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await process.stdin.send_all(lines)
    await process.stdin.aclose()


async def _watch(pid: int) -> None:
    """Let a process wait for the end of this one, and kill the command then. So a killed server leaves no command behind.

    Runs until it is cancelled.
    """
    try:
        # Its input ends when this process has ended, in whatever way.
        watch = await trio.lowlevel.open_process(
            [*_WATCH, str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={},
        )
    except OSError:
        return  # the command is judged nevertheless
    try:
        await trio.sleep_forever()
    finally:
        await _end(watch)


async def _end(process: trio.Process) -> None:
    """Kill a process and its process group, and reap it, even if this task is cancelled.

    The process may have ended, but it must not be reaped yet. Processes that it started may still run.
    """
    # The server may not kill a program that runs as another user. Then it only waits.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _REAP_SECONDS):
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()
