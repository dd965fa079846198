"""This node as a member of its cluster: its record, its sign of life, and the leadership.

The roster says what is in the store, and this module writes what should be there. Each step compares the two and
writes with conditions. So a step that was lost, or whose outcome is unknown, is simply taken again. Leadership is an
entry under the lease of one node. The revision of its creation is the fence: a write of the leader is in force only
while the entry is that one.
"""

from collections.abc import Callable, Sequence

import attrs
import structlog
import trio

from .engine import Condition, CreatedAt, Delete, Engine, EngineError, Entry, Lease, Put, Unmodified, Write
from .keys import Keys
from .records import DRAINING, SERVING, Member
from .roster import Roster
from .store_state import StoreState

log = structlog.get_logger()

# Seconds that the store waits for a sign of life of a node.
LEASE = 15.0
# Seconds that another process may hold this node's name before the log says so. After a crash, that is the former
# process, whose lease still runs.
PATIENCE = LEASE + 5.0
# Seconds that a node may be away before the log says so. A node that gets a new lease is away for a moment.
GRACE = 5.0
# Seconds until the next step, if nothing has changed.
TICK = 1.0
# Seconds until the next attempt after a failure, with jitter.
_AGAIN = 2.0
# The most seconds by which nodes delay their bids for the leadership, so that not all of them write.
_BID_JITTER = 0.5
# Seconds until the record must be removed when the node leaves.
_FAREWELL = 1.0
_PART = "membership"
# How the store lists a node.
LISTED, NAME_TAKEN, NOT_LISTED = "listed", "name taken", "not listed"


@attrs.frozen
class _Step:
    writes: Sequence[Write]
    conditions: Sequence[Condition]
    # The node that the step forgets, or "".
    forgotten: str = ""
    # Whether it is a bid for the leadership.
    is_bid: bool = False


