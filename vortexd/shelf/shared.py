"""Where the records of a cluster are kept: in entries that all nodes share. The file of the server is a copy of them.

The entries arrive from `cluster.shared_records`. All records of the cluster leave for the keeper, and changed entries leave for
the store. An entry holds one record, in the form of the file. The invariant: a change is made from the newest records, or not at all.

Until the store has been read, the copy counts. If the file isn't a copy of this store, the server had its records before it
came to the cluster, or the store was made anew. Then its records are put into the store, unless it has others of their keys.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import trio

from ..aio import threads
from ..core.errors import RemoteError
from ..core.model import Key
from .file import RecordsFile, encode, parse
from .kind import Change, Kind
from .shelf import Shelf

T = TypeVar("T")

# Seconds to wait for what another node has written meanwhile, and how often a change is made anew.
PATIENCE, ATTEMPTS = 3.0, 5


class Records(Protocol):
    """The records that all nodes share; see `cluster.shared_records.SharedRecords`."""

    @property
    def store(self) -> str:
        """The identity of the store, or "" until it has been read."""
        ...

    @property
    def most(self) -> int:
        """The most records that count. Nodes pass over the others."""
        ...

    @property
    def max_bytes(self) -> int:
        """The limit of one record."""
        ...

    @property
    def records(self) -> Mapping[str, bytes] | None:
        """The content of each record by its name, or None until the store has been read."""
        ...

    def report(self, changed: Callable[[], None]) -> None:
        """From now on call a function whenever records have changed."""
        ...

    async def replace(self, name: str, content: bytes | None, expected: bytes | None) -> bool:
        """Write or delete a record. Return False if it isn't the expected one any more.

        Raises:
            RemoteError: It can't be written now.
        """
        ...


class ClusterRecords(Generic[T]):
    """The records of all nodes; see the module.

    Args:
        records: The entries.
        changed: Called whenever they have changed.
    """

    def __init__(self, kind: Kind[T], records: Records, changed: Callable[[], None]) -> None:
        self._kind = kind
        self._records = records
        self._changed = changed
        self._arrived = trio.Event()
        # Parsing may take milliseconds, so it runs in a thread.
        self._threads = trio.CapacityLimiter(1)
        self._parsed: dict[tuple[str, bytes], T | None] = {}
        records.report(self._hear)

    @property
    def store(self) -> str:
        """The identity of the store, or "" until it has been read."""
        return self._records.store

    def _hear(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()
        self._changed()

    async def all(self) -> list[T] | None:
        """Return the records of the cluster in their order, or None until the store has been read.

        Entries that can't be used are logged once, and passed over.
        """
        records = self._records.records
        if records is None:
            return None
        new = [each for each in records.items() if each not in self._parsed]
        if new:
            parse = partial(_parsed, self._kind, new)
            self._parsed |= await threads.run_sync(parse, abandon_on_cancel=True, limiter=self._threads)
        # A record that is known keeps its object, and so its parsed files.
        self._parsed = {each: self._parsed[each] for each in records.items()}
        found = [each for each in self._parsed.values() if each is not None]
        return sorted(found, key=self._kind.order)

    async def change(self, change: Change[T]) -> Sequence[T]:
        """Change the records of the cluster, and return them once they are in the store.

        Args:
            change: Returns the new records, given all present ones. It may be called again, and may raise RemoteError.

        Raises:
            RemoteError: The store can't be used, or other nodes are always faster (503), or a record is too large (413).
        """
        for _ in range(ATTEMPTS):
            arrived, before = self._arrived, await self.all()
            records = self._records.records
            if before is None or records is None:
                raise RemoteError(
                    "the cluster's store hasn't been read yet; nothing has changed", 503, {"Retry-After": "1"}
                )
            after = change(before)
            if await self._write(before, after, records):
                return after
            with trio.move_on_after(PATIENCE):
                await arrived.wait()
        raise RemoteError(
            f"other nodes change {self._kind.nouns} at the same time; try again", 503, {"Retry-After": "1"}
        )

    async def _write(self, before: Sequence[T], after: Sequence[T], records: Mapping[str, bytes]) -> bool:
        """Write the differences. Return False if another node has written the same record meanwhile."""
        kind = self._kind
        old, new = ({kind.mark(each): each for each in several} for several in (before, after))
        contents: dict[str, bytes | None] = {
            **{name_of(kind.key(each)): None for mark, each in old.items() if mark not in new},
            **{name_of(kind.key(each)): encode(kind, [each]) for mark, each in new.items() if mark not in old},
        }
        for name, content in contents.items():
            if not await self._records.replace(name, content, records.get(name)):
                return False
        return True


class ClusterShelf(Shelf[T]):
    """The records of all nodes, and the copy of them in the state directory; see the module.

    Args:
        directory, file: As in `Shelf`.
        records: The entries.
        changed: Called whenever the entries have changed.
        is_first: Whether this worker keeps the copy. Only one worker of a server does.
        now: Returns the seconds since the epoch.
    """

    def __init__(
        self,
        kind: Kind[T],
        directory: Path | None,
        file: RecordsFile[T] | None,
        records: Records,
        changed: Callable[[], None],
        *,
        is_first: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(kind, directory, file)
        self._records = records
        self._cluster = ClusterRecords(kind, records, changed)
        self._is_first = is_first
        self._now = now
        # The store that this server has brought its records to, and what the copy holds.
        self._joined = ""
        self._copied: object = None
        self._is_copy = False

    @property
    def is_known(self) -> bool:
        """See `Shelf`."""
        return self._is_copy or bool(self._cluster.store)

    @property
    def most(self) -> int:
        """See `Shelf`. An eighth is left for other nodes that write at the same time."""
        return min(super().most, self._records.most * 7 // 8)

    @property
    def max_record_bytes(self) -> int | None:
        """See `Shelf`."""
        return self._records.max_bytes

    async def read(self) -> Sequence[T] | None:
        """See `Shelf`."""
        if not self._cluster.store:
            copy = await super().read()
            if self._file is not None and copy is not None:
                with suppress(RemoteError):
                    self._is_copy = bool(await self.on_disk(self._file.store))
            return copy
        self.is_outdated = False
        store = self._cluster.store
        if self._joined != store:
            await self._join(store)
        found = await self._cluster.all() or []
        await self._copy(found, store)
        return found

    async def write(self, change: Change[T]) -> Sequence[T]:
        """See `Shelf`. The records are in the store of the cluster."""
        store = self._cluster.store
        found = await self._cluster.change(change)
        await self._copy(found, store)
        return found

    async def _join(self, store: str) -> None:
        """Bring the records of this server to the store, unless the file is a copy of it."""
        self._joined = store
        file = self._file if self._is_first else None
        try:
            mine = await self.on_disk(partial(_foreign, file, store)) if file is not None else []
        except RemoteError as error:
            self.warn_unread(error.reason)
            return
        for each in mine:
            if not self._kind.counts(each, self._now()):
                continue
            try:
                await self._cluster.change(partial(_with_if_free, self._kind, each))
            except RemoteError as error:
                self._kind.warnings.not_shared(each, error.reason)

    async def _copy(self, records: Sequence[T], store: str) -> None:
        """Copy the records of a store to the file. If that fails, log a warning once."""
        if store != self._joined or store != self._cluster.store:
            # The store was made anew meanwhile. The file must stay as it is until its records are in the new store.
            return
        content = store, [*map(self._kind.mark, records)]
        if not self._is_first or self._file is None or content == self._copied:
            return
        is_new, self._copied = self._copied is not False, content
        try:
            await self.on_disk(partial(self._file.copy, records, store))
        except RemoteError as error:
            self._copied = False
            if is_new:
                self._kind.warnings.not_copied(error.reason)


def _foreign(file: RecordsFile[T], store: str) -> list[T]:
    """Return the records of a file that isn't a copy of a store."""
    return [] if file.store() == store else file.read()


def _with_if_free(kind: Kind[T], record: T, records: Sequence[T]) -> Sequence[T]:
    """Add a record, unless there is one of its key, or there are as many records as possible."""
    is_free = all(kind.key(each) != kind.key(record) for each in records) and len(records) < kind.most
    return [*records, record] if is_free else records


def name_of(key: Key) -> str:
    """Return the name of a key's record: 32 hexadecimal digits."""
    return hashlib.sha256(str(key).encode()).hexdigest()[:32]


def _parsed(kind: Kind[T], records: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], T | None]:
    """Parse records. The value is None if a record can't be used."""
    found: dict[tuple[str, bytes], T | None] = {}
    for name, content in records:
        record = _record(kind, name, parse(kind, content))
        if isinstance(record, str):
            kind.warnings.unusable(name, record)
        found[name, content] = None if isinstance(record, str) else record
    return found


def _record(kind: Kind[T], name: str, parsed: Sequence[T] | str) -> T | str:
    """Return the record of an entry, or the reason why it can't be used."""
    if isinstance(parsed, str):
        return parsed
    return (
        parsed[0]
        if [name_of(kind.key(each)) for each in parsed] == [name]
        else f"it isn't the record of one {kind.noun}"
    )
