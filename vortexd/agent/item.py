"""One template or hook: applies a document, or rejects it and restores the old state.

    template ─▶ candidate ─▶ check ─▶ the target replaced ─▶ reload ─▶ applied
                               │                              │
                               ▼                              ▼
                            rejected             the old file, reload again ─▶ rejected

If a crash interrupts these steps, the next `apply` repairs the state with the help of `Record`. From the replacement until the end of the
reload, no cancellation interrupts them; each step has its own deadline.
"""

import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs
import trio

from ..aio import threads
from ..core.errors import SettingsError, VortexdError
from ..settings.secure_files import OTHERS_READ_OR_WRITE
from . import commands, post, signals
from .apart import render_apart
from .commands import Failure
from .files import FileSnapshot, Ownership, Target, difference, ownership
from .record import Known, Record, digest_of
from .rendering import Scope
from .settings import HookSettings, TemplateSettings
from .trusted import read_trusted

T = TypeVar("T")
# Seconds added to the commands' deadlines, for slow disks and for killed processes to exit.
_MARGIN = 30.0


@attrs.frozen
class Subject:
    """The configuration that settings name. The label "" means the server's default label."""

    application: str
    profile: str
    label: str

    def __str__(self) -> str:
        return ":".join(filter(None, (self.application, self.profile, self.label)))


@attrs.frozen
class State:
    """A configuration at one version."""

    subject: Subject
    version: str
    document: Mapping[str, Any]


@attrs.frozen
class Outcome:
    """The result of applying a version.

    Attributes:
        failure: Why the version was rejected. None if it was applied.
        has_changed: Whether anything had to be done.
    """

    version: str
    failure: Failure | None = None
    has_changed: bool = True


class Item(Protocol):
    """A file or hook that the agent keeps in step with a configuration."""

    name: str
    settings: HookSettings

    async def apply(self, state: State) -> Outcome:
        """Apply a version. If the version can't be applied, the outcome gives the reason; this never raises for that."""
        ...

    async def preview(self, state: State) -> str:
        """Return the changes that `apply` would make, as a diff; "" if there are none."""
        ...


def subject_of(settings: HookSettings) -> Subject:
    """Return the configuration that a template or hook follows."""
    return Subject(settings.application, settings.profile, settings.label)


async def reload(settings: HookSettings, variables: Mapping[str, str]) -> None:
    """Make a program take up the change, in the way that the settings name. If they name none, do nothing.

    Raises:
        Failure: The reload failed.
    """
    if settings.reload:
        await commands.run("reload", settings.reload, variables, settings.reload_timeout, shell=settings.shell)
    elif settings.signal:
        await threads.run_sync(signals.send, settings.pid_file, settings.signal)
    elif settings.post:
        authorization = ""
        if settings.authorization_file:
            authorization = (await _explained(read_trusted, settings.authorization_file, OTHERS_READ_OR_WRITE)).strip()
        await post.post(settings.post, authorization, settings.reload_timeout)


class Hook:
    """An item without a file: only a reload.

    Args:
        record: Keeps the version for which the hook last ran.
        lock: Held while the hook runs.
    """

    def __init__(self, settings: HookSettings, record: Record, lock: trio.Lock) -> None:
        self.settings = settings
        self.name = hook_name(settings)
        self._record = record
        self._lock = lock

    async def apply(self, state: State) -> Outcome:
        try:
            if self._record.read().applied == state.version:
                return Outcome(state.version, has_changed=False)
            async with self._lock:
                await reload(self.settings, _variables(state))
                await _explained(self._record.settle, state.version, state.version)
        except Failure as failure:
            return Outcome(state.version, failure)
        return Outcome(state.version)

    async def preview(self, state: State) -> str:
        return ""


