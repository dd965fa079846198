"""The composition root: builds the stages, puts the pipeline together, owns the root nursery, the signals and the order of shutdown.

What runs: the sources, which publish to the pipeline as one, one listener that accepts, a task per connection. What ends it: SIGTERM or SIGINT
(the drain, then exit), or an error nobody expects (loudly). SIGHUP is for `reload`.
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

import structlog
import trio

from .auth import Gate
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
from .http.routes import standard_routes
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
from .reload import Parts, Reload, pages_of
from .settings.file import own_files
from .settings.sections import Address, GitSettings, Settings, parse_address
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
        seat: Which one, then.
        file: Where the settings come from, if from a file; never served, like all the files that they name.
        memory: Where the last good content of directories is kept; None if it isn't. Never served.

    Raises:
        SettingsError: The files that [auth], [tls] and [encryption] name can't be used.
        StartError: The daemon can't start.
    """
    peers = Peers(slot)
    inherited = Inherited(tuple(listening)) if slot else inherit(os.environ, os.getpid())
    bound = _bound(settings, inherited)
    files = load_named_files(settings, bound, os.environ)
    notifier = peers.notifier or systemd.Notifier(os.environ, os.getpid())
    own = [str(each) for each in (file, memory) if each is not None]
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with tracing(settings.tracing) as trace, LateSignals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as late:
        trio.run(
            partial(serve, trace=trace, memory=memory),
            *(settings, files, started, read or (lambda: settings), late, inherited, notifier, peers, own),
        )


def _bound(settings: Settings, inherited: Inherited) -> list[Address]:
    """Where we are reached: by the sockets of systemd, if there are any, else by those of the settings."""
    if not inherited.activated:
        return [parse_address(text) for text in settings.server.bind]
    names = [each.getsockname() for each in inherited.activated]
    return [Address(path=str(name)) if isinstance(name, str | bytes) else Address(name[0], name[1]) for name in names]


