"""Keeps on disk what each instance has acknowledged last, so that a restart doesn't hide it.

The fleet's records arrive, and leave to the fleet of the next process. Each worker has a file of its own in one directory:
`worker-0.json`, which is also that of a single daemon, and so on. The first worker also takes the files of workers that
don't run any more. A file is written at most once in `BETWEEN` seconds, only if something has changed, and at the end. So
a process that is killed loses at most the last seconds.

Nothing here stops or delays the service. If a file can't be read, it is set aside. If it can't be written, the server
tries again later. Both are one warning.
"""

import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import structlog
import trio

from ..aio import threads
from ..fleet import ConnectedRow, Fleet, GoneRow, Record, records_of
from ..fleet.records import MAX_BYTES, Unreadable, encode, parse
from . import private_files

log = structlog.get_logger()

# The least seconds between two writes, and the least time as a multiple of the time that the last write took.
BETWEEN = 5.0
_SHARE = 20
_MOST_BETWEEN = 60.0
# Seconds after which a failed write is repeated.
RETRY = 60.0
# Seconds after which the time of an unchanged file is renewed. It tells until when its instances were connected.
CONFIRM = 30.0
# Seconds for the last write.
LAST = 2.0
# Keys whose instances are collected before other tasks may run.
_AT_ONCE = 500
_FILE = re.compile(r"worker-(\d{1,4})\.json")
_BUSY = "another process uses it"


