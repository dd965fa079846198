"""The composition root: makes all parts of a daemon, fully wired.

It takes the settings, the files that they name, and the objects of the process. It returns `Parts`. Each part gets its
neighbours when it is made. So the parts are made in the order of the pipeline, and nothing is set afterwards. `daemon`
runs them.
"""

import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import structlog
import trio

from . import __version__
from .aio.collector import Collector
from .audit import Audit, ForbiddenActs
from .auth import Authority, Gate
from .auth.credential_files import NamedFiles
from .core.model import Key, Tree
from .core.text import Timestamps
from .encryption.files import Keyring
from .fleet import Fleet
from .gate.opening import load_rules, open_gate
from .http.app import create_app
from .http.audit import AuditLog
from .http.bridge import Bridge
from .http.connections import Connections
from .http.console import console
from .http.difference import Difference
from .http.encryption import encryption_endpoints
from .http.endpoint import Endpoint
from .http.events import Events
from .http.explain import Explain
from .http.fleet import FleetPages
from .http.fleet_arrivals import FleetArrivals
from .http.gate import GateEndpoint
from .http.history import History
from .http.key_list import KeyList
from .http.monitor import Monitor
from .http.pins import LiftedPin, Pins, pin_members
from .http.rollback import RollBack
from .http.rollouts import Rollouts, short_members
from .http.routes import Routes, standard_routes
from .http.watch import LateWatchers, Watch
from .net.inherited import Inherited
from .net.listener import Listener
from .net.tls import Tls
from .observe.metrics import Metrics
from .observe.publication import Publication
from .pins.late_keeper import LatePinKeeper
from .pipeline.broadcast import Broadcaster, Subscriber
from .pipeline.encoder import Encoder
from .pipeline.key_usage import KeyUsage
from .pipeline.order import Order
from .pipeline.pipeline import Pipeline
from .pipeline.publisher import Publisher
from .pipeline.reader import ConfigReader
from .pipeline.registry import Registry
from .pipeline.rollback.rollback import RollBacks
from .pipeline.state import overrides_of
from .pipeline.store import Store
from .pipeline.tracks import Tracks
from .process import systemd
from .process.peers import Peers
from .realtime.server import WebSocketServer
from .reload import (
    Gating,
    InForce,
    Logging,
    NewSettings,
    OpenSources,
    Parsing,
    Part,
    Realtime,
    Reload,
    Resolution,
    Taken,
    pages_of,
)
from .rollouts.late_keeper import LateRolloutKeeper
from .settings.auth import AuthSettings
from .settings.cluster import node_name
from .settings.file import own_files
from .settings.root import Settings
from .settings.server import Address, parse_address
from .settings.state_directory import fleet_directory
from .source.base import FormerReader, Publish
from .source.composite import Sources, open_sources
from .source.git.settings import GitSettings
from .state.accepted import AcceptedStates
from .state.acknowledgements import Acknowledgements

if TYPE_CHECKING:
    from .cluster.node import Node
    from .gate.decision import Decision
    from .gate.gate import Rules
    from .http.fleet_departures import FleetDepartures
    from .http.watchers import Watchers
    from .realtime.events.opening import EventStreams
    from .source.published.stand_in import StandIn

log = structlog.get_logger()
# The current time for messages.
timestamp = Timestamps(time.time)


@attrs.frozen(eq=False)
class Process:
    """The objects that a daemon gets from its process.

    Attributes:
        inherited: The sockets that were bound before the daemon started.
        notifier: Sends the daemon's state to systemd or to the supervisor.
        peers: The other workers on the same port.
        own: Files that are never served, in addition to the files that settings name.
        memory: Where the server keeps the last good content of directories, or None if it keeps no state.
        audit: The directory of the audit log, which all workers share, or None if it is only in memory.
        accepted: Where the server keeps the states that the gate has accepted, or None if it keeps no state.
        pins: The directory of the pins, which all workers share, or None if keys can't be pinned.
        rollouts: The directory of the roll-outs, which all workers share, or None if there can't be any.
        events: The directory of the secret for event streams, which all workers share, or None if the server keeps no state.
        trace: Called with each publication; None if tracing is off.
    """

    inherited: Inherited
    notifier: systemd.Notifier
    peers: Peers
    own: Sequence[str] = ()
    memory: Path | None = None
    trace: Callable[[Publication], None] | None = None
    audit: Path | None = None
    accepted: Path | None = None
    pins: Path | None = None
    rollouts: Path | None = None
    events: Path | None = None


