"""The composition root: `build` makes all parts of a daemon, fully wired, and `Daemon.run` runs them.

Each part gets its neighbours when it is made, so `build` makes the parts in the order of the pipeline, and nothing is set afterwards. `Daemon` owns
the root nursery, the signals and the order of shutdown. What runs: the sources, which publish as one, one listener that accepts, a task per
connection. What ends it: SIGTERM or SIGINT (the drain, then exit), or an error nobody expects (loudly). SIGHUP is for `reload`.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import structlog
import trio

from .auth import Authority, Gate
from .auth.credential_files import NamedFiles, load_named_files
from .core.text import rfc3339
from .encryption.files import Keyring
from .fleet import Fleet
from .http.app import create_app
from .http.connections import Connections
from .http.console import console_routes
from .http.difference import Difference
from .http.encryption import encryption_routes
from .http.explain import Explain
from .http.fleet import FleetPages
from .http.hypercorn import Bridge
from .http.monitor import Monitor
from .http.openapi import OpenApi
from .http.routes import Routes, standard_routes
from .net.inherited import Inherited, inherit
from .net.listener import Accepted, Listener
from .net.tls import Tls
from .observe.metrics import Metrics
from .observe.publication import Publication
from .observe.tracing import tracing
from .pipeline.broadcast import Broadcaster, Subscriber
from .pipeline.key_usage import KeyUsage
from .pipeline.pipeline import Pipeline
from .pipeline.publisher import Publisher
from .pipeline.reader import ConfigReader
from .pipeline.registry import Registry
from .pipeline.state import overrides_of
from .pipeline.store import Store
from .process import systemd
from .process.late_signals import LateSignals
from .process.peers import Peers, WorkerSlot
from .protocol.encoder import Encoder
from .realtime.server import WebSocketServer
from .reload import (
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
from .settings.file import own_files
from .settings.sections import Address, AuthSettings, GitSettings, Settings, parse_address
from .source.composite import Sources, open_sources

log = structlog.get_logger()

Started = Callable[[Sequence[str]], None]
# Seconds between two looks at how late the loop is.
_LAG_INTERVAL = 0.1
# Seconds between two words for `systemctl status`.
_STATUS_INTERVAL = 10.0
# Seconds that those who came while nobody served may wait for the first complete state, before they are told that we are starting.
_PATIENCE = 5.0
# Of the drain, the part in which clients are told one after the other; the rest is for those who are slow to go.
_DRAIN_SPREAD = 0.6
# Seconds that a thread which computes may keep the interpreter from the loop, at each of the loop's system calls. With Python's own 5 ms,
# a request that takes ten of them takes a tenth of a second while two threads compute.
_SWITCH_INTERVAL = 0.0005


def run(
    settings: Settings,
    started: Started,
    read: Callable[[], Settings] | None = None,
    listening: Sequence[socket.socket] = (),
    slot: WorkerSlot | None = None,
    file: Path | None = None,
    memory: Path | None = None,
) -> None:
    """Serve until a signal ends it, and return once everybody has been let go.

    Args:
        settings: With absolute paths.
        started: Called with the bound addresses as URLs once the sockets are bound and the first complete state is served.
        read: Reads the settings again, for SIGHUP; raises SettingsError, and then nothing changes.
        listening: Sockets that were bound for us, where we are one of several workers.
        slot: Which one, then.
        file: Where the settings come from, if from a file; never served, like all the files that they name.
        memory: Where the last good content of directories is kept; None if it isn't. Never served.

    Raises:
        SettingsError: The files that [auth], [tls] and [encryption] name can't be used.
        StartError: The daemon can't start.
    """
    peers = Peers(slot)
    inherited = Inherited(tuple(listening)) if slot else inherit(os.environ, os.getpid())
    files = load_named_files(settings, _bound(settings, inherited), os.environ)
    notifier = peers.notifier or systemd.Notifier(os.environ, os.getpid())
    own = [str(each) for each in (file, memory) if each is not None]
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with tracing(settings.tracing) as trace, LateSignals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as late:
        process = Process(inherited, notifier, peers, own, memory, trace)

        async def serve() -> None:
            await build(settings, files, read or (lambda: settings), process).run(started, late)

        trio.run(serve)


def _bound(settings: Settings, inherited: Inherited) -> list[Address]:
    """Where we are reached: by the sockets of systemd, if there are any, else by those of the settings."""
    if not inherited.activated:
        return [parse_address(text) for text in settings.server.bind]
    names = [each.getsockname() for each in inherited.activated]
    return [Address(path=str(name)) if isinstance(name, str | bytes) else Address(name[0], name[1]) for name in names]


@attrs.frozen(eq=False)
class Process:
    """What a daemon gets from its process.

    Attributes:
        inherited: The sockets that were bound for it.
        notifier: Where its state goes: to systemd, or to the supervisor.
        peers: The other workers on the same port.
        own: Files that are never served, beside those that settings name.
        memory: Where the last good content of directories is kept; None if it isn't.
        trace: Called with each publication; None where nobody traces.
    """

    inherited: Inherited
    notifier: systemd.Notifier
    peers: Peers
    own: Sequence[str] = ()
    memory: Path | None = None
    trace: Callable[[Publication], None] | None = None


@attrs.frozen(eq=False)
class Stages:
    """The parts that a configuration passes on its way, and those that know which keys are in use."""

    store: Store
    registry: Registry[Subscriber]
    key_usage: KeyUsage[Subscriber]
    fleet: Fleet
    encoder: Encoder
    sources: Sources
    reader: ConfigReader
    publisher: Publisher
    pipeline: Pipeline


@attrs.frozen(eq=False)
class Daemon:
    """All parts, wired. `build` makes it."""

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

    async def run(self, started: Started, late: LateSignals) -> None:
        """Serve until a signal ends it; see the function `run`. Returns after a drain; a second signal cancels what is left at once."""
        with (
            _ends(self.process.peers) as ends,
            trio.open_signal_receiver(signal.SIGHUP) as reloads,
        ):
            late.are_awaited()
            urls = await self.listener.bind()
            async with trio.open_nursery() as root:
                root.start_soon(partial(self.stages.sources.run, self.stages.publisher.publish), name="sources")
                root.start_soon(self.stages.publisher.run)
                root.start_soon(self._announce, started, urls)
                root.start_soon(_watch_loop, self.metrics)
                root.start_soon(self.process.peers.run)
                root.start_soon(self.reload.run, reloads)
                ended = trio.Event()
                root.start_soon(_stop, ends, root.cancel_scope, ended)
                await self._accept(ended)
                root.cancel_scope.cancel()
            late.over()
        log.info("stopped")

    async def _accept(self, ended: trio.Event) -> None:
        """Serve connections until the event, and then drain them. The nursery inside ends with the last of them, or at the drain's deadline."""
        async with trio.open_nursery() as connections:
            await connections.start(self.websockets.park)
            serve = self._serve_websocket, self.bridge.serve, self._wait_served
            connections.start_soon(self.listener.serve, connections, *serve)
            await ended.wait()
            log.info("stopping", connections=len(self.websockets))
            self.process.notifier.stopping()
            timeout = self.in_force.settings.server.drain_timeout
            connections.cancel_scope.deadline = trio.current_time() + timeout
            self.listener.stop_accepting()
            await self.bridge.drain()
            await self.websockets.drain(timeout * _DRAIN_SPREAD)
            await self.listener.wait_settled()

    async def _serve_websocket(self, accepted: Accepted) -> bool:
        return await self.websockets.serve(
            accepted.stream, accepted.head, accepted.target, accepted.connection_id, accepted.sender
        )

    async def _wait_served(self) -> None:
        """Wait, for a while, until something is served, if clients could connect before we ran: a restart behind an open socket refuses nobody."""
        if self.process.inherited.activated or self.process.inherited.stored:
            with trio.move_on_after(_PATIENCE):
                await self.stages.publisher.wait_ready()

    async def _announce(self, started: Started, urls: Sequence[str]) -> None:
        """Say that we serve once we do, and from then on how it goes, from the loop that serves: a stuck one falls silent."""
        await self.stages.publisher.wait_ready()
        log.info("ready", addresses=list(urls))
        started(urls)
        notifier = self.process.notifier
        notifier.ready("serving")
        with contextlib.ExitStack() as duplicates:
            notifier.store([duplicates.enter_context(each) for each in self.listener.storable()])
        # A third, for one may be late or lost.
        interval = min(notifier.watchdog / 3 if notifier.watchdog else _STATUS_INTERVAL, _STATUS_INTERVAL)
        while True:
            await trio.sleep(interval)
            counts = len(self.websockets), self.websockets.parked
            broken = [*self.stages.reader.broken.values()]
            notifier.status(systemd.describe(*counts, self.stages.sources.reports(), broken, self.reload.outcome))


