"""Turns the trees of sources into publications: parses, repairs, resolves, commits and broadcasts them.

Whole `Tree`s arrive and, after a reload, new limits, encryption keys and overrides. A `ServedState` leaves for the
store, and changes leave for the broadcaster. The long work runs in threads over immutable values. The invariant: the
commit is one step, and each of its changes is broadcast before the next publication begins. So every reader and
subscriber sees all of a publication or none of it. Thousands of changes are broadcast in several steps. A client that
subscribes or catches up between these steps gets the new state, and the broadcast of the same state adds nothing to it.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs
import structlog
import trio

from ..aio import threads
from ..aio.collector import Collector
from ..aio.locks import Held
from ..core.errors import RemoteError
from ..core.model import Change, Config, Files, Good, Key, Moment, Past, PropertySource, Tree
from ..encryption.decryptor import Decryptor
from ..gate.opening import open_gate
from ..observe.metrics import Metrics
from ..observe.publication import Publication, Stopwatch, named
from ..resolve.alterations import Alterations
from ..resolve.listing import list_keys
from ..resolve.tree import ParsedFiles, ParsedTree
from ..settings.formats import FormatSettings
from .broadcast import Broadcaster, Subscriber
from .dependencies import is_altered
from .key_usage import KeyUsage
from .last_good import LastGood
from .order import Order
from .parsing import parse_all
from .publication_log import report_broken, report_empty, report_failures, report_gone_pins, report_pins
from .reader import ConfigReader
from .registry import Registry
from .served import ServedState
from .state import State
from .store import Staged, Store, stage
from .tracks import Tracks
from .trailers import new_trailers
from .ungated import Admitted, UngatedPublications

if TYPE_CHECKING:
    from ..gate.decision import Decision, Person
    from ..gate.gate import PublicationGate, Rules, Verdict
    from .gated import Accepted, GatedPublications

if TYPE_CHECKING:
    from ..pins.pin import Pin, Pinned
    from ..rollouts.rollout import Rollout
    from .pacing import Pacing, Policy

log = structlog.get_logger()
T = TypeVar("T")

# While keys are staged, clients may bring more keys into use. At most this many rounds stage those, fewer each time.
# The commit resolves the rest in the event loop.
_LATE_ROUNDS = 4
# If at most this many keys are kept, a thread finds the altered ones without the store's index, and stages them at once.
_FEW_KEYS = 64
# Broadcasting this many changes and deliveries takes about a millisecond.
_DELIVERIES_AT_ONCE = 128
# Freeing this many changes takes less than a millisecond.
_FREED_AT_ONCE = 1_024
# Seconds until the publisher looks again for last good content that it couldn't find. The pause doubles up to the
# second figure.
_AGAIN, _AGAIN_AT_LEAST = 5.0, 60.0


class Publisher:
    """Publishes the trees of sources; see the module.

    Args:
        formats: The limits of parsing.
        store: The served state. No other part commits to it.
        key_usage: The keys in use.
        registry: The subscribers.
        broadcaster: Delivers changes.
        reader: Caches answers. It drops them when their served state is replaced.
        decryptor: Decrypts encrypted values. If it is None, they are served encrypted.
        overrides: The values that override those of all sources, or None.
        now: Returns the seconds since the epoch.
        on_publication: Called with each publication when it is done. It must not wait.
        collector: Pauses the garbage collector during large publications.
        order: Numbers the publications, if this server belongs to a cluster.
        gate: Judges publications before their commits, or None.
        accepted: Remembers the states that the gate has accepted, or None.
        on_decision: Called with each decision of the gate, once it is in force. It must not wait.
        tracks: Says which clients get candidates of roll-outs.
    """

    def __init__(
        self,
        formats: FormatSettings,
        store: Store,
        key_usage: KeyUsage[Subscriber],
        registry: Registry[Subscriber],
        broadcaster: Broadcaster,
        reader: ConfigReader,
        metrics: Metrics,
        decryptor: Decryptor | None = None,
        overrides: PropertySource | None = None,
        now: Callable[[], float] = time.time,
        on_publication: Callable[[Publication], None] | None = None,
        collector: Collector | None = None,
        order: Order | None = None,
        gate: "PublicationGate | None" = None,
        accepted: "Accepted | None" = None,
        on_decision: "Callable[[Decision], None]" = lambda _: None,
        tracks: Tracks | None = None,
    ) -> None:
        self._formats = formats
        self._order = order or Order()
        self._store = store
        self._key_usage = key_usage
        self._registry = registry
        self._broadcaster = broadcaster
        self._reader = reader
        self._metrics = metrics
        self._decryptor = decryptor
        self._overrides = overrides
        self._now = now
        self._on_publication = on_publication
        self._paused = collector.paused if collector is not None else nullcontext
        self._publishing = trio.Lock()
        self._ready = trio.Event()
        # The work is limited by the processor and the interpreter lock. More threads would only slow the event loop
        # down.
        self._threads = trio.CapacityLimiter(1)
        self._last_good = LastGood(self._in_thread)
        self._accepted = accepted
        self._on_decision = on_decision
        self._gated: GatedPublications | UngatedPublications = UngatedPublications()
        if gate is not None:
            self._gated = self._opened(gate)
        # The newest tree of the sources. If the gate holds labels back, it isn't the served tree.
        self._newest: Tree | None = None
        self._incomplete = trio.Event()
        self._pins: Sequence[Pin] = ()
        self._pinned: Mapping[Key, Pinned] = {}
        self._tracks = tracks or Tracks()
        self._policy: Policy | None = None
        self._retrack: Callable[[Collection[Key]], Awaitable[None]] = _retrack_none
        self._pacing: Pacing | None = None

    @property
    def gated(self) -> "GatedPublications | UngatedPublications":
        """What the gate has decided about the publications."""
        return self._gated

    def _opened(self, gate: "PublicationGate") -> "GatedPublications":
        from .gated import GatedPublications, NothingAccepted

        accepted = self._accepted or NothingAccepted()
        parts = self._store, self._in_thread, self._now, accepted, self._parse_accepted, self._on_decision
        return GatedPublications(gate, *parts)

    async def wait_ready(self) -> None:
        """Wait until the first complete state is served."""
        await self._ready.wait()

    async def publish(self, tree: Tree) -> None:
        """Parse, resolve, commit and broadcast a tree. All subscribers get it or, if this is cancelled, none."""
        async with Held(self._publishing):
            served = self._store.served
            self._newest = tree
            await self._publish(tree, served.parsed if served is not None else None)

    async def run(self) -> None:
        """Search again, at intervals, for last good content that wasn't found when it was needed. Never returns.

        If the gate couldn't judge a label, or what is served of it, it judges that again at the same intervals.
        """
        pause = _AGAIN
        while True:
            await self._incomplete.wait()
            await trio.sleep(pause)
            async with self._publishing:
                self._incomplete = trio.Event()
                served = self._store.served
                if served is not None and (self._last_good.incomplete or self._is_unjudged(served)):
                    await self._publish(self._tree_again(served), served.parsed, again=True)
                if (unexamined := self._gated.unexamined) and self._store.served is not None:
                    await self._gated.examine_labels(self._store.served, unexamined)
                    self._examined()
            pause = min(2 * pause, _AGAIN_AT_LEAST) if self._incomplete.is_set() else _AGAIN

    async def parse_by(self, formats: FormatSettings) -> None:
        """Parse everything again within other limits, and publish the documents that change."""
        async with self._publishing:
            self._formats = formats
            if self._store.served is not None:
                await self._publish(self._tree_again(self._store.served), None)
            if self._pins:
                await self._pin()

    async def resolve_by(self, decryptor: Decryptor | None, overrides: PropertySource | None = None) -> None:
        """Resolve all keys in use again with another decryptor and other overrides.

        Publish the documents that change.
        """
        async with self._publishing:
            self._decryptor, self._overrides = decryptor, overrides
            before = self._store.served
            if before is None:
                return
            state = attrs.evolve(before.state, decryptor=decryptor, overrides=overrides, published=Moment())
            configs = self._store.configs()
            with self._paused(len(configs)):
                staged = await self._staged(attrs.evolve(before, state=state), configs)
                if self._pacing is not None:
                    staged = await self._pacing.paced(staged, None, {})
                changed, deliveries, now = await self._commit(staged)
                if self._pacing is not None:
                    await self._pacing.settle(now)
                changes = len(changed)
                del staged, configs
                await _freed(changed)
            report_failures(before, now)
            self._metrics.published(changes, deliveries)
            log.info("configuration resolved anew", changes=changes, deliveries=deliveries)
            await self._gated.examine(now)
            self._examined()

    async def pin_by(self, pins: "Sequence[Pin]") -> None:
        """Serve these keys from their pins from now on, and all others from the sources.

        Publish the documents that change. If the files of a pin can't be used, its key is served from the sources, too.
        """
        async with Held(self._publishing):
            if pins or self._pins:
                self._pins = tuple(pins)
                await self._pin()

    def pace_by(self, policy: "Policy") -> None:
        """From now on, pace changes as a policy says. Call it before the first publication."""
        self._policy = policy

    def retrack_by(self, retrack: Callable[[Collection[Key]], Awaitable[None]]) -> None:
        """Call a function with the keys whose connections may need another track, and wait until they have it."""
        self._retrack = retrack

    async def roll_by(self, rollouts: "Sequence[Rollout]") -> None:
        """Put these roll-outs in force, and no others. When this returns, each connection has its right track."""
        async with Held(self._publishing):
            if self._pacing is None and not rollouts:
                return
            pacing = self._pacing_made()
            altered = await pacing.take(rollouts)
            before = self._store.served
            if before is None:
                return
            if altered:
                state = attrs.evolve(before.state, published=Moment()).with_stable(pacing.stable)
                configs = {key: each for key, each in self._store.configs().items() if key in altered}
                staged = await self._staged(attrs.evolve(before, state=state), configs)
                changed, deliveries, before = await self._commit(staged)
                self._metrics.published(len(changed), deliveries)
            await pacing.settle(before)

    def candidate_files(self, key: Key) -> tuple[str, tuple[tuple[Files, ...], ...]] | None:
        """See `Pacing.candidate_files`."""
        return self._pacing.candidate_files(key) if self._pacing is not None else None

    def stable_files(self, key: Key) -> tuple[str, tuple[tuple[Files, ...], ...]] | None:
        """Return the version of a key and the files that it is made of.

        Return None if it isn't in use, if it is pinned, or if it is in a roll-out.

        Raises:
            FormatError, ResolveError, UnknownLabel: The files can't be told apart from others.
        """
        config, state = self._store.find(key), self._store.state
        if config is None or state is None or key in state.pinned or key in state.stable:
            return None
        from .pinning import files_of

        return config.version, files_of(state.layers(key), key)

    def _pacing_made(self) -> "Pacing":
        if self._pacing is None:
            from .pacing import Pacing

            assert self._policy is not None  # roll-outs come from it
            parts = self._store, self._key_usage, self._broadcaster, self._tracks, self._policy
            self._pacing = Pacing(*parts, self._in_thread, lambda keys: self._retrack(keys))
        return self._pacing

    def _pacing_for(self, trailers: Mapping[str, Sequence[str]]) -> "Pacing | None":
        """Return what paces a publication, or None if nothing of it can be paced."""
        if self._pacing is not None or self._policy is None or not (self._policy.is_on or trailers):
            return self._pacing
        return self._pacing_made()

    async def _pin(self) -> None:
        """Put the pins in force. The gate judges a key that no publication has judged while it was pinned."""
        from .pinning import parse_pins

        former = self._pinned
        self._pinned, unusable = await self._in_thread(parse_pins, self._pins, self._formats, former)
        report_pins(unusable)
        before = self._store.served
        if before is None:
            return
        state = attrs.evolve(before.state, pinned=self._pinned, published=Moment())
        lifted = former.keys() - self._pinned.keys()
        altered = {key for key in {*former, *self._pinned} if former.get(key) is not self._pinned.get(key)}
        configs = {key: each for key, each in self._store.configs().items() if key in altered}
        served = attrs.evolve(before, state=state)
        pacing = self._pacing_for({})
        if pacing is not None:
            served = await pacing.overlaid(served)
        staged = await self._staged(served, configs, is_withheld=partial(self._is_withheld, lifted, served))
        if pacing is not None:
            staged = await pacing.paced(staged, before, {})
        changed, deliveries, now = await self._commit(staged)
        if pacing is not None:
            await pacing.settle(now)
        report_failures(before, now)
        self._metrics.published(len(changed), deliveries)
        if any(key in now.failures and self._is_withheld(lifted, now, key) for key in lifted):
            await self._publish(self._tree_again(now), now.parsed)

    def _is_withheld(self, lifted: Collection[Key], served: ServedState, key: Key) -> bool:
        """Return whether a key whose pin is lifted waits for a verdict of the gate."""
        return key in lifted and self._gated.judges_at_first_read(key, served)

    async def judge_by(self, rules: "Sequence[Rules]") -> None:
        """Judge by other rules from now on. What is served stays, and what breaks the rules is reported.

        Labels that are held back are judged again.
        """
        async with self._publishing:
            if not isinstance(self._gated, UngatedPublications):
                await self._gated.replace(rules)
            elif (gate := open_gate(rules)) is not None:
                self._gated = self._opened(gate)
            await self._reader.judge_by(rules)
            served = self._store.served
            if served is None:
                return
            if served.refusals:
                await self._publish(self._tree_again(served), served.parsed)
            assert self._store.served is not None  # it was served before
            await self._gated.examine(self._store.served)
            self._gated.remember(self._store.served)
            self._examined()

    async def let_through(self, label: str, state: str, by: "Person", reason: str) -> None:
        """Publish a state of a label that the gate holds back.

        Raises:
            RemoteError: As in `GatedPublications.let_through`.
        """
        async with self._publishing:
            self._gated.let_through(label, state, by, reason)
            served = self._store.served
            assert served is not None  # a label is held back only if a state is served
            await self._publish(self._tree_again(served), served.parsed)

    def let_through_soon(self, label: str, state: str, by: "Person", reason: str) -> None:
        """Do as `let_through` within a few seconds, without waiting, because another worker was asked.

        If the state isn't held back, nothing happens.
        """
        with suppress(RemoteError):
            self._gated.let_through(label, state, by, reason, is_asked=False)
            self._incomplete.set()

    @property
    def standing(self) -> "Mapping[str, Verdict]":
        """See `GatedPublications.standing`."""
        return self._gated.standing

    def _tree_again(self, served: ServedState) -> Tree:
        """Return the newest tree, to be published again."""
        return attrs.evolve(self._newest or served.tree, noticed=None)

    def _is_unjudged(self, served: ServedState) -> bool:
        """Return whether something waits for a verdict of the gate, and should be judged again."""
        if self._gated.has_failed or self._gated.has_exceptions:
            return True
        return any(self._gated.judges_at_first_read(key, served) for key in served.failures)

    async def _publish(self, tree: Tree, former: ParsedTree | None, *, again: bool = False) -> None:
        """Publish a tree; see `publish`.

        Args:
            former: The tree that was parsed before within the same limits, or None.
            again: The same argument as in `LastGood.fill`.
        """
        before = self._store.served
        watch = Stopwatch(tree.noticed)
        self._order.begin(tree)
        found = await self._prepared(tree, former, before, again=again)
        admitted = await self._gated.admitted(found.served, found.altered, before)
        await self._order.settle(tree)
        watch.lap("parse", found.stage_seconds)
        prepared = admitted.served
        trailers = new_trailers(before.tree if before is not None else None, tree)
        pacing = self._pacing_for(trailers)
        if pacing is not None:
            prepared = await pacing.overlaid(prepared, is_first=before is None)
        existing = prepared.listing.keys
        while self._key_usage.settle():
            await trio.lowlevel.checkpoint()
        with self._registry.ahead(keys=self._key_usage.new(existing)) as steps:
            # The steps don't wait for turns, so that a publication waits for nothing but its own work.
            for _ in steps:
                await trio.lowlevel.checkpoint()
            appearing = dict.fromkeys(self._key_usage.appearing(existing))
            early = found.staged if not appearing else None
            configs = early.configs if early else {**self._affected(prepared, admitted.altered, before), **appearing}
            # The files of the first state live long, too, however few keys are in use.
            with self._paused(len(configs) if before is not None else len(existing)):
                staged = await self._staged(prepared, configs, early, admitted.ready)
                if pacing is not None:
                    staged = await pacing.paced(staged, before, trailers)
                watch.lap("resolve")
                # No await comes between the end of keys and the commit.
                # Remove ended keys first, so that the commit doesn't publish to them.
                deliveries = self._key_usage.update(existing, self._broadcaster.publish)
                changed, more, now = await self._commit(staged)
                if pacing is not None:
                    await pacing.settle(now)
                self._ready.set()
                watch.lap("broadcast")
                report_broken(before, now, self._metrics)
                report_failures(before, now)
                report_gone_pins(before, now)
                _remember(now.parsed)
                self._done(watch, staged, changed, deliveries + more, before)
                report_empty(before, now)
                # The end of the pause returns the memory of the former configurations to the system.
                del staged, configs, early, found
                await _freed(changed)
        await self._report_gate(admitted, before, now)

    async def _report_gate(self, admitted: Admitted, before: ServedState | None, now: ServedState) -> None:
        """Report what the gate has decided. At the start, judge what is served.

        Do the same for labels that begin with a remembered state, or whose schemas have changed. Clients have their
        documents already. So only the next publication waits for it.
        """
        self._gated.committed(admitted, before, now)
        self._metrics.labels_held_back(len(now.refusals))
        self._metrics.applications_held_back(sum(len(each.applications) for each in now.refusals.values()))
        if before is None:
            await self._gated.examine(now)
        elif labels := admitted.recalled | self._gated.outdated(before, now):
            await self._gated.examine_labels(now, labels)
        if self._is_unjudged(now):
            self._incomplete.set()
        self._examined()

    def _examined(self) -> None:
        """If the gate couldn't judge what is served, let `run` examine it again."""
        if self._gated.unexamined:
            self._incomplete.set()

    async def _prepared(
        self, tree: Tree, former: ParsedTree | None, before: ServedState | None, *, again: bool
    ) -> "_Prepared":
        """Parse a tree, and repair it with last good content."""
        empty = State({}, tree.default_label, self._decryptor, self._overrides).with_pins(self._pinned)
        few = self._few(before, empty)
        parsed, found = await self._in_thread(_parsed, tree, self._formats, former, before, empty, few)
        last = before.parsed if before is not None else None
        filled = await self._last_good.fill(parsed, last, self._formats, again=again)
        if self._last_good.incomplete:
            self._incomplete.set()
        if any(filled.labels[label] is not files for label, files in parsed.labels.items()):
            found = await self._in_thread(_compared, tree, self._formats, filled, before, empty)
        return found

    async def _parse_accepted(self, tree: Tree, near: ParsedTree, formats: FormatSettings) -> ParsedTree:
        """Parse and repair a tree that was accepted by an earlier process; see `GatedPublications`."""
        # Today's content must not replace a file that was broken in that state.
        nothing = ParsedTree({}, tree.default_label)
        parsed = await self._in_thread(parse_all, tree, formats, near, nothing)
        return await LastGood(self._in_thread).fill(parsed, near, formats)

    def _few(self, before: ServedState | None, now: State) -> "_Few | None":
        """Return the keys that the store keeps, if they are so few that a thread can stage them right after parsing."""
        if (
            self._gated.is_on
            or self._pacing is not None
            or before is None
            or len(self._store) > _FEW_KEYS
            or not _is_resolved_alike(before.state, now)
        ):
            return None
        return _Few(self._store.configs(), self._store.unsettled)

    def _affected(
        self, prepared: ServedState, altered: Alterations | None, before: ServedState | None
    ) -> Mapping[Key, Config | None]:
        """Return the keys that a new state can change, so that no others are resolved."""
        if altered is None or before is None or not _is_resolved_alike(before.state, prepared.state):
            return self._store.configs()
        return self._store.affected(altered)

    async def _staged(
        self,
        served: ServedState,
        configs: Mapping[Key, Config | None],
        early: Staged | None = None,
        ready: Staged | None = None,
        is_withheld: Callable[[Key], bool] | None = None,
    ) -> Staged:
        """Stage keys in a thread, and also the keys that come into use meanwhile.

        In the loop, decrypting their values would block it.

        Args:
            early: The result for these keys, if they are staged already.
            ready: Some of these keys, and others, that the gate has judged, if they are staged already.
            is_withheld: The argument of `stage`, if `ready` is None.
        """
        before, unsettled = self._store.state, self._store.unsettled
        if ready is not None:
            # The gate hasn't judged keys that come into use meanwhile.
            is_withheld = partial(self._gated.judges_at_first_read, served=served)
        staged = early
        if staged is None:
            if ready is not None:
                # The gate also judges keys that the store doesn't keep, and what keys would have without pins and roll-outs.
                used = {key for key in ready.configs if key in configs or key in self._store}
                ready = ready.only(used - served.state.pinned.keys() - served.state.stable.keys())
                configs = {key: config for key, config in configs.items() if key not in ready.configs}
            staged = await self._in_thread(stage, served, configs, time.perf_counter, before, unsettled, is_withheld)
        if ready is not None:
            staged = staged.with_more(ready)
        for _ in range(_LATE_ROUNDS):
            late = self._store.late(staged)
            if not late:
                break
            unsettled = self._store.unsettled
            more = await self._in_thread(stage, served, late, time.perf_counter, before, unsettled, is_withheld)
            staged = staged.with_more(more)
        return staged

    async def _commit(self, staged: Staged) -> tuple[list[Change], int, ServedState]:
        """Put a publication in force, and broadcast it. Nothing can cancel this in between.

        Return the changes, the number of deliveries, and the new served state.
        """
        # If the clock was set back, the publication still doesn't get an earlier time than the one before it.
        before = self._store.state.published.seconds if self._store.state else 0.0
        published = staged.served.state.published
        published.seconds = max(self._now(), before)
        self._order.commit(staged.served.tree, published)
        changes = self._store.commit(staged)
        self._reader.drop_old_answers()
        served = self._store.served
        assert served is not None  # it was committed
        return changes, await self._broadcast(changes), served

    async def _broadcast(self, changes: Sequence[Change]) -> int:
        """Broadcast changes, and return the number of deliveries. Let other tasks run after every few deliveries."""
        deliveries = effort = 0
        is_first_step = True
        for number, change in enumerate(changes):
            if effort >= _DELIVERIES_AT_ONCE:
                effort, is_first_step = 0, False
                self._broadcaster.postpone(changes, number)
                await trio.lowlevel.cancel_shielded_checkpoint()
            # If the key has ended meanwhile, its end has been broadcast.
            if is_first_step or self._store.find(change.key) is change.new:
                count = self._broadcaster.publish((change,))
                deliveries += count
                effort += 1 + count
        self._broadcaster.postpone((), 0)
        while self._store.apply():
            await trio.lowlevel.cancel_shielded_checkpoint()
        return deliveries

    def _done(
        self, watch: Stopwatch, staged: Staged, changed: Sequence[Change], deliveries: int, before: ServedState | None
    ) -> None:
        """Count and log a publication, and hand it to `on_publication`."""
        tree, changes = staged.served.tree, len(changed)
        commits = frozenset(each.new.origin.commit for each in staged.changes if each.new and each.new.origin)
        done = Publication(watch.began, watch.laps, staged.diff_seconds, len(tree.labels), changes, deliveries, commits)
        self._metrics.publication(done)
        if self._on_publication is not None:
            self._on_publication(done)
        held = len(staged.served.refusals)
        log.info(
            "configuration published",
            labels=len(tree.labels),
            changes=changes,
            deliveries=deliveries,
            # The reasons follow in events of their own.
            **({"labels_held_back": held} if held else {}),
            **named(changed, before.tree if before is not None else None, tree),
        )

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        # These are pure functions over immutable values, so an abandoned thread does no harm.
        return await threads.run_sync(function, *args, abandon_on_cancel=True, limiter=self._threads)


