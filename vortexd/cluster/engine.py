"""The contract with the store that nodes share. Pure.

A store keeps entries in one order of revisions. Each commit that writes gets the next revision, and all its writes
appear at once. The contract is small, so that an engine for another store needs about one module. The suite in
tests/cluster/contract.py states it as facts, which every engine must pass.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import attrs

from ..core.errors import VortexdError

# The units of the limits of a reading.
BYTES, ENTRIES = "bytes in keys and values", "keys"


class EngineError(VortexdError):
    """The store can't do now what was asked. The text says why, and names no secret.

    The caller keeps its last good state, reports the text and tries again.
    """


class EngineAway(EngineError):
    """No member of the store answers in time, or the store has no leader. Nothing was written."""


class OutcomeUnknown(EngineError):
    """A commit was sent, but its answer didn't arrive.

    It may be written now, later or never. The caller looks its record up by an id, and never repeats it blindly.
    """


class Denied(EngineError):
    """The store refuses the user, the password or the right to a key. An operator has to act."""


class Full(EngineError):
    """The store has no space left. Reads and watches still work. An operator has to act."""


class TooLarge(EngineError):
    """A commit is larger than the store takes: its bytes, or the number of its writes."""


class TooMuch(EngineError):
    """There are more entries with a prefix, or they have more bytes, than the caller wants to read.

    Args:
        prefix: The prefix.
        most: The limit.
        unit: The unit of the limit.
    """

    def __init__(self, prefix: str, most: int, unit: str = BYTES) -> None:
        super().__init__(f"{prefix} has more than {most} {unit}")


class Compacted(EngineError):
    """A revision is no longer kept, or the store was restored and never reached it. The caller reads everything again.

    Attributes:
        oldest: The oldest revision from which a watch can begin, or 0 if the store doesn't say.
    """

    def __init__(self, text: str, oldest: int = 0) -> None:
        super().__init__(text)
        self.oldest = oldest


@attrs.frozen
class Entry:
    """One entry of the store.

    Attributes:
        created: The revision of the commit that created it. It identifies a holder better than a name does.
        modified: The revision of the commit that wrote this value.
        lease: The lease that the entry ends with, or "".
    """

    key: str
    value: bytes
    created: int
    modified: int
    lease: str = ""


def size_of(entries: Iterable[Entry]) -> int:
    """Return the bytes of the keys and values of entries, as `Engine.read` limits them."""
    return sum(len(each.key) + len(each.value) for each in entries)


@attrs.frozen
class Reading:
    """Entries as they were at one revision.

    Attributes:
        entries: In the order of their keys.
        revision: The revision of the reading. A watch from the next revision misses nothing.
        store: The identity of the store. It changes if the store was made anew.
    """

    entries: tuple[Entry, ...]
    revision: int
    store: str


@attrs.frozen
class Put:
    """Writes an entry. With a lease, the entry ends with it."""

    key: str
    value: bytes
    lease: str = ""


@attrs.frozen
class Delete:
    """Deletes an entry, if it exists."""

    key: str


Write: TypeAlias = Put | Delete


@attrs.frozen
class Unmodified:
    """A condition: the entry was last written by this revision; 0 means that there is no entry."""

    key: str
    revision: int


@attrs.frozen
class CreatedAt:
    """A condition: the entry was created by this revision. Later writes don't matter. It serves as a fence."""

    key: str
    revision: int


Condition: TypeAlias = Unmodified | CreatedAt


@attrs.frozen
class Committed:
    """The outcome of a commit.

    Attributes:
        is_done: Whether all conditions held, and all writes are in force.
        revision: The revision of the writes or, if a condition didn't hold, of the reading.
        found: If a condition didn't hold, the entries that the conditions name, as far as they exist.
    """

    is_done: bool
    revision: int
    found: tuple[Entry, ...] = ()


@attrs.frozen
class Event:
    """One write, as a watch reports it.

    Attributes:
        entry: None if the entry was deleted, or its lease has ended.
        revision: The revision of the commit. All events of one commit have the same.
    """

    key: str
    entry: Entry | None
    revision: int


@attrs.frozen
class Batch:
    """All events of one or several complete commits, in their order. A commit is never split.

    Attributes:
        revision: The revision of the last one.
    """

    events: tuple[Event, ...]
    revision: int


class Lease(Protocol):
    """A lease that is kept alive."""

    @property
    def id(self) -> str:
        """The identifier, as in `Put.lease`."""
        ...

    @property
    def is_held(self) -> bool:
        """Whether the lease is certainly in force. It turns false before the store can have ended the lease."""
        ...

    async def wait_lost(self) -> None:
        """Wait until the lease isn't held any more."""
        ...


class Engine(Protocol):
    """A store that nodes share.

    Every call has a deadline of its own. Cancelling a call does no harm, but the outcome of a cancelled commit is
    unknown. Every call may raise EngineAway and Denied.
    """

    async def read(
        self,
        keys: Sequence[str] = (),
        *,
        prefix: str = "",
        revision: int = 0,
        most_bytes: int = 0,
        most_entries: int = 0,
    ) -> Reading:
        """Return the named entries that exist, or all entries with a prefix. It is the state after all earlier commits.

        Args:
            revision: Return the entries with the prefix as they were at this revision; 0 means now.
            most_bytes: The most bytes of all keys and values with the prefix; 0 means no limit.
            most_entries: The most entries with the prefix; 0 means no limit.

        Raises:
            Compacted: The store doesn't keep that revision any more.
            TooMuch: There are more entries with the prefix, or they have more bytes.
        """
        ...

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        """Write everything if all conditions hold, else nothing.

        Raises:
            OutcomeUnknown: See the class.
            Full: See the class.
            TooLarge: See the class.
        """
        ...

    def watch(self, prefix: str, after: int) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Watch the entries with a prefix from the revision after `after`.

        Batches arrive in order, each once, and none is missing. The watch renews itself, also at other members of the
        store. If no member answers for some time, the iterator raises EngineAway. Leaving the block ends the watch.

        Raises:
            Compacted: By the iterator: the revisions that follow aren't all kept.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections. Watches and leases must have ended before."""
        ...

    def lease(self, seconds: float) -> AbstractAsyncContextManager[Lease]:
        """Hold a lease, and end it together with its entries when the block is left.

        Args:
            seconds: The store ends the lease if it hears nothing of this node for so long. At least 2.
        """
        ...
