"""Parked connections that a delivery treats alike: the same key, principal, form and version. Pure.

The fan-out decides once for a row, writes to all of its descriptors in one call, and notes the new version once. So a
change touches no object of a single client. The invariant: a row has the version that each of its connections has. A
connection that needs another version leaves the row first.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from .chain import SharedVersion
from .forms import Form
from .parked import Parked
from .sockets import MOST


class Written(Protocol):
    """The group of a row."""

    def written(self, row: "Row") -> None:
        """Record that the first queued delivery was written to a row, or was refused."""
        ...


class Row(SharedVersion):
    """At most `sockets.MOST` parked connections with a single key, in the order of their arrival.

    Attributes:
        group: The group that it belongs to.
        principal: The principal of its connections, or None if they have several.
        form: As in `client.Client`.
        descriptors: The descriptors of its connections.
        waiting: As long as deliveries wait, no connection may join. A connection that joins has the newest version, and must
            not get them.
        is_ahead: Whether its connections began with a change that is in force, but not broadcast yet. They must not get that one.
    """

    __slots__ = ("descriptors", "form", "group", "is_ahead", "principal")

    def __init__(self, group: Written, principal: object, form: Form, version: str | None) -> None:
        super().__init__(version)
        self.group = group
        self.principal = principal
        self.form = form
        self.descriptors = array("i")
        self.is_ahead = False

    def __len__(self) -> int:
        return len(self.descriptors)

    @property
    def is_open(self) -> bool:
        """Whether connections may join."""
        return not self.waiting and 0 < len(self.descriptors) < MOST

    def add(self, parked: Parked) -> None:
        """Add a connection that is like the others. From now on, it has the version of the row."""
        self.descriptors.append(parked.fd)
        parked.share(self)

    def remove(self, parked: Parked) -> None:
        """Remove a connection. It keeps the version that the row has now."""
        # The search takes a few microseconds, and the connection is often among the first.
        self.descriptors.remove(parked.fd)
        parked.keep_version()

    def remove_all(self, several: Collection[Parked]) -> None:
        """Remove several connections. They keep the version that the row has now."""
        removed = {each.fd for each in several}
        self.descriptors = array("i", (fd for fd in self.descriptors if fd not in removed))
        for each in several:
            each.keep_version()

    def absorb(self, other: "Row", parked_at: Callable[[int], Parked | None]) -> None:
        """Add all connections of a row that is like this one. The other row is empty afterwards."""
        for parked in other.members(parked_at):
            parked.share(self)
        self.descriptors.extend(other.descriptors)
        del other.descriptors[:]

    def members(self, parked_at: Callable[[int], Parked | None]) -> Iterator[Parked]:
        """Yield the connections. They may leave meanwhile."""
        return (parked for fd in tuple(self.descriptors) if (parked := parked_at(fd)) is not None)


def descriptors_of(rows: Iterable[Row]) -> "array[int]":
    """Return the descriptors of all these rows. The array doesn't change if a connection leaves."""
    found = array("i")
    for each in rows:
        found.extend(each.descriptors)
    return found
