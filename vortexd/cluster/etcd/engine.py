"""Reads, commits, watches and leases on etcd; see `engine.Engine`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import trio

from ..engine import (
    ENTRIES,
    Batch,
    Committed,
    Compacted,
    Condition,
    Denied,
    EngineAway,
    EngineError,
    Entry,
    Lease,
    Reading,
    TooMuch,
    Write,
    size_of,
)
from . import wire
from .gateway import ANSWER, Gateway, Lines

_RANGE, _TRANSACTION, _WATCH = "/v3/kv/range", "/v3/kv/txn", "/v3/watch"
_GRANT, _KEEP_ALIVE, _REVOKE = "/v3/lease/grant", "/v3/lease/keepalive", "/v3/lease/revoke"
# The entries in the first answer, and the most in a later one. An entry has at most 1.5 MiB by default. Each answer shows
# how many entries the next one may have, so that it has about so many bytes and arrives in time.
_FIRST_PAGE, _PAGE, _PAGE_BYTES = 8, 48, 8_388_608
# Seconds after which a watch without events begins anew. A member may be frozen, or its connection cut without a word.
_IDLE = 10.0
# Seconds until a watch that a member has ended begins anew.
_PAUSE = 0.2
# A watch that ends within so many seconds counts as one that ends at once.
_BRIEF = 1.0
# The share of a lease's time after which it is prolonged. Two attempts may fail.
_PROLONG = 1 / 3
# The least seconds between two attempts to prolong a lease.
_BETWEEN = 0.5
# Seconds until a lease must be ended when its block is left.
_FAREWELL = 2.0


class EtcdEngine:
    """An engine on etcd.

    Args:
        gateway: Carries the requests.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def read(
        self,
        keys: Sequence[str] = (),
        *,
        prefix: str = "",
        revision: int = 0,
        most_bytes: int = 0,
        most_entries: int = 0,
    ) -> Reading:
        """See `Engine.read`."""
        if keys:
            reading: Reading = await self._gateway.ask(_TRANSACTION, wire.several(keys), wire.found)
            return reading
        while True:
            try:
                return await self._read_all(prefix, revision, most_bytes, most_entries)
            except Compacted:
                if revision:
                    raise
                # Between two pages the revision was compacted. The next attempt reads a newer one.
                await trio.lowlevel.checkpoint()

    async def _read_all(self, prefix: str, revision: int, most_bytes: int, most_entries: int) -> Reading:
        """Read all entries with a prefix, in pages at one revision: the given one, or that of the first page."""
        end, entries, start = wire.end_of(prefix), list[Entry](), prefix
        store, more, limit, total = "", True, _FIRST_PAGE, 0
        while more:
            body = wire.range_of(start, end=end, revision=revision, limit=limit)
            page: wire.Page = await self._gateway.ask(_RANGE, body, partial(wire.page_of, start, end))
            found = page.reading.entries
            entries += found
            size = size_of(found)
            total += size
            if 0 < most_bytes < total:
                raise TooMuch(prefix, most_bytes)
            if 0 < most_entries < len(entries):
                raise TooMuch(prefix, most_entries, ENTRIES)
            revision, store, more = revision or page.reading.revision, page.reading.store, page.more
            if more:
                start = wire.after(found[-1].key)
                limit = max(1, min(2 * limit, _PAGE, _PAGE_BYTES * len(found) // max(size, 1)))
        return Reading(tuple(entries), revision, store)

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        """See `Engine.commit`."""
        body = wire.transaction(writes, conditions)
        committed: Committed = await self._gateway.change(_TRANSACTION, body, wire.committed)
        return committed

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._gateway.aclose()

    def watch(self, prefix: str, after: int) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """See `Engine.watch`."""
        return _Watch(self._gateway, prefix, after)

    @asynccontextmanager
    async def lease(self, seconds: float) -> AsyncIterator[Lease]:
        """See `Engine.lease`."""
        asked = trio.current_time()
        granted: wire.Granted = await self._gateway.change(_GRANT, {"TTL": round(seconds)}, wire.granted)
        lease = _Lease(granted.id, asked + granted.seconds)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive, lease)
            try:
                yield lease
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
                    await self._end(lease)

    async def _keep_alive(self, lease: "_Lease") -> None:
        """Prolong a lease until it is lost."""
        while lease.is_held:
            # The lease may end between two looks at the clock.
            remaining = max(lease.ends - trio.current_time(), 0)
            await trio.sleep(min(max(remaining * _PROLONG, _BETWEEN), remaining))
            asked = trio.current_time()
            with trio.move_on_at(lease.ends):
                try:
                    granted: wire.Granted = await self._gateway.ask(_KEEP_ALIVE, {"ID": lease.id}, wire.granted)
                except EngineError:
                    continue
                # etcd names no time for a lease that it has ended.
                lease.ends = asked + granted.seconds if granted.seconds else asked
        lease.lost.set()

    async def _end(self, lease: "_Lease") -> None:
        """End a lease. If etcd doesn't answer, the lease ends by its time."""
        with suppress(EngineError):
            await self._gateway.change(_REVOKE, {"ID": lease.id})


class _Lease:
    """A lease on etcd; see `engine.Lease`.

    Attributes:
        ends: The time of the clock of Trio at which etcd may have ended it.
    """

    def __init__(self, id: str, ends: float) -> None:
        self.id = id
        self.ends = ends
        self.lost = trio.Event()

    @property
    def is_held(self) -> bool:
        return trio.current_time() < self.ends

    async def wait_lost(self) -> None:
        await self.lost.wait()


class _Watch:
    """A watch, and its iterator; see `Engine.watch`.

    The iterator stays usable after EngineAway, and after a cancellation: its next step begins a new watch where the
    last one ended.
    """

    def __init__(self, gateway: Gateway, prefix: str, after: int) -> None:
        self._gateway = gateway
        self._prefix = prefix
        self._after = after
        self._store = ""
        self._open = AsyncExitStack()
        self._lines: Lines | None = None
        # When the watch has begun, and since when each watch has ended at once.
        self._began = 0.0
        self._ends_since: float | None = None

    async def __aenter__(self) -> AsyncIterator[Batch]:
        try:
            await self._begin()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        while True:
            if self._lines is None:
                await self._begin()
            batch = await self._next()
            if batch is not None and batch.events:
                self._after = batch.revision
                self._ends_since = None
                return batch

    async def _next(self) -> Batch | None:
        """Return the next line as a batch. Return None if the watch has ended and has to begin anew."""
        assert self._lines is not None
        try:
            with trio.fail_after(_IDLE):
                line = wire.watch_line(await self._lines.next())
        except trio.TooSlowError:
            self._lines = None
            return None
        except EngineError as error:
            self._lines = None
            # If the watch began anew at the same revision, etcd would send the same line again.
            may_go_on = isinstance(error, EngineAway | wire.Malformed | wire.StaleToken)
            if not may_go_on or isinstance(error, wire.TooLong):
                raise
            self._check_ended(error)
            await trio.sleep(_PAUSE)
            return None
        return line if isinstance(line, Batch) else None

    def _check_ended(self, error: EngineError) -> None:
        """Check that not each watch ends at once, as behind a proxy that cuts answers. Then no events would arrive.

        Raises:
            EngineAway: For too long, each watch has ended at once and without events.
        """
        now = trio.current_time()
        if self._ends_since is None or now - self._began >= _BRIEF:
            self._ends_since = now
        elif now - self._ends_since >= _IDLE:
            self._ends_since = None
            raise EngineAway(f"{self._gateway.endpoint}: each watch ends at once: {error}")

    async def _begin(self) -> None:
        """Begin at the member that answered last, or else at another one.

        Raises:
            EngineAway: No member answers.
            Compacted: See `Engine.watch`.
        """
        away = EngineAway("etcd has no members")
        for _ in range(self._gateway.members):
            try:
                lines, created = await self._begin_here()
            except trio.TooSlowError:
                away = EngineAway(f"{self._gateway.endpoint}: the watch doesn't begin")
            except (EngineAway, wire.Malformed, wire.StaleToken) as error:
                away = EngineAway(f"{self._gateway.endpoint}: {error}")
            else:
                await self._check(created)
                self._lines, self._began = lines, trio.current_time()
                return
            self._gateway.move_on()
        await self._end()
        raise away

    async def _begin_here(self) -> tuple[Lines, wire.Created]:
        """Begin at the current member, and once more if it doesn't know the token any more."""
        try:
            return await self._begin_once()
        except (wire.StaleToken, Denied):
            # etcd 3.4 says of an invalid token that the permission is denied. Each member has tokens of its own: it
            # forgets them when it restarts, and those that weren't used there for five minutes.
            if not self._gateway.forget_token():
                raise
        return await self._begin_once()

    async def _begin_once(self) -> tuple[Lines, wire.Created]:
        await self._end()
        request = wire.watch_of(self._prefix, self._after)
        lines = await self._open.enter_async_context(self._gateway.stream(_WATCH, request))
        with trio.fail_after(ANSWER):
            created = wire.watch_line(await lines.next())
        if not isinstance(created, wire.Created):
            raise wire.Malformed("the watch doesn't begin as etcd's do")
        return lines, created

    async def _check(self, created: wire.Created) -> None:
        """Check that the store still has the revisions that this watch has seen.

        Raises:
            Compacted: The store was made anew, or restored from an earlier state.
        """
        # A caller may take another step after the error. The watch never goes on in the other store.
        if self._store not in ("", created.store):
            raise Compacted("the store was made anew")
        self._store = created.store
        # A member may be behind the others. A reading is never behind.
        if created.revision < self._after:
            page: wire.Page = await self._gateway.ask(_RANGE, wire.range_of(self._prefix), wire.page)
            revision = page.reading.revision
            if revision < self._after:
                raise Compacted(f"the store was restored: it is at revision {revision}, and was at {self._after}")

    async def _end(self) -> None:
        self._lines = None
        await self._open.aclose()
        self._open = AsyncExitStack()
