"""Runs several workers on one port. It binds the sockets, starts and restarts workers, forwards their messages, and stops them.

The supervisor serves no client, and holds no configuration. It holds the settings with which workers start, which were
valid when they were read. So a settings file that is broken later doesn't prevent a restart. The invariant: an open port
stays open while any worker lives, and the sockets outlive every worker.
"""

import contextlib
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import attrs
import structlog
import trio

from ..aio import threads
from ..core.errors import SettingsError
from ..net import binding
from ..net.inherited import Inherited, inherit
from ..observe import logs
from ..observe.metrics import SupervisorMetrics
from ..settings.root import Settings
from . import systemd
from .late_signals import LateSignals
from .peers import SUPERVISOR
from .peers.link import Link
from .peers.wire import Frame
from .starter import Starter, WorkerProcess

log = structlog.get_logger()
T = TypeVar("T")

# The seconds within which the event loop of a worker must send a message, if systemd sets no watchdog.
_WATCHDOG = 30.0
# Seconds to wait before a worker that ended repeatedly is restarted. After _LIVED seconds the count begins anew.
_PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0)
_LIVED = 60.0
# Seconds in addition to the drain before a worker is killed.
_GRACE = 4.0
_LOOK_INTERVAL = 1.0
_STATUS_INTERVAL = 10.0


@attrs.define(eq=False)
class _Worker:
    """A running worker.

    Attributes:
        heard: When its last message arrived.
        status: Its last status message.
    """

    number: int
    process: WorkerProcess
    link: Link
    heard: float
    is_ready: bool = False
    is_reloading: bool = False
    status: str = "starting"
    # The status at the end of its last reload. Later ones, which come all the time, say nothing about the reload.
    reload_status: str = "reloaded"


def run(
    settings: Settings,
    arguments: Sequence[str],
    started: Callable[[Sequence[str]], None],
    read: Callable[[], Settings],
) -> int:
    """Run `server.workers` workers until a signal ends them, and return the exit status.

    Args:
        settings: Their paths are absolute.
        arguments: The command line for the workers, without the program's name. They read the settings again at SIGHUP.
        started: Called with the bound addresses as URLs once all workers serve.
        read: Reads the settings again, for the supervisor's own part. It raises SettingsError.

    Raises:
        StartError: An address can't be bound.
    """
    inherited = inherit(os.environ, os.getpid())
    notifier = systemd.Notifier(os.environ, os.getpid())
    with LateSignals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as late:
        return trio.run(Supervisor(settings, arguments, started, notifier, read).run, inherited, late)


