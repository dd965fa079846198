"""The records of pins that all nodes share: which keys are frozen, in every node of the cluster.

Readings and events of the node's watch arrive. The contents of the records leave for `pins.shared`, which knows what they mean.
Changes of single records arrive from there, and leave for the store. The invariant: a record is replaced only if it still is
the one that its replacement was made from. So two people at two nodes can't pin the same key.
"""

from collections.abc import Callable, Iterable, Mapping

import structlog

from ..core.errors import RemoteError
from .engine import Delete, Engine, EngineError, Entry, Event, OutcomeUnknown, Put, Reading, TooLarge, Unmodified
from .keys import Keys
from .warnings import RecordWarnings

log = structlog.get_logger()

# The limit of one record. Every worker of every node keeps all records, and etcd takes requests of 1.5 MiB.
PIN_BYTES = 524_288
# The most records that count. There are as many as pins, and those that have just ended.
MOST_PINS = 128


class SharedPins:
    """Keeps the records of pins, and writes them.

    Args:
        keys: The names of the cluster's entries.
        warnings: Logs records that are too large.

    Attributes:
        store: The identity of the store that was read last, or "". It changes if the store was made anew.
    """

    def __init__(self, keys: Keys, warnings: RecordWarnings) -> None:
        self._keys = keys
        self._warnings = warnings
        self._entries: dict[str, Entry] = {}
        self.store = ""
        self._engine: Engine | None = None
        self._changed: Callable[[], None] = lambda: None

    def use(self, engine: Engine | None) -> None:
        """Write with an engine from now on. None means that there is none."""
        self._engine = engine

    def report(self, changed: Callable[[], None]) -> None:
        """From now on call a function whenever records have changed."""
        self._changed = changed

    @property
    def records(self) -> Mapping[str, bytes] | None:
        """The content of each record by its name, or None until the store has been read."""
        return {name: entry.value for name, entry in self._entries.items()} if self.store else None

    # From the watch.

    def read(self, reading: Reading) -> None:
        """Take a reading of all entries of the cluster."""
        self._entries = {}
        for entry in reading.entries:
            self._put(entry)
        self.store = reading.store
        self._changed()

    def take(self, events: Iterable[Event]) -> None:
        """Take the events of a watch."""
        is_changed = False
        for event in events:
            name = self._keys.pin_of(event.key)
            if not name:
                continue
            is_changed = True
            if event.entry is not None:
                self._put(event.entry)
            else:
                self._entries.pop(name, None)
                self._warnings.usable(event.key)
        if is_changed:
            self._changed()

    def _put(self, entry: Entry) -> None:
        name = self._keys.pin_of(entry.key)
        if not name:
            return
        if len(entry.value) > PIN_BYTES:
            self._warnings.unusable(entry.key, f"it is longer than {PIN_BYTES} bytes")
        elif name not in self._entries and len(self._entries) >= MOST_PINS:
            self._warnings.unusable(entry.key, f"there are more than {MOST_PINS} pins")
        else:
            self._entries[name] = entry
            self._warnings.usable(entry.key)
            return
        self._entries.pop(name, None)

    # To the store.

    async def replace(self, name: str, content: bytes | None, expected: bytes | None) -> bool:
        """Write or delete a record. Return False if it isn't the expected one any more.

        Once this returns True, `records` has the change at this worker. The others get it by their watches.

        Args:
            name: The name: hexadecimal digits.
            content: The new content, or None to delete the record.
            expected: The present content, or None if there must be none.

        Raises:
            RemoteError: 503 or 413. The text says whether the record may have changed.
        """
        engine, before = self._engine, self._entries.get(name)
        if engine is None or not self.store:
            raise _unavailable("nothing has changed")
        if (before.value if before is not None else None) != expected:
            return False
        if content is not None and len(content) > PIN_BYTES:
            raise _too_large()
        key = self._keys.pin(name)
        write = Delete(key) if content is None else Put(key, content)
        try:
            done = await engine.commit([write], [Unmodified(key, before.modified if before is not None else 0)])
        except TooLarge:
            raise _too_large() from None
        except OutcomeUnknown as error:
            log.warning("cluster pin not written", reason=str(error))
            raise _unavailable("the pin may be changed or not; see the list of pins") from None
        except EngineError as error:
            log.warning("cluster pin not written", reason=str(error))
            raise _unavailable("nothing has changed") from None
        if done.is_done:
            # The event that follows says the same.
            self._note(name, key, content, done.revision)
        return done.is_done

    def _note(self, name: str, key: str, content: bytes | None, revision: int) -> None:
        """Keep what this node has written, unless the watch has something newer."""
        known = self._entries.get(name)
        if known is not None and known.modified > revision:
            return
        if content is None:
            self._entries.pop(name, None)
        else:
            self._put(Entry(key, content, known.created if known is not None else revision, revision))


def _unavailable(consequence: str) -> RemoteError:
    return RemoteError(f"the cluster's store can't be used now, and {consequence}", 503, {"Retry-After": "1"})


def _too_large() -> RemoteError:
    return RemoteError(
        f"the files that this key reads are too large for a cluster: its store takes at most {PIN_BYTES} bytes of them",
        413,
    )
