"""Queues deliveries for parked connections in one bounded channel for the whole parking lot.

The broadcaster passes in a delivery for each group of connections. The lot takes batches, each a delivery with all its connections.
If the channel is full, the keys of further deliveries are recorded, and their connections catch up by version. So the
channel, the connections and their keys bound the memory, however slow the lot is.
"""

from collections.abc import Callable, Collection, Sequence

import attrs
import trio

from ..core.model import Key
from ..pipeline.broadcast import Delivery
from .parked import Parked
from .row import Row

# The most deliveries in the channel, each with all its connections. The queue of an awake connection may be shorter
# (queue_messages). But one publication may change thousands of keys at once. To wake all parked connections for that would
# cost more than to let them wait.
_QUEUE_MESSAGES = 4_096
# The most bytes of all payloads in the channel. A single delivery may be larger.
_QUEUE_BYTES = 67_108_864


@attrs.frozen(slots=True, eq=False)
class Batch:
    """A delivery, and its rows of connections with a single key. Connections with several keys are gathered separately."""

    delivery: Delivery
    rows: list[Row] = attrs.field(factory=list)


class Outgoing:
    """The channel with the deliveries that wait.

    Args:
        parked_at: Returns the connection with a descriptor, if it is in the lot.
    """

    def __init__(self, parked_at: Callable[[int], Parked | None]) -> None:
        self._parked_at = parked_at
        self._send, self._receive = trio.open_memory_channel[Batch](_QUEUE_MESSAGES)
        self._queue_bytes = _QUEUE_BYTES
        self._bytes = 0
        # The last batch in the channel, to which the other rows of its delivery are added.
        self._last: Batch | None = None
        # Deliveries for connections with several keys. They are gathered, so that one publication needs one write.
        self._gathered: dict[Parked, list[Delivery]] = {}
        self._missed: dict[Parked, dict[Key, None]] = {}

    def put(self, parked: Parked, delivery: Delivery) -> None:
        """Queue a delivery for a connection with several keys, or record that the connection has missed it."""
        if self._batch(delivery) is None:
            self._missed.setdefault(parked, {})[delivery.key] = None
        else:
            self._gathered.setdefault(parked, []).append(delivery)

    def put_all(self, rows: Collection[Row], delivery: Delivery) -> bool:
        """See `groups.Queue`."""
        batch = self._batch(delivery)
        if batch is not None:
            batch.rows.extend(rows)
            return True
        for each in rows:
            for parked in each.members(self._parked_at):
                self._missed.setdefault(parked, {})[delivery.key] = None
        return False

    def _batch(self, delivery: Delivery) -> Batch | None:
        """Return the batch of a delivery. Returns None if the channel is full."""
        batch = self._last
        return batch if batch is not None and batch.delivery is delivery else self._begin(delivery)

    def _begin(self, delivery: Delivery) -> Batch | None:
        """Put a new batch into the channel. Returns None if the channel is full."""
        size = len(delivery.payload)
        if self._bytes and self._bytes + size > self._queue_bytes:
            return None
        batch = Batch(delivery)
        try:
            self._send.send_nowait(batch)
        except trio.WouldBlock:
            return None
        self._bytes += size
        self._last = batch
        return batch

    async def take(self) -> Sequence[Batch]:
        """Wait for a batch, and take all batches from the channel, in their order. The channel is empty afterwards."""
        batches = [await self._receive.receive()]
        count = self._receive.statistics().current_buffer_used
        batches.extend(self._receive.receive_nowait() for _ in range(count))
        self._bytes = 0
        self._last = None
        return batches

    def gathered(self) -> Sequence[Parked]:
        """The connections with several keys that have waiting deliveries."""
        return tuple(self._gathered)

    def take_gathered(self, parked: Parked) -> Sequence[Delivery]:
        """Take the deliveries for a connection with several keys. If it has left the lot, there are none."""
        return self._gathered.pop(parked, ())

    def missed(self) -> Sequence[Parked]:
        """The connections that have missed deliveries."""
        return tuple(self._missed)

    def is_due(self, parked: Parked) -> bool:
        """Whether deliveries are gathered for a connection, or it has missed some."""
        return parked in self._gathered or parked in self._missed

    def leave(self, parked: Parked) -> Sequence[Key]:
        """Remove a connection. Returns the keys of deliveries that it has missed or that are gathered for it.

        The batches are not searched for a connection with a single key. Its version tells what it must catch up on.
        """
        return [*(each.key for each in self._gathered.pop(parked, ())), *self._missed.pop(parked, ())]