class Supervisor:
    """Runs the workers (see `run`)."""

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str],
        started: Callable[[Sequence[str]], None],
        notifier: systemd.Notifier,
        read: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        self._read = read
        self._starter = Starter([sys.executable, "-m", "vortexd.cli.worker", *arguments], pickle.dumps(settings))
        self._started = started
        self._notifier = notifier
        self._watchdog = notifier.watchdog or _WATCHDOG
        self._metrics = SupervisorMetrics(settings.server.workers)
        self._workers: dict[int, _Worker] = {}
        self._stopping = trio.Event()
        self._status = 0
        self._is_announced = self._is_reloading = self._has_reloaded = False
        self._announce: Callable[[], None] = lambda: None

    async def run(self, inherited: Inherited, late: LateSignals) -> int:
        """Run until all workers have ended. Returns the exit status."""
        server = self._settings.server
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as ends,
            trio.open_signal_receiver(signal.SIGHUP) as reloads,
        ):
            late.are_awaited()
            # The fork server imports while the addresses are bound.
            async with self._starter:
                bound = await binding.bind(server.bind, inherited, server.workers)
                self._announce = partial(self._announce_ready, bound)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._handle_signals, ends)
                    nursery.start_soon(self._reload, reloads)
                    nursery.start_soon(self._watch)
                    nursery.start_soon(self._stop, bound)
                    async with trio.open_nursery() as keeping:
                        for number in range(server.workers):
                            keeping.start_soon(self._keep_running, number, bound)
                    nursery.cancel_scope.cancel()
                bound.close()
            late.over()
        log.info("stopped")
        return self._status

    # Workers.

    async def _keep_running(self, number: int, bound: binding.Bound) -> None:
        """Run a worker until the supervisor stops, and restart it when it ends.

        If it ends before all workers have been ready, the supervisor stops instead.
        """
        ends = 0
        while not self._stopping.is_set():
            began = trio.current_time()
            status = await self._run_worker(number, bound)
            if self._stopping.is_set():
                return
            if not self._is_announced:
                # The worker has logged the reason.
                self._status = status if status in (1, 2) else 1
                self._stopping.set()
                return
            ends = 0 if trio.current_time() - began >= _LIVED else ends + 1
            pause = _PAUSES[min(ends, len(_PAUSES)) - 1] if ends else 0.0
            log.error("worker ended", worker=number, status=status, started_again_in=pause)
            self._metrics.restarted(number)
            with trio.move_on_after(pause):
                await self._stopping.wait()

    async def _run_worker(self, number: int, bound: binding.Bound) -> int:
        """Run one worker until it ends, and return its exit status. If the supervisor stops before it has started, return 0."""
        values = {"number": number, "count": self._settings.server.workers, "watchdog": self._watchdog}
        listening = [each.fileno() for each in bound.share(number)]
        started = await self._unless_stopped(partial(self._starter.start, values, listening))
        if started is None:
            return 0
        process, ours = started
        link = Link(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        worker = _Worker(number, process, link, trio.current_time())
        self._workers[number] = worker
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run, partial(self._receive, worker))
                if self._stopping.is_set():
                    link.say(Frame("stop"))
                status = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            del self._workers[number]
            if process.returncode is None:
                process.kill()
            self._check_reloaded()
        return status

    async def _unless_stopped(self, start: Callable[[], Awaitable[T]]) -> T | None:
        """Start something that may have to wait for the fork server. If the supervisor stops meanwhile, return None."""
        started = None

        async def cancel_at_stop() -> None:
            await self._stopping.wait()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_stop)
            started = await start()
            nursery.cancel_scope.cancel()
        return started

    def _receive(self, worker: _Worker, frame: Frame) -> None:
        """Handle a message of a worker. It is for the supervisor or for other workers."""
        match frame.kind:
            case "notify":
                self._notified(worker, dict(line.split("=", 1) for line in frame.text.split("\n")))
            case "ask":
                others = [each for each in self._workers.values() if each is not worker and each.is_ready]
                for each in others:
                    each.link.say(Frame("ask", f"{worker.number}:{frame.id}", frame.name, frame.text))
                own = self._metrics.render().decode() if frame.name == "metrics" else None
                worker.link.say(Frame("asked", frame.id, text=str(len(others) + (own is not None))))
                if own is not None:
                    worker.link.say(Frame("answer", frame.id, SUPERVISOR, own))
            case "answer":
                asker, _, id = frame.id.partition(":")
                to = self._workers.get(int(asker))
                if to is not None and id:
                    to.link.say(Frame("answer", id, str(worker.number), frame.text))

    def _notified(self, worker: _Worker, fields: dict[str, str]) -> None:
        worker.heard = trio.current_time()
        worker.status = fields.get("STATUS", worker.status)
        if "READY" in fields:
            is_new, worker.is_ready = not worker.is_ready, True
            if worker.is_reloading:
                worker.is_reloading, worker.reload_status = False, worker.status
            if is_new and self._has_reloaded:
                # Like the other workers, this worker has started with the first settings, so it must reload, too.
                worker.process.send_signal(signal.SIGHUP)
            self._check_reloaded()
            self._announce()

    def _announce_ready(self, bound: binding.Bound) -> None:
        """Announce once that the server is ready, when all workers are."""
        if self._is_announced or sum(each.is_ready for each in self._workers.values()) < self._settings.server.workers:
            return
        self._is_announced = True
        urls = bound.urls("https" if self._settings.tls.certificate else "http")
        log.info("ready", addresses=urls, workers=len(self._workers))
        self._started(urls)
        self._notifier.ready("serving")
        duplicates = bound.storable()
        self._notifier.store(duplicates)
        for each in duplicates:
            each.close()

    # Signals and time.

    async def _handle_signals(self, signals: AsyncIterator[int]) -> None:
        """Begin the drain of all workers at the first signal, and end them at once at the second."""
        async for number in signals:
            log.info("signal received", signal=signal.Signals(number).name)
            if self._stopping.is_set():
                self._send_stop()
            self._stopping.set()

    async def _stop(self, bound: binding.Bound) -> None:
        await self._stopping.wait()
        log.info("stopping", workers=len(self._workers))
        self._notifier.stopping()
        bound.close()
        self._send_stop()
        await trio.sleep(self._settings.server.drain_timeout + _GRACE)
        for each in self._workers.values():
            log.error("worker killed", worker=each.number, reason="it hasn't ended after its drain")
            each.process.kill()

    def _send_stop(self) -> None:
        for each in self._workers.values():
            each.link.say(Frame("stop"))

    async def _reload(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._has_reloaded = self._is_reloading = True
            self._notifier.reloading(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000)
            for each in self._workers.values():
                # A worker that isn't ready yet is notified when it is.
                if each.is_ready:
                    each.is_reloading = True
                    each.process.send_signal(signal.SIGHUP)
            self._check_reloaded()
            # Each worker logs the problems of the settings.
            with contextlib.suppress(SettingsError):
                logs.configure((await threads.run_sync(self._read, abandon_on_cancel=True)).log, sys.stderr)

    def _check_reloaded(self) -> None:
        if self._is_reloading and not any(each.is_reloading for each in self._workers.values()):
            self._is_reloading = False
            refused = [each.reload_status for each in self._workers.values() if each.reload_status != "reloaded"]
            self._notifier.ready(refused[0] if refused else "reloaded")

    async def _watch(self) -> None:
        """Kill workers that are stuck, and report the state of all workers to systemd."""
        reported = -_STATUS_INTERVAL
        interval = min(_STATUS_INTERVAL, self._watchdog / 3)
        while True:
            due = trio.current_time() + min(_LOOK_INTERVAL, interval)
            await trio.sleep_until(due)
            now = trio.current_time()
            for each in self._workers.values():
                # If we were stopped or frozen ourselves, messages may still be unread. So that time doesn't count.
                each.heard = min(now, each.heard + now - due)
                if each.is_ready and now - each.heard > self._watchdog:
                    log.error("worker killed", worker=each.number, reason=f"silent for {self._watchdog:g} s")
                    each.process.kill()
            if self._is_announced and now - reported >= interval:
                reported = now
                ready = [each for each in self._workers.values() if each.is_ready]
                statuses = "; ".join(f"{each.number}: {each.status}" for each in ready)
                self._notifier.status(f"{len(ready)} of {self._settings.server.workers} workers: {statuses}")
