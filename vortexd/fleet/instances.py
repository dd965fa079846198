"""The instances of each key: the connected instances, their last acknowledgements, and the instances that have left.

Acknowledgements are counted by version. So a new version changes no instance: instances that haven't acknowledged it are
silent at once. Times are in seconds since the epoch.
"""

import heapq
import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from operator import attrgetter

import attrs

from ..core.model import Key
from ..core.text import printable
from ..settings.fleet import FleetSettings
from .pages import NOBODY, STATES, Ack, Cursor, KeyState, Page, Question, Seen, end_of, marked

# Sorts as keys compare, and is many times faster.
_in_order = attrgetter("application", "profile", "label")

# The name for applications that the settings don't list.
OTHER = "other"
# The longest reason for a rejection. It suffices for a sentence, and is small enough to store for thousands of instances.
_MAX_ERROR_LENGTH = 256
_MAX_VERSION_LENGTH = 64


class Instance:
    """One connection of an application.

    Args:
        key: The main key, for which the connection was opened.
        connection: The id of the connection.
        host: The peer's address, or "".
        name: The client's own name. If it is "", the client only watches and isn't counted. If it is None, the client
            gave no name, and the id of the connection is its name.
        since: When it connected.
    """

    __slots__ = ("connection", "host", "key", "name", "others", "since")

    def __init__(self, key: Key, connection: str, host: str = "", name: str | None = None, since: float = 0.0) -> None:
        self.key = key
        self.name = connection if name is None else name
        self.connection = connection
        self.host = host
        self.since = since
        # The keys besides the main key that the instance has acknowledged.
        self.others: tuple[Key, ...] = ()


def make_ack(version: str, status: str, error: str | None, at: float) -> Ack:
    """Make an acknowledgement from a client's message. It is bounded, has a single line, and shares equal texts."""
    version = sys.intern(printable(version)[:_MAX_VERSION_LENGTH])
    return Ack(version, sys.intern(status), printable(error)[:_MAX_ERROR_LENGTH] if error else None, at)


@attrs.define(slots=True, eq=False)
class _Gone:
    connection: str
    ack: Ack | None
    left: float


@attrs.define(slots=True, eq=False)
class _Roll:
    """The instances of one key.

    Attributes:
        live: The connected instances with their last acknowledgements.
        counts: How many of them have acknowledged each version with each status.
        gone: The instances that have left, by name.
    """

    live: dict[Instance, Ack | None] = attrs.field(factory=dict)
    counts: dict[tuple[str, str], int] = attrs.field(factory=dict)
    gone: dict[str, _Gone] = attrs.field(factory=dict)
    unlisted: int = 0
    changed: float = 0.0

    def put(self, instance: Instance, ack: Ack | None) -> None:
        self.take(instance)
        self.live[instance] = ack
        if ack is not None:
            acknowledged = ack.status, ack.version
            self.counts[acknowledged] = self.counts.get(acknowledged, 0) + 1

    def take(self, instance: Instance) -> Ack | None:
        ack = self.live.pop(instance, None)
        if ack is not None:
            acknowledged = ack.status, ack.version
            self.counts[acknowledged] -= 1
            if not self.counts[acknowledged]:
                del self.counts[acknowledged]
        return ack

    def see(self, version: str | None, state: str | None) -> Iterator[tuple[str, str, Instance | None]]:
        """Yield the name and connection of each instance in a state (None means any state), unordered.

        The third item is the instance, or None if it has left.
        """
        if state != "gone":
            for instance, ack in self.live.items():
                if state is None or state == _state_of(ack, version):
                    yield instance.name, instance.connection, instance
        if state is None or state == "gone":
            for name, gone in self.gone.items():
                yield name, gone.connection, None

    def seen(self, version: str | None, name: str, instance: Instance | None) -> Seen:
        if instance is None:
            gone = self.gone[name]
            return Seen(name, gone.connection, "gone", gone.left, gone.ack)
        ack = self.live[instance]
        state = _state_of(ack, version)
        since = ack.at if ack is not None and state != "silent" else max(instance.since, self.changed)
        return Seen(name, instance.connection, state, since, ack)


def _state_of(ack: Ack | None, version: str | None) -> str:
    """Return the state of a connected instance."""
    return ack.status if ack is not None and version is not None and ack.version == version else "silent"


