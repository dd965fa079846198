"""Keeps the roll-outs: records what begins, lets one process take the steps, and does what people want.

Beginnings arrive from the publisher, and acts from people. A task does one thing after the other, so what is in force, what is
on the disk, and what the other workers hear have the same order. All records leave for the publisher.

One process takes the steps: the first worker and, in a cluster, the first worker of the leader. All others apply what is
recorded. The invariant: a change of a record is on the disk, or in the store, before it is in force.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol
from uuid import uuid4

import structlog
import trio

from ..audit import Actor, Audit
from ..core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from ..core.model import Key
from ..fleet import Seen
from ..process.peers import Peers
from ..shelf.acts import Acts
from ..shelf.kind import Change
from ..shelf.shelf import Shelf, slow, unavailable
from .changes import (
    act_of,
    found,
    is_recorded,
    promoted,
    too_large,
    with_beginnings,
    with_next,
    with_remembered,
    without,
)
from .counts import Counts, count
from .plan import Rules
from .progress import next_state
from .reports import Reports
from .rollout import Beginning, Labels, Plan, Rollout, Status

log = structlog.get_logger()

# Seconds to wait for an act, for the records at the start, and for those of a cluster before the first publication.
PATIENCE, START_PATIENCE, CLUSTER_PATIENCE = 5.0, 5.0, 3.0
# The most acts that wait.
MOST_WAITING = 20
# Seconds between two looks at the instances while a roll-out runs, and until a failure is tried again.
TICK, AGAIN = 0.25, 5.0
# Seconds between two searches for keys whose version must be remembered, and the most keys of one search.
SWEEP, MOST_REMEMBERED = 5.0, 50
# Seconds after the start in which instances may still be on their way back. A step that began earlier would choose its
# instances among the few that are there, and reach too many of those that come later.
SETTLING = 5.0
# For so many seconds, workers that are late may still meet the record of a roll-out that is done.
KEPT = 3_600.0


class Publications(Protocol):
    """The part of the publisher that the keeper needs."""

    async def roll_by(self, rollouts: Sequence[Rollout]) -> None:
        """Put roll-outs in force."""
        ...

    def candidate_files(self, key: Key) -> tuple[str, Labels] | None:
        """Return the version of a key's candidate and its files."""
        ...

    def stable_files(self, key: Key) -> tuple[str, Labels] | None:
        """Return the version of a key and its files, unless it is in a roll-out, pinned or not in use."""
        ...


class Instances(Protocol):
    """The instances of all workers and nodes."""

    def named(self) -> Collection[Key]:
        """Return the keys that have named instances at this worker."""
        ...

    async def of(self, key: Key) -> tuple[Sequence[Seen], int]:
        """Return the instances of a key, and how many workers and nodes haven't answered."""
        ...

    @property
    def steady_for(self) -> float:
        """The seconds since a node of the cluster came, restarted, drained, went away or left."""
        ...