class TemplateItem:
    """A file, and the command that reloads its program.

    Args:
        record: The state of the file.
        lock: Held from the replacement of a file until its reload has succeeded or the old file is back. Without it, two files that one
            program reads could change at the same time, and one file could be blamed for the other.

    Raises:
        StartError: The settings name a user or group that doesn't exist.
    """

    def __init__(self, settings: TemplateSettings, record: Record, lock: trio.Lock) -> None:
        self.settings: HookSettings = settings
        self.name = settings.target
        self.target = Target(settings.target, settings.max_bytes)
        self._template = settings
        self._record = record
        self._lock = lock
        self._wanted = ownership(settings.mode, settings.owner, settings.group)

    async def apply(self, state: State) -> Outcome:
        try:
            return Outcome(state.version, has_changed=await self._apply(state))
        except Failure as failure:
            return Outcome(state.version, failure)
        finally:
            self.target.discard()

    async def preview(self, state: State) -> str:
        """See `Item.preview`.

        Raises:
            Failure: The template can't be rendered, or the target can't be read.
        """
        content = await _explained(self._render, state)
        found = await _explained(self.target.read)
        return difference(self.name, found.content if found else b"", content)

    def _render(self, state: State) -> bytes:
        template = self._template
        env = {name: os.environ[name] for name in template.environment if name in os.environ}
        subject = state.subject
        scope = Scope(state.document, state.version, subject.application, subject.profile, subject.label, env)
        return render_apart(Path(template.source), scope, template.max_bytes)

    async def _apply(self, state: State) -> bool:
        """Bring the target to a version. Return whether that changed anything."""
        known = await _explained(self._record.read)
        found = await _explained(self.target.read)
        is_doubtful = bool(known.pending) and found is not None and digest_of(found.content) == known.pending
        old = await self._old(known, found) if is_doubtful else found
        try:
            content = await _explained(self._render, state)
            digest = digest_of(content)
            if found is not None and _is_applied(digest, known, found) and _has(found, self._wanted):
                if known.version != state.version:
                    await _explained(self._record.settle, digest, state.version)
                return False
            await _explained(self.target.prepare, content, self._wanted, found or old)
            await self._check(state)
        except Failure as failure:
            if not is_doubtful:
                raise
            async with self._undisturbed():
                raise await self._back(failure, old, state) from None
        async with self._undisturbed():
            await self._replace(digest, state, known, old)
        return True

    async def _old(self, known: Known, found: FileSnapshot | None) -> FileSnapshot | None:
        """Return the file to restore after a crash. The file left by the crash may be bad, but the file before it was good."""
        try:
            return await _explained(self._record.old, known)
        except Failure:
            return found

    async def _check(self, state: State) -> None:
        if self._template.check:
            file = str(self.target.candidate)
            words = [word.replace("{file}", file) for word in self._template.check]
            variables = {**_variables(state), "VORTEXD_FILE": file, "VORTEXD_TARGET": str(self.target.path)}
            await commands.run("check", words, variables, self._template.check_timeout, shell=self._template.shell)

    async def _replace(self, digest: str, state: State, known: Known, old: FileSnapshot | None) -> None:
        await _explained(self._record.begin, known, digest, old)
        await _explained(self.target.commit)
        try:
            await self._reload(state)
        except Failure as failure:
            raise await self._back(failure, old, state) from None
        await _explained(self._record.settle, digest, state.version)

    @asynccontextmanager
    async def _undisturbed(self) -> AsyncIterator[None]:
        """From the replacement until its end, hold the lock and shield from cancellation. Only the deadline interrupts."""
        async with self._lock:
            deadline = trio.current_time() + 2 * self._template.reload_timeout + _MARGIN
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                yield
        if scope.cancelled_caught:
            raise Failure("the disk takes too long; the agent repairs the file at its next start")

    async def _back(self, failure: Failure, old: FileSnapshot | None, state: State) -> Failure:
        """Restore the old file and reload. Return the failure; if this fails, too, the failure says so."""
        try:
            await _explained(self.target.restore, old)
        except Failure as second:
            return Failure(f"{failure.reason}; the agent can't restore the old file: {second.reason}", failure.stderr)
        applied = digest_of(old.content) if old is not None else ""
        try:
            await self._reload(state)
        except Failure as second:
            failure = Failure(f"{failure.reason}; after the old file was restored: {second.reason}", failure.stderr)
            applied = ""
        await _explained(self._record.settle, applied, "")
        return failure

    async def _reload(self, state: State) -> None:
        await reload(self.settings, {**_variables(state), "VORTEXD_TARGET": str(self.target.path)})


def hook_name(settings: HookSettings) -> str:
    """Return the name of a hook for logs and for the state directory: its configuration, and a digest of its action."""
    what = settings.post or (
        f"{settings.signal} {settings.pid_file}" if settings.signal else "\0".join(settings.reload)
    )
    return f"{subject_of(settings)} {digest_of(what.encode())[:8]}"


def _variables(state: State) -> dict[str, str]:
    subject = state.subject
    return {
        "VORTEXD_APPLICATION": subject.application,
        "VORTEXD_PROFILE": subject.profile,
        "VORTEXD_LABEL": subject.label,
        "VORTEXD_VERSION": state.version,
    }


def _is_applied(digest: str, known: Known, found: FileSnapshot) -> bool:
    return digest == digest_of(found.content) == known.applied and not known.pending


def _has(found: FileSnapshot, wanted: Ownership) -> bool:
    pairs = ((wanted.mode, found.mode), (wanted.uid, found.uid), (wanted.gid, found.gid))
    return all(asked is None or asked == given for asked, given in pairs)


async def _explained(function: Callable[..., T], *arguments: object) -> T:
    """Call a blocking function in a thread. Turn errors of files and templates into a `Failure`."""
    try:
        return await threads.run_sync(functools.partial(function, *arguments))
    except Failure:
        raise
    except SettingsError as error:
        raise Failure("; ".join(text for _, text in error.problems)) from None
    except VortexdError as error:
        raise Failure(str(error)) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or "I/O error").lower() if isinstance(error, OSError) else "a file there is broken"
        raise Failure(f"the state directory: {reason}") from None