async def _retrack_none(_: Collection[Key]) -> None:
    """Do nothing, because there are no connections."""


async def _freed(changes: list[Change]) -> None:
    """Free changes, with the former configurations, in steps. Thousands at once would hold the event loop."""
    while changes:
        del changes[-_FREED_AT_ONCE:]
        if changes:
            await trio.lowlevel.cancel_shielded_checkpoint()


@attrs.frozen(slots=True)
class _Few:
    """All keys that the store keeps, with their current configurations, and those of them that are unsettled."""

    configs: Mapping[Key, Config | None]
    unsettled: frozenset[Key]


@attrs.frozen(slots=True)
class _Prepared:
    """A parsed tree beside the state before it.

    Attributes:
        served: The state to serve, without the failures of single keys.
        altered: Its differences from the state before, or None if there was none.
        staged: The altered keys, if they are staged already.
        stage_seconds: The time that this took.
    """

    served: ServedState
    altered: Alterations | None
    staged: Staged | None = None
    stage_seconds: float = 0.0


def _parsed(
    tree: Tree,
    formats: FormatSettings,
    former: ParsedTree | None,
    before: ServedState | None,
    empty: State,
    few: _Few | None,
) -> tuple[ParsedTree, _Prepared]:
    """Parse a tree, compare it and stage few keys, in one call of a thread.

    Each further call would wake the event loop once more.
    """
    parsed = parse_all(tree, formats, former, before.parsed if before is not None else None)
    found = _compared(tree, formats, parsed, before, empty)
    if before is None or few is None or found.altered is None:
        return parsed, found
    # The order stays the one in which the keys came, as from `Store.affected`.
    configs = {
        key: old
        for key, old in few.configs.items()
        if old is None or key in few.unsettled or is_altered(old, found.altered)
    }
    began = time.perf_counter()
    staged = stage(found.served, configs, time.perf_counter, before.state, few.unsettled)
    return parsed, attrs.evolve(found, staged=staged, stage_seconds=time.perf_counter() - began)