@attrs.frozen(eq=False)
class Stages:
    """The stages that a configuration passes through, and the parts that know which keys are in use."""

    store: Store
    registry: Registry[Subscriber]
    key_usage: KeyUsage[Subscriber]
    fleet: Fleet
    encoder: Encoder
    sources: Sources
    reader: ConfigReader
    publisher: Publisher
    pipeline: Pipeline
    collector: Collector
    order: Order
    accepted: AcceptedStates
    tracks: Tracks


@attrs.frozen(eq=False)
class Parts:
    """All parts of a daemon, wired.

    Attributes:
        acknowledgements: Keeps the acknowledgements of instances on disk.
        arrivals: Tells other workers which instances have connected to this one.
        departures: Asks other nodes which instances have moved there, or None if there is no cluster.
        cluster: This node of the cluster, or None if there is no cluster.
        audit: The audit log, which writes the gate's decisions in a task of its own.
        stand_in: Serves the published state until the sources have been read; None unless this node publishes.
        pins: Keeps the pins.
        rollouts: Keeps the roll-outs.
        watchers: The HTTP requests that wait for a change.
    """

    in_force: InForce
    process: Process
    gate: Gate
    metrics: Metrics
    stages: Stages
    listener: Listener
    websockets: WebSocketServer
    bridge: Bridge
    routes: Routes
    reload: Reload
    acknowledgements: Acknowledgements
    arrivals: FleetArrivals
    departures: "FleetDepartures | None"
    cluster: "Node | None"
    stand_in: "StandIn | None"
    audit: Audit
    pins: LatePinKeeper
    rollouts: LateRolloutKeeper
    watchers: LateWatchers

    @property
    def publish(self) -> Publish:
        """Publishes a tree at this server and then, if this node leads its cluster and is set to, in the cluster."""
        if self.cluster is None:
            return self.publish_here
        return self.cluster.publishing(self.publish_here, self._served_tree)

    @property
    def publish_here(self) -> Publish:
        """Publishes a tree at this server.

        In a cluster, the first publication waits a limited time for the cluster's pins and roll-outs.
        """
        return self.stages.publisher.publish if self.cluster is None else self._publish_pinned

    async def _publish_pinned(self, tree: Tree) -> None:
        await self.pins.wait_known()
        await self.rollouts.wait_known()
        await self.stages.publisher.publish(tree)

    def _served_tree(self) -> Tree | None:
        served = self.stages.store.served
        return served.tree if served is not None else None