class Acknowledgements:
    """Keeps the records of a fleet on disk.

    Args:
        directory: The directory for the files, which all workers share. It is made at the first write. None: nothing is
            read or written.
        number: The number of this worker.
        count: The number of workers.
        now: Returns the seconds since the epoch.
        max_bytes: The limit of a file.
    """

    def __init__(
        self,
        fleet: Fleet,
        directory: Path | None,
        number: int,
        count: int,
        now: Callable[[], float],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._fleet = fleet
        self._directory = directory
        self._number = number
        self._count = count
        self._now = now
        self._max_bytes = max_bytes
        self._lock: int | None = None
        self._is_restored = False
        self._has_looked = trio.Event()
        # The fleet's number of changes at the last write.
        self._written = fleet.changes
        self._has_written = False
        self._confirmed = 0.0
        self._is_failing = False
        # The files of workers that don't run any more. They are removed once their instances are in this worker's file.
        self._former: list[Path] = []
        # Whether it has been logged that the file can't be written. Once a write succeeds, the problem counts as new again.
        self._is_warned = False
        # The event loop and the threads take turns each. A thread that was abandoned keeps its turn until it ends.
        self._turn = trio.Lock()
        self._threads = trio.CapacityLimiter(1)

    async def wait_looked(self, seconds: float) -> None:
        """Wait a bounded time until the former acknowledgements have been read."""
        with trio.move_on_after(seconds):
            await self._has_looked.wait()

    async def run(self) -> None:
        """Read the former acknowledgements, and then write new ones. Never returns."""
        if self._directory is None:
            self._has_looked.set()
            await trio.sleep_forever()
        while True:
            began = trio.current_time()
            await self._step()
            self._has_looked.set()
            took = trio.current_time() - began
            await trio.sleep(RETRY if self._is_failing else max(BETWEEN, min(_SHARE * took, _MOST_BETWEEN)))

    async def close(self) -> None:
        """Write for the last time. It takes at most `LAST` seconds, and isn't cancelled earlier."""
        if self._directory is not None:
            with trio.CancelScope(deadline=trio.current_time() + LAST, shield=True):
                await self._step()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    async def _step(self) -> None:
        async with self._turn:
            if not self._is_restored:
                # A disk that hangs doesn't hold up the daemon's exit.
                found = await threads.run_sync(self._read, abandon_on_cancel=True, limiter=self._threads)
                if found is None:
                    return
                self._is_restored = True
                if found:
                    self._fleet.restore(found, self._now())
            elif self._fleet.changes != self._written:
                mark = self._fleet.changes
                rows = await self._collect()
                is_written = await threads.run_sync(self._write, *rows, abandon_on_cancel=True, limiter=self._threads)
                self._is_failing = not is_written
                if is_written:
                    self._written, self._has_written = mark, True
            elif self._has_written and not 0 <= self._now() - self._confirmed < CONFIRM:
                await threads.run_sync(self._confirm, abandon_on_cancel=True, limiter=self._threads)

    async def _collect(self) -> tuple[list[ConnectedRow], list[GoneRow]]:
        """Return the instances to remember, at most as many as the settings allow. A thread makes records of them."""
        keys, most = tuple(self._fleet.keys()), self._fleet.most_records
        connected: list[ConnectedRow] = []
        for start in range(0, len(keys), _AT_ONCE):
            connected += self._fleet.connected(keys[start : start + _AT_ONCE], most - len(connected))
            await trio.lowlevel.checkpoint()
        return connected, self._fleet.gone(most - len(connected))

    # In a thread.

    def _read(self) -> list[Record] | None:
        """Read the records of all files that are this worker's. Return None if another process uses its file."""
        assert self._directory is not None
        try:
            private_files.check_private(self._directory)
            if self._is_busy():
                self._warn_unstored(_BUSY)
                return None
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._warn_unreadable(self._directory.name, private_files.words(error))
            return []
        self._former = [self._directory / name for name in names if self._is_former(name)]
        return [record for file in (self._file, *self._former) for record in self._read_file(file)]

    def _is_former(self, name: str) -> bool:
        """Whether a file is that of a worker that doesn't run any more, and this worker takes it."""
        found = _FILE.fullmatch(name)
        return self._number == 0 and found is not None and int(found[1]) >= self._count

    def _read_file(self, file: Path) -> Collection[Record]:
        try:
            confirmed = file.lstat().st_mtime
            records = parse(private_files.read(file, self._max_bytes))
        except FileNotFoundError:
            return ()
        except (OSError, Unreadable) as error:
            self._warn_unreadable(file.name, private_files.words(error) if isinstance(error, OSError) else str(error))
            # A newer version may have written it, or the operator wants to examine it.
            with suppress(OSError):
                private_files.set_aside(file)
            return ()
        # An instance that was connected when the file was written left then, as far as anybody knows.
        return [record if record.left is not None else record._replace(left=confirmed) for record in records]

    def _write(self, connected: Collection[ConnectedRow], gone: Collection[GoneRow]) -> bool:
        """Write the file. Return whether that succeeded."""
        assert self._directory is not None
        try:
            for each in (self._directory.parent, self._directory):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.check_private(self._directory)
            if not self._has_lock():
                self._warn_unstored(_BUSY)
                return False
            content, left_out = encode(records_of(connected, gone), self._max_bytes)
            private_files.replace(self._file, content)
            self._confirm()
            private_files.sync(self._directory)
            while self._former:
                self._former.pop().unlink(missing_ok=True)
        except OSError as error:
            self._warn_unstored(private_files.words(error))
            return False
        if left_out:
            self._warn_unstored(f"{left_out} instances are beyond {self._max_bytes} bytes together")
        else:
            self._is_warned = False
        return True

    def _confirm(self) -> None:
        """Record that the instances in the file are still connected."""
        self._confirmed = self._now()
        with suppress(OSError):
            os.utime(self._file, (self._confirmed, self._confirmed))

    @property
    def _file(self) -> Path:
        assert self._directory is not None
        return self._directory / f"worker-{self._number}.json"

    def _has_lock(self) -> bool:
        """Whether no other process has this worker's file. From now on, this process has it. Raises OSError."""
        if self._lock is None:
            self._lock = private_files.locked(self._file.with_suffix(".lock"))
        return self._lock is not None

    def _is_busy(self) -> bool:
        """Whether another process has this worker's file. In a directory that can't be written, no process has it."""
        try:
            return not self._has_lock()
        except OSError:
            return False

    def _warn_unstored(self, reason: str) -> None:
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "acknowledgements not stored",
                directory=str(self._directory),
                reason=reason,
                consequence="after a restart, it isn't shown what instances have acknowledged",
            )

    def _warn_unreadable(self, file: str, reason: str) -> None:
        log.warning(
            "acknowledgements unreadable",
            file=file,
            reason=reason,
            consequence="it isn't shown what instances acknowledged before the restart",
        )
