"""A configuration that the test changes, instead of one from a server."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from vortexd.agent.item import Subject
from vortexd.client.replica import version_of
from vortexd.core.model import Key

SUBJECT = Subject("shop", "prod", "")


class FakeWatched:
    """The parts of a `vortexd.client` configuration that the agent uses.

    Attributes:
        acks: The acknowledgements: version, status and error.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.key = Key(SUBJECT.application, SUBJECT.profile, "main")
        self.document = document
        self.state = "connected"
        self.version: str | None = version_of(document)
        self.acks: list[tuple[str, str, str | None]] = []
        self._acked = trio.Event()
        self._notifier, self._changes = trio.open_memory_channel[str](100)

    def change(self, document: dict[str, Any]) -> str:
        """Change the server's document, and return its version."""
        self.document = document
        self.version = version_of(document)
        self._notifier.send_nowait(self.version)
        return self.version

    def end(self) -> None:
        self._notifier.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._changes.__aiter__()

    async def ack(self, version: str, status: str, error: str | None = None) -> None:
        self.acks.append((version, status, error))
        self._acked.set()
        self._acked = trio.Event()

    async def acknowledged(self, count: int) -> list[tuple[str, str, str | None]]:
        """Wait for so many acknowledgements, and return all."""
        while len(self.acks) < count:
            await self._acked.wait()
        return self.acks

    @asynccontextmanager
    async def watch(self, subject: Subject) -> AsyncIterator["FakeWatched"]:
        yield self


async def comes_true(condition: Callable[[], object], timeout: float = 20.0) -> bool:
    """Whether an effect of another process occurs within a time."""
    with trio.move_on_after(timeout):
        while not condition():  # noqa: ASYNC110 - nobody tells us
            await trio.sleep(0.01)
        return True
    return False


async def ends(pid: int, timeout: float = 20.0) -> bool:
    """Whether a process ends within a time. Its end is an event of its descriptor."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with trio.move_on_after(timeout) as waiting:
            await trio.lowlevel.wait_readable(descriptor)
        return not waiting.cancelled_caught
    finally:
        os.close(descriptor)


def has_text(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")


def has_ended(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
