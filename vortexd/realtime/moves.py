"""Moves the connections of a key between the tracks of its roll-out: between the key and its candidate. Synchronous work in turns.

The publisher names the keys whose choice may have changed. All connections are examined, a bounded number in one round of the
event loop, and the server moves each one that is on the wrong track. Connections that arrive, park or wake meanwhile are
examined by the server when they do so. So each connection ends on its right track, whatever it does during a move.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar

import trio

from ..core.candidate import plain
from ..core.model import Key
from .parked import WOKEN_AT_ONCE

# Examining this many connections takes less than a tenth of a millisecond, and moving so many about a millisecond.
EXAMINED_AT_ONCE, MOVED_AT_ONCE = 512, 64


class Member(Protocol):
    """A connection with a main key."""

    @property
    def key(self) -> Key: ...


M = TypeVar("M", bound=Member)


async def move_all(members: Iterable[M], keys: Collection[Key], move: Callable[[M], tuple[bool, bool]]) -> None:
    """Move the connections of some keys, and let other tasks run in between.

    Args:
        members: The connections. It may change meanwhile.
        move: Moves a connection if it is open and on the wrong track. Returns whether it was moved, and whether it was woken.
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
            await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
