"""SIGHUP: the server reads its settings and the files that they name again. All of them apply, or none.

Signals arrive. New settings leave for all parts, and the outcome leaves for the log, systemd and the metrics. The
daemon registers its parts as a list. A reload prepares all of them and then applies all of them. `prepare` may fail and
changes nothing. `apply` can't fail and doesn't wait. The invariant: between two awaits all parts use the same settings.
Open connections stay open. The new rights apply to them, but they keep the limits and heartbeats that they began with.
"""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import structlog
import trio

from .aio import threads
from .audit import Actor, Audit, Outcome
from .auth.credential_files import NamedFiles, load_named_files
from .core.errors import SettingsError
from .core.model import PropertySource
from .encryption.files import Encryption, Keyring
from .gate.opening import load_rules
from .observe import logs
from .observe.metrics import Metrics
from .pipeline.publisher import Publisher
from .pipeline.state import overrides_of
from .process.systemd import Notifier
from .realtime.server import WebSocketServer
from .settings.file import own_files
from .settings.formats import FormatSettings
from .settings.log import LogSettings
from .settings.realtime import RealtimeSettings
from .settings.root import Settings, reloaded
from .settings.server import Address
from .source.composite import Sources, open_sources

if TYPE_CHECKING:
    from .gate.gate import Rules

log = structlog.get_logger()
T = TypeVar("T")

# Seconds between two reloads. All signals that arrive in between cause one reload.
_PAUSE = 0.25
# The act in the audit log, and who acts: the kernel doesn't say who has sent the signal.
ACT, _ACTOR = "reload", Actor("SIGHUP")


class InForce:
    """The settings in force, for parts that read them each time they need a setting."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


@attrs.frozen(eq=False)
class NewSettings:
    """Settings that a reload is about to put in force.

    Attributes:
        before: The settings in force.
        settings: The settings that replace them.
        files: The content of the files that the new settings name in [auth], [tls] and [encryption].
        rules: The rules of [[gate]], with the schemas that it names.
    """

    before: Settings
    settings: Settings
    files: NamedFiles
    rules: "tuple[Rules, ...]" = ()


class Part(ABC, Generic[T]):
    """A part of the daemon that uses settings."""

    @abstractmethod
    def prepare(self, new: NewSettings) -> T:
        """Make everything that can fail, and change nothing. Return the values that `apply` needs.

        Raises:
            SettingsError: The new settings can't be used. Then no part applies them.
        """

    @abstractmethod
    def apply(self, prepared: T) -> bool:
        """Put the new settings in force.

        Return whether documents may change because of them; if so, `publish` is called too.
        """

    async def publish(self, prepared: T) -> None:
        """Publish the documents that have changed. Called once all parts have applied their settings."""


class Taken(Part[T]):
    """A part that uses values of the settings as they are.

    Args:
        select: Picks the values.
        replace: Puts the values in force.
    """

    def __init__(self, select: Callable[[NewSettings], T], replace: Callable[[T], object]) -> None:
        self._select = select
        self._replace = replace

    def prepare(self, new: NewSettings) -> T:
        """See `Part`."""
        return self._select(new)

    def apply(self, prepared: T) -> bool:
        """See `Part`."""
        self._replace(prepared)
        return False


class Logging(Part[LogSettings | None]):
    """The log. If its settings are the same, it isn't configured again."""

    def prepare(self, new: NewSettings) -> LogSettings | None:
        """See `Part`."""
        return new.settings.log if new.settings.log != new.before.log else None

    def apply(self, prepared: LogSettings | None) -> bool:
        """See `Part`."""
        if prepared is not None:
            logs.configure(prepared, sys.stderr)
        return False


class Realtime(Part[tuple[RealtimeSettings, int]]):
    """The limits of WebSocket connections.

    It must come after the part with the rights, because it checks the open connections against them.
    """

    def __init__(self, websockets: WebSocketServer) -> None:
        self._websockets = websockets

    def prepare(self, new: NewSettings) -> tuple[RealtimeSettings, int]:
        """See `Part`."""
        return new.settings.realtime, new.settings.auth.connections_per_token

    def apply(self, prepared: tuple[RealtimeSettings, int]) -> bool:
        """See `Part`."""
        self._websockets.replace(*prepared)
        self._websockets.recheck()
        return False