def build(settings: Settings, files: NamedFiles, read: Callable[[], Settings], process: Process) -> Parts:
    """Make all parts of a daemon, fully wired. Binds no socket, reads no source and runs nothing.

    If [[gate]] names schemas, it reads and checks them, and blocks meanwhile.

    Args:
        settings: The settings, with absolute paths.
        files: The content of the files that the settings name.
        read: Reads the settings again, for SIGHUP. If it raises SettingsError, nothing changes.

    Raises:
        SettingsError: The schemas that [[gate]] names can't be used.
    """
    bound = bound_addresses(settings, process.inherited)
    in_force, metrics = InForce(settings), Metrics()
    tls, keyring = Tls(files.context), Keyring(files.encryption)
    gate = Gate(settings.auth, files.authority, bound, time.time, trio.current_time, pages_of(settings, files))
    rules = load_rules(settings.gate)
    audit = Audit(process.audit, time.time, process.peers.number)
    audit.limit(settings.audit.bytes, settings.audit.entries)
    stages = _stages(settings, keyring, metrics, process, rules, audit)
    listener = Listener(settings.server, process.inherited, tls)
    websockets = _websockets(settings, stages, metrics, gate, listener)
    watchers = LateWatchers(lambda: _watchers(in_force, stages, metrics, gate, listener))
    metrics.watch_waiting(lambda: len(watchers))
    stages.publisher.retrack_by(partial(_retrack, stages.fleet, websockets, watchers))
    metrics.watch_tasks(lambda: trio.lowlevel.current_statistics().tasks_living)
    cluster = _cluster(settings, stages, metrics, process.peers)
    records = cluster.pins if cluster is not None else None
    pins = LatePinKeeper(stages.publisher, process.pins, audit, process.peers, time.time, records)
    metrics.watch_pins(lambda: pins.totals)
    fleet = FleetPages(stages.fleet, stages.reader, time.time, process.peers, cluster)
    rollouts = _rollouts(settings, stages, process, audit, fleet, cluster)
    metrics.watch_rollouts(lambda: rollouts.totals)
    monitor = Monitor(
        stages.sources,
        settings.monitor,
        process.peers,
        lambda: [*stages.reader.broken.values()],
        cluster.announce_push if cluster is not None else None,
        lambda: [*stages.reader.refusals.values()],
    )
    if gate.is_open and not settings.monitor.secret and stages.sources.can_fetch:
        log.warning(
            "webhooks unsigned",
            consequence="any client that reaches the server can make it fetch",
            remedy="set monitor.secret",
        )
    if gate.is_open and any(isinstance(each, GitSettings) and each.push for each in settings.source):
        log.warning(
            "pushes without token",
            consequence="any client that reaches the server can push commits to a repository",
            remedy="set auth.tokens, or push = false",
        )
    events = Events(lambda: _event_streams(websockets, process.events, cluster), gate.lists_origin)
    peers = process.peers
    routes = _routes(
        in_force,
        stages,
        metrics,
        gate,
        keyring,
        websockets,
        events,
        monitor,
        peers,
        cluster,
        audit,
        pins,
        rollouts,
        fleet,
        watchers,
    )
    app = create_app(
        routes,
        metrics,
        lambda: in_force.settings.server.body_bytes,
        timestamp,
        gate,
        forbidden_acts=ForbiddenActs(audit, time.monotonic),
    )
    bridge = Bridge(app, settings.server)
    # The parts apply new settings in this order. Rights come first, because open connections are checked against them.
    parts: list[Part[Any]] = [
        Taken(_access, lambda access: gate.replace(*access)),
        Taken(lambda new: new.files.context, tls.replace),
        Taken(lambda new: new.settings.server, listener.replace),
        Taken(lambda new: new.settings.server, bridge.replace),
        Taken(lambda new: new.settings.monitor, monitor.replace),
        Taken(lambda new: new.settings.http, routes.replace),
        Taken(lambda new: new.settings.history, stages.store.replace),
        Taken(lambda new: new.settings.history, stages.key_usage.replace),
        Taken(lambda new: new.settings.history.frames_bytes, stages.encoder.replace),
        Taken(lambda new: new.settings.fleet, stages.fleet.replace),
        Taken(lambda new: new.settings.audit, lambda limits: audit.limit(limits.bytes, limits.entries)),
        Realtime(websockets),
        Logging(),
        OpenSources(stages.sources, process.own, process.memory),
        Resolution(keyring, stages.publisher),
        Parsing(stages.publisher),
        Gating(stages.publisher, rules),
        Taken(lambda new: new.settings.rollout, rollouts.replace),
    ]
    if cluster is not None:
        parts.append(Taken(lambda new: new.settings.cluster, cluster.replace))
        parts.append(Taken(lambda new: _history(new.settings, stages.sources), stages.sources.read_former_from))
    # The requests that wait are checked by all of the new settings.
    parts.append(Taken(lambda _: None, lambda _: watchers.wake_all()))
    reload = Reload(in_force, parts, read, bound, metrics, process.notifier, audit)
    stages.sources.read_former_from(_history(settings, stages.sources))
    peers = process.peers
    acknowledgements = Acknowledgements(
        stages.fleet, fleet_directory(process.memory), peers.number, peers.count, time.time
    )
    arrivals = FleetArrivals(stages.fleet, peers)
    return Parts(
        in_force,
        process,
        gate,
        metrics,
        stages,
        listener,
        websockets,
        bridge,
        routes,
        reload,
        acknowledgements,
        arrivals,
        _departures(stages.fleet, cluster),
        cluster,
        _stand_in(settings, stages.sources, cluster),
        audit,
        pins,
        rollouts,
        watchers,
    )


def _rollouts(
    settings: Settings, stages: Stages, process: Process, audit: Audit, fleet: FleetPages, cluster: "Node | None"
) -> LateRolloutKeeper:
    """Make the keeper of roll-outs, which decides which changes are paced."""
    drives = partial(_drives, process.peers, cluster)
    records = cluster.rollouts if cluster is not None else None
    parts = audit, process.peers, drives, time.time, settings.rollout, records
    rollouts = LateRolloutKeeper(stages.publisher, process.rollouts, fleet, *parts)
    stages.publisher.pace_by(rollouts)
    return rollouts


def _drives(peers: Peers, cluster: "Node | None") -> bool:
    """Return whether this process takes the steps of roll-outs: the first worker, and in a cluster that of the leader."""
    return peers.number == 0 if cluster is None else cluster.fence is not None


def _record(audit: Audit, decision: "Decision", worker: int) -> None:
    # A server without a gate doesn't load this module.
    from .http.gate_decisions import record_decision

    record_decision(audit, decision, worker)


