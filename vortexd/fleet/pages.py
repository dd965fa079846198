"""A fleet at one moment, page by page: what one worker knows of the instances of some keys, and several of them as one. Pure.

The invariant: a page is the beginning of what there is behind its cursor, by key, name and connection. So of the pages of several workers that were
asked the same, the beginning is a page as well.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from typing import TypeAlias

import attrs
import cattrs
import orjson

from ..core.model import Key

STATES = ("applied", "rejected", "silent", "gone")
NOBODY = "none"
# The key, name and connection of the last instance on a page; name and connection are "" behind a key itself.
Cursor: TypeAlias = tuple[Key, str, str]


@attrs.frozen(slots=True, weakref_slot=False)
class Ack:
    """What an application said of a version.

    Attributes:
        status: "applied" or "rejected".
        error: Why it was rejected, fit for a terminal, or None.
        at: When it said so.
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
        since: When it came to be in this state.
        ack: What it said last, of whatever version.
        is_shared: Another connection goes by the same name.
    """

    name: str
    connection: str
    state: str
    since: float
    ack: Ack | None
    is_shared: bool = False


@attrs.frozen(slots=True)
class KeyState:
    """The instances of one key at one moment.

    Attributes:
        version: What the server has; None where nobody uses the key any more, or it has ended.
        changed: When the version last changed while there were instances, or 0.
        connected: How many are there now.
        applied: How many of them have applied this version.
        rejected: How many of them have rejected it.
        gone: How many have left, and aren't forgotten yet.
        unlisted: How many of the connected ones aren't known one by one, because there are too many; they count as silent.
        instances: Those of the page.
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

    @property
    def silent(self) -> int:
        """How many of the connected ones haven't said anything of this version."""
        return self.connected - self.applied - self.rejected

    @property
    def percent(self) -> float | None:
        """How many of the connected ones have applied it: never 100 before all have. None where there are none."""
        return self.applied * 10_000 // self.connected / 100 if self.connected else None


@attrs.frozen(slots=True)
class Page:
    """Some keys with some of their instances, in order.

    Attributes:
        next: What to ask for next, or None: this is the end.
    """

    keys: tuple[KeyState, ...]
    next: Cursor | None = None

    def to_json(self) -> str:
        """For another worker."""
        return orjson.dumps(cattrs.unstructure(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> "Page":
        """What `to_json` gave."""
        return cattrs.structure(orjson.loads(text), cls)


@attrs.frozen(slots=True)
class Question:
    """What a page is asked for.

    Attributes:
        keys: The keys, in any order; those without instances are left out.
        state: List only instances in this state; None is all, and NOBODY lists none.
        limit: How many keys and instances to list, together.
        after: Where the page before this one ended.
    """

    keys: tuple[Key, ...]
    state: str | None = None
    limit: int = 1_000
    after: Cursor | None = None

    def to_json(self) -> str:
        """For another worker."""
        return orjson.dumps(cattrs.unstructure(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> "Question":
        """What `to_json` gave."""
        return cattrs.structure(orjson.loads(text), cls)


def merge(pages: Collection[Page], question: Question) -> Page:
    """What several workers answered to one question, as one page.

    Where one of them has another version of a key, because it is about to change, the newest counts, and its instances have yet to speak of that.
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
    """What is known of one key, by several workers, as one."""
    # A worker that has only those who left knows of no version.
    newest = max(states, key=lambda each: (each.version is not None, each.changed))
    current = [each for each in states if each.version == newest.version]
    seen = [row if each in current else _silenced(row) for each in states for row in each.instances]
    shared = Counter(each.name for each in seen if each.state != "gone")
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
            marked(each, shared)
            for each in sorted(seen, key=lambda each: (each.name, each.connection))
            # Who left one worker may have come to another.
            if each.state != "gone" or not shared[each.name]
        ),
    )


def _silenced(seen: Seen) -> Seen:
    return seen if seen.state == "gone" else attrs.evolve(seen, state="silent")


def marked(seen: Seen, connected: Counter[str]) -> Seen:
    """Mark one whose name others have, too."""
    return attrs.evolve(seen, is_shared=True) if seen.state != "gone" and connected[seen.name] > 1 else seen


def end_of(states: Sequence[KeyState]) -> Cursor | None:
    """Where a page ends."""
    if not states:
        return None
    last = states[-1]
    if not last.instances:
        return last.key, "", ""
    return last.key, last.instances[-1].name, last.instances[-1].connection
