"""Runs the parts that `composition` has made: owns the root nursery, the signals and the order of shutdown.

The root nursery runs the sources, which publish as one source, and one listener. Each connection has a task of its own.
SIGTERM and SIGINT end the daemon: it drains the connections and exits. An unexpected error ends it with a traceback.
`reload` handles SIGHUP.
"""

import contextlib
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
from .observe.loop_lag import LoopLag
from .observe.tracing import tracing
from .process import imports, systemd
from .process.late_signals import LateSignals
from .process.peers import Peers, WorkerSlot
from .settings.root import Settings
from .settings.state_directory import (
    accepted_directory,
    audit_directory,
    events_directory,
    fleet_directory,
    pins_directory,
    rollouts_directory,
)

log = structlog.get_logger()

Started = Callable[[Sequence[str]], None]
# Seconds between two status texts for `systemctl status`.
_STATUS_INTERVAL = 10.0
# Sockets may have been open before the server ran. Clients that connected then wait this many seconds for the first
# complete state. After that the server answers that it is starting.
_PATIENCE = 5.0
# Seconds that the server waits for a slow disk before it serves without the acknowledgements from before the restart.
_MEMORY_PATIENCE = 1.0
# The share of the drain timeout in which the server tells clients one after the other to close. The rest is for clients
# that close slowly.
_DRAIN_SPREAD = 0.6
# Seconds that a computing thread may keep the interpreter lock at each system call of the event loop. With Python's
# default of 5 ms, a request with ten system calls takes a tenth of a second while two threads compute.
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
    """Serve until a signal ends the daemon, and return once all connections are closed.

    Args:
        settings: The settings, with absolute paths.
        started: Called with the bound addresses as URLs, once the sockets are bound and the first complete state is
            served.
        read: Reads the settings again, for SIGHUP. If it raises SettingsError, nothing changes.
        listening: The sockets that the supervisor has bound, if this process is one of several workers.
        slot: The slot of this worker, if it is one of several.
        file: The file that the settings come from, if there is one. Like all files that the settings name, it is never
            served.
        memory: Where the server keeps the last good content of directories, or None if it keeps no state. What
            instances have acknowledged is kept beside it. Never served.

    Raises:
        SettingsError: The files that [auth], [tls] and [encryption] name can't be used.
        StartError: The daemon can't start.
    """
    peers = Peers(slot)
    inherited = Inherited(tuple(listening)) if slot else inherit(os.environ, os.getpid())
    files = load_named_files(settings, bound_addresses(settings, inherited), os.environ)
    notifier = peers.notifier or systemd.Notifier(os.environ, os.getpid())
    audit, accepted, pins = audit_directory(memory), accepted_directory(memory), pins_directory(memory)
    rollouts, events = rollouts_directory(memory), events_directory(memory)
    state = memory, fleet_directory(memory), audit, accepted, pins, rollouts, events
    own = [str(each) for each in (file, *state) if each is not None]
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with tracing(settings.tracing) as trace, LateSignals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as late:
        process = Process(inherited, notifier, peers, own, memory, trace, audit, accepted, pins, rollouts, events)

        async def serve() -> None:
            daemon = Daemon(build(settings, files, read or (lambda: settings), process))
            # Modules and parts live as long as the process. A full collection that examines them holds the loop for 70 ms.
            imports.freeze()
            await daemon.run(started, late)

        trio.run(serve)


