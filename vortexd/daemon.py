"""Runs the parts that `composition` has made: owns the root nursery, the signals and the order of shutdown.

What runs: the sources, which publish as one, one listener that accepts, a task per connection. What ends it: SIGTERM or SIGINT (the drain, then
exit), or an error nobody expects (loudly). SIGHUP is for `reload`.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio

from .auth.credential_files import load_named_files
from .composition import Parts, Process, bound_addresses, build
from .net.inherited import Inherited, inherit
from .net.listener import Accepted
from .observe.metrics import Metrics
from .observe.tracing import tracing
from .process import systemd
from .process.late_signals import LateSignals
from .process.peers import Peers, WorkerSlot
from .settings.root import Settings

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
    files = load_named_files(settings, bound_addresses(settings, inherited), os.environ)
    notifier = peers.notifier or systemd.Notifier(os.environ, os.getpid())
    own = [str(each) for each in (file, memory) if each is not None]
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with tracing(settings.tracing) as trace, LateSignals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as late:
        process = Process(inherited, notifier, peers, own, memory, trace)

        async def serve() -> None:
            daemon = Daemon(build(settings, files, read or (lambda: settings), process))
            # Modules and parts live as long as the process. A full collection that examines them holds the loop for 70 ms.
            gc.collect()
            gc.freeze()
            await daemon.run(started, late)

        trio.run(serve)


class Daemon:
    """Runs the parts of a daemon.

    Args:
        parts: As `build` has made them.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._process = parts.process
        self._stages = parts.stages

    async def run(self, started: Started, late: LateSignals) -> None:
        """Serve until a signal ends it; see the function `run`. Returns after a drain; a second signal cancels what is left at once."""
        with (
            _ends(self._process.peers) as ends,
            trio.open_signal_receiver(signal.SIGHUP) as reloads,
        ):
            late.are_awaited()
            urls = await self._parts.listener.bind()
            async with trio.open_nursery() as root:
                root.start_soon(partial(self._stages.sources.run, self._stages.publisher.publish), name="sources")
                root.start_soon(self._stages.publisher.run)
                root.start_soon(self._announce, started, urls)
                root.start_soon(_watch_loop, self._parts.metrics)
                root.start_soon(self._process.peers.run)
                root.start_soon(self._parts.reload.run, reloads)
                ended = trio.Event()
                root.start_soon(_stop, ends, root.cancel_scope, ended)
                await self._accept(ended)
                root.cancel_scope.cancel()
            late.over()
        log.info("stopped")

    async def _accept(self, ended: trio.Event) -> None:
        """Serve connections until the event, and then drain them. The nursery inside ends with the last of them, or at the drain's deadline."""
        async with trio.open_nursery() as connections:
            await connections.start(self._parts.websockets.park)
            serve = self._serve_websocket, self._parts.bridge.serve, self._wait_served
            connections.start_soon(self._parts.listener.serve, connections, *serve)
            await ended.wait()
            log.info("stopping", connections=len(self._parts.websockets))
            self._process.notifier.stopping()
            timeout = self._parts.in_force.settings.server.drain_timeout
            connections.cancel_scope.deadline = trio.current_time() + timeout
            self._parts.listener.stop_accepting()
            await self._parts.bridge.drain()
            await self._parts.websockets.drain(timeout * _DRAIN_SPREAD)
            await self._parts.listener.wait_settled()

    async def _serve_websocket(self, accepted: Accepted) -> bool:
        return await self._parts.websockets.serve(
            accepted.stream, accepted.head, accepted.target, accepted.connection_id, accepted.sender
        )

    async def _wait_served(self) -> None:
        """Wait, for a while, until something is served, if clients could connect before we ran: a restart behind an open socket refuses nobody."""
        if self._process.inherited.activated or self._process.inherited.stored:
            with trio.move_on_after(_PATIENCE):
                await self._stages.publisher.wait_ready()

    async def _announce(self, started: Started, urls: Sequence[str]) -> None:
        """Say that we serve once we do, and from then on how it goes, from the loop that serves: a stuck one falls silent."""
        await self._stages.publisher.wait_ready()
        log.info("ready", addresses=list(urls))
        started(urls)
        notifier = self._process.notifier
        notifier.ready("serving")
        with contextlib.ExitStack() as duplicates:
            notifier.store([duplicates.enter_context(each) for each in self._parts.listener.storable()])
        # A third, for one may be late or lost.
        interval = min(notifier.watchdog / 3 if notifier.watchdog else _STATUS_INTERVAL, _STATUS_INTERVAL)
        while True:
            await trio.sleep(interval)
            counts = len(self._parts.websockets), self._parts.websockets.parked
            broken = [*self._stages.reader.broken.values()]
            notifier.status(
                systemd.describe(*counts, self._stages.sources.reports(), broken, self._parts.reload.outcome)
            )


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