class Fleet:
    """Tracks the instances of all keys.

    Args:
        version_of: Returns the server's version of a key, or None.
    """

    def __init__(self, settings: FleetSettings, version_of: Callable[[Key], str | None]) -> None:
        self._settings = settings
        self._version_of = version_of
        self._rolls: dict[Key, _Roll] = {}
        self._listed = 0
        # The instances that have left, in the order in which they left.
        self._left: dict[tuple[Key, str], float] = {}
        # Counts everything that may have changed a count.
        self.changes = 0

    def replace(self, settings: FleetSettings) -> None:
        """Put other limits in force for later events."""
        self._settings = settings

    # Events.

    def join(self, instance: Instance, now: float) -> None:
        """Record that an instance has connected."""
        self.changes += 1
        self.forget(now)
        if instance.name and not self._list(instance.key, instance, None):
            self._roll(instance.key).unlisted += 1

    def acknowledge(self, instance: Instance, key: Key, ack: Ack) -> None:
        """Record that an instance has acknowledged a key that it receives."""
        self.changes += 1
        roll = self._rolls.get(key)
        if roll is not None and instance in roll.live:
            roll.put(instance, ack)
        elif not instance.name:
            return
        elif key == instance.key:
            # There was no room for it when it connected.
            if self._list(key, instance, ack):
                self._rolls[key].unlisted -= 1
        elif len(instance.others) < self._settings.keys and self._list(key, instance, ack):
            instance.others = (*instance.others, key)

    def last_word(self, instance: Instance) -> float | None:
        """Return when a listed instance last acknowledged its main key.

        Returns `-inf` if it never has, and None if it isn't listed.
        """
        roll = self._rolls.get(instance.key)
        if roll is None or instance not in roll.live:
            return None
        ack = roll.live[instance]
        return -math.inf if ack is None else ack.at

    def changed(self, key: Key, now: float) -> None:
        """Record that a key has another version."""
        self.changes += 1
        if (roll := self._rolls.get(key)) is not None:
            roll.changed = now

    def drop(self, instance: Instance, key: Key) -> None:
        """Record that an instance doesn't receive a key any more. The key isn't its main key."""
        self.changes += 1
        if key in instance.others:
            instance.others = tuple(each for each in instance.others if each != key)
            self._take(instance, key)
            self._tidy(key)

    def leave(self, instance: Instance, now: float) -> None:
        """Record that an instance has disconnected."""
        self.changes += 1
        for key in (instance.key, *instance.others) if instance.name else ():
            roll = self._rolls[key]
            if instance not in roll.live:
                roll.unlisted -= 1
            else:
                ack = self._take(instance, key)
                # If an instance gave no name and acknowledged nothing, there is nothing to remember.
                if ack is not None or instance.name != instance.connection:
                    self._left.pop((key, instance.name), None)
                    self._left[key, instance.name] = now
                    roll.gone[instance.name] = _Gone(instance.connection, ack, now)
            self._tidy(key)
        self.forget(now)

    def forget(self, now: float) -> None:
        """Forget the instances that left too long ago, and the oldest if there are too many."""
        while self._left:
            (key, name), left = next(iter(self._left.items()))
            if len(self._left) <= self._settings.gone and left > now - self._settings.forget_after:
                break
            del self._left[key, name]
            del self._rolls[key].gone[name]
            self.changes += 1
            self._tidy(key)

    # Queries.

    def counts(self, keys: Iterable[Key]) -> list[KeyState]:
        """Return the counts of some keys, without instances. Keys without instances are left out."""
        return [self._counts(key, self._rolls[key]) for key in keys if key in self._rolls]

    def keys(self) -> Collection[Key]:
        """Return the keys that have instances, or had instances."""
        return self._rolls.keys()

    def page(self, question: Question, now: float) -> Page:
        """Return a page of instances, and the cursor of the next page.

        This takes about a millisecond per thousand instances of the listed keys.
        """
        self.forget(now)
        states: list[KeyState] = []
        after, room = question.after, question.limit
        here = (each for each in question.keys if each in self._rolls and (not after or each >= after[0]))
        for key in sorted(here, key=_in_order):
            start = after if after is not None and key == after[0] else None
            if start is None and not room:
                return Page(tuple(states), end_of(states))
            room -= start is None
            state = self._state(key, question.state, start, room + 1)
            states.append(attrs.evolve(state, instances=state.instances[:room]))
            if len(state.instances) > room:
                return Page(tuple(states), end_of(states))
            room -= len(state.instances)
        return Page(tuple(states))

    def totals(self) -> dict[tuple[str, str], int]:
        """Count the instances by application and state. Applications that the settings don't list count as OTHER."""
        named = frozenset(self._settings.applications)
        totals = {(application, state): 0 for application in (*self._settings.applications, OTHER) for state in STATES}
        for key, roll in self._rolls.items():
            application = key.application if key.application in named else OTHER
            state = self._counts(key, roll)
            for name in STATES:
                totals[application, name] += getattr(state, name)
        return totals

    # The rolls.

    def _roll(self, key: Key) -> _Roll:
        roll = self._rolls.get(key)
        if roll is None:
            roll = self._rolls[key] = _Roll()
        return roll

    def _list(self, key: Key, instance: Instance, ack: Ack | None) -> bool:
        """List an instance, if there is room. It replaces an instance of the same name that has left."""
        if self._listed >= self._settings.instances:
            return False
        roll = self._roll(key)
        roll.put(instance, ack)
        self._listed += 1
        if self._left.pop((key, instance.name), None) is not None:
            del roll.gone[instance.name]
        return True

    def _take(self, instance: Instance, key: Key) -> Ack | None:
        self._listed -= 1
        return self._rolls[key].take(instance)

    def _tidy(self, key: Key) -> None:
        roll = self._rolls[key]
        if not (roll.live or roll.gone or roll.unlisted):
            del self._rolls[key]

    def _counts(self, key: Key, roll: _Roll) -> KeyState:
        version = self._version_of(key)
        applied, rejected = (roll.counts.get((status, version or ""), 0) for status in ("applied", "rejected"))
        connected = len(roll.live) + roll.unlisted
        return KeyState(key, version, roll.changed, connected, applied, rejected, len(roll.gone), roll.unlisted)

    def _state(self, key: Key, only: str | None, after: Cursor | None, limit: int) -> KeyState:
        roll = self._rolls[key]
        state = self._counts(key, roll)
        if not limit or only == NOBODY or (only is not None and not getattr(state, only)):
            return state
        candidates = roll.see(state.version, only)
        page = heapq.nsmallest(
            limit, candidates if after is None else (each for each in candidates if each[:2] > after[1:]), _place
        )
        names = {name for name, connection, _ in page if name != connection}
        shared = Counter(each.name for each in roll.live if each.name in names)
        seen = [roll.seen(state.version, name, instance) for name, _, instance in page]
        return attrs.evolve(state, instances=tuple(marked(each, shared) for each in seen))


def _place(candidate: tuple[str, str, Instance | None]) -> tuple[str, str]:
    return candidate[:2]