async def serve(
    settings: Settings,
    files: NamedFiles,
    started: Started,
    read: Callable[[], Settings],
    late: LateSignals,
    inherited: Inherited,
    notifier: systemd.Notifier,
    peers: Peers,
    own: Sequence[str],
    trace: Callable[[Publication], None] | None = None,
    memory: Path | None = None,
) -> None:
    """Run the daemon; see `run`. Returns after a drain; a second signal cancels what is left at once."""
    bound = _bound(settings, inherited)
    tls, keyring = Tls(files.context), Keyring(files.encryption)
    gate = Gate(settings.auth, files.authority, bound, time.time, trio.current_time, pages_of(settings, files))
    metrics = Metrics()
    reload = Reload(settings, read, bound, metrics, notifier)
    store = Store(settings.history)
    registry: Registry[Subscriber] = Registry()
    key_usage = KeyUsage(store, registry, settings.history)
    fleet = Fleet(settings.fleet, key_usage.version_of)
    metrics.watch_fleet(fleet.totals)
    encoder = Encoder(timestamp, settings.history.frames_bytes)
    broadcaster = Broadcaster(
        registry, encoder.change, trio.current_time, lambda change: fleet.changed(change.key, time.time())
    )
    sources = open_sources(settings, os.environ, Random(), [*own_files(settings), *own], memory, key_usage.main_labels)
    # Two questions go from the reader back to the sources: for a label that nobody has asked for yet, and for the commit before one.
    # The reader has threads of its own, so publications don't wait behind requests.
    reader = ConfigReader(store, settings.formats, trio.CapacityLimiter(2), sources.load, sources.before)
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
        on_publication=trace,
    )
    pipeline = Pipeline(store, key_usage, registry, broadcaster, encoder, reader)
    metrics.watch_sources(sources.reports)
    listener = Listener(settings.server, inherited, tls)
    websockets = WebSocketServer(
        pipeline,
        registry,
        settings.realtime,
        metrics,
        timestamp,
        Random(),
        gate,
        settings.auth.connections_per_token,
        listener.leave,
        fleet,
    )
    metrics.watch_tasks(lambda: trio.lowlevel.current_statistics().tasks_living)
    metrics.watch_connections(lambda: (len(websockets) - websockets.parked, websockets.parked))
    monitor = Monitor(sources, settings.monitor, peers, lambda: [*reader.broken.values()])
    if gate.is_open and not settings.monitor.secret and any(isinstance(each, GitSettings) for each in settings.source):
        log.warning(
            "webhooks unsigned", consequence="whoever reaches us can make us fetch", remedy="set monitor.secret"
        )
    routes = standard_routes(
        reader,
        metrics,
        sources.reports,
        peers=peers,
        more={
            "/monitor": monitor,
            "/api/v1/connections": Connections(websockets.connected, peers),
            "/api/v1/explain/": Explain(reader),
            "/api/v1/diff/": Difference(reader, timestamp()),
            OpenApi.route: OpenApi(lambda: reload.settings.http.prefix, lambda: gate.is_open),
            FleetPages.route: FleetPages(fleet, reader, time.time, peers),
            **encryption_routes(keyring),
            **(console_routes() if settings.console.enabled else {}),
        },
        settings=settings.http,
    )
    app = create_app(routes, metrics, lambda: reload.settings.server.body_bytes, timestamp, gate)
    bridge = Bridge(app, settings.server)
    parts = Parts(
        gate,
        tls,
        keyring,
        sources,
        publisher,
        store,
        key_usage,
        encoder,
        fleet,
        listener,
        bridge,
        websockets,
        monitor,
        routes,
        own,
        memory,
    )

    async def serve_websocket(accepted: Accepted) -> bool:
        return await websockets.serve(
            accepted.stream, accepted.head, accepted.target, accepted.connection_id, accepted.sender
        )

    async def served_at_once() -> None:
        if inherited.activated or inherited.stored:
            # A restart behind a socket that stayed open turns nobody away.
            with trio.move_on_after(_PATIENCE):
                await publisher.wait_ready()

    with (
        _ends(peers) as ends,
        trio.open_signal_receiver(signal.SIGHUP) as reloads,
    ):
        late.are_awaited()
        urls = await listener.bind()
        async with trio.open_nursery() as root:
            root.start_soon(partial(sources.run, publisher.publish), name="sources")
            root.start_soon(publisher.run)
            root.start_soon(
                _announce, publisher, reader, started, urls, notifier, listener, websockets, sources, reload
            )
            root.start_soon(_watch_loop, metrics)
            root.start_soon(peers.run)
            root.start_soon(reload.run, parts, reloads)
            ended = trio.Event()
            root.start_soon(_stop, ends, root.cancel_scope, ended)
            async with trio.open_nursery() as connections:
                await connections.start(websockets.park)
                root.start_soon(listener.serve, connections, serve_websocket, bridge.serve, served_at_once)
                await ended.wait()
                log.info("stopping", connections=len(websockets))
                notifier.stopping()
                connections.cancel_scope.deadline = trio.current_time() + settings.server.drain_timeout
                listener.stop_accepting()
                await bridge.drain()
                await websockets.drain(settings.server.drain_timeout * _DRAIN_SPREAD)
                await listener.wait_settled()
            root.cancel_scope.cancel()
        late.over()
    log.info("stopped")


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


async def _announce(
    publisher: Publisher,
    reader: ConfigReader,
    started: Started,
    urls: Sequence[str],
    notifier: systemd.Notifier,
    listener: Listener,
    websockets: WebSocketServer,
    sources: Sources,
    reload: Reload,
) -> None:
    """Say that we serve once we do, and from then on how it goes, from the loop that serves: a stuck one falls silent."""
    await publisher.wait_ready()
    log.info("ready", addresses=list(urls))
    started(urls)
    notifier.ready("serving")
    with contextlib.ExitStack() as duplicates:
        notifier.store([duplicates.enter_context(each) for each in listener.storable()])
    # A third, for one may be late or lost.
    interval = min(notifier.watchdog / 3 if notifier.watchdog else _STATUS_INTERVAL, _STATUS_INTERVAL)
    while True:
        await trio.sleep(interval)
        notifier.status(
            systemd.describe(
                len(websockets), websockets.parked, sources.reports(), [*reader.broken.values()], reload.outcome
            )
        )


def timestamp() -> str:
    """The current time as RFC 3339, UTC, with milliseconds."""
    return rfc3339(time.time())
