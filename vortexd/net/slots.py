"""Connections that wait for their peers, and which of them gives way to others when there are too many. Pure.

The rule: the connection that was accepted longest ago is closed, if that is more than a second ago and nothing of it is left to read. An address that
has more than a quarter of the places gives way first, and may do so sooner. Addresses of which a connection had to give way within the last minute
have one share together, until one of their requests is complete: peers that come again and again, from however many addresses, hold no more than a
single one could. Proxies and Unix sockets bring the connections of others, and have no share.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address
from itertools import islice
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)

# How long a connection that others want the place of may be silent.
GRACE = 1.0
# Of one whose address has more than its share.
CROWDED_GRACE = 0.1
# Of one whose address was silent lately, from when a task waits for it; it may have waited for us before.
SUSPECT_GRACE = 0.25
# The part of the places that is the share of an address.
_SHARES = 4
# Connections that are looked at to find one: each look is a system call.
_LOOKS = 64
_ADDRESSES = 10_000

# Since when it waits, a number that makes ties impossible, and who it is; in order.
_Order: TypeAlias = "list[tuple[float, int, T]]"


def share_of(host: str) -> str:
    """Whose share an address belongs to: its own, or that of its network of 64 bits, which one host of IPv6 may have to itself."""
    if ":" not in host:
        return host
    address = IPv6Address(host)
    return str(address.ipv4_mapped or address.packed[:8].hex(":", 2))


class Addresses:
    """Addresses that are remembered for a while.

    Args:
        memory: For how many seconds.
        most: How many; beyond that, the one that was added least recently is forgotten.
    """

    def __init__(self, memory: float, most: int = _ADDRESSES) -> None:
        self._memory, self._most = memory, most
        # Each with when that was; the longest ago comes first.
        self._times: dict[str, float] = {}

    def add(self, address: str, now: float) -> None:
        """Remember an address, from now on."""
        self._times.pop(address, None)
        self._times[address] = now
        if len(self._times) > self._most:
            del self._times[next(iter(self._times))]

    def discard(self, address: str) -> None:
        """Forget an address."""
        self._times.pop(address, None)

    def has(self, address: str, now: float) -> bool:
        """Whether an address is remembered."""
        return now - self._times.get(address, -math.inf) <= self._memory


class Waiting(Generic[T]):
    """Connections that wait.

    Args:
        places: How many may wait; a share is a part of them.
        grace: Seconds that each may wait, whoever wants its place.
        crowded_grace: The same, for those of an address with more than its share.
    """

    def __init__(self, places: int, grace: float = GRACE, crowded_grace: float = GRACE) -> None:
        self._grace, self._crowded_grace = grace, crowded_grace
        # Each with its address; None where it has no share.
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

    def replace(self, places: int) -> None:
        """Put another number of places in force."""
        self.places = places
        self._share = max(1, places // _SHARES)
        self._crowded = {address for address, order in self._by_address.items() if len(order) > self._share}

    def add(self, member: T, address: str | None, since: float) -> None:
        """Note since when a connection waits. Of one that waits already nothing changes."""
        if member in self._members:
            return
        self._number += 1
        self._members[member] = since, self._number, address
        insort(self._order, (since, self._number, member))
        self._count_in(member)

    def discard(self, member: T) -> None:
        """Note that a connection waits no more."""
        if member in self._members:
            self._count_out(member)
            since, number, _ = self._members.pop(member)
            del self._order[bisect_left(self._order, (since, number, member))]

    def move(self, member: T, address: str | None) -> None:
        """Have a connection, if it waits, count for another address than before."""
        if member in self._members:
            self._count_out(member)
            since, number, _ = self._members[member]
            self._members[member] = since, number, address
            self._count_in(member)

    def victim(self, now: float, is_quiet: Callable[[T], bool]) -> T | None:
        """Which connection gives way; None where none does yet.

        Args:
            is_quiet: Whether nothing of it is left to read.
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
        """Seconds until a connection may give way for all that is known now; infinite where none waits."""
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
