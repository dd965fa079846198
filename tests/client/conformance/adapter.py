"""The process of an adapter: reads its events from standard output, and writes commands to its standard input.

Invariants: every line and the number of waiting events are bounded, and when `running` ends, the process and its process group have ended.
"""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from .channel import Channel, Failed

_MOST_LINE = 8_388_608
_MOST_STDERR = 4_000
_GRACE = 2.0


class Adapter:
    """A running adapter.

    Attributes:
        events: Its events, without `clock`.
        clocks: The seconds of each `clock` that it printed.
        complaints: The end of its standard error.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.events = Channel("events")
        self.clocks = Channel("clocks")
        self.complaints = b""

    async def command(self, value: dict[str, Any], deadline: float) -> None:
        """Write one command."""
        assert self._process.stdin
        try:
            with trio.fail_after(deadline):
                await self._process.stdin.send_all(json.dumps(value).encode() + b"\n")
        except trio.TooSlowError:
            raise Failed("the adapter doesn't read its standard input") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Failed("the adapter has closed its standard input") from None

    async def read(self) -> None:
        """Read events until the output ends."""
        assert self._process.stdout
        unread = bytearray()
        async for data in self._process.stdout:
            unread += data
            *lines, rest = unread.split(b"\n")
            unread = bytearray(rest)
            for line in lines:
                if line.strip() and not self._note(bytes(line)):
                    return
            if len(unread) > _MOST_LINE:
                self._fail(f"the adapter printed a line of more than {_MOST_LINE} bytes")
                return
        status = None
        with trio.move_on_after(_GRACE):
            status = await self._process.wait()
        self._fail("the adapter closed its output" if status is None else f"the adapter ended with status {status}")

    async def read_complaints(self) -> None:
        """Keep the end of standard error."""
        assert self._process.stderr
        async for data in self._process.stderr:
            self.complaints = (self.complaints + data)[-_MOST_STDERR:]

    def _note(self, line: bytes) -> bool:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        is_event = event == "current" or (
            isinstance(event, dict) and len(event) == 1 and event.keys() <= {"change", "refused", "end", "clock"}
        )
        if not is_event:
            self._fail(f"the adapter printed a line that is no event: {line[:200].decode(errors='replace')!r}")
        elif isinstance(event, dict) and "clock" in event:
            self.clocks.put(event["clock"])
        else:
            self.events.put(event)
        return is_event

    def _fail(self, error: str) -> None:
        self.events.fail(error)
        self.clocks.fail(error)


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Adapter]:
    """Run an adapter for as long as the block lasts. At its end, standard input closes; the process group is killed after a grace.

    Raises:
        Failed: The command can't be run.
    """
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"the command can't be run: {error.strerror}") from None
    adapter = Adapter(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(adapter.read)
        nursery.start_soon(adapter.read_complaints)
        try:
            yield adapter
        finally:
            assert process.stdin
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _GRACE):
                await process.stdin.aclose()
                await process.wait()
            # The adapter leads a process group of its own, so that no process that it started stays behind.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
            # Both outputs have ended, unless a process that left the group still holds them.
            nursery.cancel_scope.deadline = trio.current_time() + _GRACE
