"""Where records of one kind are kept: a file in the state directory, which all workers of a server share.

Changes arrive from the keeper, and all records leave. Every wait for the disk has a deadline.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import trio

from ..aio import threads
from ..core.errors import RemoteError
from ..state import private_files
from .file import GivenUp, RecordsFile
from .kind import Change, Kind

T = TypeVar("T")
U = TypeVar("U")

# Seconds to wait for the disk.
DISK_PATIENCE = 3.0


class Shelf(Generic[T]):
    """The file of all records; see the module.

    Args:
        directory: The directory of the file, or None if vortexd writes no state.
        file: The file, for tests. The default is the one in `directory`.

    Attributes:
        is_outdated: Whether `read` has something new, or should try again.
    """

    def __init__(self, kind: Kind[T], directory: Path | None, file: RecordsFile[T] | None = None) -> None:
        self._kind = kind
        self._file = file or (RecordsFile(kind, directory) if directory is not None else None)
        # The disk may hang, so this work has a thread of its own.
        self._threads = trio.CapacityLimiter(1)
        self.is_outdated = False
        self._is_warned = False

    @property
    def is_known(self) -> bool:
        """Whether `read` returns what counts. It is False if the records of a cluster aren't known yet."""
        return True

    @property
    def most(self) -> int:
        """The most records."""
        return self._kind.most

    @property
    def max_record_bytes(self) -> int | None:
        """The limit of one record, encoded, or None if there is no limit but that of all."""
        return None

    async def read(self) -> Sequence[T] | None:
        """Return all records. If they can't be read, log a warning once, and return None."""
        self.is_outdated = False
        if self._file is None:
            return None
        try:
            records = await self.on_disk(self._file.read)
        except RemoteError as error:
            self.warn_unread(error.reason)
            return None
        self._is_warned = False
        return records

    async def write(self, change: Change[T]) -> Sequence[T]:
        """Change the records, and return all of them once they are on the disk.

        Raises:
            RemoteError: They can't be written, or `change` refuses. Nothing has changed.
        """
        if self._file is None:
            raise unavailable(
                f"the server keeps no state, so a {self._kind.noun} wouldn't survive; set server.state_directory"
            )
        given_up = threading.Event()
        try:
            return await self.on_disk(partial(self._file.change, change, given_up))
        except GivenUp:
            raise unavailable(slow(DISK_PATIENCE)) from None
        except RemoteError:
            # A disk that hangs may replace the file later.
            self.is_outdated = True
            raise
        finally:
            given_up.set()

    def warn_unread(self, reason: str) -> None:
        """Log that the records can't be read, unless the log says so already. `read` should try again."""
        if not self._is_warned:
            self._is_warned = True
            self._kind.warnings.not_read(reason)
        self.is_outdated = True

    async def on_disk(self, function: Callable[[], U]) -> U:
        """Run a function in a thread, for a limited time.

        Raises:
            RemoteError: 503.
        """
        with trio.move_on_after(DISK_PATIENCE):
            try:
                return await threads.run_sync(function, abandon_on_cancel=True, limiter=self._threads)
            except OSError as error:
                raise unavailable(
                    f"the {self._kind.nouns} can't be read or written: {private_files.words(error)}"
                ) from None
        raise unavailable(slow(DISK_PATIENCE))


def slow(seconds: float) -> str:
    """Return the reason for a disk that is too slow."""
    return f"the disk didn't answer within {seconds:g} s"


def unavailable(reason: str) -> RemoteError:
    """Return the error for a change that can't be made now."""
    return RemoteError(reason, 503, {"Retry-After": "1"})