def build(settings: Settings, files: NamedFiles, read: Callable[[], Settings], process: Process) -> Daemon:
    """Make all parts of a daemon, fully wired. Binds no socket, reads no source and runs nothing.

    Args:
        settings: With absolute paths.
        files: What the files hold that the settings name.
        read: Reads the settings again, for SIGHUP; raises SettingsError, and then nothing changes.
    """
    bound = _bound(settings, process.inherited)
    in_force, metrics = InForce(settings), Metrics()
    tls, keyring = Tls(files.context), Keyring(files.encryption)
    gate = Gate(settings.auth, files.authority, bound, time.time, trio.current_time, pages_of(settings, files))
    stages = _stages(settings, keyring, metrics, process)
    listener = Listener(settings.server, process.inherited, tls)
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
    metrics.watch_tasks(lambda: trio.lowlevel.current_statistics().tasks_living)
    metrics.watch_connections(lambda: (len(websockets) - websockets.parked, websockets.parked))
    monitor = Monitor(stages.sources, settings.monitor, process.peers, lambda: [*stages.reader.broken.values()])
    if gate.is_open and not settings.monitor.secret and any(isinstance(each, GitSettings) for each in settings.source):
        log.warning(
            "webhooks unsigned", consequence="whoever reaches us can make us fetch", remedy="set monitor.secret"
        )
    routes = _routes(in_force, stages, metrics, gate, keyring, websockets, monitor, process.peers)
    app = create_app(routes, metrics, lambda: in_force.settings.server.body_bytes, timestamp, gate)
    bridge = Bridge(app, settings.server)
    # In the order in which they apply new settings: rights first, for open connections are checked against them.
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
        Realtime(websockets),
        Logging(),
        OpenSources(stages.sources, process.own, process.memory),
        Resolution(keyring, stages.publisher),
        Parsing(stages.publisher),
    ]
    reload = Reload(in_force, parts, read, bound, metrics, process.notifier)
    return Daemon(in_force, process, gate, metrics, stages, listener, websockets, bridge, routes, reload)


