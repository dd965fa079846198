"""Keeps the pins: puts, lifts and ends them, and applies those that other workers have put.

Pins and keys to lift arrive from clients. All pins that are in force leave for the publisher. The file of all pins decides:
each change is in the file before it takes effect, so it survives the end of the process. The file is read before the first
publication.

The invariant: one task does all work, one piece after the other. So a client that goes away leaves nothing half done, and
two people can't pin the same key. Every wait for the disk has a deadline.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import structlog
import trio

from ..audit import Actor, Audit, Outcome
from ..core.errors import RemoteError
from ..core.model import Files, Key
from ..core.term import Term
from ..core.text import rfc3339
from ..process.peers import Peers
from ..shelf.acts import Acts
from ..shelf.shelf import Shelf, slow
from .changes import already, with_pin, without_pin
from .file import PINS, PinsFile
from .pin import Pin

if TYPE_CHECKING:
    from ..shelf.shared import Records

log = structlog.get_logger()

# Seconds to wait for the disk at a start, and for the pins of the cluster before the first publication.
START_PATIENCE, CLUSTER_PATIENCE = 5.0, 2.0
# Seconds that a client waits for its change. Most of it is for a publication that is under way. Together with the search for
# the files (`pin_targets.SECONDS`) it is below the time of a request (`server.request_timeout`).
PATIENCE = 18.0
# The most changes that wait.
MOST_WAITING = 16
# Seconds between two looks at the clock, which may be set, and until the keeper tries again what has failed.
CLOCK, AGAIN = 60.0, 10.0
PUT, LIFT, END = "pin", "lift pin", "end pin"
_SERVER = Actor("vortexd")


class Publications(Protocol):
    """The part of the publisher that the keeper needs."""

    async def pin_by(self, pins: Sequence[Pin]) -> None:
        """Serve these keys from their pins from now on, and all others from the sources."""
        ...


class PinKeeper:
    """Keeps the pins; see the module.

    Args:
        publications: Puts pins in force.
        directory: The directory of the file, or None if vortexd writes no state.
        audit: Records each act.
        peers: The other workers.
        now: Returns the seconds since the epoch.
        new_id: Makes the id of a pin.
        file: The file, for tests. The default is the one in `directory`.
        records: The records that all nodes share, if this server belongs to a cluster.
    """

    def __init__(
        self,
        publications: Publications,
        directory: Path | None,
        audit: Audit,
        peers: Peers,
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: str(uuid4()),
        file: PinsFile | None = None,
        records: "Records | None" = None,
    ) -> None:
        self._publications = publications
        self._audit = audit
        self._peers = peers
        self._now = now
        self._new_id = new_id
        self._shelf = _shelf(directory, file, records, self._outdate, now, is_first=peers.number == 0)
        # The pins of the file. Those that have ended aren't in force.
        self._pins: Sequence[Pin] = ()
        # The ids of the pins of the file that the publisher has, and of those whose end is reported.
        self._applied: Sequence[str] = []
        self._reported: set[str] = set()
        self._acts = Acts[None](PINS.nouns, PATIENCE, MOST_WAITING, self._wake)
        self._woken = trio.Event()
        # Whether other workers may not have heard of the last change.
        self._is_untold = False
        self._known = trio.Event()
        self._peers.answer("pins", self.hear)

    @property
    def pins(self) -> Sequence[Pin]:
        """The pins that are in force, in the order in which they were put."""
        now = self._now()
        return [each for each in self._pins if not each.has_ended(now)]

    @property
    def totals(self) -> tuple[int, float | None]:
        """The number of pins that are in force, and the earliest end of one, in seconds since the epoch."""
        pins = self.pins
        return len(pins), min((each.term.until for each in pins if each.term.until is not None), default=None)

    async def refuse_taken(self, key: Key, reason: str, actor: Actor) -> None:
        """Refuse a pin of a key that is pinned, before its files are searched.

        Raises:
            RemoteError: 409.
        """
        taken = next((each for each in self.pins if each.key == key), None)
        if taken is not None:
            error = already(taken)
            await self.record_refused(key, reason, actor, error)
            raise error

    async def record_refused(self, key: Key, reason: str, actor: Actor, problem: RemoteError) -> None:
        """Record a pin that isn't put, with the person's reason and the problem."""
        outcome = _outcome(problem)
        await self._audit.record(PUT, actor, str(key), outcome, reason, problem=problem.reason)

    # Work of the task.

    async def load(self) -> None:
        """Read the pins of earlier processes, and put them in force. Call it before the first publication."""
        with trio.move_on_after(START_PATIENCE) as scope:
            await self._read()
        if scope.cancelled_caught:
            self._shelf.warn_unread(slow(START_PATIENCE))

    async def wait_known(self) -> None:
        """Wait until the pins of the cluster are in force, for a limited time, and once. Without a cluster, it doesn't wait."""
        with trio.move_on_after(CLUSTER_PATIENCE):
            await self._known.wait()
        self._known.set()

    async def run(self) -> None:
        """Do all work. Never returns."""
        await self._end_by_time()
        while True:
            with trio.move_on_after(self._pause()):
                await self._woken.wait()
            self._woken = trio.Event()
            was_untold = self._is_untold
            await self._end_by_time()
            await self._acts.do_all()
            if self._shelf.is_outdated:
                await self._read()
            if was_untold and self._is_untold:
                await self._tell()

    def _pause(self) -> float:
        """Return the seconds until there is something to do, or to look at the clock."""
        now = self._now()
        ends = [each.term.until - now for each in self._pins if each.term.until is not None]
        longest = AGAIN if self._shelf.is_outdated or self._is_untold else CLOCK if ends else float("inf")
        # If a pin has ended, the file can't be written now.
        return min([longest, *(each for each in ends if each > 0)])

    def _wake(self) -> None:
        self._woken.set()

    def hear(self, _: str) -> str:
        """Read the file soon, because another worker has changed it."""
        self._outdate()
        return ""

    def _outdate(self) -> None:
        self._shelf.is_outdated = True
        self._wake()

    async def _tell(self) -> None:
        """Let the other workers read the file. If one doesn't answer, it is told again later."""
        self._is_untold = (await self._peers.ask("pins")).missing > 0

    # Changes.

    async def put(
        self,
        key: Key,
        version: str,
        commit: str | None,
        labels: tuple[tuple[Files, ...], ...],
        reason: str,
        seconds: int | None,
        actor: Actor,
    ) -> Pin:
        """Pin a key. The pin is on the disk and in force when this returns.

        Args:
            version, commit, labels: As in `Pin`.
            seconds: The time until the end, or None.
            actor: The person.

        Raises:
            RemoteError: 409 or 503. Nothing has changed.
        """
        now = self._now()
        term = Term(now, None if seconds is None else now + seconds)
        pin = Pin(self._new_id(), key, version, commit, reason, actor.name, term, labels)
        await self._acts.done(partial(self._put, pin, actor))
        return pin

    async def _put(self, pin: Pin, actor: Actor) -> None:
        details = {"version": pin.version, "until": _text(pin.term.until)} | (
            {"commit": pin.commit} if pin.commit else {}
        )
        await self._changed(partial(with_pin, pin, self._now()), PUT, actor, pin.key, pin.reason, details)
        log.warning(
            "pin put",
            key=str(pin.key),
            **details,
            by=pin.by,
            reason=pin.reason,
            consequence="clients get no change of this key until the pin ends",
        )

    async def lift(self, key: Key, reason: str, actor: Actor) -> None:
        """Lift the pin of a key. When this returns, the key is served from its sources.

        Raises:
            RemoteError: 404 or 503. Nothing has changed.
        """
        await self._acts.done(partial(self._lift, key, reason, actor))

    async def _lift(self, key: Key, reason: str, actor: Actor) -> None:
        await self._changed(partial(without_pin, key, self._now()), LIFT, actor, key, reason, {})
        log.info("pin lifted", key=str(key), by=actor.name, reason=reason)

    async def _changed(
        self,
        change: Callable[[Sequence[Pin]], Sequence[Pin]],
        act: str,
        actor: Actor,
        key: Key,
        reason: str,
        details: Mapping[str, str],
    ) -> None:
        """Change the file, put its pins in force, and record the act. An act that isn't done is recorded, too."""
        target = str(key)
        try:
            pins = await self._shelf.write(change)
        except RemoteError as error:
            await self._audit.record(act, actor, target, _outcome(error), reason, **details, problem=error.reason)
            raise
        await self._apply(pins)
        await self._tell()
        await self._audit.record(act, actor, target, Outcome.DONE, reason, **details)

    async def _end_by_time(self) -> None:
        """End the pins whose time is over. They aren't in force any more, even if the file can't be written."""
        now = self._now()
        ended = [each for each in self._pins if each.has_ended(now)]
        if not ended:
            return
        ids, reported = {each.id for each in ended}, self._reported
        if not ids <= self._reported:
            await self._publications.pin_by(self.pins)
        removed: list[Pin] = []

        def change(pins: Sequence[Pin]) -> Sequence[Pin]:
            removed[:] = [each for each in pins if each.id in ids]
            return [each for each in pins if each.id not in ids]

        try:
            pins = await self._shelf.write(change)
        except RemoteError:
            # They stay in the file for now. One worker reports them.
            removed = ended if self._peers.number == 0 else []
            self._reported = reported | ids
        else:
            await self._apply(pins)
        for each in [each for each in removed if each.id not in reported]:
            key, version = str(each.key), each.version
            log.info("pin ended", key=key, version=version, by=each.by, since=_text(each.term.since))
            await self._audit.record(END, _SERVER, key, Outcome.DONE, "its time is over", version=version)

    async def _read(self) -> None:
        """Read the pins, and put them in force. If they can't be read, those that are in force stay."""
        pins = await self._shelf.read()
        if pins is not None and [each.id for each in pins] != self._applied:
            await self._apply(pins)
        if self._shelf.is_known:
            self._known.set()

    async def _apply(self, pins: Sequence[Pin]) -> None:
        """Put the pins of the file in force."""
        # Known pins keep their objects, and so their parsed files.
        known = {each.id: each for each in self._pins}
        self._pins = [known.get(each.id, each) for each in pins]
        self._reported = self._reported & {each.id for each in self._pins}
        await self._publications.pin_by(self.pins)
        self._applied = [each.id for each in pins]


def _outcome(problem: RemoteError) -> Outcome:
    return Outcome.FAILED if problem.status >= 500 else Outcome.REFUSED


def _text(seconds: float | None) -> str:
    return "somebody lifts it" if seconds is None else rfc3339(seconds, "seconds")


def _shelf(
    directory: Path | None,
    file: PinsFile | None,
    records: "Records | None",
    changed: Callable[[], None],
    now: Callable[[], float],
    *,
    is_first: bool,
) -> Shelf[Pin]:
    if records is None:
        return Shelf(PINS, directory, file)
    # A server without a cluster doesn't load this module.
    from ..shelf.shared import ClusterShelf

    return ClusterShelf(PINS, directory, file, records, changed, is_first=is_first, now=now)
