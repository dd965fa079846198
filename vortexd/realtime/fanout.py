"""Writes deliveries to parked connections: one frame to many sockets, in batches.

Deliveries arrive through the bounded channel of `outgoing`. If a connection needs more than a write, the lot wakes it. The
invariant of a call: no other task runs from the copy of the descriptors until the versions are noted. So no descriptor is
closed and used again while a frame is written. Connections that can't take a frame have left the call before it. They are
woken after it, a few at a time, and before the next delivery is written.
"""

import errno
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Protocol

import structlog
import trio

from ..auth import Right
from ..pipeline.broadcast import Delivery
from ..protocol.close import CloseReason
from ..protocol.frames import Frame
from .forms import Form
from .outgoing import Batch, Outgoing
from .parked import WOKEN_AT_ONCE, Lot, Parked
from .row import Row, descriptors_of
from .sockets import MOST, Sockets

log = structlog.get_logger()

# So many connections with several keys are handled before other tasks run. Each takes a write of its own.
_GATHERED_AT_ONCE = 256
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
            some: dict[Row, None] = {}
            count = 0
            for each in batch.rows:
                # No connection must be written to twice in one call, because the first write may be short.
                if some and (count + len(each) > MOST or each in some):
                    await self._send_to(some, batch.delivery)
                    some, count = {}, 0
                some[each] = None
                count += len(each)
            if some:
                await self._send_to(some, batch.delivery)

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
            if number % WOKEN_AT_ONCE == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_to(self, rows: Collection[Row], delivery: Delivery) -> None:
        """Write a frame to the connections of these rows, and wake those that can't take it. Together, they have at most `MOST`."""
        refused: list[Row] = []
        to_wake = self._write_to(rows, delivery, refused)
        await trio.lowlevel.cancel_shielded_checkpoint()
        await self._wake_refused(to_wake, delivery)
        # Until now, no connection could join these rows, and they kept their version.
        for each in refused:
            each.group.written(each)

    async def _wake_refused(self, connections: Iterable[Parked], delivery: Delivery) -> None:
        """Wake connections that can't take a frame. Each of them that has left the lot meanwhile catches up by version."""
        woken = 0
        for each in connections:
            if woken == WOKEN_AT_ONCE:
                await trio.lowlevel.cancel_shielded_checkpoint()
                woken = 0
            if each in self._lot:
                self._lot.wake(each, missed=[delivery.key])
                woken += 1

    def _write_to(self, rows: Collection[Row], delivery: Delivery, refused: list[Row]) -> list[Parked]:
        """Write a frame to the connections that can take it. Returns the others, which keep their version.

        Args:
            refused: The rows of which no connection can take it are added to this.
        """
        forms: dict[Form, list[Row]] = {}
        to_wake: list[Parked] = []
        rights: dict[int, bool] = {}
        for each in rows:
            if self._accepts(each, delivery, rights, to_wake):
                forms.setdefault(each.form, []).append(each)
            else:
                refused.append(each)
        for form, accepted in forms.items():
            frames = _frames([delivery], form)
            if frames is None:
                refused += accepted
            else:
                self._write_all(accepted, frames[0], delivery)
                for each in accepted:
                    each.group.written(each)
        for each in refused:
            # A descriptor may soon belong to another connection.
            to_wake.extend(each.members(self._lot.parked_at))
        return to_wake

    def _accepts(self, row: Row, delivery: Delivery, rights: dict[int, bool], to_wake: list[Parked]) -> bool:
        """Whether the connections of a row can take a frame as it is. Any of them decides for all.

        If they have several principals, those without the right leave the row first.

        Args:
            rights: The decisions so far, by the identity of the principal.
            to_wake: The connections that leave the row are added to this.
        """
        if row.principal is None:
            denied = [each for each in row.members(self._lot.parked_at) if not _may(each, delivery, rights)]
            row.remove_all(denied)
            to_wake += denied
        for parked in row.members(self._lot.parked_at):
            return parked.accepts(delivery, _may(parked, delivery, rights))
        return False

    def _write_all(self, rows: Sequence[Row], frame: bytes, delivery: Delivery) -> None:
        """Write a frame to the connections of these rows at once, and note their new version."""
        descriptors = descriptors_of(rows)
        exceptions = [
            (parked, result)
            for index, result in self._sockets.write_all(descriptors, frame)
            if (parked := self._lot.parked_at(descriptors[index])) is not None
        ]
        for parked, result in exceptions:
            if result < 0 and isinstance(row := parked.shared, Row):
                # It hasn't got the frame, so it keeps the old version.
                row.remove(parked)
        got = 0
        for each in rows:
            each.version = delivery.new_version
            got += len(each)
        unwritten = 0
        for parked, result in exceptions:
            if result >= 0:
                unwritten += len(frame) - result
                self._lot.wake(parked, unsent=frame[result:])
            elif result == -errno.EAGAIN:
                self._lot.wake(parked)
            else:
                self._lot.end(parked, CloseReason.LOST)
        self._counters.bytes_written(got * len(frame) - unwritten)
        self._count(delivery, got)

    def _count(self, delivery: Delivery, count: int) -> None:
        """Count a delivery for all these clients at once. Counting each client would take as long as the write."""
        self._counters.sent(delivery.kind, count)
        if delivery.published is not None:
            self._counters.delivered(trio.current_time() - delivery.published, count)

    def _send_all(self, parked: Parked, deliveries: Sequence[Delivery]) -> None:
        """Write all deliveries of one client at once. If that isn't possible, wake the connection."""
        events = parked.form.events
        frames = _frames(deliveries, parked.form) if events is None else events.for_parked(parked, deliveries)
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


def _may(parked: Parked, delivery: Delivery, rights: dict[int, bool]) -> bool:
    """Whether a client has the right to a delivery. Clients with the same credential share one principal.

    A hash of the principal would be computed again for each client, so this goes by its identity.
    """
    who = id(parked.admission.principal)
    if who not in rights:
        rights[who] = parked.admission.may(Right.SUBSCRIBE, delivery.key)
    return rights[who]


def _frames(deliveries: Sequence[Delivery], form: Form) -> list[bytes] | None:
    """Return the bytes of deliveries in a form. Returns None if compressing them needs a thread."""
    frames: list[bytes] = []
    bits = form.window_bits
    for delivery in deliveries:
        frame = form.shared(delivery)
        if bits is None or not isinstance(frame, Frame):
            frames.append(frame)
        elif len(frame) <= _SMALL_BYTES or frame.is_ready(bits):
            frames.append(frame.for_window(bits))
        else:
            return None
    return frames
