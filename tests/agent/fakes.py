"""A configuration that the test changes, instead of one from a server."""

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


def has_text(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")


def has_ended(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