class OpenSources(Part[Sources | None]):
    """The sources. If their settings are the same, they stay as they are.

    Args:
        own: Files that are never served, in addition to the files that settings name.
        memory: The same argument as in `open_sources`.
    """

    def __init__(self, sources: Sources, own: Sequence[str] = (), memory: Path | None = None) -> None:
        self._sources = sources
        self._own = own
        self._memory = memory

    def prepare(self, new: NewSettings) -> Sources | None:
        """See `Part`."""
        if _made_of(new.settings) == _made_of(new.before):
            return None
        own = [*own_files(new.settings), *self._own]
        return open_sources(new.settings, os.environ, Random(), own, self._memory)

    def apply(self, prepared: Sources | None) -> bool:
        """See `Part`."""
        if prepared is not None:
            self._sources.replace(prepared)
        return False


@attrs.frozen(eq=False)
class _Resolving:
    encryption: Encryption
    overrides: PropertySource | None
    are_others: bool


class Resolution(Part[_Resolving]):
    """The encryption keys and the overrides, which are needed to resolve documents."""

    def __init__(self, keyring: Keyring, publisher: Publisher) -> None:
        self._keyring = keyring
        self._publisher = publisher

    def prepare(self, new: NewSettings) -> _Resolving:
        """See `Part`."""
        are_others = new.settings.overrides != new.before.overrides
        return _Resolving(new.files.encryption, overrides_of(new.settings.overrides), are_others)

    def apply(self, prepared: _Resolving) -> bool:
        """See `Part`."""
        return self._keyring.replace(prepared.encryption) or prepared.are_others

    async def publish(self, prepared: _Resolving) -> None:
        """See `Part`."""
        await self._publisher.resolve_by(self._keyring.current.decryptor, prepared.overrides)


