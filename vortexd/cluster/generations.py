"""Numbers the publications of labels, alike at all nodes. Together with an epoch, a number is a generation.

The trees that this node publishes, and the records of the store, arrive. Generations leave for `pipeline.order`. The first node
that publishes a new position of a label gives it the next number, in one commit that holds only if no other node has done so
meanwhile. All others find it listed. A node never waits for the store before it serves: after `PATIENCE` it publishes without a
number, and the number follows.

A node numbers a position only if it is newer than the one that has the highest number: by the history of its commits, or by the
numbers of its source. If it is older, the node is *behind*, and waits for its source. If neither follows the other, somebody has
moved a branch. Then the node makes its sources look once more, and numbers its position if that stays. A node that sees a branch
move back numbers the older commit anew. If the nodes' remotes disagree for a minute, the leader's position counts.
"""

import math
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import attrs
import structlog
import trio

from ..core.generation import HIGHEST_NUMBER, Generation
from ..core.model import Files, Tree
from .engine import Committed, Condition, Delete, Engine, EngineError, Entry, Event, Put, Reading, Unmodified
from .keys import Keys
from .late_labels import LateLabels
from .positions import (
    EpochRecord,
    LabelRecord,
    Position,
    Relation,
    are_alike,
    numbered_next,
    position_of,
    related,
    related_places,
)
from .records import Newer, Unusable
from .store_state import StoreState
from .warnings import RecordWarnings

log = structlog.get_logger()

# The most seconds that a publication waits for its numbers.
PATIENCE = 0.25
# The seconds that a node lets the leader number a position first, with jitter. So one push makes one commit, however many nodes
# there are.
_LEADER_FIRST = 0.03, 0.08
# Seconds after which the leader numbers an older position that its sources still have: a branch was moved back while no node ran.
# Also the least seconds until a node numbers the same position again because of a look. Nodes whose remotes disagree for ever so
# don't make each other write all the time.
BACK_AFTER = 60.0
# The seconds for which a position is doubtful before the sources look, because most often they fetch anyway. The most seconds
# that a look takes, and the seconds until another one after a look that failed.
LOOK_AFTER, _LOOK, _LOOK_AGAIN = 1.0, 60.0, 10.0
# The labels of one commit. With their conditions, etcd takes 128 by default.
_AT_ONCE = 40
# The most bytes of their records, unless there is only one. By default etcd takes requests of 1.5 MiB.
_COMMIT_BYTES = 1_048_576
# A commit that other nodes were faster with is made anew so many times at once.
_ROUNDS = 16
# Seconds between two deletions of old records by the leader, and the age of a record whose label this node doesn't serve.
_TIDY_EVERY, _KEPT = 3_600.0, 30 * 86_400.0
# Seconds until the next attempt after a failure, with jitter.
_AGAIN, _AGAIN_AT_MOST = 1.0, 10.0
_PART = "order"
_EPOCH_BYTES = 4


