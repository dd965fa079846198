"""One template or hook: a document in, and out comes whether it was taken; if not, everything is as before.

    template ─▶ candidate ─▶ check ─▶ the target replaced ─▶ reload ─▶ applied
                               │                              │
                               ▼                              ▼
                            rejected             the old file, reload again ─▶ rejected

A crash between two of these steps is mended by the next `apply`, with what `Record` knows. Between the replacement and its end nothing cancels it: each
step has a deadline of its own.
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
# Beside the commands: what disks may take, and killed processes to go.
_MARGIN = 30.0


@attrs.frozen
class Subject:
    """Which configuration, as settings name it; the label "" is the server's own."""

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
    """What became of a version.

    Attributes:
        failure: Why it wasn't taken; None where it was.
        has_changed: Whether anything was done for it.
    """

    version: str
    failure: Failure | None = None
    has_changed: bool = True


class Item(Protocol):
    """What is kept in step with a configuration."""

    name: str
    settings: HookSettings

    async def apply(self, state: State) -> Outcome:
        """Bring it to a version; never raises for what is wrong with that."""
        ...

    async def preview(self, state: State) -> str:
        """What `apply` would change, as a diff; "" for nothing."""
        ...


def subject_of(settings: HookSettings) -> Subject:
    """The configuration that a template or hook is about."""
    return Subject(settings.application, settings.profile, settings.label)


async def reload(settings: HookSettings, variables: Mapping[str, str]) -> None:
    """Make a program take up what has changed, in the way that settings name; none is fine.

    Raises:
        Failure: It didn't.
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
    """A reload without a file.

    Args:
        record: Where the version is kept that it has run for.
        lock: Held while it runs.
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
    """A file, and what reloads it.

    Args:
        record: What is known of the file.
        lock: Held from the replacement of a file until its reload has succeeded or everything is as before: two files that one program reads aren't
            in question at the same time, or the one would be blamed for the other.

    Raises:
        StartError: Settings name a user or group that isn't there.
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
        """As `Item.preview`.

        Raises:
            Failure: It can't be rendered, or the target can't be read.
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
        """Bring the target to a version; whether it wasn't there."""
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
        """What to go back to after a crash: nobody knows whether the file that it left is good, but the one before it was."""
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
        """From a replacement to its end: no other file is in question, and nothing but the deadline ends it."""
        async with self._lock:
            deadline = trio.current_time() + 2 * self._template.reload_timeout + _MARGIN
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                yield
        if scope.cancelled_caught:
            raise Failure("the disk takes too long; what was begun is looked at again at the next start")

    async def _back(self, failure: Failure, old: FileSnapshot | None, state: State) -> Failure:
        """Put the old file back and reload it; what has failed, and what of that failed, too."""
        try:
            await _explained(self.target.restore, old)
        except Failure as second:
            return Failure(f"{failure.reason}; the old file can't be put back: {second.reason}", failure.stderr)
        applied = digest_of(old.content) if old is not None else ""
        try:
            await self._reload(state)
        except Failure as second:
            failure = Failure(f"{failure.reason}; with the old file back: {second.reason}", failure.stderr)
            applied = ""
        await _explained(self._record.settle, applied, "")
        return failure

    async def _reload(self, state: State) -> None:
        await reload(self.settings, {**_variables(state), "VORTEXD_TARGET": str(self.target.path)})


def hook_name(settings: HookSettings) -> str:
    """What a hook is called in logs and in the state directory: what it is about, and what it does."""
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
    """Call what blocks, in a thread; what is wrong with files and templates becomes a Failure."""
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