class Daemon:
    """Runs the parts of a daemon.

    Args:
        parts: The parts, as `build` has made them.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._process = parts.process
        self._stages = parts.stages

    async def run(self, started: Started, late: LateSignals) -> None:
        """Serve until a signal ends the daemon; see the function `run`.

        Return after the drain. A second signal ends the drain at once.
        """
        with (
            _ends(self._process.peers) as ends,
            trio.open_signal_receiver(signal.SIGHUP) as reloads,
        ):
            late.are_awaited()
            urls = await self._parts.listener.bind()
            # The first publication must have the pins and the roll-outs already.
            await self._parts.pins.load()
            await self._parts.rollouts.load()
            async with trio.open_nursery() as root:
                root.start_soon(partial(self._stages.sources.run, self._parts.publish), name="sources")
                if self._parts.stand_in is not None:
                    root.start_soon(self._parts.stand_in.run, self._parts.publish_here, name="stand-in")
                root.start_soon(self._stages.publisher.run)
                root.start_soon(self._stages.collector.run)
                root.start_soon(self._stages.accepted.run)
                root.start_soon(self._parts.audit.run)
                root.start_soon(self._announce, started, urls)
                trio.lowlevel.add_instrument(LoopLag(self._parts.metrics.loop_late))
                root.start_soon(self._process.peers.run)
                root.start_soon(self._parts.pins.run)
                root.start_soon(self._parts.rollouts.run)
                root.start_soon(self._parts.acknowledgements.run)
                root.start_soon(self._parts.arrivals.run)
                if self._parts.cluster is not None:
                    root.start_soon(self._parts.cluster.run, name="cluster")
                if self._parts.departures is not None:
                    root.start_soon(self._parts.departures.run)
                root.start_soon(self._parts.reload.run, reloads)
                ended = trio.Event()
                root.start_soon(_stop, ends, root.cancel_scope, ended)
                try:
                    await self._accept(ended)
                finally:
                    # All connections have ended, so all instances have left.
                    await self._parts.acknowledgements.close()
                root.cancel_scope.cancel()
            late.over()
        log.info("stopped")

    async def _accept(self, ended: trio.Event) -> None:
        """Serve connections until the event is set, and then drain them.

        The inner nursery ends with the last connection, or at the deadline of the drain.
        """
        async with trio.open_nursery() as connections:
            await connections.start(self._parts.websockets.park)
            serve = self._serve_websocket, self._parts.bridge.serve, self._wait_served
            connections.start_soon(self._parts.listener.serve, connections, *serve, self._parts.websockets.serve_now)
            await ended.wait()
            log.info("stopping", connections=len(self._parts.websockets))
            self._process.notifier.stopping()
            if self._parts.cluster is not None:
                self._parts.cluster.drain()
            timeout = self._parts.in_force.settings.server.drain_timeout
            connections.cancel_scope.deadline = trio.current_time() + timeout
            self._parts.listener.stop_accepting()
            await self._parts.bridge.drain()
            self._parts.watchers.drain()
            await self._parts.websockets.drain(timeout * _DRAIN_SPREAD)
            await self._parts.listener.wait_settled()

    async def _serve_websocket(self, accepted: Accepted) -> bool:
        return await self._parts.websockets.serve(
            accepted.stream, accepted.head, accepted.target, accepted.connection_id, accepted.sender
        )

    async def _wait_served(self) -> None:
        """Wait a bounded time for the first complete state, if clients could connect before the server ran.

        So a restart behind an open socket refuses no client.
        """
        if self._process.inherited.activated or self._process.inherited.stored:
            with trio.move_on_after(_PATIENCE):
                await self._stages.publisher.wait_ready()

    async def _announce(self, started: Started, urls: Sequence[str]) -> None:
        """Announce once that the server serves. From then on send its status and feed the watchdog.

        This task runs in the event loop that serves. If the loop is stuck, the watchdog no longer gets messages.
        """
        await self._stages.publisher.wait_ready()
        await self._parts.acknowledgements.wait_looked(_MEMORY_PATIENCE)
        log.info("ready", addresses=list(urls))
        started(urls)
        notifier = self._process.notifier
        notifier.ready("serving")
        with contextlib.ExitStack() as duplicates:
            notifier.store([duplicates.enter_context(each) for each in self._parts.listener.storable()])
        # A third of the watchdog's time, because a message may be late or lost.
        interval = min(notifier.watchdog / 3 if notifier.watchdog else _STATUS_INTERVAL, _STATUS_INTERVAL)
        while True:
            await trio.sleep(interval)
            counts = len(self._parts.websockets), self._parts.websockets.parked
            broken = [*self._stages.reader.broken.values()]
            notifier.status(
                systemd.describe(*counts, self._stages.sources.reports(), broken, self._parts.reload.outcome)
            )


@contextlib.contextmanager
def _ends(peers: Peers) -> Iterator[AsyncIterator[int]]:
    """Receive the signals that end the daemon: the process's own signals, or the supervisor's in a worker."""
    if peers.are_there:
        yield peers.stops
    else:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            yield signals


async def _stop(signals: AsyncIterator[int], scope: trio.CancelScope, ended: trio.Event) -> None:
    """Begin the drain at the first signal, and cancel the remaining tasks at the second."""
    log.info("signal received", signal=signal.Signals(await anext(signals)).name)
    ended.set()
    log.warning("stopping at once", signal=signal.Signals(await anext(signals)).name)
    scope.cancel()