def _cluster(settings: Settings, stages: Stages, metrics: Metrics, peers: Peers) -> "Node | None":
    """Make this node of the cluster, if there is one. All workers watch, and the first one keeps the node's entries."""
    if not settings.cluster.name:
        return None
    # A daemon without a cluster doesn't load this package.
    from .cluster.node import Node
    from .http.fleet_counts import FleetCounts

    name = node_name(settings.cluster, socket.gethostname())
    counts = FleetCounts(stages.fleet, time.time, peers)
    sources, is_member = stages.sources, peers.number == 0
    node = Node(settings.cluster, name, __version__, sources, is_member=is_member, counts=counts.collect)
    sources.report_news(node.announce_news)
    stages.order.number_by(node.numbering)
    metrics.watch_cluster(node.report)
    return node


def _stand_in(settings: Settings, sources: Sources, cluster: "Node | None") -> "StandIn | None":
    """Let a node that publishes start from what its cluster has published, if its sources can't be read."""
    if cluster is None or not _publishes(settings):
        return None
    from .source.published.stand_in import open_stand_in, settings_of

    stand_in = open_stand_in(settings_of(settings.cluster, settings.source), sources, Random())
    cluster.report_stand_in(lambda: stand_in.is_serving)
    return stand_in


def _history(settings: Settings, sources: Sources) -> FormerReader | None:
    """Make the reader of what the cluster has published, for clients that resume at a node that publishes."""
    if not _publishes(settings):
        return None
    from .source.published.stand_in import open_history, settings_of

    return open_history(settings_of(settings.cluster, settings.source), sources.present)


def _publishes(settings: Settings) -> bool:
    return bool(settings.cluster.name and settings.cluster.publish and settings.source)


def _departures(fleet: Fleet, cluster: "Node | None") -> "FleetDepartures | None":
    if cluster is None:
        return None
    from .http.fleet_departures import FleetDepartures

    return FleetDepartures(fleet, cluster)


def _cluster_endpoints(cluster: "Node", fleet: FleetPages, audit: Audit) -> Iterable[Endpoint]:
    """Make the endpoints that only a node of a cluster has."""
    from .http.cluster import ClusterFleet, ClusterMembers

    return ClusterFleet(cluster, fleet), ClusterMembers(cluster, audit)


def _websockets(
    settings: Settings, stages: Stages, metrics: Metrics, gate: Gate, listener: Listener
) -> WebSocketServer:
    websockets = WebSocketServer(
        stages.pipeline,
        stages.registry,
        settings.realtime,
        metrics,
        timestamp,
        Random(),
        gate,
        settings.auth.connections_per_token,
        listener.leave,
        stages.fleet,
    )
    metrics.build(__version__, websockets.sockets)
    metrics.watch_connections(lambda: (len(websockets) - websockets.parked, websockets.parked))
    metrics.watch_event_streams(lambda: websockets.event_streams)
    return websockets


