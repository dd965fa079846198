"""Decides which changes are paced, and loads the keeper once there is a roll-out. Other servers don't need its memory.

The invariant: from the first roll-out on, this class passes everything on to `keeper.RolloutKeeper`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from ..audit import Actor, Audit
from ..core.errors import RemoteError
from ..core.model import Key
from ..process.peers import Peers
from ..settings.rollout import RolloutSettings

if TYPE_CHECKING:
    from ..shelf.shared import Records
    from .counts import Counts
    from .keeper import Instances, Publications, RolloutKeeper
    from .plan import Rules
    from .rollout import Beginning, Plan, Rollout

log = structlog.get_logger()

# The name of the file of roll-outs, as `file` has it.
FILE = "rollouts.json"
# The statuses of roll-outs that aren't done, as `rollout.Status` has them.
STATUSES = ("running", "halted", "aborted")


class LateRolloutKeeper:
    """Keeps the roll-outs, and is the policy of the publisher; see `keeper.RolloutKeeper` and `pacing.Policy`.

    Args:
        directory: The directory of the file, or None if vortexd writes no state.
        records: The records that all nodes share, if this server belongs to a cluster.
        settings: The [[rollout]] in force.
    """

    def __init__(
        self,
        publications: "Publications",
        directory: Path | None,
        instances: "Instances",
        audit: Audit,
        peers: Peers,
        drives: Callable[[], bool],
        now: Callable[[], float],
        settings: Sequence[RolloutSettings] = (),
        records: "Records | None" = None,
    ) -> None:
        self._publications = publications
        self._directory = directory
        self._instances = instances
        self._audit = audit
        self._peers = peers
        self._drives = drives
        self._now = now
        self._settings = tuple(settings)
        self._parsed: Rules | None = None
        self._records = records
        self._keeper: RolloutKeeper | None = None
        self._is_made = trio.Event()
        peers.answer("rollouts", lambda text: self._made().hear(text))
        # The values of trailers that the log names already.
        self._reported: set[str] = set()

    def replace(self, settings: Sequence[RolloutSettings]) -> None:
        """Put other rules in force. Roll-outs that run keep their plans."""
        self._settings, self._parsed = tuple(settings), None
        if self._settings:
            self._made().hear()

    # The policy.

    @property
    def is_on(self) -> bool:
        """Whether any [[rollout]] is in force."""
        return bool(self._settings)

    def plan(self, key: Key, trailers: Sequence[str]) -> "Plan | None":
        """See `pacing.Policy`."""
        if not self._settings and not trailers:
            return None
        if self._directory is None:
            self._report("", key, "roll-outs need a directory for state; set server.state_directory")
            return None
        from .plan import with_trailers

        plan, unusable = with_trailers(self._rules().plan(key), trailers)
        for reason in unusable:
            self._report(reason, key, reason)
        return plan

    def _report(self, name: str, key: Key, reason: str) -> None:
        if name in self._reported:
            return
        if len(self._reported) >= 100:
            self._reported.clear()
        self._reported.add(name)
        if name:
            log.warning(
                "roll-out trailer unusable",
                key=str(key),
                reason=reason,
                consequence="the steps 5, 25 and 100 % count in its place",
            )
        else:
            log.warning(
                "roll-out trailer ignored",
                key=str(key),
                reason=reason,
                consequence="all clients get the change at once",
            )

    def _rules(self) -> "Rules":
        if self._parsed is None:
            from .plan import Rules

            self._parsed = Rules(self._settings)
        return self._parsed

    def begun(self, beginnings: "Sequence[Beginning]") -> None:
        """See `pacing.Policy`."""
        self._made().begun(beginnings)

    # The keeper.

    def _made(self) -> "RolloutKeeper":
        if self._keeper is None:
            from ..shelf.shelf import Shelf
            from .file import ROLLOUTS
            from .keeper import RolloutKeeper
            from .progress import CLOCK

            if self._records is None:
                shelf = Shelf(ROLLOUTS, self._directory)
            else:
                from ..shelf.shared import ClusterShelf

                first = self._peers.number == 0
                shelf = ClusterShelf(
                    ROLLOUTS, self._directory, None, self._records, self._changed, is_first=first, now=self._now
                )
            parts = self._instances, self._audit, self._peers, self._drives, self._now
            skew = CLOCK if self._records is not None else 0.0
            self._keeper = RolloutKeeper(self._publications, shelf, self._rules, *parts, skew=skew)
            self._is_made.set()
        return self._keeper

    def _changed(self) -> None:
        if self._keeper is not None:
            self._keeper.hear()

    @property
    def rollouts(self) -> "Sequence[Rollout]":
        """All records."""
        return self._keeper.rollouts if self._keeper is not None else ()

    @property
    def waiting(self) -> "Sequence[Beginning]":
        """The changes that are held back because their roll-outs can't be recorded."""
        return self._keeper.waiting if self._keeper is not None else ()

    @property
    def totals(self) -> Mapping[str, int]:
        """The number of roll-outs by status, without those that are done."""
        return self._keeper.totals if self._keeper is not None else dict.fromkeys(STATUSES, 0)

    def problem(self, key: Key) -> str | None:
        """See `RolloutKeeper.problem`."""
        return self._keeper.problem(key) if self._keeper is not None else None

    async def counts(self, key: Key) -> "Counts | None":
        """See `RolloutKeeper.counts`."""
        return await self._keeper.counts(key) if self._keeper is not None else None

    async def act(self, act: str, key: Key, target: str | None, reason: str, actor: Actor) -> "Rollout":
        """See `RolloutKeeper.act`."""
        if self._directory is None and self._records is None:
            raise RemoteError("this key has no roll-out", 404)
        return await self._made().act(act, key, target, reason, actor)

    async def load(self) -> None:
        """Read the roll-outs of earlier processes, if there may be any. Call it before the first publication."""
        has_file = self._directory is not None and _exists(self._directory)
        if self._records is not None or self._settings or has_file:
            await self._made().load()

    async def wait_known(self) -> None:
        """Wait until the roll-outs of the cluster are in force, for a limited time, and once."""
        if self._records is not None:
            await self._made().wait_known()

    async def run(self) -> None:
        """Do all work. Never returns."""
        started = trio.current_time()
        await self._is_made.wait()
        await self._made().run(started)


def _exists(directory: Path) -> bool:
    """Return whether there may be a file of roll-outs."""
    try:
        (directory / FILE).lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