class Commits(Protocol):
    """The part of the sources that knows the order of commits."""

    def has_commits(self, root: str) -> bool:
        """Return whether the files with this root come from a source that has commits here."""
        ...

    async def is_before(self, root: str, commit: str, other: str) -> bool | None:
        """Return whether a commit is an ancestor of another one, or None if that isn't known."""
        ...

    def is_current(self, root: str) -> bool:
        """Return whether the last look at the remote of the files with this root didn't fail."""
        ...

    def fetch_now(self) -> int:
        """Make all sources look."""
        ...

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Wait until the sources have looked."""
        ...


@attrs.define(eq=False)
class _Label:
    """A label of the newest tree of this node.

    Attributes:
        position: None if it has no place in an order.
        former: The position that this node had before, or None.
        since: When it got this position, by the event loop's clock.
        is_settled: Whether nothing more can be said before the store or a source changes.
        is_behind: Whether another node has published a newer position.
        is_doubtful: Whether only a look of the sources can tell whether this position is newer.
        has_looked: Whether they have looked since then.
        numbered: When this node last numbered it because of a look, by the event loop's clock.
        newer_than: The places that this position is known to follow, or None. A comparison may start git, and a label
            that waits for its number is decided about again and again.
    """

    files: Files
    position: Position | None
    former: Position | None
    since: float
    is_settled: bool = False
    is_behind: bool = False
    is_doubtful: bool = False
    has_looked: bool = False
    numbered: float = -math.inf
    newer_than: tuple[str, ...] | None = None


class Generations:
    """Numbers the publications of this process; a `pipeline.order.Numbering`.

    Args:
        commits: The sources.
        leads: Returns whether this process leads the cluster.
        has_leader: Returns whether any node leads.
        publishes: Returns whether this node publishes its state if it leads. Then that gives a place to content without one.
        uniform: Returns a random number between two others, for jitter.
        now: Returns the seconds since the epoch.
    """

    def __init__(
        self,
        keys: Keys,
        commits: Commits,
        state: StoreState,
        warnings: RecordWarnings,
        leads: Callable[[], bool],
        has_leader: Callable[[], bool],
        publishes: Callable[[], bool],
        uniform: Callable[[float, float], float],
        now: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._commits = commits
        self._state = state
        self._warnings = warnings
        self._leads = leads
        self._has_leader = has_leader
        self._publishes = publishes
        self._uniform = uniform
        self._now = now
        self._labels: dict[str, _Label] = {}
        self._tree: Tree | None = None
        # The positions in the tree that is served while the newest one is prepared.
        self._served: dict[str, tuple[Files, Position | None]] = {}
        # The entries of the store, and the records that can be read.
        self._entries: dict[str, Entry] = {}
        self._records: dict[str, LabelRecord | None] = {}
        self._epoch: EpochRecord | None = None
        # The store and the highest revision that this process has seen, and the epoch that ended there.
        self._seen = ("", 0)
        self._ended = ""
        # The highest number of each label of this node, by the name of its record, and their epoch.
        self._highest: dict[str, int] = {}
        self._highest_of: str | None = None
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._has_warned = False
        self._is_looking = False
        self._tidied = 0.0
        self._late = LateLabels(now)

    # From the pipeline.

    def report(self, changed: Callable[[], None]) -> None:
        """See `pipeline.order.Numbering`. There may be several functions."""
        self._listeners.append(changed)

    def begin(self, tree: Tree) -> None:
        """See `pipeline.order.Numbering`."""
        labels: dict[str, _Label] = {}
        now = trio.current_time()
        for label, files in tree.labels.items():
            before = self._labels.get(label)
            if before is not None and before.files is files:
                labels[label] = before
                continue
            position = position_of(label, files)
            if before is not None and before.position == position:
                before.files = files
                labels[label] = before
                continue
            former = before.position or before.former if before is not None else None
            labels[label] = _Label(files, position, former, now)
        self._labels, self._tree, self._served = labels, tree, {}
        self._note_highest()
        self._warn()
        self._wake()

    async def settle(self, tree: Tree) -> None:
        """See `pipeline.order.Numbering`. If the store is away, this doesn't wait."""
        with trio.move_on_after(PATIENCE):
            while self._tree is tree and self._state.is_up and any(self._unsettled()):
                await self._changed.wait()

    def numbers(self, tree: Tree) -> Mapping[str, Generation]:
        """See `pipeline.order.Numbering`."""
        found: dict[str, Generation] = {}
        if self._epoch is None:
            return found
        for label, files in tree.labels.items():
            each = self._labels.get(label)
            is_same = each is not None and each.files is files
            position = each.position if each is not None and is_same else self._served_position(label, files)
            record = self._record(position)
            number = record.number(position.places) if record is not None and position is not None else None
            if number is not None:
                found[label] = Generation(self._epoch.epoch, number)
        return found

    def _served_position(self, label: str, files: Files) -> Position | None:
        """Return the position of files that aren't those of the newest tree. With many labels, it is asked for again and again."""
        known = self._served.get(label)
        if known is None or known[0] is not files:
            known = self._served[label] = files, position_of(label, files)
        return known[1]

    def is_behind(self, label: str) -> bool:
        """See `pipeline.order.Numbering`."""
        each = self._labels.get(label)
        return each is not None and each.is_behind

    def published(self, tree: Tree, number: int) -> None:
        """Give a place to content of this node that has none: the number of the published version that has it."""
        for label, files in tree.labels.items():
            each = self._labels.get(label)
            if each is not None and each.files is files and position_of(label, files) is None:
                each.position = position_of(label, files, number)
                each.is_settled = False
        self._wake()

    @property
    def epoch(self) -> str | None:
        """The epoch of the numbers, or None if it isn't known yet."""
        return self._epoch.epoch if self._epoch is not None else None

    @property
    def behind(self) -> Sequence[str]:
        """The labels that are behind, in order."""
        return sorted(label for label, each in self._labels.items() if each.is_behind)

    @property
    def unordered(self) -> Sequence[str]:
        """The labels that have no place in an order, in order."""
        return sorted(label for label, each in self._labels.items() if each.position is None)

    def _warn(self) -> None:
        """Log once that there are labels without an order."""
        labels = self.unordered
        if labels and not self._has_warned and not self._publishes():
            self._has_warned = True
            log.warning(
                "labels without order",
                label=labels[0],
                count=len(labels),
                reason="a source of theirs has no commits, as a directory, so nothing says which node's files are newer",
                consequence="a client that moves to another node may get an older state",
                remedy="let one node publish its files with cluster.publish, and the others read them with kind published",
            )

    # From the store.

    def read(self, reading: Reading) -> None:
        """Take a reading of all entries of the cluster."""
        store, revision = self._seen
        if reading.store == store and reading.revision < revision and self._epoch is not None:
            # The store was restored from a backup, so its numbers are older than some that clients have.
            self._ended = self._epoch.epoch
        self._seen = (reading.store, reading.revision)
        self._entries, self._records, self._epoch = {}, {}, None
        for entry in reading.entries:
            if entry.key == self._keys.epoch or self._keys.is_numbered(entry.key):
                self._put(entry)
        self._doubt()

    def take(self, events: Iterable[Event], revision: int) -> None:
        """Take the events of a watch."""
        self._seen = (self._seen[0], max(self._seen[1], revision))
        keys = set[str]()
        for event in events:
            if event.key != self._keys.epoch and not self._keys.is_numbered(event.key):
                continue
            if event.entry is not None:
                is_new = self._put(event.entry)
            else:
                entry = self._entries.get(event.key)
                is_new = entry is not None and entry.modified < event.revision
                if is_new:
                    self._remove(event.key)
            if is_new:
                keys.add(event.key)
        if keys:
            self._doubt(None if self._keys.epoch in keys else keys)

    def _put(self, entry: Entry) -> bool:
        """Take an entry, and return whether this node didn't know it. It knows what it has written before the watch says so."""
        before = self._entries.get(entry.key)
        if before is not None and before.modified >= entry.modified:
            return False
        self._entries[entry.key] = entry
        try:
            if entry.key == self._keys.epoch:
                self._epoch = self._valid(EpochRecord.parse(entry.value))
            else:
                self._records[entry.key] = LabelRecord.parse(entry.value)
        except Unusable as error:
            self._warnings.unusable(entry.key, str(error))
            if entry.key == self._keys.epoch:
                self._epoch = None
            else:
                self._records[entry.key] = None
        else:
            self._warnings.usable(entry.key)
        return True

    def _remove(self, key: str) -> None:
        self._entries.pop(key, None)
        self._records.pop(key, None)
        self._warnings.usable(key)
        if key == self._keys.epoch:
            self._epoch = None

    def _valid(self, record: EpochRecord) -> EpochRecord | None:
        """Return an epoch if it holds in this store, else None. Then a new one is begun."""
        return record if record.store == self._seen[0] and record.epoch != self._ended else None

    def _doubt(self, keys: Collection[str] | None = None) -> None:
        """Decide again about the labels whose records have changed; None means all."""
        self._note_highest()
        for each in self._labels.values():
            if keys is None or (each.position is not None and self._keys.numbered(each.position.name) in keys):
                each.is_settled = each.has_looked = False
        self._wake()
        self._report()

    def _wake(self) -> None:
        self._wanted.set()
        self._notify()

    def _report(self) -> None:
        for each in self._listeners:
            each()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _record(self, position: Position | None) -> LabelRecord | None:
        """Return the record of a label, if it can be read, is of this epoch, and its numbers haven't fallen."""
        if position is None or self._epoch is None:
            return None
        key = self._keys.numbered(position.name)
        record = self._records.get(key)
        if record is None or record.epoch != self._epoch.epoch or record.newest.number < self._highest.get(key, 0):
            return None
        return record

    def _note_highest(self) -> None:
        """Remember the highest numbers. Even if a record is lost, the numbers of a label never fall in an epoch.

        Clients ignore states with lower numbers. If a label has the highest number of all, the epoch ends.
        """
        if self._epoch is None:
            return
        before = self._highest if self._highest_of == self._epoch.epoch else {}
        self._highest, self._highest_of = {}, self._epoch.epoch
        for each in self._labels.values():
            if each.position is not None:
                key, record = self._keys.numbered(each.position.name), self._record(each.position)
                self._highest[key] = max(before.get(key, 0), record.newest.number if record is not None else 0)
        if HIGHEST_NUMBER in self._highest.values():
            self._ended, self._epoch = self._epoch.epoch, None
            self._wanted.set()

    def _unsettled(self) -> Iterator[tuple[str, _Label]]:
        for label, each in self._labels.items():
            if each.position is not None and not each.is_settled:
                yield label, each

    # The run.

    async def run(self, engine: Engine) -> None:
        """Number until this is cancelled. Raises no error of the store."""
        pause = _AGAIN
        async with trio.open_nursery() as nursery:
            while True:
                self._wanted = trio.Event()
                try:
                    await self._advance(engine)
                except EngineError as error:
                    self._state.failed(_PART, str(error))
                    await trio.sleep(pause * self._uniform(0.5, 1.0))
                    pause = min(2 * pause, _AGAIN_AT_MOST)
                    continue
                pause = _AGAIN
                self._state.worked(_PART)
                self._late.note(self.behind, {label for label, _ in self._unsettled()}, self._labels)
                if not self._is_looking and self._doubtful:
                    self._is_looking = True
                    nursery.start_soon(self._look)
                with trio.move_on_after(min(self._next_step(), self._late.due)):
                    await self._wanted.wait()

    def _next_step(self) -> float:
        """Return the seconds until the leader may number an older position."""
        now = trio.current_time()
        waits = [max(each.since, each.numbered) + BACK_AFTER - now for each in self._labels.values() if each.is_behind]
        return max(min(waits, default=BACK_AFTER), _AGAIN) if self._leads() else BACK_AFTER

    async def _look(self) -> None:
        """Make the sources look, and decide again about the doubtful labels."""
        try:
            await trio.sleep(LOOK_AFTER)
            doubtful = self._doubtful
            if not doubtful:
                return
            self._commits.fetch_now()
            with trio.move_on_after(_LOOK) as scope:
                await self._commits.wait_looked((), ())
            for each in doubtful:
                roots = each.position.roots if each.position is not None else ()
                # A remote that can't be reached may have anything.
                each.has_looked = not scope.cancelled_caught and all(map(self._commits.is_current, roots))
                each.is_settled = False
            if not all(each.has_looked for each in doubtful):
                await trio.sleep(_LOOK_AGAIN)
        finally:
            self._is_looking = False
            self._wake()

    @property
    def _doubtful(self) -> Sequence[_Label]:
        return [each for each in self._labels.values() if each.is_behind and each.is_doubtful and not each.has_looked]

    async def _advance(self, engine: Engine) -> None:
        """Number everything that this node may number now.

        Raises:
            EngineError: The store can't be used now.
        """
        if not self._seen[0]:
            return  # nothing was read yet
        if self._epoch is None and not await self._begin_epoch(engine):
            for each in self._labels.values():
                each.is_settled = True
            self._notify()
            return
        await self._tidy(engine)
        self._back_in_time()
        wishes = await self._wishes()
        if wishes and self._has_leader() and not self._leads():
            before = self._changed
            with trio.move_on_after(self._uniform(*_LEADER_FIRST)):
                while wishes := [each for each in wishes if not self._is_newest(each[1])]:
                    await before.wait()
                    before = self._changed
            wishes = await self._wishes()
        rounds = 0
        while wishes and self._epoch is not None and rounds < _ROUNDS:
            rounds += not await self._commit(engine, wishes)
            wishes = await self._wishes()
        self._notify()
        if wishes:
            await trio.sleep(_AGAIN * self._uniform(0.5, 1.0))
            self._wanted.set()

    def _back_in_time(self) -> None:
        """As the leader, decide again about labels that have been behind for long."""
        for each in self._labels.values():
            if each.is_behind and self._is_late(each):
                each.is_settled = False

    def _is_late(self, each: _Label) -> bool:
        """Return whether this node leads, and has been behind for so long that its remote may be right."""
        return self._leads() and trio.current_time() - max(each.since, each.numbered) >= BACK_AFTER

    def _is_newest(self, each: _Label) -> bool:
        record = self._record(each.position)
        return (
            record is not None and each.position is not None and are_alike(record.newest.places, each.position.places)
        )

    async def _wishes(self) -> list[tuple[str, _Label]]:
        """Decide about all labels that aren't settled. Return those that get the next number."""
        wishes: list[tuple[str, _Label]] = []
        has_news = False
        for label, each in list(self._unsettled()):
            position = each.position
            if position is None or self._labels.get(label) is not each:
                continue
            was_behind = each.is_behind
            is_wanted = await self._is_wanted(position, each)
            if self._labels.get(label) is not each or each.position is not position:
                continue  # a newer tree came meanwhile
            if is_wanted:
                wishes.append((label, each))
            else:
                each.is_settled = True
            has_news |= was_behind != each.is_behind
        if has_news:
            self._report()
        return wishes

    async def _is_wanted(self, position: Position, each: _Label) -> bool:
        """Decide about one label. Return whether its position gets the next number."""
        key = self._keys.numbered(position.name)
        record = self._record(position)
        if record is None:
            each.is_behind = False
            entry = self._entries.get(key)
            return entry is None or not _is_newer_format(entry)
        newest = record.newest.places
        if are_alike(newest, position.places):
            each.is_behind = False
            each.former = None
            return False
        former = each.former
        is_moved = former is not None and former.name == position.name and are_alike(former.places, newest)
        has_commits = all(map(self._commits.has_commits, position.roots))
        is_own, relation = has_commits and is_moved, Relation.NEWER
        if not is_own:
            # A position that is listed was followed by another one on purpose, even if that is an older commit.
            is_listed = record.number(position.places) is not None
            relation = Relation.BEHIND if is_listed else await self._compared(each, position, newest)
            is_own = relation is Relation.NEWER
        each.is_doubtful = False
        if not is_own and has_commits:
            each.is_doubtful = (
                self._is_late(each)
                if relation is Relation.BEHIND
                else trio.current_time() - each.numbered >= BACK_AFTER
            )
        is_wanted = is_own or (each.is_doubtful and each.has_looked)
        each.is_behind = not is_wanted
        return is_wanted

    async def _compared(self, each: _Label, position: Position, places: tuple[str, ...]) -> Relation:
        """Compare a position of a label with places that another node has, unless it is known to follow them."""
        if each.newer_than == places:
            return Relation.NEWER
        relation = await self._relation(position, places)
        if relation is Relation.NEWER and each.position is position:
            each.newer_than = places
        return relation

    async def _relation(self, position: Position, places: tuple[str, ...]) -> Relation:
        """Compare a position of this node with places that another node has."""
        if len(places) != len(position.places):
            return Relation.APART
        layers = zip(position.roots, position.places, places, strict=True)
        return related([await self._related(root, place, other) for root, place, other in layers])

    async def _related(self, root: str, place: str, other: str) -> Relation:
        found = related_places(place, other)
        if found is not None:
            return found
        is_newer = await self._commits.is_before(root, other, place)
        if is_newer is None:
            return Relation.UNKNOWN
        if is_newer:
            return Relation.NEWER
        return Relation.BEHIND if await self._commits.is_before(root, place, other) else Relation.APART

    # Commits.

    async def _begin_epoch(self, engine: Engine) -> bool:
        """Begin a new epoch, unless another node has done so. Return whether there is one."""
        entry = self._entries.get(self._keys.epoch)
        if entry is not None and _is_newer_format(entry):
            return False
        record = EpochRecord(secrets.token_hex(_EPOCH_BYTES), self._seen[0])
        write = Put(self._keys.epoch, record.encoded())
        done = await engine.commit([write], [Unmodified(write.key, entry.modified if entry is not None else 0)])
        self._learn([write], done)
        if done.is_done:
            log.info("order begun", epoch=record.epoch)
        self._doubt()
        return self._epoch is not None

    async def _commit(self, engine: Engine, wishes: Sequence[tuple[str, _Label]]) -> bool:
        """Give the next numbers to some labels in one commit: to the first ones, as many as one commit can hold.

        If another node was faster, learn its numbers instead. Return whether the commit is done.
        """
        if self._epoch is None:
            return False
        epoch, entry = self._epoch.epoch, self._entries[self._keys.epoch]
        writes: list[Put] = []
        conditions: list[Condition] = [Unmodified(entry.key, entry.modified)]
        size = 0
        for label, each in wishes[:_AT_ONCE]:
            assert each.position is not None  # only such labels are wanted
            key = self._keys.numbered(each.position.name)
            above = self._highest.get(key, 0)
            record = numbered_next(self._record(each.position), epoch, label, each.position, self._now(), above)
            put = Put(key, record.encoded())
            size += len(put.value)
            if writes and size > _COMMIT_BYTES:
                break
            writes.append(put)
            conditions.append(Unmodified(key, self._entries[key].modified if key in self._entries else 0))
        done = await engine.commit(writes, conditions)
        self._learn(writes, done)
        for _, each in wishes[: len(writes)] if done.is_done else ():
            each.former = None
            if each.is_doubtful:
                each.numbered = trio.current_time()
        self._report()
        return done.is_done

    async def _tidy(self, engine: Engine) -> None:
        """As the leader, delete old records of labels that are gone. A label that comes back gets a higher number."""
        now = trio.current_time()
        if not self._leads() or self._tree is None or now < self._tidied + _TIDY_EVERY:
            return
        self._tidied = now
        own = {self._keys.numbered(each.position.name) for each in self._labels.values() if each.position is not None}
        old = [
            self._entries[key]
            for key, record in self._records.items()
            if record is not None and record.at < self._now() - _KEPT and key not in own
        ]
        for each in old[:_AT_ONCE]:
            await engine.commit([Delete(each.key)], [Unmodified(each.key, each.modified)])

    def _learn(self, writes: Sequence[Put], done: Committed) -> None:
        """Take what a commit has written or found, before the watch reports it."""
        if done.is_done:
            for write in writes:
                before = self._entries.get(write.key)
                created = before.created if before is not None else done.revision
                self._put(Entry(write.key, write.value, created, done.revision))
            self._note_highest()
            return
        found = {entry.key: entry for entry in done.found}
        for key in [self._keys.epoch, *(write.key for write in writes)]:
            if key in found:
                self._put(found[key])
            elif key in self._entries:
                self._remove(key)
        self._note_highest()


def _is_newer_format(entry: Entry) -> bool:
    """Return whether a newer version of vortexd wrote a record. It must stay."""
    try:
        LabelRecord.parse(entry.value)
    except Newer:
        return True
    except Unusable:
        return False
    return False
