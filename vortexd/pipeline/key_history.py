"""Finds the commits that changed the document of a key, the newest first.

A key and the layer of files that serves it arrive. `KeyChange`s leave, each with the document before and after a commit.
The files of a commit are read and resolved only if a commit changes a path that decides about the key.

The invariant: the work is bounded. One history is read at a time. A page ends after a number of changes, of resolved
commits, of bytes, or of seconds, and names the place where the next page goes on. A page only reads commits of the label
that is served, so nobody sees a commit that isn't in the label's history.

If the key can't be resolved at a commit, the server would have kept the document of the commit before. So such a commit
changes nothing, and the next commit that can be resolved has the whole change.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import attrs
import structlog
import trio

from ..aio import threads
from ..core.commits import Commit, PastFiles
from ..core.errors import FormatError, RemoteError, ResolveError, SourceError
from ..core.flat_key import differ
from ..core.model import Files, Key, Origin
from ..resolve.locations import is_plain
from ..resolve.spring import selection
from ..resolve.tree import ParsedFiles
from .former_commits import state_with
from .served import ServedState

log = structlog.get_logger()

# The limits of one page: resolved commits, the bytes of the documents, and seconds.
MOST_RESOLVED = 200
MOST_BYTES = 8_388_608
SECONDS = 4.0
# The seconds that a request waits for others that read histories.
PATIENCE = 4.0
_CURSOR = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})-([0-9a-f]{40}|[0-9a-f]{64})")
# The number of commits that are examined before other tasks run.
_AT_ONCE = 100


class Commits(Protocol):
    """The part of the sources that knows commits."""

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        """Return the newest commits of the label that serves this commit now, the newest first."""
        ...

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a commit. Return None if it can't be served.

        Raises:
            SourceError: It can't be read now.
        """
        ...

    async def subject(self, root: str, commit: str) -> str:
        """Return the first line of a commit's message.

        Raises:
            SourceError: It can't be read now.
        """
        ...


@attrs.frozen(slots=True, eq=False)
class Document:
    """The document of a key at a commit, as JSON."""

    version: str
    body: bytes


@attrs.frozen(slots=True, eq=False)
class KeyChange:
    """A commit that changed the document of a key.

    Attributes:
        subject: The first line of its message.
    """

    origin: Origin
    subject: str
    old: Document
    new: Document


@attrs.frozen(slots=True, eq=False)
class HistoryPage:
    """A part of a history.

    Attributes:
        changes: The newest first.
        searched: The number of commits that this page has examined.
        next: Where the next page goes on. None if there is none.
        is_complete: Whether no older commit can have changed the key. It is False if the server doesn't know older
            commits.
    """

    changes: Sequence[KeyChange]
    searched: int
    next: str | None
    is_complete: bool


@attrs.frozen(slots=True, eq=False)
class _Past:
    """A key at a commit.

    Attributes:
        files: The files of the commit. None if it can't be served, or for the state before the first commit.
        layer: The parsed files, or those of a newer commit if this one can't be served.
        reads: The paths that decide about the key. None if every path may.
        document: The document. None if the key can't be resolved.
    """

    files: PastFiles | None
    layer: ParsedFiles
    reads: frozenset[str] | None
    document: Document | None


@attrs.define(eq=False)
class _Walk:
    """A walk from newer to older commits.

    Attributes:
        since: The position of the oldest commit that is known to have the document `newest`.
        at: The position of the commit that is examined next. Its state is that of `past`.
        newest: The document whose commit is looked for.
        resolved: The number of commits that were read and resolved.
        bytes: The size of the documents in `changes`.
    """

    steps: Sequence[Commit]
    since: int
    at: int
    newest: Document | None = None
    past: _Past | None = None
    is_at_end: bool = False
    resolved: int = 0
    bytes: int = 0
    changes: list[KeyChange] = attrs.field(factory=list)

    @property
    def cursor(self) -> str:
        """The place where the next page goes on."""
        return f"{self.steps[self.since].id}-{self.steps[self.at].id}"

    async def skip(self) -> bool:
        """Go on to the next commit that may have changed the key. Return False if there is none.

        The commits that are passed have the same document as `past`.
        """
        assert self.past is not None  # the walk has begun
        for number in range(self.at, len(self.steps)):
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            self.at = number
            if self.past.document is not None:
                self.since = number
            if self.past.reads is None or not self.past.reads.isdisjoint(self.steps[number].paths):
                return True
        return False


