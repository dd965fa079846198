"""Writes deliveries to parked connections: one frame to many sockets, in batches.

Deliveries arrive through the bounded channel of `outgoing`. If a connection needs more than a write, the lot wakes it. The
invariant of a batch: no other task runs from the look-up of the descriptors until the versions are noted. So no descriptor
is closed and used again while a batch is written.
"""

import errno
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import structlog
import trio

from ..auth import Right
from ..pipeline.broadcast import Delivery
from ..protocol.close import CloseReason
from .framing import frame_of
from .outgoing import Batch, Outgoing
from .parked import Lot, Parked
from .sockets import MOST, Sockets

log = structlog.get_logger()

# So many connections with several keys are handled before other tasks run. Each takes a write of its own.
_GATHERED_AT_ONCE = 256
# To wake a connection takes about 300 microseconds.
_WOKEN_AT_ONCE = 8
# Frames up to this size are compressed here. Awake connections compress larger frames in a thread.
_SMALL_BYTES = 65_536


class Counters(Protocol):
    """The metrics of what is written."""

    def bytes_written(self, count: int) -> None: ...
    def sent(self, kind: str, count: int = 1) -> None: ...
    def delivered(self, seconds: float, count: int) -> None: ...
    def lagged(self) -> None: ...


class FanOut:
    """Writes the deliveries of a queue to the connections of a lot."""

    def __init__(self, lot: Lot, outgoing: Outgoing, sockets: Sockets, counters: Counters) -> None:
        self._lot = lot
        self._outgoing = outgoing
        self._sockets = sockets
        self._counters = counters

    async def run(self) -> None:
        """Write the queued deliveries in their order, and let other tasks run in between. Never returns."""
        while True:
            # This is a separate call, because its local variables would keep the last batch in memory during the wait.
            await self._send_batches(await self._outgoing.take())
            await self._send_gathered()
            await self._wake_missed()

    async def _send_batches(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            for start in range(0, len(batch.parked), MOST):
                self._send_batch(batch.parked[start : start + MOST], batch.delivery)
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_gathered(self) -> None:
        for number, each in enumerate(self._outgoing.gathered(), 1):
            if deliveries := self._outgoing.take_gathered(each):
                self._send_all(each, deliveries)
            if number % _GATHERED_AT_ONCE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wake_missed(self) -> None:
        """Wake the connections that missed deliveries because the channel was full. They catch up by version."""
        missed = self._outgoing.missed()
        if missed:
            log.warning(
                "parking lot lagging", connections=len(missed), consequence="these connections catch up by version"
            )
        for number, each in enumerate(missed, 1):
            if each in self._lot:
                self._counters.lagged()
                self._lot.wake(each)
            if number % _WOKEN_AT_ONCE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _send_batch(self, batch: Sequence[Parked], delivery: Delivery) -> None:
        """Write a frame to these connections."""
        forms, others = self._sort(batch, delivery)
        for bits, members in forms.items():
            frames = _frames([delivery], bits) if members else []
            if frames is None:
                others += members
            elif members:
                self._write_all(members, frames[0], delivery)
        for each in others:
            # Handling an earlier connection may have removed this one from the lot.
            if each in self._lot:
                self._send_all(each, [delivery])

    def _sort(self, batch: Sequence[Parked], delivery: Delivery) -> tuple[dict[int | None, list[Parked]], list[Parked]]:
        """Find the connections that can take a frame as it is, by the window of compression, and those that can't.

        This runs for each client of each change. So it decides once for each principal: by its identity, because clients
        with the same credential share one object. A hash would be computed again for each client. Most clients have the
        same principal and the same window as the client before.
        """
        forms: dict[int | None, list[Parked]] = {None: (members := [])}
        others: list[Parked] = []
        rights: dict[int, bool] = {}
        principal: object = rights
        may, last_bits = False, None
        parked_at = self._lot.parked_at
        seen: set[Parked] = set()
        for each in batch:
            if parked_at(each.fd) is not each:
                continue
            if each in seen:
                # It must not be written to twice in one call, because the first write may be short.
                others.append(each)
                continue
            seen.add(each)
            if (owner := each.admission.principal) is not principal:
                principal, who = owner, id(owner)
                if who not in rights:
                    rights[who] = each.admission.may(Right.SUBSCRIBE, delivery.key)
                may = rights[who]
            if not each.accepts(delivery, may):
                others.append(each)
                continue
            if each.window_bits != last_bits:
                last_bits = each.window_bits
                members = forms.setdefault(last_bits, [])
            members.append(each)
        return forms, others

    def _write_all(self, members: Sequence[Parked], frame: bytes, delivery: Delivery) -> None:
        """Write a frame to all these connections at once, and note their new version."""
        exceptions = self._sockets.write_all([each.fd for each in members], frame)
        failed = {index for index, result in exceptions if result < 0}
        got = [each for index, each in enumerate(members) if index not in failed] if failed else members
        for each in got:
            each.extend(delivery)
        unwritten = 0
        for index, result in exceptions:
            if result >= 0:
                unwritten += len(frame) - result
                self._lot.wake(members[index], unsent=frame[result:])
            elif result == -errno.EAGAIN:
                self._lot.wake(members[index])
            else:
                self._lot.end(members[index], CloseReason.LOST)
        self._counters.bytes_written(len(got) * len(frame) - unwritten)
        self._count(delivery, len(got))

    def _count(self, delivery: Delivery, count: int) -> None:
        """Count a delivery for all these clients at once. Counting each client would take as long as the write."""
        self._counters.sent(delivery.kind, count)
        if delivery.published is not None:
            self._counters.delivered(trio.current_time() - delivery.published, count)

    def _send_all(self, parked: Parked, deliveries: Sequence[Delivery]) -> None:
        """Write all deliveries of one client at once. If that isn't possible, wake the connection."""
        frames = _frames(deliveries, parked.window_bits)
        if frames is None or not parked.accepts_all(deliveries, partial(parked.admission.may, Right.SUBSCRIBE)):
            self._lot.wake(parked, missed=[each.key for each in deliveries])
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            written = self._sockets.write(parked.fd, data)
        except BlockingIOError:
            self._lot.wake(parked, missed=[each.key for each in deliveries])
            return
        except OSError:
            self._lot.end(parked, CloseReason.LOST)
            return
        self._counters.bytes_written(written)
        parked.extend_all(deliveries)
        for delivery in deliveries:
            self._count(delivery, 1)
        if written < len(data):
            self._lot.wake(parked, unsent=data[written:])


def _frames(deliveries: Sequence[Delivery], bits: int | None) -> list[bytes] | None:
    """Return the frames in the form for a window. Returns None if compressing them needs a thread."""
    frames: list[bytes] = []
    for delivery in deliveries:
        frame = frame_of(delivery)
        if bits is None:
            frames.append(frame)
        elif len(frame) <= _SMALL_BYTES or frame.is_ready(bits):
            frames.append(frame.for_window(bits))
        else:
            return None
    return frames
