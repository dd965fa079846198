"""An engine in memory, for tests of the parts above it. It passes the same contract as etcd's."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from vortexd.cluster.engine import (
    ENTRIES,
    Batch,
    Committed,
    Compacted,
    Condition,
    CreatedAt,
    Delete,
    EngineAway,
    EngineError,
    Entry,
    Event,
    Lease,
    OutcomeUnknown,
    Put,
    Reading,
    TooLarge,
    TooMuch,
    Write,
    size_of,
)

MOST_WRITES = 128
# As etcd by default.
MOST_BYTES = 1_572_864


class MemoryStore:
    """What all engines of one store share: entries, leases, and every batch since the last compaction.

    Attributes:
        is_away: Whether every call fails, and every watch.
        loses_answers: Whether commits are carried out, and their answers are lost.
    """

    def __init__(self) -> None:
        self.name = "store-1"
        self.entries: dict[str, Entry] = {}
        self.revision = 1
        self.log: list[Batch] = []
        # The entries before the log.
        self.base: dict[str, Entry] = {}
        self.oldest = 1
        self.ends: dict[str, float] = {}
        self.is_away = False
        self.loses_answers = False
        self._changed = trio.Event()
        self._leases = 0

    def change(self, writes: Sequence[Write]) -> int:
        """Carry out all writes at the next revision."""
        events = []
        revision = self.revision + 1
        for each in writes:
            before = self.entries.pop(each.key, None)
            if isinstance(each, Put):
                created = before.created if before is not None else revision
                entry = Entry(each.key, each.value, created, revision, each.lease)
                self.entries[each.key] = entry
                events.append(Event(each.key, entry, revision))
            elif before is not None:
                events.append(Event(each.key, None, revision))
        if events:
            self.revision = revision
            self.log.append(Batch(tuple(events), revision))
            self._wake()
        return self.revision

    def compact(self) -> None:
        """Forget all events up to now."""
        self.log.clear()
        self.base = dict(self.entries)
        self.oldest = self.revision + 1
        self._wake()

    def restore(self, revision: int) -> None:
        """Go back to an earlier revision, as a restored backup does. The entries written since are gone."""
        self.entries = {key: each for key, each in self.entries.items() if each.modified <= revision}
        self.log = [each for each in self.log if each.revision <= revision]
        self.revision = revision
        self._wake()

    def set_away(self, is_away: bool) -> None:
        """Make the store unreachable, or reachable again."""
        self.is_away = is_away
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self) -> None:
        """Wait until anything has changed."""
        await self._changed.wait()

    def new_lease(self, seconds: float) -> str:
        """Begin a lease."""
        self._leases += 1
        self.ends[str(self._leases)] = trio.current_time() + seconds
        return str(self._leases)

    def end_lease(self, lease: str) -> None:
        """End a lease, and delete its entries."""
        self.ends.pop(lease, None)
        keys = [each.key for each in self.entries.values() if each.lease == lease]
        if keys:
            self.change([Delete(key) for key in keys])


class MemoryEngine:
    """One node's engine on a store in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.is_closed = False

    def _reach(self) -> None:
        for lease, ends in list(self.store.ends.items()):
            if ends <= trio.current_time():
                self.store.end_lease(lease)
        if self.store.is_away:
            raise EngineAway("the store is away")

    async def read(
        self,
        keys: Sequence[str] = (),
        *,
        prefix: str = "",
        revision: int = 0,
        most_bytes: int = 0,
        most_entries: int = 0,
    ) -> Reading:
        await trio.lowlevel.checkpoint()
        self._reach()
        if revision:
            former = self._former(prefix, revision)
            if 0 < most_bytes < size_of(former.entries):
                raise TooMuch(prefix, most_bytes)
            return former
        found = [self.store.entries[key] for key in dict.fromkeys(keys) if key in self.store.entries]
        if not keys:
            found = [each for key, each in sorted(self.store.entries.items()) if key.startswith(prefix)]
        if 0 < most_bytes < size_of(found):
            raise TooMuch(prefix, most_bytes)
        if 0 < most_entries < len(found):
            raise TooMuch(prefix, most_entries, ENTRIES)
        return Reading(tuple(found), self.store.revision, self.store.name)

    def _former(self, prefix: str, revision: int) -> Reading:
        if revision + 1 < self.store.oldest:
            raise Compacted("required revision has been compacted", self.store.oldest)
        entries = dict(self.store.base)
        for event in (event for batch in self.store.log if batch.revision <= revision for event in batch.events):
            if event.entry is None:
                entries.pop(event.key, None)
            else:
                entries[event.key] = event.entry
        found = [each for key, each in sorted(entries.items()) if key.startswith(prefix)]
        return Reading(tuple(found), revision, self.store.name)

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        await trio.lowlevel.checkpoint()
        self._reach()
        if len(writes) > MOST_WRITES:
            raise TooLarge("too many operations in txn request")
        if sum(len(each.key) + len(each.value) for each in writes if isinstance(each, Put)) > MOST_BYTES:
            raise TooLarge("request is too large")
        if len({each.key for each in writes}) < len(writes):
            raise EngineError("duplicate key given in txn request")
        if any(isinstance(each, Put) and each.lease and each.lease not in self.store.ends for each in writes):
            raise EngineError("requested lease not found")
        if not all(map(self._holds, conditions)):
            keys = dict.fromkeys(each.key for each in conditions)
            found = tuple(self.store.entries[key] for key in keys if key in self.store.entries)
            return Committed(False, self.store.revision, found)
        revision = self.store.change(writes)
        if self.store.loses_answers:
            raise OutcomeUnknown("the answer is lost")
        return Committed(True, revision)

    def _holds(self, condition: Condition) -> bool:
        entry = self.store.entries.get(condition.key)
        if isinstance(condition, CreatedAt):
            return condition.revision == (entry.created if entry is not None else 0)
        return condition.revision == (entry.modified if entry is not None else 0)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_closed = True

    @asynccontextmanager
    async def watch(self, prefix: str, after: int) -> AsyncIterator[AsyncIterator[Batch]]:
        await trio.lowlevel.checkpoint()
        self._reach()
        self._check(after)
        yield _Batches(self, prefix, after)

    def _check(self, after: int) -> None:
        if after + 1 < self.store.oldest:
            raise Compacted("compacted", self.store.oldest)
        if after > self.store.revision:
            raise Compacted("the store was restored")

    async def next(self, prefix: str, after: int) -> Batch:
        """Wait for the next batch with events under a prefix."""
        while True:
            await trio.lowlevel.checkpoint()
            self._reach()
            self._check(after)
            for batch in self.store.log:
                events = tuple(each for each in batch.events if each.key.startswith(prefix))
                if batch.revision > after and events:
                    return attrs.evolve(batch, events=events)
            ends = min(self.store.ends.values(), default=math.inf)
            with trio.move_on_at(ends):
                await self.store.wait_changed()

    @asynccontextmanager
    async def lease(self, seconds: float) -> AsyncIterator[Lease]:
        await trio.lowlevel.checkpoint()
        self._reach()
        lease = _Lease(self.store, self.store.new_lease(seconds))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.keep_alive, seconds)
            try:
                yield lease
            finally:
                nursery.cancel_scope.cancel()
                if not self.store.is_away:
                    self.store.end_lease(lease.id)


class _Batches:
    def __init__(self, engine: MemoryEngine, prefix: str, after: int) -> None:
        self._engine, self._prefix, self._after = engine, prefix, after

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        batch = await self._engine.next(self._prefix, self._after)
        self._after = batch.revision
        return batch


class _Lease:
    def __init__(self, store: MemoryStore, id: str) -> None:
        self._store = store
        self.id = id
        self._ends = store.ends[id]
        self._lost = trio.Event()

    @property
    def is_held(self) -> bool:
        return trio.current_time() < self._ends

    async def wait_lost(self) -> None:
        await self._lost.wait()

    async def keep_alive(self, seconds: float) -> None:
        while self.is_held:
            remaining = self._ends - trio.current_time()
            await trio.sleep(min(max(remaining / 3, 0.5), remaining))
            if self.id not in self._store.ends:
                break
            if not self._store.is_away:
                self._ends = self._store.ends[self.id] = trio.current_time() + seconds
        self._ends = min(self._ends, trio.current_time())
        self._lost.set()
