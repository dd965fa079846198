"""When a changed directory may be published, and which of its files are held back until then.

The kernel's events, outlines of the directory and the time come in. A `Verdict` goes out: nothing is new, wait, or read now. The invariant:
a file that a program has modified and not closed since is published only `hold` seconds later, and so is a file that has just
become empty. Until then it keeps its former content, or stays absent, while all other files move on.

Events are hints. Without them the outlines decide, and only a file that has become empty is held.
"""

import enum
import math
from collections.abc import Collection, Mapping
from typing import TypeAlias

import attrs

from .directory import Identity, Mark, Outline
from .settings import FilesSettings
from .writes import Event, Write, Writes, size

# What an outline says of directories.
_Shape: TypeAlias = tuple[Mapping[str, Identity], Mapping[str, str]]


class Reason(enum.Enum):
    """Why a file is held."""

    OPEN = "a program has modified it and not closed it"
    EMPTY = "it has become empty"
    RESTLESS = "it is written again while it is read"


class Action(enum.Enum):
    """What to do next."""

    REST = enum.auto()
    WAIT = enum.auto()
    READ = enum.auto()


@attrs.frozen(slots=True)
class Verdict:
    """What to do about a directory.

    Attributes:
        at: REST and WAIT: when to look again at the latest; infinity where only an event or the next scan decides.
        is_last: READ: publish the directory as it is then, for waiting longer is not allowed.
        withheld: READ: paths that have changed a moment ago. They keep their former content for now.
    """

    action: Action
    at: float = math.inf
    is_last: bool = False
    withheld: frozenset[str] = frozenset()


@attrs.frozen(slots=True)
class Outcome:
    """What to publish of a directory that was read.

    Attributes:
        is_settled: Whether it may be published; if not, judge it again.
        held: Paths that keep their former content.
        overdue: Paths that were held for as long as is allowed, with the reason. They are published as they are.
        at: When to look again at the latest.
    """

    is_settled: bool
    held: frozenset[str] = frozenset()
    overdue: Mapping[str, Reason] = attrs.field(factory=dict)
    at: float = math.inf


@attrs.frozen(slots=True)
class _Found:
    """A file that may be half-written.

    Attributes:
        since: Since when.
        write: What the kernel said of it, or None.
    """

    reason: Reason
    since: float
    write: Write | None = None


@attrs.frozen(slots=True)
class _Round:
    """The time from the first change to its publication.

    Attributes:
        began: When there was the first change.
        news: What has changed and isn't held, with the marks.
        changed: Since when it is as it is now.
    """

    began: float
    news: Mapping[str, Mark | None]
    shape: _Shape
    changed: float