def _watchers(in_force: InForce, stages: Stages, metrics: Metrics, gate: Gate, listener: Listener) -> "Watchers":
    """Make what lets HTTP requests wait. A daemon without such requests doesn't load this module."""
    from .http.watchers import Limits, Watchers

    def limits() -> Limits:
        http = in_force.settings.http
        # Over HTTP/1.1, each of them has a connection. Others must find a place.
        return Limits(min(http.watches, max(1, listener.places.most // 2)), http.watches_per_client)

    return Watchers(stages.pipeline, stages.registry, limits, metrics, Random(), gate.now)


async def _retrack(fleet: Fleet, websockets: WebSocketServer, watchers: LateWatchers, keys: Collection[Key]) -> None:
    """Let the clients of some keys have their right tracks."""
    # The fleet counts again before other tasks may run.
    fleet.recount()
    watchers.wake_keys(keys)
    await websockets.retrack(keys)


def _event_streams(server: WebSocketServer, directory: Path | None, cluster: "Node | None") -> "EventStreams":
    """Make what opens event streams. A daemon without them doesn't load these modules."""
    from .realtime.events.opening import EventStreams
    from .realtime.events.secrets import EventSecrets
    from .state.shared_secret import shared_secret

    read = partial(shared_secret, directory / "secret") if directory is not None else None
    return EventStreams(server, EventSecrets(read, lambda: cluster.secret if cluster is not None else None), Random())


def _stages(
    settings: Settings, keyring: Keyring, metrics: Metrics, process: Process, rules: "Sequence[Rules]", audit: Audit
) -> Stages:
    store = Store(settings.history)
    registry: Registry[Subscriber] = Registry()
    key_usage = KeyUsage(store, registry, settings.history)
    order, tracks = Order(), Tracks()
    fleet = Fleet(settings.fleet, key_usage.version_of, lambda key: order.current(key.label), tracks.change)
    metrics.watch_fleet(fleet.totals)
    encoder = Encoder(timestamp, settings.history.frames_bytes, order.generation)
    broadcaster = Broadcaster(
        registry, encoder.change, trio.current_time, lambda change: fleet.changed(change.key, time.time())
    )
    own = [*own_files(settings), *process.own]
    sources = open_sources(settings, os.environ, Random(), own, process.memory, key_usage.main_labels)
    metrics.watch_sources(sources.reports)
    # The reader asks the sources for four things: a label that no client has asked for yet, the commit before a given
    # commit, the states before the served one, and the commits of labels. The reader has threads of its own, so publications don't wait behind requests.
    reader = ConfigReader(
        store,
        trio.CapacityLimiter(2),
        sources.load,
        sources.before,
        sources,
        sources,
        gate=open_gate(rules),
    )
    collector = Collector()
    accepted = AcceptedStates(process.accepted, sources)
    if not rules and process.accepted is not None and os.path.exists(process.accepted):
        accepted.forget()
    publisher = Publisher(
        settings.formats,
        store,
        key_usage,
        registry,
        broadcaster,
        reader,
        metrics,
        keyring.current.decryptor,
        overrides_of(settings.overrides),
        on_publication=process.trace,
        collector=collector,
        order=order,
        gate=open_gate(rules),
        accepted=accepted,
        on_decision=lambda decision: _record(audit, decision, process.peers.number),
        tracks=tracks,
    )
    pipeline = Pipeline(store, key_usage, registry, broadcaster, encoder, reader, collector, order, tracks)
    return Stages(
        store,
        registry,
        key_usage,
        fleet,
        encoder,
        sources,
        reader,
        publisher,
        pipeline,
        collector,
        order,
        accepted,
        tracks,
    )


def _routes(
    in_force: InForce,
    stages: Stages,
    metrics: Metrics,
    gate: Gate,
    keyring: Keyring,
    websockets: WebSocketServer,
    events: Events,
    monitor: Monitor,
    peers: Peers,
    cluster: "Node | None",
    audit: Audit,
    pins: LatePinKeeper,
    rollouts: LateRolloutKeeper,
    fleet: FleetPages,
    watchers: LateWatchers,
) -> Routes:
    rollbacks = RollBacks(
        stages.store,
        stages.reader,
        stages.sources,
        monitor.spread,
        stages.reader.is_pinned,
        gate=lambda: stages.reader.gate,
    )
    return standard_routes(
        stages.reader,
        metrics,
        stages.sources.reports,
        peers=peers,
        more=[
            monitor,
            Connections(websockets.connected, peers),
            events,
            Explain(stages.reader),
            Difference(stages.reader, timestamp()),
            History(stages.reader),
            fleet,
            *(_cluster_endpoints(cluster, fleet, audit) if cluster is not None else ()),
            KeyList(stages.reader),
            AuditLog(audit, peers),
            GateEndpoint(stages.reader, stages.publisher, audit, peers),
            RollBack(rollbacks, stages.reader, audit, metrics, peers),
            Pins(pins, stages.reader),
            LiftedPin(pins, stages.reader),
            Rollouts(rollouts, stages.reader),
            *encryption_endpoints(keyring),
            console(is_served=in_force.settings.console.enabled),
        ],
        is_open=lambda: gate.is_open,
        settings=in_force.settings.http,
        cluster=cluster.report if cluster is not None else None,
        pins=lambda: [pin_members(each, stages.reader.term) for each in pins.pins],
        tracks=stages.pipeline,
        beside=lambda ordinary: [Watch(ordinary, stages.pipeline, watchers)],
        rollouts=lambda: short_members(rollouts),
    )


def _access(new: NewSettings) -> tuple[AuthSettings, Authority, str | None]:
    """Return the settings and rights that the gate decides by."""
    return new.settings.auth, new.files.authority, pages_of(new.settings, new.files)


def bound_addresses(settings: Settings, inherited: Inherited) -> list[Address]:
    """Return the addresses at which clients reach the server.

    If systemd passed sockets, these are their addresses, else the addresses in the settings.
    """
    if not inherited.activated:
        return [parse_address(text) for text in settings.server.bind]
    names = [each.getsockname() for each in inherited.activated]
    return [Address(path=str(name)) if isinstance(name, str | bytes) else Address(name[0], name[1]) for name in names]
