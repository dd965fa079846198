"""A fleet at one moment, page by page. A page comes from one worker, or merges the pages of several workers. Pure.

The invariant: a page is the beginning of everything after its cursor, by key, name and connection. Several workers may
answer the same question. Then the beginning of their merged pages is a page as well.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

import attrs
import orjson

from ..core.generation import Generation
from ..core.model import Key

STATES = ("applied", "rejected", "silent", "gone")
NOBODY = "none"
# The key, name and connection of the last instance on a page. If the page ends after a key, name and connection are "".
Cursor: TypeAlias = tuple[Key, str, str]


@attrs.frozen(slots=True, weakref_slot=False)
class Ack:
    """An application's report about a version.

    Attributes:
        status: "applied" or "rejected".
        error: Why the version was rejected, printable on a terminal, or None.
        at: When the application reported it.
    """

    version: str
    status: str
    error: str | None
    at: float


@attrs.frozen(slots=True)
class Seen:
    """An instance at one moment.

    Attributes:
        state: One of STATES.
        since: When it entered this state.
        ack: Its last acknowledgement since the server started, of any version.
        is_shared: Whether another connection has the same name.
        before_restart: Its last acknowledgement before the server's restart, if there was none since. It has no effect
            on the state.
        expected: The target version, if a roll-out of the key has reached the instance. None: the version of the key.
        is_mute: Whether its connection can't acknowledge versions.
    """

    name: str
    connection: str
    state: str
    since: float
    ack: Ack | None
    is_shared: bool = False
    before_restart: Ack | None = None
    expected: str | None = None
    is_mute: bool = False


@attrs.frozen(slots=True)
class KeyState:
    """The instances of one key at one moment.

    Attributes:
        version: The server's version, or None if no client uses the key any more, or the key has been removed. During
            a roll-out, this is the stable version.
        changed: When the version last changed while there were instances, or 0.
        connected: The number of connected instances.
        applied: How many of them have applied this version. During a roll-out, the target version counts for the
            instances that it has reached.
        rejected: How many of them have rejected it.
        gone: The number of instances that have left and aren't forgotten yet.
        unlisted: The number of connected instances that aren't listed, because there are too many. They count as silent.
        instances: The instances on this page.
        away: The number of instances that were connected to nodes of the cluster that are away now.
        before_restart: The number of instances, connected or gone, whose last acknowledgement is from before the server's
            restart. The other counts don't include this acknowledgement.
        generation: The generation of the state that the server has of the label, or None if it has none.
        target: The version that a roll-out of the key brings, or None without a roll-out.
        rollout: "running" while some of the instances may have the target version. Otherwise no instance has it:
            "waiting", "halted" or "aborted". None without a roll-out.
    """

    key: Key
    version: str | None
    changed: float
    connected: int
    applied: int
    rejected: int
    gone: int
    unlisted: int
    instances: tuple[Seen, ...] = ()
    away: int = 0
    before_restart: int = 0
    generation: Generation | None = None
    target: str | None = None
    rollout: str | None = None

    @property
    def silent(self) -> int:
        """The number of connected instances that haven't acknowledged the version that is expected of them."""
        return self.connected - self.applied - self.rejected

    @property
    def percent(self) -> float | None:
        """The percentage of instances that have applied it. It isn't 100 before all have. None without instances.

        Instances at nodes that are away count as instances that haven't applied it.
        """
        there = self.connected + self.away
        return self.applied * 10_000 // there / 100 if there else None


