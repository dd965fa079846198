"""The records of one kind that all nodes share: the pins, or the roll-outs.

Readings and events of the node's watch arrive. The contents of the records leave for `shelf.shared`, which knows what they mean.
Changes of single records arrive from there, and leave for the store. The invariant: a record is replaced only if it still is
the one that its replacement was made from. So two people at two nodes can't both change one key.
"""

from collections.abc import Callable, Iterable, Mapping

import attrs
import structlog

from ..core.errors import RemoteError
from . import keys
from .engine import Delete, Engine, EngineError, Entry, Event, OutcomeUnknown, Put, Reading, TooLarge, Unmodified
from .keys import Keys
from .warnings import RecordWarnings

log = structlog.get_logger()


@attrs.frozen
class RecordKind:
    """What tells one kind of record apart from another in the store.

    Attributes:
        noun: What people call a record.
        prefix: As in `keys`.
        most: The most records that count. Records that have just ended are among them. Every worker of every node keeps all.
        max_bytes: The limit of one record. etcd takes requests of 1.5 MiB.
        not_written: Logs that a record wasn't written. Called with the reason.
    """

    noun: str
    prefix: str
    most: int
    max_bytes: int
    not_written: Callable[[str], None]


def _pin_not_written(reason: str) -> None:
    log.warning("cluster pin not written", reason=reason)


def _rollout_not_written(reason: str) -> None:
    log.warning("cluster roll-out not written", reason=reason)


PINS = RecordKind("pin", keys.PINS, 128, 524_288, _pin_not_written)
ROLLOUTS = RecordKind("roll-out", keys.ROLLOUTS, 256, 131_072, _rollout_not_written)


class SharedRecords:
    """Keeps the records of one kind, and writes them.

    Args:
        kind: The kind.
        names: The names of the cluster's entries.
        warnings: Logs records that are too large.

    Attributes:
        store: The identity of the store that was read last, or "". It changes if the store was made anew.
    """

    def __init__(self, kind: RecordKind, names: Keys, warnings: RecordWarnings) -> None:
        self._kind = kind
        self._keys = names
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
    def most(self) -> int:
        """The most records that count."""
        return self._kind.most

    @property
    def max_bytes(self) -> int:
        """The limit of one record."""
        return self._kind.max_bytes

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
            name = self._keys.record_of(self._kind.prefix, event.key)
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
        name = self._keys.record_of(self._kind.prefix, entry.key)
        if not name:
            return
        if len(entry.value) > self._kind.max_bytes:
            self._warnings.unusable(entry.key, f"it is longer than {self._kind.max_bytes} bytes")
        elif name not in self._entries and len(self._entries) >= self._kind.most:
            self._warnings.unusable(entry.key, f"there are more than {self._kind.most} {self._kind.noun}s")
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
        if content is not None and len(content) > self._kind.max_bytes:
            raise _too_large(self._kind.max_bytes)
        key = self._keys.record(self._kind.prefix, name)
        write = Delete(key) if content is None else Put(key, content)
        try:
            done = await engine.commit([write], [Unmodified(key, before.modified if before is not None else 0)])
        except TooLarge:
            raise _too_large(self._kind.max_bytes) from None
        except OutcomeUnknown as error:
            self._kind.not_written(str(error))
            noun = self._kind.noun
            raise _unavailable(f"the {noun} may be changed or not; see the list of {noun}s") from None
        except EngineError as error:
            self._kind.not_written(str(error))
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


def _too_large(max_bytes: int) -> RemoteError:
    return RemoteError(
        f"the files that this key reads are too large for a cluster: its store takes at most {max_bytes} bytes of them",
        413,
    )
