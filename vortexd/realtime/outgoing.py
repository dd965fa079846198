"""Deliveries that wait for parked connections: one bounded channel for the whole lot.

In come deliveries from the broadcaster, one for each connection; out go batches, each a delivery with all its connections. If the channel is
full, the keys of further deliveries are noted, and their connections catch up by version. So the memory is bounded by the channel, the
connections and their keys, however long the lot takes.
"""

from collections.abc import Sequence

import attrs
import trio

from ..core.model import Key
from ..pipeline.broadcast import Delivery
from .parked import Parked

# Deliveries that may wait, each with all its connections. An awake connection may have fewer (queue_messages). But one publication may
# change thousands of keys in one step, and waking every parked connection for that would cost more than the wait.
_QUEUE_MESSAGES = 4_096
# The size of their payloads. One delivery may always wait, however large.
_QUEUE_BYTES = 67_108_864


@attrs.frozen(slots=True, eq=False)
class Batch:
    """A delivery, and the connections with a single key that it is for; those with several keys are gathered."""

    delivery: Delivery
    parked: list[Parked] = attrs.field(factory=list)


class Outgoing:
    """See the module."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Batch](_QUEUE_MESSAGES)
        self._queue_bytes = _QUEUE_BYTES
        self._bytes = 0
        # The last batch in the channel, to which the other connections of its delivery are added.
        self._last: Batch | None = None
        # For connections with several keys, so that all changes of one publication are one write.
        self._gathered: dict[Parked, list[Delivery]] = {}
        self._missed: dict[Parked, dict[Key, None]] = {}

    def put(self, parked: Parked, delivery: Delivery) -> None:
        """Queue a delivery for a connection, or note that the connection has missed it."""
        batch = self._last
        if batch is None or batch.delivery is not delivery:
            batch = self._begin(delivery)
        if batch is None:
            self._missed.setdefault(parked, {})[delivery.key] = None
        elif parked.more is None:
            batch.parked.append(parked)
        else:
            self._gathered.setdefault(parked, []).append(delivery)

    def _begin(self, delivery: Delivery) -> Batch | None:
        """A batch that has room in the channel; None if it is full."""
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
        """Wait for a batch, and take all that are in the channel, in their order. The channel is empty then."""
        batches = [await self._receive.receive()]
        count = self._receive.statistics().current_buffer_used
        batches.extend(self._receive.receive_nowait() for _ in range(count))
        self._bytes = 0
        self._last = None
        return batches

    def gathered(self) -> Sequence[Parked]:
        """The connections with several keys for which deliveries wait."""
        return tuple(self._gathered)

    def take_gathered(self, parked: Parked) -> Sequence[Delivery]:
        """Take what waits for a connection with several keys; nothing if it has left."""
        return self._gathered.pop(parked, ())

    def missed(self) -> Sequence[Parked]:
        """The connections that have missed something."""
        return tuple(self._missed)

    def leave(self, parked: Parked) -> Sequence[Key]:
        """Let go of a connection. Returns the keys of the deliveries that it has missed or that are gathered for it.

        The batches are not searched for a connection with a single key: its version tells what to catch up on.
        """
        return [*(each.key for each in self._gathered.pop(parked, ())), *self._missed.pop(parked, ())]