@attrs.frozen(slots=True)
class Page:
    """Some keys with some of their instances, in order.

    Attributes:
        next: The cursor of the next page, or None if this is the last.
    """

    keys: tuple[KeyState, ...]
    next: Cursor | None = None

    def to_json(self) -> str:
        """Encode the page for another worker."""
        import cattrs

        return orjson.dumps(cattrs.unstructure(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> "Page":
        """Decode a page from `to_json`."""
        import cattrs

        return cattrs.structure(orjson.loads(text), cls)


@attrs.frozen(slots=True)
class Question:
    """The request for a page.

    Attributes:
        keys: The keys, in any order. Keys without instances are left out.
        state: List only instances in this state. None lists all, and NOBODY lists none.
        limit: The number of keys and instances to list, together.
        after: The cursor at which the previous page ended.
        names: List only instances with these names. None lists all. Nodes of former versions list all.
    """

    keys: tuple[Key, ...]
    state: str | None = None
    limit: int = 1_000
    after: Cursor | None = None
    names: tuple[str, ...] | None = None

    def to_json(self) -> str:
        """Encode the question for another worker."""
        import cattrs

        return orjson.dumps(cattrs.unstructure(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> "Question":
        """Decode a question from `to_json`."""
        import cattrs

        return cattrs.structure(orjson.loads(text), cls)


def merge(pages: Collection[Page], question: Question) -> Page:
    """Merge the answers of several workers to one question into one page.

    During a change, the workers may have different versions of a key. Then the newest version counts: the one of the
    highest generation if all of them have one, and else the one that changed last by the workers' clocks. Instances of
    workers with another version are silent, because they haven't acknowledged the newest version.

    A worker may put a roll-out in force before another one does. The key has a target if it has one at any of the workers
    with the newest version. Each worker says by its own roll-out which version its instances are expected to apply.
    """
    by_key: dict[Key, list[KeyState]] = {}
    for state in chain.from_iterable(page.keys for page in pages):
        by_key.setdefault(state.key, []).append(state)
    states: list[KeyState] = []
    room = question.limit
    has_more = any(page.next is not None for page in pages)
    for key in sorted(by_key):
        is_new = question.after is None or key != question.after[0]
        if is_new and not room:
            has_more = True
            break
        room -= is_new
        whole = _one(by_key[key])
        states.append(attrs.evolve(whole, instances=whole.instances[:room]))
        if len(whole.instances) > room:
            has_more = True
            break
        room -= len(whole.instances)
    return Page(tuple(states), end_of(states) if has_more else None)


def _one(states: list[KeyState]) -> KeyState:
    """Merge the states of one key from several workers."""
    newest = _newest(states)
    current = [each for each in states if each.version == newest.version]
    seen = [row if each in current else _silenced(row) for each in states for row in each.instances]
    shared = Counter(each.name for each in seen if each.state != "gone")
    # An instance that left one worker or node may have connected to another, which doesn't know what it acknowledged.
    former = {
        each.name: each.before_restart for each in seen if each.state == "gone" and each.before_restart is not None
    }
    rolling = next((each for each in (newest, *current) if each.target is not None), newest)
    return KeyState(
        newest.key,
        newest.version,
        newest.changed,
        sum(each.connected for each in states),
        sum(each.applied for each in current),
        sum(each.rejected for each in current),
        sum(each.gone for each in states),
        sum(each.unlisted for each in states),
        tuple(
            marked(_recalling(each, former), shared)
            for each in sorted(seen, key=lambda each: (each.name, each.connection))
            if each.state != "gone" or not shared[each.name]
        ),
        sum(each.away for each in states),
        sum(each.before_restart for each in states),
        newest.generation,
        rolling.target,
        rolling.rollout,
    )


def _newest(states: Sequence[KeyState]) -> KeyState:
    """Return the state with the newest version."""
    # A worker where all instances of the key have left has no version.
    candidates = [each for each in states if each.version is not None] or states
    generations = [each.generation for each in candidates if each.generation is not None]
    if len(generations) == len(candidates) and len({each.epoch for each in generations}) == 1:
        numbers = [each.number for each in generations]
        return max(zip(numbers, candidates, strict=True), key=lambda each: (each[0], each[1].changed))[1]
    return max(candidates, key=lambda each: each.changed)


def _recalling(seen: Seen, former: Mapping[str, Ack | None]) -> Seen:
    """Return an instance with what it acknowledged before a restart, unless it has acknowledged something since."""
    if seen.ack is not None or seen.before_restart is not None or seen.name not in former:
        return seen
    return attrs.evolve(seen, before_restart=former[seen.name])


def _silenced(seen: Seen) -> Seen:
    return seen if seen.state == "gone" else attrs.evolve(seen, state="silent", expected=None)


def marked(seen: Seen, connected: Counter[str]) -> Seen:
    """Mark a connected instance if other connections have the same name."""
    return attrs.evolve(seen, is_shared=True) if seen.state != "gone" and connected[seen.name] > 1 else seen


def end_of(states: Sequence[KeyState]) -> Cursor | None:
    """Return the cursor after the last entry of a page."""
    if not states:
        return None
    last = states[-1]
    if not last.instances:
        return last.key, "", ""
    return last.key, last.instances[-1].name, last.instances[-1].connection