class Settling:
    """The decisions about one directory."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._writes = Writes()
        # Since when a path is held without having been published meanwhile.
        self._held: dict[str, float] = {}
        self._round: _Round | None = None

    def heard(self, event: Event, now: float) -> bool:
        """Take note of an event. Returns whether to look at the directory soon."""
        return self._writes.heard(event, now)

    def judge(
        self,
        before: Outline,
        shown: Outline,
        changed: Mapping[str, Mark | None],
        unsettled: Collection[str],
        begun: float,
        now: float,
        *,
        is_watched: bool,
    ) -> Verdict:
        """Decide what to do.

        Args:
            before: The state that is published.
            shown: The directory a moment ago.
            changed: The difference of the two, as of `directory.difference`.
            unsettled: Paths to read again although their marks stay the same, as `Scan.unsettled`.
            begun: When that look at the directory began.
            is_watched: Whether events are told of all of its directories.
        """
        reasons = self._unfinished(before, shown, changed, now)
        self._held = {path: since for path, since in self._held.items() if path in reasons or path in changed}
        held, _ = self._sorted(reasons, {*changed, *unsettled}, now)
        deadlines = {path: since + self._settings.hold for path, since in self._held.items()}
        due = {path for path in changed if deadlines.get(path, math.inf) <= now}
        news = {path: mark for path, mark in changed.items() if path not in held and path not in due}
        is_watched = is_watched and not held and not due
        ready = self._ready(before, shown, news, now, is_watched=is_watched)
        if due:
            withheld = frozenset(news if now < ready else ())
            return Verdict(Action.READ, is_last=True, withheld=withheld)
        if self._round is None:
            if any(path not in held for path in unsettled):
                return Verdict(Action.READ)
            self._writes.done(begun)
            return Verdict(Action.REST, min(deadlines.values(), default=math.inf))
        if now < ready:
            return Verdict(Action.WAIT, min([ready, *deadlines.values()]))
        return Verdict(Action.READ, is_last=now >= self._round.began + self._settings.max_wait)

    def _ready(
        self, before: Outline, shown: Outline, news: Mapping[str, Mark | None], now: float, *, is_watched: bool
    ) -> float:
        """When what is new may be published, if nothing else changes."""
        shape = _shape(shown)
        is_moved = shape != _shape(before)
        if not news and not is_moved:
            self._round = None
            return now
        is_one_file = is_watched and not is_moved and self._is_one_file(shown, news)
        if self._round is None:
            # The kernel has told when one file changed, which was before it was seen.
            began = self._writes.active if is_one_file else now
            self._round = _Round(began, news, shape, began)
        elif (news, shape) != (self._round.news, self._round.shape):
            self._round = _Round(self._round.began, news, shape, now)
        quiet = min(self._settings.quiet, self._settings.quiet_one_file) if is_one_file else self._settings.quiet
        return min(max(self._round.changed, self._writes.active) + quiet, self._round.began + self._settings.max_wait)

    def _is_one_file(self, shown: Outline, news: Collection[str]) -> bool:
        """Whether one complete file is all that has changed, and nothing else seems to be under way."""
        return (
            len(news) == 1
            and not shown.beside.is_busy
            and not self._writes.is_any_open()
            and all(self._writes.is_complete(shown, path) for path in news)
        )

    def begin_reading(self, now: float) -> None:
        """Say that the directory is read from now on. To be called before each reading."""
        self._writes.begin_reading(now)

    def first(self, shown: Outline, now: float, began: float) -> Outcome:
        """Decide about a directory that was read, where nothing is published yet. It has no former content, so all of it waits.

        Args:
            shown: The directory as it was read.
            began: When the first attempt was made. From then on, no file is waited for longer than `hold` seconds.
        """
        found = self._unfinished(shown, shown, {}, now) | self._restless(shown, now)
        held, overdue = self._sorted(
            {path: attrs.evolve(each, since=began) for path, each in found.items()}, shown.files, now
        )
        return Outcome(not held, frozenset(held), overdue, min(held.values(), default=math.inf))

    def finish(
        self,
        verdict: Verdict,
        before: Outline,
        shown: Outline,
        changed: Mapping[str, Mark | None],
        unsettled: Collection[str],
        now: float,
    ) -> Outcome:
        """Decide what to publish of a directory that was read, after all events of that time were heard.

        Args:
            verdict: That to read it.
            before: The state that is published.
            shown: The directory as it was read.
            changed: The difference of the two.
            unsettled: Paths that were read although their marks stay the same.
        """
        reasons = self._restless(shown, now) | self._unfinished(before, shown, changed, now)
        held, overdue = self._sorted(reasons, {*changed, *unsettled}, now)
        if not verdict.is_last:
            news = {path: mark for path, mark in changed.items() if path not in held}
            if self._has_moved_on(before, shown, news):
                return Outcome(is_settled=False)
        if not verdict.withheld:
            self._round = None
        overdue = {path: reason for path, reason in overdue.items() if path not in verdict.withheld}
        at = now if verdict.withheld else min(held.values(), default=math.inf)
        return Outcome(True, verdict.withheld.union(held), overdue, at)

    def _has_moved_on(self, before: Outline, shown: Outline, news: Mapping[str, Mark | None]) -> bool:
        """Whether the directory was read in another state than the one that was judged to be settled."""
        if self._round is None:
            return bool(news) or _shape(shown) != _shape(before)
        return self._writes.is_stirred or (news, _shape(shown)) != (self._round.news, self._round.shape)

    def published(self, shown: Outline, held: Collection[str], altered: Mapping[str, bool]) -> None:
        """Say what was published.

        Args:
            shown: The directory as it was read.
            held: Paths that kept their former content.
            altered: The overdue paths, and whether what is published of them has changed.
        """
        self._writes.published(shown, held, altered)
        self._held = {path: since for path, since in self._held.items() if path in held}

    def _unfinished(
        self, before: Outline, shown: Outline, changed: Mapping[str, Mark | None], now: float
    ) -> dict[str, _Found]:
        """The files that may be half-written, as far as the kernel and the outlines say."""
        found = {}
        for path, mark in changed.items():
            former = before.files.get(path)
            if mark is not None and former is not None and size(mark) == 0 < size(former):
                found[path] = _Found(Reason.EMPTY, now)
        for path, write in self._writes.unfinished(shown).items():
            found[path] = _Found(Reason.OPEN, write.since, write)
        return found

    def _restless(self, shown: Outline, now: float) -> dict[str, _Found]:
        """The files that were written while they were read."""
        return dict.fromkeys(self._writes.restless(shown), _Found(Reason.RESTLESS, now))

    def _sorted(
        self, reasons: Mapping[str, _Found], fresh: Collection[str], now: float
    ) -> tuple[dict[str, float], dict[str, Reason]]:
        """Which files are held, until when, and which have been held for as long as is allowed.

        Args:
            fresh: Paths of which something new would be published.
        """
        held: dict[str, float] = {}
        overdue: dict[str, Reason] = {}
        if self._settings.hold == 0:
            return held, overdue
        for path, found in reasons.items():
            since = self._held[path] = min(found.since, self._held.get(path, now))
            if now < since + self._settings.hold:
                held[path] = since + self._settings.hold
            elif path in fresh:
                overdue[path] = found.reason
            else:
                # Whatever was written, it is what is published.
                del self._held[path]
                if found.write is not None:
                    found.write.is_idle = True
        return held, overdue


def _shape(outline: Outline) -> _Shape:
    return outline.directories, outline.closed
