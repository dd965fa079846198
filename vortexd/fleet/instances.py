"""The instances of each key: who is connected, what they said last, and who has left.

What was said is counted by version, so a new version touches no instance: it makes silent, at once, whoever hasn't spoken of it. Time is in seconds
since the epoch.
"""

import heapq
import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter

import attrs

from ..core.model import Key
from ..core.text import printable
from ..settings.sections import FleetSettings
from .pages import NOBODY, STATES, Ack, Cursor, KeyState, Page, Question, Seen, end_of, marked

# As keys compare, and many times faster.
_in_order = attrgetter("application", "profile", "label")

# What stands for applications that the settings don't name.
OTHER = "other"
# Of why a version was rejected; enough for a sentence, and small enough to be kept for thousands.
_MAX_ERROR_LENGTH = 256
_MAX_VERSION_LENGTH = 64


class Instance:
    """One connection of an application.

    Args:
        key: What it came for.
        connection: Its id.
        host: The peer's address, or "".
        name: What the client calls itself; "" is somebody who only watches, and isn't counted. None where it says nothing: then it is the id.
        since: When it came.
    """

    __slots__ = ("connection", "host", "key", "name", "others", "since")

    def __init__(self, key: Key, connection: str, host: str = "", name: str | None = None, since: float = 0.0) -> None:
        self.key = key
        self.name = connection if name is None else name
        self.connection = connection
        self.host = host
        self.since = since
        # The keys beside its main one that it has spoken of.
        self.others: tuple[Key, ...] = ()


def make_ack(version: str, status: str, error: str | None, at: float) -> Ack:
    """An ack of what a client has sent: bounded, on one line, and shared where it is the same for many."""
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
        live: Those connected, with what they said last.
        said: How many of these said what of which version.
        gone: Those that left, by name.
    """

    live: dict[Instance, Ack | None] = attrs.field(factory=dict)
    said: dict[tuple[str, str], int] = attrs.field(factory=dict)
    gone: dict[str, _Gone] = attrs.field(factory=dict)
    unlisted: int = 0
    changed: float = 0.0

    def put(self, instance: Instance, ack: Ack | None) -> None:
        self.take(instance)
        self.live[instance] = ack
        if ack is not None:
            what = ack.status, ack.version
            self.said[what] = self.said.get(what, 0) + 1

    def take(self, instance: Instance) -> Ack | None:
        ack = self.live.pop(instance, None)
        if ack is not None:
            what = ack.status, ack.version
            self.said[what] -= 1
            if not self.said[what]:
                del self.said[what]
        return ack

    def see(self, version: str | None, state: str | None) -> Iterator[tuple[str, str, Instance | None]]:
        """The name and connection of those in a state, in no order, and who it is; None for who has left. Any state where it is None."""
        if state != "gone":
            for instance, ack in self.live.items():
                if state is None or state == _said(ack, version):
                    yield instance.name, instance.connection, instance
        if state is None or state == "gone":
            for name, gone in self.gone.items():
                yield name, gone.connection, None

    def seen(self, version: str | None, name: str, instance: Instance | None) -> Seen:
        if instance is None:
            gone = self.gone[name]
            return Seen(name, gone.connection, "gone", gone.left, gone.ack)
        ack = self.live[instance]
        state = _said(ack, version)
        since = ack.at if ack is not None and state != "silent" else max(instance.since, self.changed)
        return Seen(name, instance.connection, state, since, ack)


def _said(ack: Ack | None, version: str | None) -> str:
    """The state of one who is connected."""
    return ack.status if ack is not None and version is not None and ack.version == version else "silent"


class Fleet:
    """See the module.

    Args:
        version_of: The version that the server has of a key, or None.
    """

    def __init__(self, settings: FleetSettings, version_of: Callable[[Key], str | None]) -> None:
        self._settings = settings
        self._version_of = version_of
        self._rolls: dict[Key, _Roll] = {}
        self._listed = 0
        # Those that left, whoever left first first.
        self._left: dict[tuple[Key, str], float] = {}

    def replace(self, settings: FleetSettings) -> None:
        """Put other bounds in force, for what happens from then on."""
        self._settings = settings

    # What happens.

    def join(self, instance: Instance, now: float) -> None:
        """An instance has come."""
        self.forget(now)
        if instance.name and not self._list(instance.key, instance, None):
            self._roll(instance.key).unlisted += 1

    def acknowledge(self, instance: Instance, key: Key, ack: Ack) -> None:
        """An instance has said something of a key that it is sent."""
        roll = self._rolls.get(key)
        if roll is not None and instance in roll.live:
            roll.put(instance, ack)
        elif not instance.name:
            return
        elif key == instance.key:
            # There wasn't room for it when it came.
            if self._list(key, instance, ack):
                self._rolls[key].unlisted -= 1
        elif len(instance.others) < self._settings.keys and self._list(key, instance, ack):
            instance.others = (*instance.others, key)

    def last_word(self, instance: Instance) -> float | None:
        """When a listed instance last spoke of the key that it came for, `-inf` where it never has; None where it isn't listed."""
        roll = self._rolls.get(instance.key)
        if roll is None or instance not in roll.live:
            return None
        ack = roll.live[instance]
        return -math.inf if ack is None else ack.at

    def changed(self, key: Key, now: float) -> None:
        """A key has another version."""
        if (roll := self._rolls.get(key)) is not None:
            roll.changed = now

    def drop(self, instance: Instance, key: Key) -> None:
        """An instance isn't sent a key any more that it didn't come for."""
        if key in instance.others:
            instance.others = tuple(each for each in instance.others if each != key)
            self._take(instance, key)
            self._tidy(key)

    def leave(self, instance: Instance, now: float) -> None:
        """An instance has left."""
        for key in (instance.key, *instance.others) if instance.name else ():
            roll = self._rolls[key]
            if instance not in roll.live:
                roll.unlisted -= 1
            else:
                ack = self._take(instance, key)
                # Of who gave no name and said nothing there is nothing to know.
                if ack is not None or instance.name != instance.connection:
                    self._left.pop((key, instance.name), None)
                    self._left[key, instance.name] = now
                    roll.gone[instance.name] = _Gone(instance.connection, ack, now)
            self._tidy(key)
        self.forget(now)

    def forget(self, now: float) -> None:
        """Forget those who left long ago, or are too many."""
        while self._left:
            (key, name), left = next(iter(self._left.items()))
            if len(self._left) <= self._settings.gone and left > now - self._settings.forget_after:
                break
            del self._left[key, name]
            del self._rolls[key].gone[name]
            self._tidy(key)

    # What is asked.

    def keys(self) -> Collection[Key]:
        """The keys that have instances, or had."""
        return self._rolls.keys()

    def page(self, question: Question, now: float) -> Page:
        """Some of the instances; what follows comes with the cursor. Takes about a millisecond for each thousand of a key that is listed."""
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
        """How many instances are in which state, by application and state; those of applications that the settings don't name are OTHER."""
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
        """Enter an instance, if there is room; it is what one of the same name was that left."""
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
        applied, rejected = (roll.said.get((status, version or ""), 0) for status in ("applied", "rejected"))
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
