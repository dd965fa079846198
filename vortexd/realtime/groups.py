"""Subscribes parked connections with a single key as one group per key. Pure.

The broadcaster passes a delivery to each subscriber. Most connections are parked and have a single key. So a call for each of
them would take longer than all other work of a publication. A group takes one call for all of its connections, and passes on
its rows.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from ..core.model import Key
from ..pipeline.broadcast import Delivery, Subscriber
from ..pipeline.registry import Registry
from .forms import Form
from .parked import Parked
from .row import Row
from .sockets import MOST

# The rows of a group for one principal each. Further principals share rows, because a row takes half as much memory as a
# connection. Their rights are decided one by one.
_ROWS = 64


class Queue(Protocol):
    """The queue of deliveries for parked connections."""

    def put_all(self, rows: Collection[Row], delivery: Delivery) -> bool:
        """Queue a delivery for rows, or record that their connections have missed it. Never waits, never raises.

        Returns whether it was queued. Each row's `group.written` is then called later.
        """
        ...


def queue_for(queue: Queue, rows: Collection[Row], delivery: Delivery) -> None:
    """Queue a delivery for rows. Until it is written, no connection joins them."""
    if queue.put_all(rows, delivery):
        for each in rows:
            each.waiting += (delivery,)


class Group:
    """The parked connections with a single key; a `broadcast.Subscriber` with a length."""

    __slots__ = ("_parked_at", "_queue", "_rows")

    def __init__(self, queue: Queue, parked_at: Callable[[int], Parked | None]) -> None:
        self._queue = queue
        self._parked_at = parked_at
        # A list, because there are few rows, and there may be thousands of groups.
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    @property
    def is_empty(self) -> bool:
        """Whether it has no connections. A row without any may still wait for `written`."""
        return not any(map(len, self._rows))

    def deliver(self, delivery: Delivery) -> None:
        """See `broadcast.Subscriber`."""
        rows = tuple(self._rows)
        for each in rows:
            if each.is_ahead:
                rows = tuple(self._behind(delivery))
                if not rows:
                    return
                break
        queue_for(self._queue, rows, delivery)

    def _behind(self, delivery: Delivery) -> Iterator[Row]:
        """Yield the rows that need a delivery. The others began with it, and need the next one."""
        for each in self._rows:
            was_ahead, each.is_ahead = each.is_ahead, False
            if not (was_ahead and delivery.new_version == each.version):
                yield each

    def add(self, parked: Parked, *, is_ahead: bool = False) -> None:
        """Add a connection that isn't in any row.

        Args:
            is_ahead: As in `Row`.
        """
        principal: object = parked.admission.principal
        row = self._open(principal, parked.form, parked.version, is_ahead=is_ahead)
        if row is None and len(self._rows) >= _ROWS:
            principal = None
            row = self._open(principal, parked.form, parked.version, is_ahead=is_ahead)
        if row is None:
            row = Row(self, principal, parked.form, parked.version)
            row.is_ahead = is_ahead
            self._rows.append(row)
        row.add(parked)

    def _open(
        self,
        principal: object,
        form: Form,
        version: str | None,
        other_than: Row | None = None,
        *,
        is_ahead: bool,
    ) -> Row | None:
        """Return the first row for such connections that they may join."""
        for each in self._rows:
            is_alike = each.version == version and each.principal is principal and each.form is form
            if is_alike and each.is_ahead == is_ahead and each.is_open and each is not other_than:
                return each
        return None

    def discard(self, parked: Parked) -> None:
        """Remove a connection, unless it has left its row already."""
        row = parked.shared
        if isinstance(row, Row):
            row.remove(parked)
            self._tidy(row)

    def written(self, row: Row) -> None:
        """See `row.Written`."""
        row.waiting = row.waiting[1:]
        self._tidy(row)

    def renew(self) -> None:
        """Take note that the principals of connections may have been replaced."""
        for row in self._rows:
            parked = next(row.members(self._parked_at), None)
            if row.principal is not None and parked is not None:
                row.principal = parked.admission.principal
        for row in tuple(self._rows):
            self._tidy(row)

    def _tidy(self, row: Row) -> None:
        """Remove a row that is empty. Combine it with another one that is alike, if both fit into one.

        Otherwise, each change during which connections arrive would leave a small row behind.
        """
        if row.is_open:
            other = self._open(row.principal, row.form, row.version, row, is_ahead=row.is_ahead)
            if other is not None and len(row) + len(other) <= MOST:
                large, row = (other, row) if len(row) <= len(other) else (row, other)
                large.absorb(row, self._parked_at)
        if not len(row) and row in self._rows:
            self._rows.remove(row)


class Groups:
    """The groups of a lot.

    Args:
        registry: The subscribers by their keys. A group is in it as long as it has connections.
        parked_at: Returns the connection with a descriptor, if it is in the lot.
        postponed: Returns the version of a key's change that is in force and will be broadcast later, or None.
    """

    def __init__(
        self,
        registry: Registry[Subscriber],
        queue: Queue,
        parked_at: Callable[[int], Parked | None],
        postponed: Callable[[Key], str | None] = lambda _: None,
    ) -> None:
        self._postponed = postponed
        self._registry = registry
        self._queue = queue
        self._parked_at = parked_at
        self._groups: dict[Key, Group] = {}

    def add(self, parked: Parked) -> None:
        """Subscribe a connection to its main key. A second call changes nothing."""
        if parked.more is not None:
            self._registry.add(parked, parked.key)
            return
        if parked.shared is not None:
            return
        group = self._groups.get(parked.key)
        if group is None:
            group = self._groups[parked.key] = Group(self._queue, self._parked_at)
            self._registry.add(group, parked.key)
        version = self._postponed(parked.key)
        group.add(parked, is_ahead=version is not None and version == parked.version)

    def discard(self, parked: Parked) -> None:
        """End the subscription of a connection to its main key."""
        if parked.more is not None:
            self._registry.discard(parked, parked.key)
            return
        group = self._groups.get(parked.key)
        if group is None:
            # All of its last connections had left their row before the first of them was discarded.
            return
        group.discard(parked)
        if group.is_empty:
            del self._groups[parked.key]
            self._registry.discard(group, parked.key)

    def renew(self) -> None:
        """Take note that the principals of connections may have been replaced."""
        for each in self._groups.values():
            each.renew()