class Parsing(Part[tuple[FormatSettings, bool]]):
    """The limits of parsing."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def prepare(self, new: NewSettings) -> tuple[FormatSettings, bool]:
        """See `Part`."""
        return new.settings.formats, new.settings.formats != new.before.formats

    def apply(self, prepared: tuple[FormatSettings, bool]) -> bool:
        """See `Part`."""
        return prepared[1]

    async def publish(self, prepared: tuple[FormatSettings, bool]) -> None:
        """See `Part`."""
        await self._publisher.parse_by(prepared[0])


class Gating(Part["tuple[Rules, ...]"]):
    """The rules of [[gate]]. What is served stays.

    Args:
        rules: The rules that the publisher has now.
    """

    def __init__(self, publisher: Publisher, rules: "tuple[Rules, ...]") -> None:
        self._publisher = publisher
        self._rules = rules

    def prepare(self, new: NewSettings) -> "tuple[Rules, ...]":
        """See `Part`."""
        return new.rules

    def apply(self, prepared: "tuple[Rules, ...]") -> bool:
        """See `Part`."""
        # A schema may have changed although no setting has.
        before, self._rules = self._rules, prepared
        return prepared != before

    async def publish(self, prepared: "tuple[Rules, ...]") -> None:
        """See `Part`."""
        await self._publisher.judge_by(prepared)


def pages_of(settings: Settings, files: NamedFiles) -> str | None:
    """Return the scheme of the server's addresses if it serves the console; else None.

    The console's pages may connect to these addresses.
    """
    if not settings.console.enabled:
        return None
    return "http" if files.context is None else "https"


def _made_of(settings: Settings) -> object:
    """Return everything that decides how the sources are made."""
    return settings.source, settings.server.state_directory, own_files(settings)


def _changed(before: Settings, after: Settings) -> list[str]:
    """Return the names of the sections that differ."""
    names = (field.name for field in attrs.fields(Settings))
    return [name for name in names if getattr(before, name) != getattr(after, name)]


class Reload:
    """Reloads the settings; see the module.

    Args:
        in_force: The settings in force. A reload replaces them.
        parts: The parts, in the order in which they apply new settings.
        read: Reads the settings again. It blocks, and raises SettingsError.
        bound: The addresses that the server listens on.
    """

    def __init__(
        self,
        in_force: InForce,
        parts: Sequence[Part[Any]],
        read: Callable[[], Settings],
        bound: Sequence[Address],
        metrics: Metrics,
        notifier: Notifier,
        audit: Audit,
    ) -> None:
        self._audit = audit
        self._in_force = in_force
        self._parts = tuple(parts)
        self._read = read
        self._bound = bound
        self._metrics = metrics
        self._notifier = notifier
        self._outcome = ""

    @property
    def outcome(self) -> str:
        """The outcome of the last reload, for the status text. It is "" if everything that was read is in force."""
        return self._outcome

    async def run(self, signals: AsyncIterator[int]) -> None:
        """Reload at each signal, and never return.

        Signals that arrive during a reload, or soon after, cause one reload.
        """
        async for _ in signals:
            await self.reload()
            await trio.sleep(_PAUSE)

    async def reload(self) -> None:
        """Reload once. Raises no error that an operator can cause."""
        self._notifier.reloading(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000)
        before = self._in_force.settings
        try:
            read, waiting = reloaded(before, await threads.run_sync(self._read, abandon_on_cancel=True))
            # A file system that hangs doesn't hold up the daemon's exit.
            arguments = read, self._bound, os.environ
            files = await threads.run_sync(load_named_files, *arguments, abandon_on_cancel=True)
            rules = await threads.run_sync(load_rules, read.gate, abandon_on_cancel=True)
            prepared = self._prepared(NewSettings(before, read, files, rules))
        except SettingsError as error:
            self._refuse(error)
            problems = "; ".join(f"{path}: {problem}" if path else problem for path, problem in error.problems)
            await self._audit.record(ACT, _ACTOR, error.origin, Outcome.REFUSED, problems)
            return
        await self._apply(read, prepared)
        self._metrics.reloaded(is_done=True)
        self._outcome = f"restart needed for {', '.join(waiting)}" if waiting else ""
        if waiting:
            log.warning(
                "restart needed", keys=waiting, consequence="they keep their old values; all others are in force"
            )
        log.info("reloaded")
        self._notifier.ready(f"reloaded; {self._outcome}" if waiting else "reloaded")
        await self._audit.record(ACT, _ACTOR, reason=self._outcome, changed=", ".join(_changed(before, read)))

    def _prepared(self, new: NewSettings) -> list[tuple[Part[Any], Any]]:
        """Return each part with the values that it has prepared.

        Raises:
            SettingsError: Some parts can't use the settings. The error lists the problems of all parts.
        """
        prepared: list[tuple[Part[Any], Any]] = []
        errors: list[SettingsError] = []
        for part in self._parts:
            try:
                prepared.append((part, part.prepare(new)))
            except SettingsError as error:
                errors.append(error)
        if errors:
            raise SettingsError([problem for error in errors for problem in error.problems], errors[0].origin)
        return prepared

    async def _apply(self, settings: Settings, prepared: Sequence[tuple[Part[Any], Any]]) -> None:
        """Put settings in force in all parts."""
        # No await until all parts have applied them. So each request is checked by the old settings or by the new
        # settings, never by a mixture.
        self._in_force.settings = settings
        publishing = [(part, each) for part, each in prepared if part.apply(each)]
        # Publishing takes time, so it comes last.
        for part, each in publishing:
            await part.publish(each)

    def _refuse(self, error: SettingsError) -> None:
        self._metrics.reloaded(is_done=False)
        for key, problem in error.problems:
            log.error("reload refused", file=error.origin, key=key, problem=problem, consequence="nothing has changed")
        self._outcome = "reload refused, nothing has changed; see the log"
        self._notifier.ready(self._outcome)
