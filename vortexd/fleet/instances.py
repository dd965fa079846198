"""The instances of each key: the connected instances, their last acknowledgements, and the instances that have left.

Acknowledgements are counted by version. So a new version changes no instance: instances that haven't acknowledged it are
silent at once. During a roll-out of a key, the target version is expected of the instances that the roll-out has reached.
Times are in seconds since the epoch.

An acknowledgement from before a restart is kept apart. It changes no state, because the instance may run another version
by now. As after any reconnection, an instance is silent until it acknowledges a version again.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from operator import attrgetter
from typing import TypeAlias

import attrs

from ..core.generation import Generation
from ..core.model import Key
from ..settings.fleet import FleetSettings
from .pages import NOBODY, STATES, Ack, Cursor, KeyState, Page, Question, end_of, marked
from .records import Record
from .roll import RUNNING, Candidate, Gone, Instance, Roll, Split, is_memorable

# Sorts as keys compare, and is many times faster.
_in_order = attrgetter("application", "profile", "label")

# A connected instance of a key with its last acknowledgement, and one that has left.
ConnectedRow: TypeAlias = tuple[Key, Instance, Ack | None]
GoneRow: TypeAlias = tuple[Key, str, Gone]
# The name for applications that the settings don't list.
OTHER = "other"


class Fleet:
    """Tracks the instances of all keys.

    Args:
        version_of: Returns the server's version of a key, or None.
        generation_of: Returns the generation of the state that the server has of a key's label, or None.
        candidate_of: Returns the candidate of a key in a roll-out that this worker knows, or None.
    """

    def __init__(
        self,
        settings: FleetSettings,
        version_of: Callable[[Key], str | None],
        generation_of: Callable[[Key], Generation | None] = lambda _: None,
        candidate_of: Callable[[Key], Candidate | None] = lambda _: None,
    ) -> None:
        self._candidate_of = candidate_of
        self._generation_of = generation_of
        self._settings = settings
        self._version_of = version_of
        self._rolls: dict[Key, Roll] = {}
        self._listed = 0
        # The instances that have left, in the order in which they left.
        self._left: dict[tuple[Key, str], float] = {}
        # Counts everything that may have changed a count.
        self.changes = 0
        # Called with each instance that is listed, and its key, unless it gave no name.
        self._arrived: Callable[[Key, Instance], None] | None = None

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

    def recount(self) -> None:
        """Record that other roll-outs are in force, so that other versions are expected of instances."""
        self.changes += 1

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
                former = roll.former.get(instance) if roll.former else None
                ack = self._take(instance, key)
                if is_memorable(instance, ack):
                    self._left.pop((key, instance.name), None)
                    self._left[key, instance.name] = now
                    is_mute = not instance.can_acknowledge
                    roll.put_gone(instance.name, Gone(instance.connection, ack, now, former, is_mute))
            self._tidy(key)
        self.forget(now)

    def forget(self, now: float) -> None:
        """Forget the instances that left too long ago, and the oldest if there are too many."""
        while self._left:
            (key, name), left = next(iter(self._left.items()))
            if len(self._left) <= self._settings.gone and left > now - self._settings.forget_after:
                break
            self._forget(key, name)
            self.changes += 1

    # Before and after a restart.

    @property
    def most_records(self) -> int:
        """The number of instances that are remembered across a restart."""
        return self._settings.gone

    def connected(self, keys: Iterable[Key], most: int) -> list[ConnectedRow]:
        """Return at most `most` of the connected instances of some keys. `records_of` makes records of them."""
        rows: list[ConnectedRow] = []
        for key in keys:
            roll = self._rolls.get(key)
            if roll is None:
                continue
            live, former = islice(roll.live.items(), most - len(rows)), roll.former
            if former:
                rows += [(key, instance, ack or former.get(instance)) for instance, ack in live]
            else:
                rows += [(key, instance, ack) for instance, ack in live]
        return rows

    def gone(self, most: int) -> list[GoneRow]:
        """Return at most `most` of the instances that have left, the last one first. `records_of` makes records of them."""
        rows: list[GoneRow] = []
        last, known = None, dict[str, Gone]()
        for key, name in islice(reversed(self._left), most):
            # Instances of one key often leave together.
            if key is not last:
                last, known = key, self._rolls[key].gone
            rows.append((key, name, known[name]))
        return rows

    def restore(self, records: Iterable[Record], now: float) -> None:
        """Take instances from before a restart.

        They count as gone, until an instance of the same name connects. If one has connected already, it has the former
        acknowledgement at once.
        """
        self.changes += 1
        found: dict[tuple[Key, str], tuple[float, Record]] = {}
        for record in records:
            # The clock may have been set back.
            left = now if record.left is None else min(record.left, now)
            known = found.get((record.key, record.name))
            # Several connections may have had one name. The one that left last counts, as it would without a restart.
            if known is None or known[0] <= left:
                found[record.key, record.name] = left, record
        names = {key: {each.name: each for each in roll.live} for key, roll in self._rolls.items()}
        for (key, name), (left, record) in found.items():
            instance = names.get(key, {}).get(name)
            if instance is not None:
                self._rolls[key].recall(instance, record.ack)
            elif (key, name) not in self._left:
                self._left[key, name] = left
                self._roll(key).put_gone(name, Gone(record.connection, None, left, record.ack))
        self._left = dict(sorted(self._left.items(), key=lambda item: item[1]))
        self.forget(now)

    # Instances that move between workers.

    def report_arrivals(self, arrived: Callable[[Key, Instance], None]) -> None:
        """Call a function with each instance that is listed from now on, and its key, unless it gave no name."""
        self._arrived = arrived

    @property
    def has_gone(self) -> bool:
        """Whether there is an instance that has left and isn't forgotten yet."""
        return bool(self._left)

    def give_up(self, names: Iterable[tuple[Key, str]]) -> list[tuple[Key, str, Ack]]:
        """Forget instances that have left, because they have connected to another worker.

        Return what they acknowledged before the restart, if they have acknowledged nothing since.
        """
        former: list[tuple[Key, str, Ack]] = []
        for key, name in names:
            if (key, name) in self._left:
                self.changes += 1
                ack = self._forget(key, name)
                if ack is not None:
                    former.append((key, name, ack))
        return former

    def take_over(self, key: Key, instance: Instance, former: Ack) -> None:
        """Take what `give_up` of another worker has returned for an instance that has connected here."""
        roll = self._rolls.get(key)
        if roll is not None and instance in roll.live:
            self.changes += 1
            roll.recall(instance, former)

    # Queries.

    def counts(self, keys: Iterable[Key]) -> list[KeyState]:
        """Return the counts of some keys, without instances. Keys without instances are left out.

        If a key is in a roll-out, this takes about a microsecond for each of its instances.
        """
        return [self._counts(key, self._rolls[key], self._candidate_of(key)) for key in keys if key in self._rolls]

    def keys(self) -> Collection[Key]:
        """Return the keys that have instances, or had instances."""
        return self._rolls.keys()

    def named(self) -> list[Key]:
        """Return the keys that have connected instances with names of their own."""
        return [key for key, roll in self._rolls.items() if any(each.name != each.connection for each in roll.live)]

    def page(self, question: Question, now: float) -> Page:
        """Return a page of instances, and the cursor of the next page.

        This takes about a millisecond per thousand instances of the listed keys.
        """
        self.forget(now)
        states: list[KeyState] = []
        after, room = question.after, question.limit
        names = None if question.names is None else frozenset(question.names)
        here = (each for each in question.keys if each in self._rolls and (not after or each >= after[0]))
        for key in sorted(here, key=_in_order):
            start = after if after is not None and key == after[0] else None
            if start is None and not room:
                return Page(tuple(states), end_of(states))
            room -= start is None
            state = self._state(key, question.state, names, start, room + 1)
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
            state = self._counts(key, roll, self._candidate_of(key))
            for name in STATES:
                totals[application, name] += getattr(state, name)
        return totals

    # The rolls.

    def _roll(self, key: Key) -> Roll:
        roll = self._rolls.get(key)
        if roll is None:
            roll = self._rolls[key] = Roll()
        return roll

    def _list(self, key: Key, instance: Instance, ack: Ack | None) -> bool:
        """List an instance, if there is room. It replaces an instance of the same name that has left."""
        if self._listed >= self._settings.instances:
            return False
        roll = self._roll(key)
        roll.put(instance, ack)
        self._listed += 1
        if self._left.pop((key, instance.name), None) is not None:
            roll.recall(instance, roll.take_gone(instance.name))
        if self._arrived is not None and instance.name != instance.connection:
            self._arrived(key, instance)
        return True

    def _forget(self, key: Key, name: str) -> Ack | None:
        """Forget an instance that has left. Return what it acknowledged before the restart, if nothing since."""
        del self._left[key, name]
        former = self._rolls[key].take_gone(name)
        self._tidy(key)
        return former

    def _take(self, instance: Instance, key: Key) -> Ack | None:
        self._listed -= 1
        return self._rolls[key].take(instance)

    def _tidy(self, key: Key) -> None:
        roll = self._rolls[key]
        if not (roll.live or roll.gone or roll.unlisted):
            del self._rolls[key]

    def _counts(self, key: Key, roll: Roll, candidate: Candidate | None) -> KeyState:
        version = self._version_of(key)
        applied, rejected = roll.count(version, _split(key, version, candidate))
        connected = len(roll.live) + roll.unlisted
        former = len(roll.former) + roll.gone_former
        gone = len(roll.gone)
        return KeyState(
            *(key, version, roll.changed, connected, applied, rejected, gone, roll.unlisted),
            before_restart=former,
            generation=self._generation_of(key),
            target=candidate.target if candidate is not None else None,
            rollout=candidate.phase if candidate is not None else None,
        )

    def _state(
        self, key: Key, only: str | None, named: Collection[str] | None, after: Cursor | None, limit: int
    ) -> KeyState:
        roll, candidate = self._rolls[key], self._candidate_of(key)
        state = self._counts(key, roll, candidate)
        split = _split(key, state.version, candidate)
        if not limit or only == NOBODY or (only is not None and not getattr(state, only)):
            return state
        candidates = roll.see(state.version, only, split)
        if named is not None:
            candidates = (each for each in candidates if each[0] in named)
        page = heapq.nsmallest(
            limit, candidates if after is None else (each for each in candidates if each[:2] > after[1:]), _place
        )
        names = {name for name, connection, _ in page if name != connection}
        shared = Counter(each.name for each in roll.live if each.name in names)
        seen = [roll.seen(state.version, name, instance, split) for name, _, instance in page]
        return attrs.evolve(state, instances=tuple(marked(each, shared) for each in seen))


def records_of(connected: Iterable[ConnectedRow], gone: Iterable[GoneRow] = ()) -> list[Record]:
    """Return what is remembered of instances. This may run in a thread, because a row doesn't change."""
    records = [
        Record(key, instance.name, instance.connection, ack, None)
        for key, instance, ack in connected
        if is_memorable(instance, ack)
    ]
    return records + [
        Record(key, name, each.connection, each.ack or each.before_restart, each.left) for key, name, each in gone
    ]


def _split(key: Key, version: str | None, candidate: Candidate | None) -> Split | None:
    """Return the two versions that instances are expected to apply, or None if all of them are expected to apply one."""
    return Split(key, version, candidate) if candidate is not None and candidate.phase == RUNNING else None


def _place(candidate: tuple[str, str, Instance | None]) -> tuple[str, str]:
    return candidate[:2]