class KeyHistory:
    """Reads histories of keys; see the module.

    Args:
        served: The served state, whose limits, decryptor and overrides count.
        commits: The commits of the sources.
        reading: Limits how many histories are read at a time.
        resolving: Limits the threads that parse and resolve.
    """

    def __init__(
        self, served: ServedState, commits: Commits, reading: trio.CapacityLimiter, resolving: trio.CapacityLimiter
    ) -> None:
        self._served = served
        self._commits = commits
        self._reading = reading
        self._resolving = resolving

    async def page(self, layer: ParsedFiles, key: Key, part: str, limit: int, after: str) -> HistoryPage:
        """Read a page of the history of a key.

        Args:
            layer: The only layer that serves the key.
            part: Only changes of this flat key, and of the keys below it, count. "" means all.
            limit: The most changes on the page.
            after: The `next` of the page before, or "".

        Raises:
            RemoteError: The source has no commits, `after` isn't in the history, the commits can't be read now, or
                the server is too busy.
        """
        steps = self.commits_of(layer)
        since, begun = _position(steps, after)
        walk = _Walk(steps, since, begun)
        reader = _Reader(self._commits, self._served, layer, key, self._resolving)
        async with self._turn():
            with trio.move_on_after(SECONDS):
                await self._go_on(walk, reader, part, limit)
        if walk.is_at_end:
            return HistoryPage(walk.changes, len(steps) - begun, None, steps[-1].parent is None)
        if walk.at == begun:
            raise _late("the commits weren't read in time; try again")
        return HistoryPage(walk.changes, walk.at - begun, walk.cursor, is_complete=False)

    async def document(self, layer: ParsedFiles, key: Key, commit: str) -> Document | None:
        """Return the document of a key at a commit of its label. Return None if the key can't be resolved there.

        Raises:
            RemoteError: As in `page`.
        """
        reader = _Reader(self._commits, self._served, layer, key, self._resolving)
        async with self._turn():
            with trio.move_on_after(SECONDS):
                return (await reader.read(commit, None)).document
        raise _late("the commit wasn't read in time; try again")

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until no other history is read.

        Raises:
            RemoteError: That takes too long, or a commit can't be read now.
        """
        with trio.move_on_after(PATIENCE) as waiting:
            await self._reading.acquire()
        if waiting.cancelled_caught:
            raise _late("the server reads other histories; try again")
        try:
            yield
        except SourceError as error:
            log.warning("history not read", reason=str(error), consequence="the request is answered with an error")
            raise _late("the repository can't be read now; see the server's log") from None
        finally:
            self._reading.release()

    def commits_of(self, layer: ParsedFiles) -> Sequence[Commit]:
        """Return the commits of a layer, the newest first.

        Raises:
            RemoteError: Its source has none.
        """
        files = layer.files
        found = self._commits.commits(files.root, files.revision) if files.revision is not None else ()
        if not found:
            raise RemoteError("the server knows no commits of this key; only a git repository has a history", 404)
        return found

    async def _go_on(self, walk: _Walk, reader: "_Reader", part: str, limit: int) -> None:
        """Walk until a limit of the page is reached, or to the last known commit."""
        await self._begin(walk, reader)
        while len(walk.changes) < limit and walk.resolved < MOST_RESOLVED and walk.bytes < MOST_BYTES:
            if not await self._step(walk, reader, part):
                walk.is_at_end = True
                return

    async def _begin(self, walk: _Walk, reader: "_Reader") -> None:
        """Read the states at which the walk begins."""
        newer = await reader.read(walk.steps[walk.since].id, None) if walk.since != walk.at else None
        walk.past = await reader.read(walk.steps[walk.at].id, newer)
        walk.newest = (newer or walk.past).document

    async def _step(self, walk: _Walk, reader: "_Reader", part: str) -> bool:
        """Go on to an older commit that may have another document. Return False if there is none."""
        if not await walk.skip():
            return False
        commit = walk.steps[walk.at]
        if commit.parent is not None and walk.at + 1 == len(walk.steps):
            return False
        older = await reader.read(commit.parent, walk.past)
        change, newest = None, walk.newest
        if older.document is not None and newest is not None and older.document.version != newest.version:
            change = await self._change(walk.steps[walk.since], older.document, newest, reader.root, part)
        # From here on nothing waits, so a deadline can't leave half a step.
        walk.resolved += 1
        walk.past, walk.at = older, walk.at + 1
        if older.document is not None:
            walk.newest, walk.since = older.document, walk.at
        if change is not None:
            walk.changes.append(change)
            walk.bytes += len(change.old.body) + len(change.new.body)
        return walk.at < len(walk.steps)

    async def _change(self, commit: Commit, old: Document, new: Document, root: str, part: str) -> KeyChange | None:
        """Describe the change by a commit. Return None if `part` is the same."""
        if part:
            compare = partial(differ, old.body, new.body, part)
            if not await threads.run_sync(compare, abandon_on_cancel=True, limiter=self._resolving):
                return None
        return KeyChange(commit.origin, await self._commits.subject(root, commit.id), old, new)


class _Reader:
    """Reads a key at commits; see `KeyHistory` for the arguments."""

    def __init__(
        self, commits: Commits, served: ServedState, layer: ParsedFiles, key: Key, resolving: trio.CapacityLimiter
    ) -> None:
        self.root = layer.files.root
        self._commits = commits
        self._served = served
        self._layer = layer
        self._key = key
        self._resolving = resolving

    async def read(self, commit: str | None, near: _Past | None) -> _Past:
        """Read the key at a commit.

        Args:
            commit: None means the state before the first commit.
            near: The key at a similar commit, or None.
        """
        layer = self._layer if near is None else near.layer
        found, files = None, Files({})
        if commit is not None:
            found = await self._commits.at(self.root, commit, None if near is None else near.files)
            if found is None:
                return _Past(None, layer, None, None)
            files = found.files
        resolve = partial(_resolved, found, files, layer, self._served, self._key)
        return await threads.run_sync(resolve, abandon_on_cancel=True, limiter=self._resolving)


def _resolved(found: PastFiles | None, files: Files, layer: ParsedFiles, served: ServedState, key: Key) -> _Past:
    state = state_with(files, layer, served, key.label)
    parsed = state.labels[key.label]
    try:
        reads: frozenset[str] | None = _paths(selection(parsed, key).reads, found)
        # Which directories a pattern matches depends on all files.
        reads = reads if is_plain(layer.files.locations) else None
    except ResolveError:
        reads = None
    try:
        config = state.resolve(key)
    except (FormatError, ResolveError):
        return _Past(found, parsed, reads, None)
    return _Past(found, parsed, reads, Document(config.version, config.body))


def _paths(reads: Mapping[str, str], found: PastFiles | None) -> frozenset[str]:
    """Return the paths that decide about the content of some paths: also those on the ways of links."""
    paths = set(reads)
    for link, way in (found.ways if found is not None else {}).items():
        if link in reads:
            for path in way:
                paths.add(path)
                paths.update(_directories(path))
    return frozenset(paths)


def _directories(path: str) -> Iterator[str]:
    """Yield the directories that contain a path. Each may have been a link."""
    return (path[:end] for end, character in enumerate(path) if character == "/")


def _position(commits: Sequence[Commit], after: str) -> tuple[int, int]:
    """Return the positions that `_Walk.cursor` names."""
    if not after:
        return 0, 0
    ids = _CURSOR.fullmatch(after)
    if ids is None:
        raise RemoteError("after must be the value of `next` on the page before")
    places = {commit.id: number for number, commit in enumerate(commits)}
    since, at = (places.get(id) for id in ids.groups())
    if since is None or at is None or since > at:
        raise RemoteError("the label's history has changed; begin again without after", 404)
    return since, at


def _late(reason: str) -> RemoteError:
    return RemoteError(reason, 503, {"Retry-After": "1"})
