"""Holds changes of keys back for roll-outs, and lets single instances have them. Loaded only if there is a roll-out.

A staged publication arrives from the publisher, and the roll-outs in force from `rollouts.keeper`. The same publication leaves,
in which each key that must be paced keeps its stable version, and its candidate has the new one. Beginnings leave for the
keeper, and the tracks say which clients get a candidate.

A key is *paced* while it has a candidate. Each paced key and its candidate are held, so every publication resolves both. The
invariant: nobody has a candidate before its roll-out is recorded, and nobody has a third version. So before another candidate
is committed, all clients have their own key again.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import attrs
import structlog

from ..core.candidate import CandidateKey, candidate_of, plain
from ..core.errors import FormatError, ResolveError, UnknownLabel
from ..core.model import Change, Config, Files, Key
from ..resolve.tree import ParsedFiles
from ..rollouts.rollout import Beginning, Plan, Rollout, Status
from ..settings.formats import FormatSettings
from .broadcast import Broadcaster, Subscriber
from .key_usage import KeyUsage
from .pinning import files_of, parse_labels
from .served import ServedState
from .state import State
from .store import Staged, Store, stage
from .tracks import WAITING, Held, Tracks

log = structlog.get_logger()
T = TypeVar("T")


class InThread(Protocol):
    """Runs a function in a thread."""

    async def __call__(self, function: Callable[..., T], *args: object) -> T: ...


class Policy(Protocol):
    """Decides which changes are paced, and records them; see `rollouts.keeper`."""

    @property
    def is_on(self) -> bool:
        """Whether there may be a plan for a change without a trailer."""
        ...

    def plan(self, key: Key, trailers: Sequence[str]) -> Plan | None:
        """Return the plan for a change of a key, or None if all clients may have it at once."""
        ...

    def begun(self, beginnings: Sequence[Beginning]) -> None:
        """Take the changes that are held back now. It must not wait."""
        ...


@attrs.frozen(slots=True, eq=False)
class _Paced:
    """A key that has a candidate.

    Attributes:
        stable: The stable version. Other overrides or encryption keys may change it.
        recorded: The stable version when it was recorded.
        labels: The files of the stable version.
        layers: The same files, parsed.
        limits: The limits within which they were parsed.
        plan: The plan, for a change that comes while nothing else gives one.
        unrecorded: The version of a candidate that no roll-out names yet, or None.
    """

    stable: str
    recorded: str
    labels: tuple[tuple[Files, ...], ...]
    layers: Sequence[Sequence[ParsedFiles]]
    limits: FormatSettings
    plan: Plan
    unrecorded: str | None


class Pacing:
    """Paces the changes of keys; see the module.

    Args:
        tracks: Says which clients get candidates. No other part changes it.
        policy: Decides which changes are paced.
        in_thread: Runs a function in a thread.
        retrack: Lets the connections of some keys have their right tracks. It returns when all of them have been moved.
    """

    def __init__(
        self,
        store: Store,
        key_usage: KeyUsage[Subscriber],
        broadcaster: Broadcaster,
        tracks: Tracks,
        policy: Policy,
        in_thread: InThread,
        retrack: Callable[[Collection[Key]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._key_usage = key_usage
        self._broadcaster = broadcaster
        self._tracks = tracks
        self._policy = policy
        self._in_thread = in_thread
        self._retrack = retrack
        # The roll-outs that were recorded last, and the keys that are held because of them.
        self._records: Mapping[Key, Rollout] = {}
        self._held: set[Key] = set()
        self._paced: dict[Key, _Paced] = {}
        # The keys whose pace ends with the next commit, and what the policy hears after it.
        self._ending: dict[Key, _Paced] = {}
        self._beginnings: list[Beginning] = []
        # Configurations that a thread has resolved already, for keys that are held with the next commit.
        self._resolved: dict[Key, Config] = {}

    @property
    def stable(self) -> Mapping[Key, Sequence[Sequence[ParsedFiles]]]:
        """The keys that are paced, with the layers of their stable versions."""
        return {key: each.layers for key, each in self._paced.items()}

    def candidate_files(self, key: Key) -> tuple[str, tuple[tuple[Files, ...], ...]] | None:
        """Return the version of a key's candidate, and the files that it is made of. None if the key isn't paced.

        Raises:
            FormatError, ResolveError, UnknownLabel: They can't be told apart from others.
        """
        found, state = self._store.find(candidate_of(key)), self._store.state
        if key not in self._paced or found is None or state is None:
            return None
        return found.version, files_of(state.layers(candidate_of(key)), key)

    # Publications: `overlaid`, then `paced` with the staged publication, and `settle` after the commit.

    async def overlaid(self, served: ServedState, *, is_first: bool = False) -> ServedState:
        """Return a state in which the keys that are paced have their stable versions.

        Args:
            is_first: Whether nothing was served before. Then the records decide which keys are paced.
        """
        if is_first:
            for record in self._records.values():
                await self._continue(record, served)
        for key in [key for key in self._paced if key in served.state.pinned]:
            # A pin counts for all clients at once.
            self._end(key)
        if not self._paced and not served.state.stable:
            return served
        await self._parse_anew(served.formats)
        return attrs.evolve(served, state=served.state.with_stable(self.stable))

    async def _continue(self, record: Rollout, served: ServedState) -> None:
        """Continue a roll-out of an earlier process, or begin one if the files have changed since then."""
        key, candidate = record.key, candidate_of(record.key)
        newest = await self._resolved_from(served.state, candidate)
        if newest is None or key in served.state.pinned:
            return
        await self._pace(record, served)
        if record.status is Status.DONE and newest.version == self._paced[key].stable:
            del self._paced[key]
            self._resolved[key] = attrs.evolve(newest, key=key, body=newest.pieces)
            return
        self._resolved[candidate] = newest
        self._changed(key, newest, record.plan)

    async def paced(self, staged: Staged, before: ServedState | None, trailers: Mapping[str, Sequence[str]]) -> Staged:
        """Hold back the changes that must be paced.

        Args:
            before: The served state. If it is None, no roll-out begins, but those in force take note of the changes.
            trailers: The trailers of the new commits of each label.
        """
        for change in staged.changes:
            if change.key in self._paced and change.new is not None:
                # Other overrides or encryption keys have changed it.
                self._paced[change.key] = attrs.evolve(self._paced[change.key], stable=change.new.version)
        begun: dict[Key, Change] = {}
        for change in staged.changes:
            key, new = plain(change.key), change.new
            plan = self._policy.plan(key, [each for label in key.labels for each in trailers.get(label, ())])
            if isinstance(change.key, CandidateKey):
                if key in self._paced and new is None:
                    self._end(key)
                elif key in self._paced and new is not None:
                    self._changed(key, new, plan or self._paced[key].plan)
            elif before is not None and plan is not None and self._is_paced_now(change, staged.served.state):
                begun[key] = change
                await self._begin(change, plan, before)
        if waiting := [key for key, each in self._paced.items() if each.unrecorded is not None]:
            # Clients leave a former candidate before another one is committed.
            await self._put_tracks(without=waiting)
        if not (begun.keys() & self._paced.keys()) and not self._ending:
            return staged
        return await self._restaged(staged, begun)

    def _is_paced_now(self, change: Change, state: State) -> bool:
        """Return whether a change must begin a roll-out of its key, if there is a plan for it."""
        key, old, new = change.key, change.old, change.new
        if old is None or new is None:
            return False
        if key in self._paced or key in self._ending or key in state.pinned:
            return False
        record = self._records.get(key)
        # Another worker may have ended the roll-out of this change before it came here.
        return not (record is not None and record.status is Status.DONE and record.target == new.version)

    async def _begin(self, change: Change, plan: Plan, before: ServedState) -> None:
        """Pace a key from a change on. If its former files don't give its former document, all clients get the change."""
        key, old, new = change.key, change.old, change.new
        assert old is not None
        assert new is not None
        record = self._records.get(key)
        try:
            labels = files_of(before.state.layers(key), key)
            layers = await self._in_thread(parse_labels, labels, before.formats)
        except (FormatError, ResolveError, UnknownLabel):
            found = None
        else:
            found = await self._resolved_from(before.state.with_stable({key: layers}), key)
        if found is not None and found.version == old.version:
            self._paced[key] = _Paced(old.version, old.version, labels, layers, before.formats, plan, None)
        elif record is not None and record.target == old.version:
            await self._pace(record, before)
        if key in self._paced:
            self._resolved[candidate_of(key)] = attrs.evolve(new, key=candidate_of(key), body=new.pieces)
            self._changed(key, new, plan)
            return
        log.warning(
            "roll-out not possible",
            key=str(key),
            reason="the files of its former document aren't known any more",
            consequence="all clients get this change at once",
        )

    async def _restaged(self, staged: Staged, begun: Mapping[Key, Change]) -> Staged:
        """Stage the keys anew whose pace begins or ends."""
        began = {key: change for key, change in begun.items() if key in self._paced}
        state = staged.served.state.with_stable(self.stable)
        served = attrs.evolve(staged.served, state=state)
        anew = {key: change.old for key, change in began.items()}
        anew |= {key: self._store.find(key) for key in self._ending if key in self._store}
        again = await self._in_thread(stage, served, anew, lambda: 0.0, None, frozenset(anew))
        rest = staged.only([key for key in staged.configs if key not in anew])
        return attrs.evolve(rest, served=served).with_more(again)

    async def settle(self, served: ServedState) -> None:
        """Take note that a publication is in force, let all connections have their right tracks, and report the beginnings.

        Call it right after the commit.
        """
        for key in self._records.keys() - self._held:
            self._hold(key)
        for key in self._paced:
            self._hold_candidate(key)
        for key in self._ending:
            config = self._store.find(key)
            if config is not None:
                self._over(key, config, served)
        self._resolved.clear()
        await self._put_tracks()
        for key in tuple(self._ending):
            self._drop(key)
        beginnings, self._beginnings = self._beginnings, []
        if beginnings:
            self._policy.begun(beginnings)

    # Records.

    async def take(self, records: Iterable[Rollout]) -> Collection[Key]:
        """Take the roll-outs that are recorded now. Return the keys that must be staged anew, with `stable`."""
        before, self._records = self._records, {each.key: each for each in records}
        served = self._store.served
        if served is None:
            return ()
        anew: set[Key] = set()
        for key, record in self._records.items():
            known = self._paced.get(key)
            if known is None:
                if record.status is not Status.DONE and key not in served.state.pinned:
                    # If this worker hasn't read the target yet, its candidate is the stable version until then.
                    await self._pace(record, served)
                    if (found := await self._resolved_from(served.state, candidate_of(key))) is not None:
                        self._resolved[candidate_of(key)] = found
                    anew.add(key)
                continue
            newest = self._store.find(candidate_of(key))
            is_mine = newest is not None and newest.version == record.target
            if record.status is Status.DONE:
                if not is_mine and known.recorded != record.target:
                    # All clients have the target by now. This worker hasn't read it yet, or has read the next one.
                    await self._pace(record, served, unrecorded=known.unrecorded)
                    anew.add(key)
                if is_mine or newest is None or newest.version == self._paced[key].stable:
                    self._end(key)
                    anew.add(key)
                # Else this worker's newest document isn't the one that all clients have, so it is held back.
                continue
            unrecorded = known.unrecorded
            if unrecorded is not None and is_mine:
                unrecorded = None
            if known.recorded != record.stable:
                await self._pace(record, served, unrecorded=unrecorded)
                anew.add(key)
            else:
                self._paced[key] = attrs.evolve(known, unrecorded=unrecorded, plan=record.plan)
        for key in before.keys() - self._records.keys():
            known = self._paced.get(key)
            if known is not None and known.unrecorded is None:
                self._end(key)
                anew.add(key)
        wanted = self._records.keys() | self._paced.keys() | self._ending.keys()
        for key in [key for key in self._held if plain(key) not in wanted]:
            self._release(key)
        return anew

    # Steps of the methods above.

    def _changed(self, key: Key, new: Config, plan: Plan) -> None:
        """Take note of another candidate of a paced key."""
        paced, record = self._paced[key], self._records.get(key)
        if new.version == paced.stable:
            self._end(key)
            return
        if record is not None and record.status is not Status.DONE and record.target == new.version:
            self._paced[key] = attrs.evolve(paced, unrecorded=None)
            return
        self._paced[key] = attrs.evolve(paced, unrecorded=new.version, plan=plan)
        origin = new.origin
        commit, author = (origin.commit, origin.author) if origin is not None else (new.revision, None)
        self._beginnings.append(Beginning(key, paced.stable, new.version, commit, author, plan, paced.labels))

    def _end(self, key: Key) -> None:
        """Let the pace of a key end with the next commit."""
        self._ending[key] = self._paced.pop(key)
        self._beginnings = [each for each in self._beginnings if each.key != key]

    def _over(self, key: Key, config: Config, served: ServedState) -> None:
        """Report that a key has one version again, unless the records say so already."""
        record = self._records.get(key)
        if record is not None and record.status is Status.DONE and record.target == config.version:
            return
        try:
            labels = files_of(served.state.layers(key), key)
        except (FormatError, ResolveError, UnknownLabel):
            return
        origin = config.origin
        commit, author = (origin.commit, origin.author) if origin is not None else (config.revision, None)
        plan = self._ending[key].plan
        self._beginnings.append(Beginning(key, config.version, config.version, commit, author, plan, labels))

    async def _pace(self, record: Rollout, served: ServedState, *, unrecorded: str | None = None) -> None:
        """Pace a key from the stable version of a record."""
        key, limits = record.key, served.formats
        layers = await self._in_thread(parse_labels, record.labels, limits)
        found = await self._resolved_from(served.state.with_stable({key: layers}), key)
        stable = record.stable
        if found is not None:
            self._resolved[key], stable = found, found.version
        self._paced[key] = _Paced(stable, record.stable, record.labels, layers, limits, record.plan, unrecorded)

    async def _parse_anew(self, limits: FormatSettings) -> None:
        """Parse the files of the stable versions within other limits, if there are any."""
        for key, each in tuple(self._paced.items()):
            if each.limits != limits:
                layers = await self._in_thread(parse_labels, each.labels, limits, each.layers)
                self._paced[key] = attrs.evolve(each, layers=layers, limits=limits)

    async def _resolved_from(self, state: State, key: Key) -> Config | None:
        """Resolve a key. Return None if that isn't possible."""
        try:
            return await self._in_thread(state.resolve, key)
        except (FormatError, ResolveError, UnknownLabel):
            return None

    def _hold(self, key: Key) -> None:
        try:
            self._key_usage.hold(key, self._broadcaster.publish, self._resolved.get(key))
        except (FormatError, ResolveError, UnknownLabel):
            # It is held by a later publication.
            return
        self._held.add(key)

    def _hold_candidate(self, key: Key) -> None:
        """Hold a paced key and its candidate, and let the history of each know the version of the other."""
        if key not in self._held:
            self._hold(key)
        candidate = candidate_of(key)
        if candidate not in self._held:
            self._hold(candidate)
        mine, other = self._store.find(key), self._store.find(candidate)
        if mine is not None and other is not None:
            self._store.remember(attrs.evolve(mine, key=candidate, body=mine.pieces))
            self._store.remember(attrs.evolve(other, key=key, body=other.pieces))

    def _drop(self, key: Key) -> None:
        """Release the candidate of a key whose pace has ended."""
        del self._ending[key]
        if candidate_of(key) in self._held:
            self._release(candidate_of(key))
        if key not in self._records and key in self._held:
            self._release(key)

    def _release(self, key: Key) -> None:
        self._held.discard(key)
        self._key_usage.release(key, self._broadcaster.publish)

    async def _put_tracks(self, without: Collection[Key] = ()) -> None:
        """Put the roll-outs in force, and move the connections whose track changes."""
        ready = {key: self._records[key] for key in self._paced if key not in without and self._is_ready(key)}
        held = {key: self._held_back(key) for key in self._paced.keys() - ready.keys()}
        if moved := self._tracks.put(ready, held):
            await self._retrack(moved)

    def _held_back(self, key: Key) -> Held:
        """Return the change of a paced key that no instance may have now."""
        paced, record = self._paced[key], self._records.get(key)
        if paced.unrecorded is not None:
            return Held(paced.unrecorded, WAITING)
        # Without a record of its own, the change isn't known any more. The next publication decides.
        target = record.target if record is not None else paced.stable
        has_stopped = record is not None and record.status in (Status.HALTED, Status.ABORTED)
        return Held(target, record.phase if record is not None and has_stopped else WAITING)

    def _is_ready(self, key: Key) -> bool:
        """Return whether instances may have the candidate of a key now."""
        record, newest = self._records.get(key), self._store.find(candidate_of(key))
        if record is None or record.status is not Status.RUNNING or record.reach is None or newest is None:
            return False
        return self._paced[key].unrecorded is None and newest.version == record.target
