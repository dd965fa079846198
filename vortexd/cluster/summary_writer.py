"""Writes this node's summary to the store, under the node's lease.

The counts of the node's workers arrive, and the parts that have changed leave, at most one commit a second. In a large
cluster the commits are rarer, because every node receives each of them. Each commit holds only while the sign of life of
this process is in the store. Then a process whose name another one has taken over writes nothing.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog
import trio

from ..fleet.pages import KeyState
from . import summaries
from .engine import CreatedAt, Delete, Engine, EngineError, Entry, Put, Unmodified, Write
from .keys import Keys
from .questions import SECRET_BYTES, Questions
from .roster import Roster
from .store_state import StoreState

log = structlog.get_logger()

# The least seconds between two commits of a node, and the nodes up to which that holds. Twice the nodes, twice the seconds.
BETWEEN = 1.0
_NODES = 20
# The least time between two commits, as a multiple of the time that collecting the counts took.
_SHARE = 20
# The most parts of one commit. etcd takes 1.5 MiB by default.
PARTS_AT_ONCE = 4
# Keys that are encoded before other tasks may run.
_AT_ONCE = 500
# Seconds between two looks while this process isn't a member yet.
_UNTIL_MEMBER = 0.2
_PART = "summary"
_AGAIN_AT_MOST = 10.0

Counts = Callable[[], Awaitable[Sequence[KeyState]]]


class SummaryWriter:
    """Keeps this node's summary in the store.

    Args:
        node: The name of this node.
        process: Identifies this process.
        counts: Returns the counts of all workers of this node. If none has changed, it returns the same object.
        uniform: Returns a random number between two others, for jitter.
        fence: Returns the condition for every write of the leader, or None if this node doesn't lead.

    Attributes:
        written: The number of commits.
    """

    def __init__(
        self,
        keys: Keys,
        node: str,
        process: str,
        roster: Roster,
        state: StoreState,
        questions: Questions,
        counts: Counts,
        uniform: Callable[[float, float], float],
        fence: Callable[[], CreatedAt | None],
    ) -> None:
        self._keys = keys
        self._node = node
        self._process = process
        self._roster = roster
        self._state = state
        self._questions = questions
        self._counts = counts
        self._uniform = uniform
        self._fence = fence
        # The sign of life under which the parts were written, and the parts.
        self._sign: tuple[int, str] | None = None
        self._parts: dict[int, bytes] = {}
        self._is_cut = False
        self._is_back = trio.Event()
        # The last counts, and their parts. Counts that haven't changed are the same object.
        self._counted: tuple[Sequence[KeyState] | None, list[bytes]] = (None, [])
        self.written = 0

    def retry(self) -> None:
        """End the pause after a failure, because the store was read."""
        self._is_back.set()
        self._is_back = trio.Event()

    async def run(self, engine: Engine) -> None:
        """Write until this is cancelled. Raises no error of the store."""
        pause = BETWEEN
        while True:
            began = trio.current_time()
            try:
                is_member = await self._write(engine)
                pause = self._between(trio.current_time() - began)
                await trio.sleep(pause if is_member else _UNTIL_MEMBER)
            except EngineError as error:
                self._state.failed(_PART, str(error))
                pause = min(2 * pause, max(_AGAIN_AT_MOST, pause))
                with trio.move_on_after(pause * self._uniform(0.5, 1.0)):
                    await self._is_back.wait()

    def _between(self, took: float) -> float:
        nodes = len(self._roster.members())
        return max(BETWEEN, nodes / _NODES, min(_SHARE * took, _AGAIN_AT_MOST))

    async def _write(self, engine: Engine) -> bool:
        """Write what has changed. Return False if this process isn't a member yet."""
        alive = self._roster.entry(self._keys.alive(self._node))
        if alive is None or alive.value != self._process.encode():
            self._state.worked(_PART)
            return False
        if not self._questions.has_secret:
            await self._make_secret(engine)
        sign = alive.created, alive.lease
        if sign != self._sign:
            self._sign = sign
            self._doubt(self._parts)
        parts = await self._collect()
        writes = self._changes(parts, alive)
        if writes:
            await self._commit(engine, writes, alive)
        self._state.worked(_PART)
        return True

    async def _make_secret(self, engine: Engine) -> None:
        """Make the cluster's secret if there is none. If there is one that can't be used, the leader replaces it."""
        unusable, fence = self._questions.unusable_secret, self._fence()
        if unusable and fence is None:
            return
        secret = Put(self._keys.secret, secrets.token_bytes(SECRET_BYTES))
        done = await engine.commit(
            [secret], [Unmodified(secret.key, unusable), *([fence] if unusable and fence is not None else [])]
        )
        if unusable and done.is_done:
            log.warning(
                "cluster secret replaced",
                key=secret.key,
                reason="another program had written one that can't be used",
                consequence="all nodes take the new one",
            )

    async def _collect(self) -> list[bytes]:
        states = await self._counts()
        if states is self._counted[0]:
            return self._counted[1]
        texts = list[bytes]()
        for start in range(0, len(states), _AT_ONCE):
            texts += summaries.encode(states[start : start + _AT_ONCE])
            await trio.lowlevel.checkpoint()
        parts = summaries.split(texts)
        is_cut = len(parts) > summaries.MOST_PARTS
        if is_cut and not self._is_cut:
            log.warning(
                "cluster summary cut",
                keys=len(states),
                consequence="other nodes don't count some keys while they can't ask this node",
            )
        self._is_cut = is_cut
        self._counted = states, parts[: summaries.MOST_PARTS]
        return self._counted[1]

    def _changes(self, parts: Sequence[bytes], alive: Entry) -> list[Write]:
        """Return the writes of one commit. If more parts have changed than a commit may have, the rest is for the next."""
        writes: list[Write] = [
            Put(self._keys.summary(self._node, number), part, alive.lease)
            for number, part in enumerate(parts)
            if self._parts.get(number) != part
        ]
        writes += [Delete(self._keys.summary(self._node, number)) for number in self._parts if number >= len(parts)]
        return writes[:PARTS_AT_ONCE]

    async def _commit(self, engine: Engine, writes: Sequence[Write], alive: Entry) -> None:
        parts = dict(self._parts)
        for write in writes:
            _, number = self._keys.part_of(write.key) or ("", 0)
            if isinstance(write, Put):
                parts[number] = write.value
            else:
                del parts[number]
        # Until the commit is known to be done, none of these parts counts as written.
        self._doubt({**self._parts, **parts})
        done = await engine.commit(writes, [CreatedAt(alive.key, alive.created)])
        if done.is_done:
            self._parts = parts
            self.written += 1

    def _doubt(self, numbers: Iterable[int]) -> None:
        """Write the parts with these numbers again, or delete them."""
        self._parts = dict.fromkeys(numbers, b"")
