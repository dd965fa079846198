"""SIGHUP: the settings and the files that they name are read again, and are in force together or not at all.

In come signals; out go new settings to everybody who goes by them, and the outcome to the log, to systemd and to the metrics. The invariant:
until everything has been read and found good nothing changes, and between two awaits everybody goes by the same settings. Connections
that are open stay open: they are judged by the new rights, and keep the limits and heartbeats that they began with.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random

import attrs
import structlog
import trio

from .aio import threads
from .auth import Gate
from .auth.credential_files import NamedFiles, load_named_files
from .core.errors import SettingsError
from .encryption.files import Keyring
from .fleet import Fleet
from .http.hypercorn import Bridge
from .http.monitor import Monitor
from .http.routes import Routes
from .net.listener import Listener
from .net.tls import Tls
from .observe import logs
from .observe.metrics import Metrics
from .pipeline.broadcast import Subscriber
from .pipeline.key_usage import KeyUsage
from .pipeline.publisher import Publisher
from .pipeline.state import overrides_of
from .pipeline.store import Store
from .process.systemd import Notifier
from .protocol.encoder import Encoder
from .realtime.server import WebSocketServer
from .settings.file import own_files
from .settings.sections import Address, Settings, reloaded
from .source.composite import Sources, open_sources

log = structlog.get_logger()

# Seconds from one reload to the next: however many signals come meanwhile, they are one.
_PAUSE = 0.25


@attrs.frozen(eq=False)
class Parts:
    """Everybody who goes by settings that a reload changes.

    Attributes:
        own: Files that are never served, beside those that settings name.
    """

    gate: Gate
    tls: Tls
    keyring: Keyring
    sources: Sources
    publisher: Publisher
    store: Store
    key_usage: KeyUsage[Subscriber]
    encoder: Encoder
    fleet: Fleet
    listener: Listener
    bridge: Bridge
    websockets: WebSocketServer
    monitor: Monitor
    routes: Routes
    own: Sequence[str] = ()
    memory: Path | None = None

    async def replace(self, before: Settings, settings: Settings, files: NamedFiles) -> None:
        """Put settings in force in place of others."""
        # No await until all is in force: requests are judged by the old rights or by the new ones, and so are those who are in.
        self.gate.replace(settings.auth, files.authority, pages_of(settings, files))
        self.tls.replace(files.context)
        self.listener.replace(settings.server)
        self.bridge.replace(settings.server)
        self.monitor.replace(settings.monitor)
        self.routes.replace(settings.http)
        self.store.replace(settings.history)
        self.key_usage.replace(settings.history)
        self.encoder.replace(settings.history.frames_bytes)
        self.fleet.replace(settings.fleet)
        self.websockets.replace(settings.realtime, settings.auth.connections_per_token)
        self.websockets.recheck()
        if settings.log != before.log:
            logs.configure(settings.log, sys.stderr)
        if _sources(settings) != _sources(before):
            own = [*own_files(settings), *self.own]
            self.sources.replace(open_sources(settings, os.environ, Random(), own, self.memory))
        # What these change in documents is published, which takes a while.
        if self.keyring.replace(files.encryption) or settings.overrides != before.overrides:
            await self.publisher.resolve_by(self.keyring.current.decryptor, overrides_of(settings.overrides))
        if settings.formats != before.formats:
            await self.publisher.parse_by(settings.formats)


def pages_of(settings: Settings, files: NamedFiles) -> str | None:
    """The scheme of our addresses, where we serve pages of our own that may connect to us; else None."""
    if not settings.console.enabled:
        return None
    return "http" if files.context is None else "https"


def _sources(settings: Settings) -> object:
    """What sources are made of."""
    return settings.source, settings.server.state_directory, own_files(settings)


class Reload:
    """See the module.

    Args:
        settings: What is in force.
        read: Reads the settings again; blocks, and raises SettingsError.
        bound: The addresses listened on.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        bound: Sequence[Address],
        metrics: Metrics,
        notifier: Notifier,
    ) -> None:
        self._settings = settings
        self._read = read
        self._bound = bound
        self._metrics = metrics
        self._notifier = notifier
        self._outcome = ""

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self._settings

    @property
    def outcome(self) -> str:
        """What is to be said of the last one as long as there is no other; "" where all that was read is in force."""
        return self._outcome

    async def run(self, parts: Parts, signals: AsyncIterator[int]) -> None:
        """Reload at each signal, for ever. Those that come while it reloads, or soon after, are one."""
        async for _ in signals:
            await self.reload(parts)
            await trio.sleep(_PAUSE)

    async def reload(self, parts: Parts) -> None:
        """Reload once. Raises nothing that an operator can cause."""
        self._notifier.reloading(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000)
        try:
            read, waiting = reloaded(self._settings, await threads.run_sync(self._read))
            files = await threads.run_sync(load_named_files, read, self._bound, os.environ)
        except SettingsError as error:
            self._refuse(error)
            return
        before, self._settings = self._settings, read
        await parts.replace(before, read, files)
        self._metrics.reloaded(is_done=True)
        self._outcome = f"restart needed for {', '.join(waiting)}" if waiting else ""
        if waiting:
            log.warning("restart needed", keys=waiting, consequence="they are as they were; all others are in force")
        log.info("reloaded")
        self._notifier.ready(f"reloaded; {self._outcome}" if waiting else "reloaded")

    def _refuse(self, error: SettingsError) -> None:
        self._metrics.reloaded(is_done=False)
        for key, problem in error.problems:
            log.error("reload refused", file=error.origin, key=key, problem=problem, consequence="nothing has changed")
        self._outcome = "reload refused, nothing has changed; see the log"
        self._notifier.ready(self._outcome)
