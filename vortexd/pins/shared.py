"""Where the pins of a cluster are kept: in records that all nodes share. The file of the server is a copy of them.

The records arrive from `cluster.pins`. All pins of the cluster leave for the keeper, and changed records leave for the store. A
record holds one pin, in the form of the file. The invariant: a change is made from the newest records, or not at all.

Until the store has been read, the copy counts. If the file isn't a copy of this store, the server had its pins before it came to
the cluster, or the store was made anew. Then its pins are put into the store, unless their keys are pinned there.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
import trio

from ..aio import threads
from ..core.errors import RemoteError
from ..core.model import Key
from .file import Change, PinsFile, encode, parse
from .pin import MOST_PINS, Pin
from .shelf import Shelf

log = structlog.get_logger()

# Seconds to wait for what another node has written meanwhile, and how often a change is made anew.
PATIENCE, ATTEMPTS = 3.0, 5


class Records(Protocol):
    """The records that all nodes share; see `cluster.pins.SharedPins`."""

    @property
    def store(self) -> str:
        """The identity of the store, or "" until it has been read."""
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


class ClusterPins:
    """The pins of all nodes; see the module.

    Args:
        records: The records.
        changed: Called whenever they have changed.
    """

    def __init__(self, records: Records, changed: Callable[[], None]) -> None:
        self._records = records
        self._changed = changed
        self._arrived = trio.Event()
        # Parsing may take milliseconds, so it runs in a thread.
        self._threads = trio.CapacityLimiter(1)
        self._parsed: dict[tuple[str, bytes], Pin | None] = {}
        records.report(self._hear)

    @property
    def store(self) -> str:
        """The identity of the store, or "" until it has been read."""
        return self._records.store

    def _hear(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()
        self._changed()

    async def pins(self) -> list[Pin] | None:
        """Return the pins of the cluster, in the order in which they were put, or None until the store has been read.

        Records that can't be used are logged once, and passed over.
        """
        records = self._records.records
        if records is None:
            return None
        new = [each for each in records.items() if each not in self._parsed]
        if new:
            parse = partial(_parsed, new)
            self._parsed |= await threads.run_sync(parse, abandon_on_cancel=True, limiter=self._threads)
        # A pin that is known keeps its object, and so its parsed files.
        self._parsed = {each: self._parsed[each] for each in records.items()}
        found = [pin for pin in self._parsed.values() if pin is not None]
        return sorted(found, key=lambda pin: (pin.term.since, pin.id))

    async def change(self, change: Change) -> Sequence[Pin]:
        """Change the pins of the cluster, and return them once they are in the store.

        Args:
            change: Returns the new pins, given all present ones. It may be called again, and may raise RemoteError.

        Raises:
            RemoteError: The store can't be used, or other nodes are always faster (503), or a pin is too large (413).
        """
        for _ in range(ATTEMPTS):
            arrived, before = self._arrived, await self.pins()
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
        raise RemoteError("other nodes change pins at the same time; try again", 503, {"Retry-After": "1"})

    async def _write(self, before: Sequence[Pin], after: Sequence[Pin], records: Mapping[str, bytes]) -> bool:
        """Write the differences. Return False if another node has written the same record meanwhile."""
        old, new = {pin.id: pin for pin in before}, {pin.id: pin for pin in after}
        wanted = {name_of(pin.key): None for id, pin in old.items() if id not in new}
        contents: dict[str, bytes | None] = {
            **wanted,
            **{name_of(pin.key): encode([pin]) for id, pin in new.items() if id not in old},
        }
        for name, content in contents.items():
            if not await self._records.replace(name, content, records.get(name)):
                return False
        return True


class ClusterShelf(Shelf):
    """The pins of all nodes, and the copy of them in the state directory; see the module.

    Args:
        directory, file: As in `Shelf`.
        records: The records.
        changed: Called whenever the records have changed.
        is_first: Whether this worker keeps the copy. Only one worker of a server does.
        now: Returns the seconds since the epoch.
    """

    def __init__(
        self,
        directory: Path | None,
        file: PinsFile | None,
        records: Records,
        changed: Callable[[], None],
        *,
        is_first: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(directory, file)
        self._cluster = ClusterPins(records, changed)
        self._is_first = is_first
        self._now = now
        # The store that this server has brought its pins to, and what the copy holds.
        self._joined = ""
        self._copied: object = None
        self._is_copy = False

    @property
    def is_known(self) -> bool:
        """See `Shelf`."""
        return self._is_copy or bool(self._cluster.store)

    async def read(self) -> Sequence[Pin] | None:
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
        pins = await self._cluster.pins() or []
        await self._copy(pins, store)
        return pins

    async def write(self, change: Change) -> Sequence[Pin]:
        """See `Shelf`. The pins are in the store of the cluster."""
        store = self._cluster.store
        pins = await self._cluster.change(change)
        await self._copy(pins, store)
        return pins

    async def _join(self, store: str) -> None:
        """Bring the pins of this server to the store, unless the file is a copy of it."""
        self._joined = store
        file = self._file if self._is_first else None
        try:
            mine = await self.on_disk(partial(_foreign, file, store)) if file is not None else []
        except RemoteError as error:
            self.warn_unread(error.reason)
            return
        for pin in mine:
            if pin.has_ended(self._now()):
                continue
            try:
                await self._cluster.change(partial(_with_if_free, pin))
            except RemoteError as error:
                log.warning(
                    "pin not shared",
                    key=str(pin.key),
                    reason=error.reason,
                    consequence="this key is served from its sources; pin it again",
                )

    async def _copy(self, pins: Sequence[Pin], store: str) -> None:
        """Copy the pins of a store to the file. If that fails, log a warning once."""
        if store != self._joined or store != self._cluster.store:
            # The store was made anew meanwhile. The file must stay as it is until its pins are in the new store.
            return
        content = store, [pin.id for pin in pins]
        if not self._is_first or self._file is None or content == self._copied:
            return
        is_new, self._copied = self._copied is not False, content
        try:
            await self.on_disk(partial(self._file.copy, pins, store))
        except RemoteError as error:
            self._copied = False
            if is_new:
                log.warning(
                    "pins not copied",
                    reason=error.reason,
                    consequence="if vortexd restarts while the cluster's store is away, it doesn't know them",
                )


def _foreign(file: PinsFile, store: str) -> list[Pin]:
    """Return the pins of a file that isn't a copy of a store."""
    return [] if file.store() == store else file.read()


def _with_if_free(pin: Pin, pins: Sequence[Pin]) -> Sequence[Pin]:
    """Add a pin, unless its key is pinned or there are as many pins as possible."""
    is_free = all(each.key != pin.key for each in pins) and len(pins) < MOST_PINS
    return [*pins, pin] if is_free else pins


def name_of(key: Key) -> str:
    """Return the name of a key's record: 32 hexadecimal digits."""
    return hashlib.sha256(str(key).encode()).hexdigest()[:32]


def _parsed(records: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], Pin | None]:
    """Parse records. The value is None if a record can't be used."""
    found: dict[tuple[str, bytes], Pin | None] = {}
    for name, content in records:
        pin = _pin(name, parse(content))
        if isinstance(pin, str):
            log.warning("cluster pin unusable", record=name, reason=pin, consequence="this node passes over it")
        found[name, content] = None if isinstance(pin, str) else pin
    return found


def _pin(name: str, parsed: Sequence[Pin] | str) -> Pin | str:
    """Return the pin of a record, or the reason why it can't be used."""
    if isinstance(parsed, str):
        return parsed
    return parsed[0] if [name_of(each.key) for each in parsed] == [name] else "it isn't the record of one pin"
