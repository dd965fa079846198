"""Finds the commits that changed the document of a key, the newest first.

A key and the layers of files that serve it arrive. `KeyChange`s leave, each with the document before and after a commit.
The commits of all layers, and the versions of directories, are in one timeline; see `timeline`. The files of a commit are read and resolved only if it
changes a path that decides about the key; see `past_keys`.

The invariant: the work is bounded. Clients take turns; see `history_turns`. A page ends after a number of changes, of resolved
commits, of bytes, or of seconds, and names the place where the next page goes on. A page only reads commits of the labels
that are served, so nobody sees a commit that isn't in a label's history.

If the key can't be resolved at a commit, the server would have kept the document of the commit before. So such a commit
changes nothing, and the next commit that can be resolved has the whole change.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import structlog
import trio

from ..aio import threads
from ..core.commits import Commit
from ..core.errors import SourceError
from ..core.flat_key import differ
from ..core.model import Key, Origin
from .history_turns import HistoryTurns, late
from .key_layers import KeyLayers, Kind, KnownLayer, key_layers
from .past_keys import Commits, Document, Layers, PastKey, PastKeys
from .served import ServedState
from .timeline import Step, Timeline

log = structlog.get_logger()

# The limits of one page: resolved commits, the bytes of the documents, and seconds.
MOST_RESOLVED = 200
MOST_BYTES = 8_388_608
SECONDS = 4.0
# The number of commits that are examined before other tasks run.
_AT_ONCE = 100


@attrs.frozen(slots=True, eq=False)
class KeyChange:
    """A commit that changed the document of a key, or a version of a directory.

    Attributes:
        subject: The first line of its message.
        source: The root of the layer that has the commit, as in `Files.root`.
        label: The labels of the key that have the commit here, separated by commas.
    """

    origin: Origin
    subject: str
    old: Document
    new: Document
    source: str
    label: str


@attrs.frozen(slots=True, eq=False)
class HistoryPage:
    """A part of a history.

    Attributes:
        changes: The newest first.
        searched: The number of commits that this page has examined.
        next: Where the next page goes on. None if there is none.
        is_complete: Whether no older commit can have changed the key. It is False if the server doesn't know older
            commits.
        layers: The layers that serve the key now, those of each label from the strongest to the weakest.
    """

    changes: Sequence[KeyChange]
    searched: int
    next: str | None
    is_complete: bool
    layers: Sequence[KnownLayer]


@attrs.define(eq=False)
class _Walk:
    """A walk from newer to older commits.

    Attributes:
        since: The number of the oldest step that is known to have the document `newest`.
        at: The number of the step that is examined next. Its state is that of `past`.
        newest: The document whose commit is looked for.
        resolved: The number of commits that were read and resolved.
        bytes: The size of the documents in `changes`.
    """

    steps: Sequence[Step]
    since: int
    at: int
    newest: Document | None = None
    past: PastKey | None = None
    is_at_end: bool = False
    resolved: int = 0
    bytes: int = 0
    changes: list[KeyChange] = attrs.field(factory=list)

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
            step = self.steps[number]
            if self.past.may_differ(step.layers, step.commit):
                return True
        return False


class KeyHistory:
    """Reads histories of keys; see the module.

    Args:
        served: The served state, whose limits, decryptor and overrides count.
        commits: The commits of the sources.
        turns: Limits how many histories are read at a time.
        resolving: Limits the threads that parse and resolve.
    """

    def __init__(
        self, served: ServedState, commits: Commits, turns: HistoryTurns, resolving: trio.CapacityLimiter
    ) -> None:
        self._served = served
        self._commits = commits
        self._turns = turns
        self._resolving = resolving
        # Nothing else runs in this thread, so an unknown place is answered at once.
        self._ordering = trio.CapacityLimiter(1)

    async def page(
        self, layers: Layers, key: Key, part: str, limit: int, after: str, client: str | None
    ) -> HistoryPage:
        """Read a page of the history of a key.

        Args:
            layers: The layers of each label of the key, as they are now.
            part: Only changes of this flat key, and of the keys below it, count. "" means all.
            limit: The most changes on the page.
            after: The `next` of the page before, or "".
            client: As in `HistoryTurns.turn`.

        Raises:
            RemoteError: No layer has commits, `after` isn't in the history, the commits can't be read now, or the server
                is too busy.
        """
        lines = await key_layers(self._commits, layers, key, self._ordering)
        timeline = lines.timeline
        since, begun = timeline.places(after)
        walk = _Walk(timeline.steps, since, begun)
        past = self._past(layers, key, lines)
        async with self._turn(client):
            with trio.move_on_after(SECONDS):
                await self._go_on(walk, past, lines, part, limit)
        if walk.is_at_end:
            searched = len(timeline.steps) - begun
            return HistoryPage(walk.changes, searched, None, timeline.is_complete, lines.known)
        if walk.at == begun:
            raise late("the commits weren't read in time; try again")
        following = timeline.cursor(walk.since, walk.at)
        return HistoryPage(walk.changes, walk.at - begun, following, is_complete=False, layers=lines.known)

    async def document(self, layers: Layers, key: Key, commit: str, client: str | None) -> Document | None:
        """Return the document of a key at one of its `commits_of`. Return None if the key can't be resolved there.

        Raises:
            RemoteError: As in `page`.
        """
        return (await self.files(layers, key, commit, client))[1]

    async def files(self, layers: Layers, key: Key, commit: str, client: str | None) -> tuple[Layers, Document | None]:
        """Return the layers of each label of a key at one of its `commits_of`, and the document, as `document` does.

        Raises:
            RemoteError: As in `page`.
        """
        lines = await key_layers(self._commits, layers, key, self._ordering)
        timeline = lines.timeline
        there = dict(enumerate(timeline.commits_at(timeline.number_of(commit))))
        keys = self._past(layers, key, lines)
        async with self._turn(client):
            with trio.move_on_after(SECONDS):
                past = await keys.read(there, None)
                return keys.layers_of(past), past.document
        raise late("the commit wasn't read in time; try again")

    async def commits_of(self, layers: Layers, key: Key) -> Sequence[Commit]:
        """Return the commits of the layers that serve a key, the newest first. Arguments and errors are as in `page`."""
        return (await key_layers(self._commits, layers, key, self._ordering)).timeline.commits

    @asynccontextmanager
    async def _turn(self, client: str | None) -> AsyncIterator[None]:
        """Wait for a turn.

        Raises:
            RemoteError: That takes too long, or a commit can't be read now.
        """
        async with self._turns.turn(client):
            try:
                yield
            except SourceError as error:
                log.warning("history not read", reason=str(error), consequence="the request is answered with an error")
                raise late("the repository can't be read now; see the server's log") from None

    def _past(self, layers: Layers, key: Key, lines: KeyLayers) -> PastKeys:
        return PastKeys(self._commits, self._served, key, layers, lines.numbers, self._resolving)

    async def _go_on(self, walk: _Walk, past: PastKeys, lines: KeyLayers, part: str, limit: int) -> None:
        """Walk until a limit of the page is reached, or to the last known commit."""
        await self._begin(walk, past, lines.timeline)
        while len(walk.changes) < limit and walk.resolved < MOST_RESOLVED and walk.bytes < MOST_BYTES:
            if not await self._step(walk, past, lines, part):
                walk.is_at_end = True
                return

    async def _begin(self, walk: _Walk, past: PastKeys, timeline: Timeline) -> None:
        """Read the states at which the walk begins."""
        newer, before = None, dict(enumerate(timeline.commits_at(walk.since)))
        there = dict(enumerate(timeline.commits_at(walk.at)))
        if walk.since != walk.at:
            newer = await past.read(before, None)
            there = {number: commit for number, commit in there.items() if commit != before[number]}
        walk.past = await past.read(there, newer)
        walk.newest = (newer or walk.past).document

    async def _step(self, walk: _Walk, past: PastKeys, lines: KeyLayers, part: str) -> bool:
        """Go on to an older commit that may have another document. Return False if there is none."""
        if not await walk.skip():
            return False
        step = walk.steps[walk.at]
        parent = step.commit.parent
        if parent is not None and walk.at + 1 == len(walk.steps):
            return False
        older = await past.read(dict.fromkeys(step.layers, parent), walk.past)
        change, newest = None, walk.newest
        if older.document is not None and newest is not None and older.document.version != newest.version:
            change = await self._change(walk.steps[walk.since], older.document, newest, lines, part)
        # From here on nothing waits, so a deadline can't leave half a step.
        walk.resolved += 1
        walk.past, walk.at = older, walk.at + 1
        if older.document is not None:
            walk.newest, walk.since = older.document, walk.at
        if change is not None:
            walk.changes.append(change)
            walk.bytes += len(change.old.body) + len(change.new.body)
        return walk.at < len(walk.steps)

    async def _change(self, step: Step, old: Document, new: Document, lines: KeyLayers, part: str) -> KeyChange | None:
        """Describe the change by a commit. Return None if `part` is the same."""
        if part:
            compare = partial(differ, old.body, new.body, part)
            if not await threads.run_sync(compare, abandon_on_cancel=True, limiter=self._resolving):
                return None
        root = lines.timeline.layers[step.layers[0]].root
        kind = lines.kinds[step.layers[0]]
        labels = ",".join(dict.fromkeys(lines.labels[number] for number in step.layers))
        subject = await self._commits.subject(root, step.commit.id) if kind is Kind.COMMITS else ""
        return KeyChange(step.commit.origin, subject, old, new, root, labels)
