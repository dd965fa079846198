"""Moves the connections of a key between the tracks of its roll-out: between the key and its candidate. Synchronous work in turns.

The publisher names the keys whose choice may have changed. All connections are examined, a bounded number in one round of the
event loop, and the server moves each one that is on the wrong track. Connections that arrive, park or wake meanwhile are
examined by the server when they do so. So each connection ends on its right track, whatever it does during a move.

All clients that move from one track to the other need the same message. It is made once, before the first of them moves. Then
a parked connection gets it in its row, as it gets a change, and needn't be woken. So a halted roll-out brings a fleet back about
as fast as a change would.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Protocol, TypeVar

import attrs
import trio

from ..core.candidate import candidate_of, plain
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import Key
from ..pipeline.broadcast import Delivery
from .parked import WOKEN_AT_ONCE
from .row import Row

# Examining this many connections takes less than a tenth of a millisecond, and moving so many about a millisecond.
EXAMINED_AT_ONCE, MOVED_AT_ONCE = 512, 64
# Seconds for the messages of one move. The publication waits for it.
PATIENCE = 1.0


class Member(Protocol):
    """A connection with a main key."""

    @property
    def key(self) -> Key: ...


M = TypeVar("M", bound=Member)


class Keys(Protocol):
    """The part of the pipeline that knows the versions of tracks."""

    def version_of(self, key: Key) -> str | None: ...
    def postponed(self, key: Key) -> str | None: ...
    async def catch_up(self, key: Key, version: str | None) -> Delivery: ...


class Messages:
    """The messages of one move, and the rows of parked connections that get them.

    Args:
        queue: Queues a message for rows for which no other message waits.
    """

    def __init__(self, keys: Keys, queue: Callable[[Collection[Row], Delivery], None]) -> None:
        self._keys = keys
        self._queue = queue
        # By the track that the connections move to, and the version that they have.
        self._made: dict[tuple[Key, str], Delivery] = {}
        self._waiting: dict[tuple[Key, str], dict[Row, None]] = {}

    async def make(self, keys: Iterable[Key]) -> None:
        """Make the messages between the tracks of some keys, within a limited time.

        Without a message, a connection is woken, and catches up by itself.
        """
        with trio.move_on_after(PATIENCE):
            for key in map(plain, keys):
                tracks = key, candidate_of(key)
                for former, wanted in (tracks, tracks[::-1]):
                    await self._make(former, wanted)

    async def _make(self, former: Key, wanted: Key) -> None:
        version = self._keys.version_of(former)
        if version is None or self._keys.version_of(wanted) in (None, version):
            return
        with suppress(RemoteError, FormatError, ResolveError):
            made = await self._keys.catch_up(wanted, version)
            self._made[wanted, version] = attrs.evolve(made, published=trio.current_time())

    def fits(self, wanted: Key, version: str | None) -> bool:
        """Return whether there is a message that brings a client from a version to the served version of its new track."""
        made = self._made.get((wanted, version)) if version is not None else None
        if made is None or made.new_version is None or self._keys.postponed(wanted) is not None:
            return False
        return made.new_version == self._keys.version_of(wanted)

    def put(self, row: Row, wanted: Key) -> None:
        """Let a row of connections that have moved get its message with the next `flush`."""
        if row.version is not None:
            self._waiting.setdefault((wanted, row.version), {})[row] = None

    def flush(self) -> None:
        """Queue the messages of all rows. Until then, no other task may run, because it could queue a later message first."""
        for which, rows in self._waiting.items():
            self._queue(rows, self._made[which])
        self._waiting.clear()


async def move_all(
    members: Iterable[M],
    keys: Collection[Key],
    move: Callable[[M], tuple[bool, bool]],
    settle: Callable[[], None] = lambda: None,
) -> None:
    """Move the connections of some keys, and let other tasks run in between.

    Args:
        members: The connections. It may change meanwhile.
        move: Moves a connection if it is open and on the wrong track. Returns whether it was moved, and whether it was woken.
        settle: Called before other tasks run.
    """
    wanted = frozenset(map(plain, keys))
    examined = moved = woken = 0
    for member in tuple(members):
        examined += 1
        if plain(member.key) in wanted:
            is_moved, is_woken = move(member)
            moved += is_moved
            woken += is_woken
        if examined >= EXAMINED_AT_ONCE or moved >= MOVED_AT_ONCE or woken >= WOKEN_AT_ONCE:
            examined = moved = woken = 0
            settle()
            await trio.lowlevel.checkpoint()
    settle()
    await trio.lowlevel.checkpoint()
