"""Records acts: each becomes a log event, and an entry in the file that all workers share.

If the file can't be written, or there is no state directory, entries stay in memory, and are written with the next one. The
invariant: an act is never held up for long, and never refused, because its entry can't be written.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import structlog
import trio

from ..aio import threads
from ..core.text import rfc3339
from ..state import private_files
from .entry import Actor, Entry, Outcome, bounded
from .file import AuditFile

log = structlog.get_logger()

# The most entries in memory. The oldest is dropped first.
MOST_UNWRITTEN = 1_000
# Seconds that an act waits until its entry is on the disk, and that a reader waits for the file.
PATIENCE = 2.0


class Audit:
    """The audit log of one process; see the module.

    Args:
        directory: The directory of the file, or None if vortexd writes no state.
        now: Returns the seconds since the epoch.
        worker: The number of this worker.
        new_id: Makes the id of an entry.
        file: The file, for tests. The default is the one in `directory`.
    """

    def __init__(
        self,
        directory: Path | None,
        now: Callable[[], float],
        worker: int = 0,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        file: AuditFile | None = None,
    ) -> None:
        self._file = file or (AuditFile(directory) if directory is not None else None)
        self._now = now
        self._worker = worker
        self._new_id = new_id
        self._unwritten: deque[Entry] = deque(maxlen=MOST_UNWRITTEN)
        # The disk may hang, so this work has a thread of its own.
        self._threads = trio.CapacityLimiter(1)
        # The number of the last read that has begun.
        self._begun = 0
        self._reading = trio.Lock()
        self._flight = threads.SingleFlight()
        self._warned: set[str] = set()
        self._news = trio.Event()
        # Threads read and change `_unwritten`, too.
        self._lock = threading.Lock()

    def limit(self, max_bytes: int, most_entries: int) -> None:
        """Put other limits of the file in force, from the next entry on."""
        if self._file is not None:
            self._file.limit(max_bytes, most_entries)

    @property
    def is_stored(self) -> bool:
        """Whether entries are written to a file, so that they survive a restart."""
        return self._file is not None

    @property
    def unwritten(self) -> Sequence[Entry]:
        """The entries that are only in this process, the oldest first."""
        with self._lock:
            return tuple(self._unwritten)

    async def record(
        self,
        act: str,
        actor: Actor,
        target: str = "",
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
        **details: str,
    ) -> Entry:
        """Record an act that has ended or begins, and return its entry.

        Returns once the entry is on the disk, or after at most `PATIENCE` seconds. It raises nothing. Even if it is
        cancelled, the entry is in memory and in the log.

        Args:
            act: A fixed short phrase, such as "reload".
            target: The thing that it was done to.
            reason: Why it was done, or why it wasn't.
            details: Further facts. None of the arguments may contain a value of a configuration.
        """
        entry = self._noted(act, actor, target, outcome, reason, details)
        await self.flush()
        return entry

    def note(
        self,
        act: str,
        actor: Actor,
        target: str = "",
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
        **details: str,
    ) -> Entry:
        """Record an act as `record` does, but return at once. `run` writes the entry."""
        entry = self._noted(act, actor, target, outcome, reason, details)
        self._news.set()
        return entry

    async def run(self) -> None:
        """Write the entries of `note`. Never returns."""
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                await self.flush()
        finally:
            # It takes at most `PATIENCE` seconds.
            with trio.CancelScope(shield=True):
                await self.flush()

    def _noted(
        self, act: str, actor: Actor, target: str, outcome: Outcome, reason: str, details: Mapping[str, str]
    ) -> Entry:
        entry = Entry(self._new_id(), rfc3339(self._now()), actor, act, target, outcome, reason, details, self._worker)
        entry = bounded(entry)
        with self._lock:
            is_full = self._file is not None and len(self._unwritten) == MOST_UNWRITTEN
            self._unwritten.append(entry)
        if is_full:
            self._warn_unwritten(f"more than {MOST_UNWRITTEN} entries wait for the disk")
        members = entry.members
        log.info(
            "audit",
            id=entry.id,
            act=entry.act,
            who=entry.actor.name,
            kind=entry.actor.kind,
            peer=entry.actor.peer,
            target=entry.target,
            outcome=entry.outcome.value,
            reason=entry.reason,
            details=members["details"],
        )
        return entry

    async def entries(self) -> tuple[Sequence[Entry], bool]:
        """Return the entries in the file and those that are only in this process, the oldest first.

        The second value is False if the file can't be read now. Then only the latter are there.
        """
        found: list[Entry] = []
        is_complete = True
        if self._file is not None:
            # Readers that come at the same time share one read, but never one that has begun before they came.
            ticket = self._begun + 1
            with trio.move_on_after(PATIENCE) as scope:
                try:
                    found = await self._flight.shared(ticket, partial(self._read, self._file, ticket))
                except OSError as error:
                    is_complete = False
                    self._warn_unreadable(private_files.words(error))
            if scope.cancelled_caught:
                is_complete = False
                self._warn_unreadable(_late())
        known = {each.id for each in found}
        return [*found, *(each for each in self.unwritten if each.id not in known)], is_complete

    async def _read(self, file: AuditFile, ticket: int) -> list[Entry]:
        async with self._reading:
            self._begun = ticket
            return await threads.run_sync(file.read, abandon_on_cancel=True, limiter=self._threads)

    async def flush(self) -> None:
        """Write the entries that are only in memory, within `PATIENCE` seconds. It raises nothing."""
        file = self._file
        if file is None:
            return
        append = partial(threads.run_sync, self._append, file, abandon_on_cancel=True, limiter=self._threads)
        with trio.move_on_after(PATIENCE) as scope:
            try:
                await append()
                self._warned.clear()
            except OSError as error:
                self._warn_unwritten(private_files.words(error))
        if scope.cancelled_caught:
            self._warn_unwritten(_late())

    def _append(self, file: AuditFile) -> None:
        """Append all entries that are only in memory now. Only one thread at a time runs this."""
        waiting = self.unwritten
        if not waiting:
            return  # the thread before has written them
        file.append(waiting)
        written = {each.id for each in waiting}
        with self._lock:
            # Entries may have been added at the end meanwhile.
            while self._unwritten and self._unwritten[0].id in written:
                self._unwritten.popleft()

    def _warn_unwritten(self, reason: str) -> None:
        if self._is_new("unwritten"):
            log.warning(
                "audit entry not written",
                reason=reason,
                consequence="entries stay in memory until the next one can be written, and are lost if vortexd ends",
            )

    def _warn_unreadable(self, reason: str) -> None:
        if self._is_new("unreadable"):
            log.warning("audit log unreadable", reason=reason, consequence="only entries in memory are shown")

    def _is_new(self, problem: str) -> bool:
        """Return whether a problem hasn't been logged since an entry was written."""
        if problem in self._warned:
            return False
        self._warned.add(problem)
        return True


def _late() -> str:
    return f"the disk didn't answer within {PATIENCE:g} s"