class Membership:
    """Keeps this node's entries in the store.

    Args:
        record: This node, as it describes itself.
        process: Identifies this process.
        roster: The nodes as the store lists them.
        state: Hears of failures.
        forget_after: As in `ClusterSettings`.
        uniform: Returns a random number between two others, for jitter.
    """

    def __init__(
        self,
        keys: Keys,
        record: Member,
        process: str,
        roster: Roster,
        state: StoreState,
        forget_after: float,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._keys = keys
        self._record = record
        self._process = process
        self._roster = roster
        self._state = state
        self._forget_after = forget_after
        self._uniform = uniform
        self._lease: Lease | None = None
        # Set once the roster was read; and set, and made anew, with each change.
        self._is_read = trio.Event()
        self._changed = trio.Event()
        # Since when another process holds this node's name, and whether the log says so.
        self._taken_since: float | None = None
        self._is_said = False
        self._logged_away: set[str] = set()

    @property
    def listing(self) -> str:
        """How the store lists this node: `LISTED`, `NAME_TAKEN` if another process has its name, or `NOT_LISTED`.

        After a crash, the former process has the name until its lease ends. While the store is away, this stays as it was.
        """
        alive = self._roster.entry(self._keys.alive(self._record.node))
        if alive is None:
            return NOT_LISTED
        return LISTED if alive.value == self._process.encode() else NAME_TAKEN

    @property
    def is_leader(self) -> bool:
        """Whether this node leads. It turns false before another node can lead."""
        return self.fence is not None

    @property
    def fence(self) -> CreatedAt | None:
        """The condition for every write of the leader, or None if this node doesn't lead, or drains."""
        return self._lead if self._record.state == SERVING else None

    @property
    def _lead(self) -> CreatedAt | None:
        """The condition that this node's entry of the leader is in force, or None if there is no such entry."""
        entry = self._roster.entry(self._keys.leader)
        if entry is None or self._lease is None or not self._lease.is_held or entry.lease != self._lease.id:
            return None
        return CreatedAt(entry.key, entry.created)

    def changed(self) -> None:
        """Take the next step now, because the roster was read, or has changed."""
        self._is_read.set()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def replace(self, address: str, forget_after: float, *, publishes: bool = False) -> None:
        """Apply new settings."""
        self._forget_after = forget_after
        self._record = attrs.evolve(self._record, address=address, publishes=publishes)
        self._wake()

    def drain(self) -> None:
        """Tell the others that this node drains, and give up the leadership for good.

        The record is removed when `run` is cancelled.
        """
        self._record = attrs.evolve(self._record, state=DRAINING)
        self._wake()

    async def run(self, engine: Engine) -> None:
        """Keep the entries until this is cancelled. Raises no error of the store. Begins once the roster is read."""
        await self._is_read.wait()
        while True:
            try:
                async with engine.lease(LEASE) as self._lease:
                    try:
                        await self._hold(engine, self._lease)
                    finally:
                        await self._leave(engine)
            except EngineError as error:
                self._state.failed(_PART, str(error))
            finally:
                self._lease = None
            await trio.sleep(_AGAIN * self._uniform(0.5, 1.0))

    async def _hold(self, engine: Engine, lease: Lease) -> None:
        """Take steps while the lease is held, and none fails."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_lost, lease, nursery.cancel_scope)
            while await self._advance(engine, lease):
                pass
            nursery.cancel_scope.cancel()

    async def _advance(self, engine: Engine, lease: Lease) -> bool:
        """Take the next step, and wait until another one may be due. Return False if the step failed."""
        changed = self._changed
        self._report_away()
        step = self._step(lease)
        if step is not None and step.is_bid:
            await trio.sleep(self._uniform(0.0, _BID_JITTER))
            # Meanwhile another node may lead, or this one may drain.
            is_due = self._roster.entry(self._keys.leader) is None and self._record.state == SERVING
            step = step if is_due else None
        if step is not None:
            try:
                done = await engine.commit(step.writes, step.conditions)
            except EngineError as error:
                self._state.failed(_PART, str(error))
                return False
            if step.forgotten and done.is_done:
                log.warning(
                    "cluster member forgotten",
                    node=step.forgotten,
                    reason=f"it was away for {self._forget_after:g} s",
                    consequence="nothing lists it any more, until it comes back",
                )
        self._state.worked(_PART)
        with trio.move_on_after(TICK):
            await changed.wait()
        return True

    def _step(self, lease: Lease) -> _Step | None:
        """Return what has to be written next, or None."""
        alive = self._roster.entry(self._keys.alive(self._record.node))
        if alive is None or alive.lease != lease.id:
            return self._join(alive, lease)
        self._taken_since, self._is_said = None, False
        record = self._roster.entry(self._keys.member(self._record.node))
        is_written = record is not None and record.value == self._record.encoded()
        if self._record.state != SERVING and (lead := self._lead) is not None:
            # In one commit: a node that doesn't publish bids only once no node that publishes serves.
            return _Step([self._own_record(), Delete(lead.key)], [CreatedAt(alive.key, alive.created), lead])
        if not is_written:
            return _Step([self._own_record()], [CreatedAt(alive.key, alive.created)])
        if self._record.state != SERVING:
            return None
        # A node that publishes leads rather than one that doesn't.
        has_better = not self._record.publishes and self._roster.has_publisher
        if self._roster.entry(self._keys.leader) is None:
            if has_better:
                return None
            bid = Put(self._keys.leader, self._record.node.encode(), lease.id)
            return _Step([bid], [Unmodified(self._keys.leader, 0)], is_bid=True)
        if has_better and (fence := self.fence) is not None:
            return _Step([Delete(fence.key)], [fence])
        return self._forget()

    def _join(self, alive: Entry | None, lease: Lease) -> _Step | None:
        """Show a sign of life. If another process holds this node's name, wait until it doesn't."""
        if alive is not None and alive.value != self._process.encode():
            self._report_taken()
            return None
        sign = Put(self._keys.alive(self._record.node), self._process.encode(), lease.id)
        return _Step([sign, self._own_record()], [Unmodified(sign.key, alive.modified if alive is not None else 0)])

    def _own_record(self) -> Put:
        return Put(self._keys.member(self._record.node), self._record.encoded())

    def _forget(self) -> _Step | None:
        """As the leader, remove a node that was away for too long."""
        fence = self.fence
        for node, seconds in self._roster.away.items() if fence is not None else ():
            entry = self._roster.entry(self._keys.member(node))
            if seconds >= self._forget_after and entry is not None and fence is not None:
                is_away = Unmodified(self._keys.alive(node), 0)
                writes = [Delete(entry.key), Delete(self._keys.hint(node))]
                return _Step(writes, [fence, is_away, Unmodified(entry.key, entry.modified)], node)
        return None

    def _report_taken(self) -> None:
        now = trio.current_time()
        if self._taken_since is None:
            self._taken_since = now
        if now - self._taken_since >= PATIENCE and not self._is_said:
            self._is_said = True
            log.warning(
                "cluster node name taken",
                node=self._record.node,
                consequence="another process of the cluster has this name; this node isn't listed, but hears hints",
                remedy="give each node a name of its own, in cluster.node",
            )

    def _report_away(self) -> None:
        """Log the nodes that went away, and those that are back."""
        away = self._roster.away
        for node in [node for node, seconds in away.items() if seconds >= GRACE and node not in self._logged_away]:
            self._logged_away.add(node)
            log.warning("cluster member away", node=node, consequence=f"it is forgotten after {self._forget_after:g} s")
        for node in sorted(self._logged_away - away.keys()):
            self._logged_away.remove(node)
            if self._roster.entry(self._keys.member(node)) is not None:
                log.info("cluster member back", node=node)

    async def _leave(self, engine: Engine) -> None:
        """Remove this node's record and hint if it drains, within a short time. Its lease ends afterwards."""
        alive = self._roster.entry(self._keys.alive(self._record.node))
        is_own = alive is not None and self._lease is not None and alive.lease == self._lease.id
        if self._record.state != DRAINING or alive is None or not is_own or not self._state.is_up:
            return
        node = self._record.node
        writes = [Delete(self._keys.member(node)), Delete(self._keys.hint(node))]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
            try:
                await engine.commit(writes, [CreatedAt(alive.key, alive.created)])
            except EngineError as error:
                log.info("cluster not left", reason=str(error), consequence="the others list this node as away")


async def _until_lost(lease: Lease, scope: trio.CancelScope) -> None:
    await lease.wait_lost()
    scope.cancel()