def _stages(settings: Settings, keyring: Keyring, metrics: Metrics, process: Process) -> Stages:
    store = Store(settings.history)
    registry: Registry[Subscriber] = Registry()
    key_usage = KeyUsage(store, registry, settings.history)
    fleet = Fleet(settings.fleet, key_usage.version_of)
    metrics.watch_fleet(fleet.totals)
    encoder = Encoder(timestamp, settings.history.frames_bytes)
    broadcaster = Broadcaster(
        registry, encoder.change, trio.current_time, lambda change: fleet.changed(change.key, time.time())
    )
    own = [*own_files(settings), *process.own]
    sources = open_sources(settings, os.environ, Random(), own, process.memory, key_usage.main_labels)
    metrics.watch_sources(sources.reports)
    # Two questions go from the reader back to the sources: for a label that nobody has asked for yet, and for the commit before one.
    # The reader has threads of its own, so publications don't wait behind requests.
    reader = ConfigReader(store, trio.CapacityLimiter(2), sources.load, sources.before)
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
    )
    pipeline = Pipeline(store, key_usage, registry, broadcaster, encoder, reader)
    return Stages(store, registry, key_usage, fleet, encoder, sources, reader, publisher, pipeline)


def _routes(
    in_force: InForce,
    stages: Stages,
    metrics: Metrics,
    gate: Gate,
    keyring: Keyring,
    websockets: WebSocketServer,
    monitor: Monitor,
    peers: Peers,
) -> Routes:
    return standard_routes(
        stages.reader,
        metrics,
        stages.sources.reports,
        peers=peers,
        more={
            "/monitor": monitor,
            "/api/v1/connections": Connections(websockets.connected, peers),
            "/api/v1/explain/": Explain(stages.reader),
            "/api/v1/diff/": Difference(stages.reader, timestamp()),
            OpenApi.route: OpenApi(lambda: in_force.settings.http.prefix, lambda: gate.is_open),
            FleetPages.route: FleetPages(stages.fleet, stages.reader, time.time, peers),
            **encryption_routes(keyring),
            **(console_routes() if in_force.settings.console.enabled else {}),
        },
        settings=in_force.settings.http,
    )


def _access(new: NewSettings) -> tuple[AuthSettings, Authority, str | None]:
    """What the gate judges by."""
    return new.settings.auth, new.files.authority, pages_of(new.settings, new.files)


async def _watch_loop(metrics: Metrics) -> None:
    """Measure how late the loop is, by being woken at times that are known before."""
    while True:
        due = trio.current_time() + _LAG_INTERVAL
        await trio.sleep_until(due)
        metrics.loop_late(trio.current_time() - due)


@contextlib.contextmanager
def _ends(peers: Peers) -> Iterator[AsyncIterator[int]]:
    """The signals that end us: the process's own, or those of the supervisor."""
    if peers.are_there:
        yield peers.stops
    else:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            yield signals


async def _stop(signals: AsyncIterator[int], scope: trio.CancelScope, ended: trio.Event) -> None:
    """Let the first signal begin the drain, and a second one cancel what is left."""
    log.info("signal received", signal=signal.Signals(await anext(signals)).name)
    ended.set()
    log.warning("stopping at once", signal=signal.Signals(await anext(signals)).name)
    scope.cancel()


def timestamp() -> str:
    """The current time as RFC 3339, UTC, with milliseconds."""
    return rfc3339(time.time())
