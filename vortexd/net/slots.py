"""Connections that wait for their peers, and the rule that decides which is closed when there are too many. Pure.

The rule: the oldest connection is closed, if it was accepted more than a second ago and has nothing left to read. An
address with more than a quarter of the places comes first, and its connections may be closed sooner. All addresses that
had a connection closed in this way within the last minute have one common share. An address leaves that share when one of
its requests is complete. So peers that reconnect again and again, from any number of addresses, hold no more places than a
single address could. Proxies and Unix sockets bring other clients' connections, so they have no share.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address
from itertools import islice
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)

# Seconds for which a connection may be silent while others need its place.
GRACE = 1.0
# The same, for a connection whose address has more than its share.
CROWDED_GRACE = 0.1
# The same, for an address that was silent recently, counted from the start of its task. Before, it may have waited for us.
SUSPECT_GRACE = 0.25
# One place in this many is the share of an address.
_SHARES = 4
# The most connections to examine in a search. Each examination is a system call.
_LOOKS = 64
_ADDRESSES = 10_000

# In order: since when a connection waits, a number that makes ties impossible, and the connection.
_Order: TypeAlias = "list[tuple[float, int, T]]"


def share_of(host: str) -> str:
    """Return the share of an address: the address itself, or its 64-bit network, because one IPv6 host may have all of it."""
    if ":" not in host:
        return host
    address = IPv6Address(host)
    return str(address.ipv4_mapped or address.packed[:8].hex(":", 2))


class Addresses:
    """Addresses that are remembered for some time.

    Args:
        memory: The number of seconds to remember an address.
        most: The number of addresses. Beyond it, the address that was added least recently is forgotten.
    """

    def __init__(self, memory: float, most: int = _ADDRESSES) -> None:
        self._memory, self._most = memory, most
        # Maps each address to the time when it was added. The oldest comes first.
        self._times: dict[str, float] = {}

    def add(self, address: str, now: float) -> None:
        """Remember an address from now on."""
        self._times.pop(address, None)
        self._times[address] = now
        if len(self._times) > self._most:
            del self._times[next(iter(self._times))]

    def discard(self, address: str) -> None:
        """Forget an address."""
        self._times.pop(address, None)

    def has(self, address: str, now: float) -> bool:
        """Return whether an address is remembered."""
        return now - self._times.get(address, -math.inf) <= self._memory


class Waiting(Generic[T]):
    """Connections that wait for their peers.

    Args:
        places: The number of connections that may wait. A share is a part of them.
        grace: The seconds for which each connection may wait, even if others need its place.
        crowded_grace: The same, for addresses with more than their share.
    """

    def __init__(self, places: int, grace: float = GRACE, crowded_grace: float = GRACE) -> None:
        self._grace, self._crowded_grace = grace, crowded_grace
        # Maps each connection to its place in the order and its address, which is None if it has no share.
        self._members: dict[T, tuple[float, int, str | None]] = {}
        self._order: _Order[T] = []
        self._by_address: dict[str, _Order[T]] = {}
        self._crowded: set[str] = set()
        self._number = 0
        self.replace(places)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def count_of(self, address: str) -> int:
        """Return the number of connections of an address that wait."""
        return len(self._by_address.get(address, ()))

    def replace(self, places: int) -> None:
        """Change the number of places."""
        self.places = places
        self._share = max(1, places // _SHARES)
        self._crowded = {address for address, order in self._by_address.items() if len(order) > self._share}

    def add(self, member: T, address: str | None, since: float) -> None:
        """Add a connection with the time since when it waits. If it waits already, nothing changes."""
        if member in self._members:
            return
        self._number += 1
        self._members[member] = since, self._number, address
        insort(self._order, (since, self._number, member))
        self._count_in(member)

    def discard(self, member: T) -> None:
        """Remove a connection, if it is here."""
        if member in self._members:
            self._count_out(member)
            since, number, _ = self._members.pop(member)
            del self._order[bisect_left(self._order, (since, number, member))]

    def move(self, member: T, address: str | None) -> None:
        """Count a connection, if it waits, for another address than before."""
        if member in self._members:
            self._count_out(member)
            since, number, _ = self._members[member]
            self._members[member] = since, number, address
            self._count_in(member)

    def victim(self, now: float, is_quiet: Callable[[T], bool]) -> T | None:
        """Return the connection to close, or None if none may be closed yet.

        Args:
            is_quiet: Returns whether a connection has nothing left to read.
        """
        found = [
            victim
            for address in self._crowded
            if (victim := _first(self._by_address[address], now - self._crowded_grace, is_quiet)) is not None
        ]
        if found:
            return min(found, key=lambda each: self._members[each][:2])
        return _first(self._order, now - self._grace, is_quiet)

    def gives_way_in(self, now: float) -> float:
        """Return the seconds until a connection may be closed, as far as is known now. Infinite if no connection waits."""
        times = [self._by_address[address][0][0] + self._crowded_grace for address in self._crowded]
        times += [self._order[0][0] + self._grace] if self._order else []
        return max(0.0, min(times, default=math.inf) - now)

    def _count_in(self, member: T) -> None:
        since, number, address = self._members[member]
        if address is not None:
            order = self._by_address.setdefault(address, [])
            insort(order, (since, number, member))
            if len(order) > self._share:
                self._crowded.add(address)

    def _count_out(self, member: T) -> None:
        since, number, address = self._members[member]
        if address is not None:
            order = self._by_address[address]
            del order[bisect_left(order, (since, number, member))]
            if len(order) <= self._share:
                self._crowded.discard(address)
            if not order:
                del self._by_address[address]


def _first(order: "_Order[T]", until: float, is_quiet: Callable[[T], bool]) -> T | None:
    for since, _, member in islice(order, _LOOKS):
        if since > until:
            return None
        if is_quiet(member):
            return member
    return None