class RolloutKeeper:
    """Keeps the roll-outs; see the module.

    Args:
        publications: Puts roll-outs in force.
        shelf: Where the records are kept.
        rules: Returns the rules in force.
        instances: Counts instances.
        audit: Records each act.
        peers: The other workers.
        drives: Returns whether this process takes the steps.
        now: Returns the seconds since the epoch.
        new_id: Makes the id of a roll-out.
        settling: Seconds after the start in which no step begins or ends. The same holds after a worker or a node didn't
            answer, and after a node came or left. Until then, its instances may be on their way back.
        skew: The seconds by which the clocks of nodes may differ.
    """

    def __init__(
        self,
        publications: Publications,
        shelf: Shelf[Rollout],
        rules: Callable[[], Rules],
        instances: Instances,
        audit: Audit,
        peers: Peers,
        drives: Callable[[], bool],
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: str(uuid4()),
        settling: float = SETTLING,
        skew: float = 0.0,
    ) -> None:
        self._publications = publications
        self._shelf = shelf
        self._rules = rules
        self._instances = instances
        self._reports = Reports(audit)
        self._peers = peers
        self._drives = drives
        self._now = now
        self._new_id = new_id
        self._settling = settling
        self._skew = skew
        # When steps may begin, by Trio's clock, unless a node has come or left.
        self._settled = float("inf")
        self._records: dict[Key, Rollout] = {}
        # What has begun and isn't recorded yet, and why the last attempt failed.
        self._pending: dict[Key, Beginning] = {}
        self._problem = ""
        self._acts = Acts[Rollout]("roll-outs", PATIENCE, MOST_WAITING, self._wake)
        self._woken = trio.Event()
        # Whether other workers may not have heard of the last change.
        self._is_untold = False
        self._known = trio.Event()
        # When keys were last searched whose version must be remembered, by Trio's clock.
        self._swept = float("-inf")
        self._peers.answer("rollouts", self.hear)

    # For people.

    @property
    def rollouts(self) -> Sequence[Rollout]:
        """All records, in the order in which their roll-outs began. The ones that are done are among them."""
        return sorted(self._records.values(), key=lambda each: (each.began, each.id))

    @property
    def waiting(self) -> Sequence[Beginning]:
        """The changes that are held back because their roll-outs can't be recorded."""
        return tuple(self._pending.values())

    @property
    def totals(self) -> Mapping[str, int]:
        """The number of roll-outs by status, without those that are done."""
        totals = dict.fromkeys((each.value for each in Status if each is not Status.DONE), 0)
        for each in self._records.values():
            if each.status is not Status.DONE:
                totals[each.status.value] += 1
        return totals

    def problem(self, key: Key) -> str | None:
        """Return why the roll-out of a change isn't recorded yet, or None."""
        return self._problem or None if key in self._pending else None

    async def counts(self, key: Key) -> Counts | None:
        """Return the counts of a roll-out now, or None if the key has none that runs."""
        record = self._records.get(key)
        if record is None or record.status is not Status.RUNNING:
            return None
        seen, unanswered = await self._instances.of(key)
        return count(record, seen, unanswered, self._skew)

    async def act(self, act: str, key: Key, target: str | None, reason: str, actor: Actor) -> Rollout:
        """Resume, abort or promote a roll-out. When this returns, the new state is recorded and in force.

        Args:
            act: RESUME, ABORT or PROMOTE.
            target: The version that the person means, or None.

        Raises:
            RemoteError: 404, 409 or 503. Nothing has changed, unless the text says otherwise.
        """
        return await self._acts.done(partial(self._act, act, key, target, reason, actor))

    # For the publisher.

    def begun(self, beginnings: Sequence[Beginning]) -> None:
        """Record what has begun. Until then, nobody has the new version."""
        self._pending |= {each.key: each for each in beginnings}
        self._wake()

    # Work of the task.

    async def load(self) -> None:
        """Read the roll-outs of earlier processes, and put them in force. Call it before the first publication."""
        with trio.move_on_after(START_PATIENCE) as scope:
            await self._read()
        if scope.cancelled_caught:
            self._shelf.warn_unread(slow(START_PATIENCE))

    async def wait_known(self) -> None:
        """Wait until the roll-outs of the cluster are in force, for a limited time, and once."""
        with trio.move_on_after(CLUSTER_PATIENCE):
            await self._known.wait()
        self._known.set()

    async def run(self, started: float | None = None) -> None:
        """Do all work. Never returns.

        Args:
            started: When the process started, by Trio's clock, if this begins later.
        """
        self._settled = (trio.current_time() if started is None else started) + self._settling
        while True:
            with trio.move_on_after(self._pause()):
                await self._woken.wait()
            self._woken = trio.Event()
            was_untold = self._is_untold
            if self._shelf.is_outdated:
                await self._read()
            await self._record()
            await self._acts.do_all()
            if self._drives():
                await self._drive()
            await self._sweep()
            if was_untold and self._is_untold:
                await self._tell()

    def _pause(self) -> float:
        """Return the seconds until there is something to do."""
        if any(each.status is Status.RUNNING for each in self._records.values()) and self._drives():
            return TICK
        if self._shelf.is_outdated or self._is_untold or self._pending:
            return AGAIN
        return SWEEP if self._rules() or self._records else float("inf")

    def _wake(self) -> None:
        self._woken.set()

    def hear(self, _: str = "") -> str:
        """Read the records soon, because another worker or node has changed them."""
        self._shelf.is_outdated = True
        self._wake()
        return ""

    async def _tell(self) -> None:
        """Let the other workers read the records. If one doesn't answer, it is told again later."""
        self._is_untold = (await self._peers.ask("rollouts")).missing > 0

    async def _read(self) -> None:
        """Read the records, and put them in force. If they can't be read, those in force stay."""
        records = await self._shelf.read()
        if records is not None:
            await self._apply(records)
        if self._shelf.is_known:
            self._known.set()

    async def _apply(self, records: Sequence[Rollout]) -> None:
        """Put records in force, unless they are."""
        marks = {each.key: (each.id, each.revision) for each in records}
        if marks == {key: (each.id, each.revision) for key, each in self._records.items()}:
            return
        before, self._records = self._records, {each.key: each for each in records}
        await self._publications.roll_by(records)
        if self._drives():
            await self._reports.ended(before, self._records)

    async def _write(self, change: Callable[[Sequence[Rollout]], Sequence[Rollout]]) -> None:
        """Change the records, and put them in force.

        Raises:
            RemoteError: They can't be written, or the change refuses.
        """
        records = await self._shelf.write(change)
        await self._apply(records)
        await self._tell()

    # Beginnings.

    async def _record(self) -> None:
        """Record what has begun."""
        pending = dict(self._pending)
        if not pending:
            return
        ids = [self._new_id() for _ in pending]
        change = self._with_beginnings(pending.values(), ids)
        try:
            await self._write(change)
        except RemoteError as error:
            self._problem = error.reason
            self._reports.unwritten(error.reason, list(pending))
            return
        # A version that only is to be remembered needs no record.
        left = {
            key: each
            for key, each in pending.items()
            if each.target != each.stable and not is_recorded(each, self._records.get(key))
        }
        # The publisher may have reported another change of a key meanwhile.
        self._pending = {
            key: each for key, each in self._pending.items() if key in left or pending.get(key) is not each
        }
        mine = set(ids)
        for each in self._records.values():
            if each.id in mine and each.status is Status.RUNNING:
                self._reports.begun(each)
        if not left:
            self._problem = ""
            self._reports.written()
            return
        try:
            change([*self._records.values()])
        except RemoteError as error:
            self._problem = error.reason
            self._reports.unwritten(error.reason, list(left))

    def _with_beginnings(
        self,
        beginnings: Iterable[Beginning],
        ids: Sequence[str],
        change: Callable[..., Sequence[Rollout]] = with_beginnings,
    ) -> Change[Rollout]:
        return partial(
            change,
            beginnings,
            ids,
            self._now(),
            most=self._shelf.most,
            max_record_bytes=self._shelf.max_record_bytes,
        )

    # Steps.

    async def _drive(self) -> None:
        """Take the steps that are due, all with one write. Roll-outs that halt come first."""
        due: list[tuple[Rollout, Rollout, Counts]] = []
        for rollout in [each for each in self._records.values() if each.status is Status.RUNNING]:
            seen, unanswered = await self._instances.of(rollout.key)
            if unanswered:
                self._settled = trio.current_time() + self._settling
            counts = count(rollout, seen, unanswered, self._skew)
            after = self._next(rollout, counts)
            # A person may have changed it since the loop began.
            if after is not None and self._records.get(rollout.key) is rollout:
                due.append((rollout, after, counts))
            # Many roll-outs take long to count, and people must not wait for it.
            await self._acts.do_all()
        for is_halt in (True, False):
            if several := [each for each in due if (each[1].status is Status.HALTED) is is_halt]:
                await self._take(several)

    def _next(self, rollout: Rollout, counts: Counts) -> Rollout | None:
        """Return the next state of a roll-out, or None if it waits."""
        after = next_state(rollout, counts, self._now())
        # A rejection counts at once. Instances that seem silent may be on their way back.
        if after is None or not (counts.refusal is not None or self._is_settled):
            return None
        if after.status is Status.DONE:
            labels = self._target_files(rollout)
            return None if isinstance(labels, str) else promoted(rollout, "", "", self._now(), labels)
        return after

    async def _take(self, due: Sequence[tuple[Rollout, Rollout, Counts]]) -> None:
        """Take steps: each roll-out with its next state, and the counts that lead to it."""
        try:
            steps = [(before, after) for before, after, _ in due]
            await self._write(partial(with_next, steps, max_record_bytes=self._shelf.max_record_bytes))
        except RemoteError as error:
            if error.status < 500 and len(due) > 1:
                # One of them doesn't fit, and must not hold the others back.
                for each in due:
                    await self._take([each])
                return
            self._reports.unwritten(error.reason, [before.key for before, _, _ in due])
            return
        # A person at another worker may have been faster. If it is done, its record may be too large.
        records = self._records
        taken = [
            (after, counts)
            for _, after, counts in due
            if records.get(after.key) is after or (after.status is Status.DONE and after.key not in records)
        ]
        for after, counts in taken:
            await self._reports.stepped(after, counts)
            await self._acts.do_all()

    @property
    def _is_settled(self) -> bool:
        """Whether the instances that were connected before a start have had the time to come back."""
        return trio.current_time() >= self._settled and self._instances.steady_for >= self._settling

    def _target_files(self, rollout: Rollout) -> Labels | str:
        """Return the files of the target version, or the reason why this worker doesn't have them."""
        try:
            mine = self._publications.candidate_files(rollout.key)
        except (FormatError, ResolveError, UnknownLabel) as error:
            return str(error)
        if mine is None or mine[0] != rollout.target:
            return f"this server hasn't read version {rollout.target} yet; try again"
        return mine[1]

    # Acts.

    async def _act(self, act: str, key: Key, target: str | None, reason: str, actor: Actor) -> Rollout:
        now = self._now()
        try:
            if key in self._pending:
                raise unavailable(f"the roll-out of this key isn't recorded yet: {self._problem or 'try again'}")
            before = found(key, target, self._records.values())
            parts = act, key, target, reason, actor.name, now, self._files_of, self._shelf.max_record_bytes
            await self._write(act_of(*parts))
        except RemoteError as error:
            await self._reports.refused(act, key, target, reason, actor, error)
            raise
        # If it is promoted, its record may be too large.
        after = self._records.get(key) or promoted(before, reason, actor.name, now, before.labels)
        await self._reports.acted(act, after, reason, actor)
        return after

    def _files_of(self, rollout: Rollout) -> Labels:
        labels = self._target_files(rollout)
        if isinstance(labels, str):
            raise unavailable(labels)
        return labels

    # What a restart must know.

    async def _sweep(self) -> None:
        """Remember the versions of keys whose next change will be a roll-out, and forget those that won't have one."""
        rules, now = self._rules(), trio.current_time()
        if now < self._swept + SWEEP or not (rules or self._records):
            return
        self._swept = now
        beginnings: list[Beginning] = []
        # More records would only take the place of others.
        most = min(MOST_REMEMBERED, self._shelf.most - len(self._records))
        for key in self._instances.named() if rules else ():
            plan = rules.plan(key) if key not in self._records and key not in self._pending else None
            if plan is not None and len(beginnings) < most and (one := self._remembered(key, plan)):
                beginnings.append(one)
        # The clock of the records, because they have survived restarts.
        old = self._now() - KEPT
        records = self._records.values()
        over = [
            each.key
            for each in records
            if each.status is Status.DONE and each.stepped < old and rules.plan(each.key) is None
        ]
        try:
            if beginnings:
                ids = [self._new_id() for _ in beginnings]
                await self._write(self._with_beginnings(beginnings, ids, with_remembered))
            if over and self._drives():
                await self._write(partial(without, over))
        except RemoteError as error:
            self._reports.unwritten(error.reason, [each.key for each in beginnings] or over)

    def _remembered(self, key: Key, plan: Plan) -> Beginning | None:
        try:
            mine = self._publications.stable_files(key)
        except (FormatError, ResolveError, UnknownLabel):
            return None
        found = None if mine is None else Beginning(key, mine[0], mine[0], None, None, plan, mine[1])
        return None if found is None or too_large(found, self._shelf.max_record_bytes) else found