def _compared(
    tree: Tree, formats: FormatSettings, parsed: ParsedTree, before: ServedState | None, empty: State
) -> _Prepared:
    """Compare a parsed tree with the state before it.

    Args:
        empty: The new state, without any file.
    """
    listing = list_keys(parsed, None if before is None else before.listing)
    state = attrs.evolve(empty, labels=parsed.labels, default_label=parsed.default_label)
    altered = None if before is None else state.altered_from(before.state)
    return _Prepared(ServedState(tree, state, listing, formats), altered)


def _is_resolved_alike(before: State, now: State) -> bool:
    """Return whether the same files mean the same configuration in two states."""
    return before.decryptor is now.decryptor and before.overrides is now.overrides


def _remember(parsed: ParsedTree) -> None:
    """Tell the sources that remember last good content which content is good now."""
    layers: dict[Past, list[ParsedFiles]] = {}
    for files in parsed.labels.values():
        for layer in files.layers:
            if layer.files.past is not None:
                layers.setdefault(layer.files.past, []).append(layer)
    for past, known in layers.items():
        past.remember(partial(_good, known))


def _good(layers: Sequence[ParsedFiles]) -> Good:
    """Return the good content of one source's layers, which several labels may share."""
    broken = {path: _was_absent(layer, path) for layer in layers for path in layer.broken}
    contents = {path: layer.files.contents[path] for layer in layers for path in layer.documents if path not in broken}
    return Good(contents, broken)


def _was_absent(layer: ParsedFiles, path: str) -> bool:
    fallback = layer.fallbacks.get(path)
    return fallback is not None and fallback.former.content is None
