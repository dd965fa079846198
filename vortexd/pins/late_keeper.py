"""Loads the keeper of pins once there is a pin. A server without pins doesn't need its memory.

In a cluster the keeper is loaded at the start, because another node may put a pin.

The invariant: from the first pin on, this class only passes everything on to `keeper.PinKeeper`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ..audit import Actor, Audit
from ..core.errors import RemoteError
from ..core.model import Files, Key
from ..process.peers import Peers

if TYPE_CHECKING:
    from ..shelf.shared import Records
    from .keeper import PinKeeper, Publications
    from .pin import Pin

# The name of the file of pins, as `file` has it.
FILE = "pins.json"


class LatePinKeeper:
    """Keeps the pins; see `keeper.PinKeeper` for the arguments and the methods."""

    def __init__(
        self,
        publications: "Publications",
        directory: Path | None,
        audit: Audit,
        peers: Peers,
        now: Callable[[], float],
        records: "Records | None" = None,
    ) -> None:
        self._publications = publications
        self._directory = directory
        self._audit = audit
        self._peers = peers
        self._now = now
        self._records = records
        self._keeper: PinKeeper | None = None
        self._is_made = trio.Event()
        peers.answer("pins", lambda text: self._made().hear(text))

    def _made(self) -> "PinKeeper":
        if self._keeper is None:
            from .keeper import PinKeeper

            self._keeper = PinKeeper(
                self._publications, self._directory, self._audit, self._peers, self._now, records=self._records
            )
            self._is_made.set()
        return self._keeper

    @property
    def pins(self) -> "Sequence[Pin]":
        """The pins that are in force."""
        return self._keeper.pins if self._keeper is not None else ()

    @property
    def totals(self) -> tuple[int, float | None]:
        """The number of pins that are in force, and the earliest end of one, in seconds since the epoch."""
        return self._keeper.totals if self._keeper is not None else (0, None)

    async def load(self) -> None:
        """Read the pins of earlier processes, if there is a file of them. Call it before the first publication."""
        if self._records is not None or (self._directory is not None and _exists(self._directory)):
            await self._made().load()

    async def wait_known(self) -> None:
        """Wait until the pins of the cluster are in force, for a limited time, and once."""
        await self._made().wait_known()

    async def run(self) -> None:
        """Do all work. Never returns."""
        await self._is_made.wait()
        await self._made().run()

    async def refuse_taken(self, key: Key, reason: str, actor: Actor) -> None:
        """Refuse a pin of a key that is pinned."""
        await self._made().refuse_taken(key, reason, actor)

    async def record_refused(self, key: Key, reason: str, actor: Actor, problem: RemoteError) -> None:
        """Record a pin that isn't put."""
        await self._made().record_refused(key, reason, actor, problem)

    async def put(
        self,
        key: Key,
        version: str,
        commit: str | None,
        labels: tuple[tuple[Files, ...], ...],
        reason: str,
        seconds: int | None,
        actor: Actor,
    ) -> "Pin":
        """Pin a key."""
        return await self._made().put(key, version, commit, labels, reason, seconds, actor)

    async def lift(self, key: Key, reason: str, actor: Actor) -> None:
        """Lift the pin of a key."""
        await self._made().lift(key, reason, actor)


def _exists(directory: Path) -> bool:
    """Return whether there may be a file of pins."""
    try:
        (directory / FILE).lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
