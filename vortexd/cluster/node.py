"""A node of a cluster: ties its parts to one engine, and hands them what is in the store.

One reading, and then the events of one watch on the cluster's prefix, arrive. They leave for the roster, the membership,
the hints and the publisher. Whenever the node has read everything, each fetching source looks once, because hints may have been missed. A
store that can't be used never ends the daemon: the node tries again, and the daemon serves and fetches on its own.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from random import Random
from typing import Protocol, TypeAlias

import attrs
import structlog
import trio

from ..core.errors import RemoteError
from ..core.model import ClusterOrder, ClusterPublishing, ClusterReport, ClusterVersion, Key, Tree
from ..core.text import rfc3339
from ..fleet import NodePages, Question
from ..settings.cluster import ClusterSettings
from .engine import Compacted, CreatedAt, Delete, Engine, EngineError, Reading, Unmodified
from .etcd.access import fingerprint, in_thread, open_etcd
from .fleet import ClusterFleet
from .generations import Commits, Generations
from .hints import Hints, Looking
from .keys import Keys
from .membership import Membership
from .published.newest import Newest
from .published.publisher import Publisher
from .questions import Questions
from .quota import PAUSE, OverQuota, Quota
from .records import SERVING, Member
from .renewal import Fingerprint, Renewal, has_other_access
from .roster import Roster
from .shared_records import PINS, ROLLOUTS, SharedRecords
from .store_state import StoreState
from .summary_writer import Counts, SummaryWriter
from .warnings import RecordWarnings

log = structlog.get_logger()

# Seconds until the next attempt to reach the store, with jitter. The pause doubles up to the second figure.
_AGAIN, _AGAIN_AT_MOST = 1.0, 10.0
# Seconds until the connections must be closed.
_FAREWELL = 1.0
_PART = "watch"

Publish: TypeAlias = Callable[[Tree], Awaitable[None]]


class RemoteSources(Looking, Commits, Protocol):
    """The part of the sources that a node needs."""


async def _open(settings: ClusterSettings) -> Engine:
    """Make an engine in a thread, because that reads files."""
    return await in_thread(partial(open_etcd, settings))


@attrs.frozen
class Surroundings:
    """Everything that a node needs beside its settings and the sources. Tests replace it.

    Attributes:
        open: Makes an engine. May raise EngineError.
        uniform: Returns a random number between two others, for jitter.
        now: Returns the seconds since the epoch.
        monotonic: Returns the seconds of a clock that is never set.
        fingerprint: Returns a hash of the files for an engine; see `Renewal`.
    """

    open: Callable[[ClusterSettings], Awaitable[Engine]] = _open
    uniform: Callable[[float, float], float] = attrs.field(factory=lambda: Random().uniform)
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    fingerprint: Fingerprint = fingerprint


class Node:
    """A node of a cluster, or one of several workers of it.

    Args:
        settings: The section [cluster], with a name.
        name: The name of the node.
        version: The version of vortexd.
        sources: The sources that look.
        is_member: Whether this process keeps the node's record. Only one worker of a node does.
        counts: Returns the counts of all workers of this node. None if the node writes no summary.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        name: str,
        version: str,
        sources: RemoteSources,
        *,
        is_member: bool,
        counts: Counts | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        around = surroundings or Surroundings()
        self._settings = settings
        self._name = name
        self._sources = sources
        self._open = around.open
        self._renewal = Renewal(around.fingerprint)
        self._uniform = around.uniform
        self._scope = trio.CancelScope()
        self._keys = Keys(settings.name)
        self._state = StoreState(around.now)
        self._warnings = RecordWarnings()
        self._quota = Quota(self._keys)
        self._roster = Roster(self._keys, around.monotonic, self._warnings)
        process = secrets.token_hex(8)
        self._newest = Newest(self._keys, self._warnings)
        self._pins, self._rollouts = (SharedRecords(kind, self._keys, self._warnings) for kind in (PINS, ROLLOUTS))
        self._hints = Hints(self._keys, name, process, sources, self._state, self._warnings, around.uniform, around.now)
        record = Member(name, settings.advertise, rfc3339(around.now()), version, SERVING, settings.publish)
        self._membership = (
            Membership(self._keys, record, process, self._roster, self._state, settings.forget_after, around.uniform)
            if is_member
            else None
        )
        self._generations = Generations(
            self._keys,
            sources,
            self._state,
            self._warnings,
            lambda: self.fence is not None,
            lambda: self._roster.leader is not None,
            lambda: self._settings.publish,
            around.uniform,
            around.now,
        )
        self._engine: Engine | None = None
        self._stands_in: Callable[[], bool] = lambda: False
        self._questions = Questions(self._keys, name, lambda: self._settings, self._warnings)
        self._fleet = ClusterFleet(
            self._keys, name, self._roster, self._state, self._questions, self._warnings, around.now
        )
        self._summary = (
            SummaryWriter(
                self._keys,
                name,
                process,
                self._roster,
                self._state,
                self._questions,
                counts,
                around.uniform,
                lambda: self.fence,
            )
            if is_member and counts is not None
            else None
        )
        self._publisher = (
            Publisher(
                *(self._keys, name, self._publishing_fence, settings.published_versions, around.uniform, around.now),
                self._generations.published,
            )
            if is_member
            else None
        )
        if self._publisher is not None:
            self._generations.report(self._publisher.changed)

    # From the daemon.

    def announce_push(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Tell the other nodes of a webhook; see `Hints`."""
        self._hints.announce_push(addresses, refs)

    def announce_news(self, name: str, state: str) -> None:
        """Tell the other nodes that a source has found a new state of its remote; see `Hints`."""
        self._hints.announce_news(name, state)

    def publishing(self, publish: Publish, served: Callable[[], Tree | None] = lambda: None) -> Publish:
        """Return a function that publishes a tree here and then, if this node leads and is set to, in the cluster.

        Args:
            served: Returns the tree that is served. If a gate holds labels back, it isn't the tree of the sources.
        """
        publisher = self._publisher
        if publisher is None:
            return publish

        async def publish_both(tree: Tree) -> None:
            await publish(tree)
            publisher.offer(served() or tree)

        return publish_both

    def report_stand_in(self, stands_in: Callable[[], bool]) -> None:
        """From now on report whether the published state stands in for the sources.

        Args:
            stands_in: Returns whether it does now.
        """
        self._stands_in = stands_in

    @property
    def numbering(self) -> Generations:
        """Numbers the publications of this process."""
        return self._generations

    @property
    def pins(self) -> SharedRecords:
        """The records of pins that all nodes share."""
        return self._pins

    @property
    def rollouts(self) -> SharedRecords:
        """The records of roll-outs that all nodes share."""
        return self._rollouts

    @property
    def secret(self) -> bytes | None:
        """The secret that all nodes of the cluster share. None if it isn't known now."""
        return self._questions.secret

    def drain(self) -> None:
        """Tell the other nodes that this one drains. When `run` is cancelled, the node leaves the cluster."""
        if self._membership is not None:
            self._membership.drain()

    def replace(self, settings: ClusterSettings) -> None:
        """Apply new settings. If the way to the store has changed, a new engine is made; see `Renewal`."""
        if not settings.endpoints:
            # The section was removed. Its name waits for a restart, so the node stays what it is until then.
            return
        before, self._settings = self._settings, settings
        if self._membership is not None:
            self._membership.replace(settings.advertise, settings.forget_after, publishes=settings.publish)
        if self._publisher is not None:
            self._publisher.replace(settings.published_versions)
        # Without an engine, the attempt to make one begins anew at once: the files may be right now.
        if self._engine is None or has_other_access(before, settings):
            self._scope.cancel()
        else:
            self._renewal.reloaded()

    # The fleet.

    def keys(self) -> Collection[Key]:
        """Return the keys that other nodes have instances of; see `ClusterFleet`."""
        return self._fleet.keys()

    async def pages(self, question: Question) -> NodePages:
        """Return a page of each other node; see `ClusterFleet`."""
        return await self._fleet.pages(question)

    @property
    def steady_for(self) -> float:
        """The seconds since a node came, restarted, drained, went away or left; see `Roster`."""
        return self._roster.steady_for

    def check(self, header: str | None, path: str, body: bytes) -> None:
        """Check that a node of this cluster asks; see `Questions`."""
        self._questions.check(header, path, body)

    def announces(self, header: str | None, path: str, length: int) -> bool:
        """Return whether another node announces a question of this length. See `Questions.announces`."""
        return self._questions.announces(header, path, length)

    def sign(self, path: str, question: bytes, answer: bytes) -> bytes:
        """Return an answer to a question with its MAC; see `Questions.sign`."""
        return self._questions.sign(path, question, answer)

    async def forget(self, node: str) -> None:
        """Remove the record of a node that is away.

        Raises:
            RemoteError: There is no such node (404), it isn't away (409), or the store can't be used (503).
        """
        member = self._roster.entry(self._keys.member(node))
        is_away = node in self._roster.away
        # While the store is away, this node may not know a node, or know it as it was. A store that is only full still forgets.
        if self._engine is None or not (self._state.is_up or is_away):
            raise RemoteError("the cluster's store can't be used now", 503)
        if member is None:
            raise RemoteError("the cluster has no node of this name", 404)
        if not is_away:
            raise RemoteError("this node isn't away; stop it, and it leaves the cluster by itself", 409)
        writes = [Delete(member.key), Delete(self._keys.hint(node))]
        conditions = [Unmodified(self._keys.alive(node), 0), Unmodified(member.key, member.modified)]
        try:
            done = await self._engine.commit(writes, conditions)
        except EngineError as error:
            log.warning("cluster member not forgotten", node=node, reason=str(error))
            raise RemoteError("the cluster's store can't be used now; the node may be forgotten or not", 503) from None
        if not done.is_done:
            raise RemoteError("this node has just come back", 409)
        log.warning(
            "cluster member forgotten",
            node=node,
            reason="a request asked for it",
            consequence="nothing lists it any more, until it comes back",
        )

    # For the daemon.

    @property
    def fence(self) -> CreatedAt | None:
        """The condition for every write of the leader, or None if this process doesn't lead."""
        return self._membership.fence if self._membership is not None else None

    def report(self) -> ClusterReport:
        """Return the state of the cluster, as this node sees it."""
        state, hints, order = self._state, self._hints, self._generations
        return ClusterReport(
            self._settings.name,
            self._name,
            state.is_up,
            state.since,
            state.last_error,
            self._roster.members(),
            self._roster.leader,
            hints.announced,
            hints.heard,
            dict(self._questions.counts),
            self._summary.written if self._summary is not None else 0,
            ClusterVersion(said.number, said.id, said.at, said.by) if (said := self._newest.said) is not None else None,
            ClusterPublishing(publisher.is_failing, publisher.last_error, publisher.written)
            if (publisher := self._publisher) is not None and self._settings.publish
            else None,
            ClusterOrder(order.epoch, tuple(order.behind), tuple(order.unordered)),
            state.last_error_at,
            self._membership.listing if self._membership is not None else None,
            self._stands_in(),
        )

    def _publishing_fence(self) -> CreatedAt | None:
        """Return the fence if this node leads, is set to publish, and no other node has a newer state."""
        return self.fence if self._settings.publish and not self._generations.behind else None

    # The run.

    async def run(self) -> None:
        """Take part in the cluster until this is cancelled. Raises no error of the store."""
        pause = _AGAIN
        while True:
            with trio.CancelScope() as self._scope:
                try:
                    settings = self._settings
                    await self._renewal.note(settings)
                    engine = await self._open(settings)
                except EngineError as error:
                    self._state.failed(_PART, str(error))
                    await trio.sleep(pause * self._uniform(0.5, 1.0))
                    pause = min(2 * pause, _AGAIN_AT_MOST)
                    continue
                pause = _AGAIN
                await self._use(engine)

    async def _use(self, engine: Engine) -> None:
        """Run all parts with an engine, until this is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._renew)
                nursery.start_soon(self._hints.run, engine)
                nursery.start_soon(self._generations.run, engine)
                if self._membership is not None:
                    nursery.start_soon(self._membership.run, engine)
                if self._summary is not None:
                    nursery.start_soon(self._summary.run, engine)
                self._engine = engine
                self._pins.use(engine)
                self._rollouts.use(engine)
                if self._publisher is not None:
                    nursery.start_soon(self._publisher.run, engine)
                await self._follow(engine)
        finally:
            self._engine = None
            self._pins.use(None)
            self._rollouts.use(None)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL), suppress(EngineError):
                await engine.aclose()

    async def _renew(self) -> None:
        """Make the engine anew once its files have changed."""
        await self._renewal.wait_needed(lambda: self._settings)
        self._scope.cancel()

    async def _follow(self, engine: Engine) -> None:
        """Read everything and watch, again and again."""
        pause = _AGAIN
        while True:
            try:
                reading = await self._quota.read(engine)
                self._read(reading)
                async with engine.watch(self._keys.prefix, reading.revision) as batches:
                    # A reading alone isn't enough: each one makes all sources look, which mustn't happen each second, and
                    # without a watch the node hears of no other.
                    pause = _AGAIN
                    self._state.worked(_PART, has_read=True)
                    async for batch in batches:
                        self._quota.take(batch.events)
                        self._roster.take(batch.events)
                        self._questions.take(batch.events)
                        self._fleet.take(batch.events)
                        self._hints.take(batch.events)
                        self._newest.take(batch.events)
                        self._pins.take(batch.events)
                        self._rollouts.take(batch.events)
                        self._generations.take(batch.events, batch.revision)
                        self._tell_membership()
            except Compacted as error:
                log.info("cluster read anew", reason=str(error))
            except OverQuota as error:
                self._state.failed(_PART, str(error), is_own=True)
                pause = PAUSE
            except EngineError as error:
                self._state.failed(_PART, str(error))
            await trio.sleep(pause * self._uniform(0.5, 1.0))
            pause = min(2 * pause, _AGAIN_AT_MOST)

    def _read(self, reading: Reading) -> None:
        self._warnings.keep(frozenset(entry.key for entry in reading.entries))
        self._roster.read(reading.entries)
        self._questions.read(reading.entries)
        self._fleet.read(reading.entries)
        self._hints.read(reading.entries)
        self._newest.read(reading.entries)
        self._pins.read(reading)
        self._rollouts.read(reading)
        self._generations.read(reading)
        self._tell_membership()
        if self._summary is not None:
            self._summary.retry()
        # Between the last event and this reading, hints may have been missed.
        self._sources.fetch_now()

    def _tell_membership(self) -> None:
        if self._membership is not None:
            self._membership.changed()
        if self._publisher is not None:
            self._publisher.changed()
