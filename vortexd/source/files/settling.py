"""Decides when a changed directory may be published, and which of its files are held back until then.

The kernel's events, outlines of the directory and the time arrive. A `Verdict` leaves: nothing is new, wait, or read
now. The invariant: if a program has modified a file and not closed it since, the file is published only `hold` seconds
later. The same holds for a file that has just become empty. Until then the file keeps its former content, or stays
absent. All other files are published meanwhile.

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

# The directories of an outline, and those that can't be listed.
_Shape: TypeAlias = tuple[Mapping[str, Identity], Mapping[str, str]]


class Reason(enum.Enum):
    """The reason why a file is held."""

    OPEN = "a program has modified it and not closed it"
    EMPTY = "it has become empty"
    RESTLESS = "it is written again while it is read"


class Action(enum.Enum):
    """The next action."""

    REST = enum.auto()
    WAIT = enum.auto()
    READ = enum.auto()


@attrs.frozen(slots=True)
class Verdict:
    """The decision about a directory.

    Attributes:
        at: For REST and WAIT: when to look again at the latest. If only an event or the next scan decides, it is
            infinity.
        is_last: For READ: publish the directory in the state that is read, because the wait must not be longer.
        withheld: For READ: paths that changed a moment ago. They keep their former content for now.
    """

    action: Action
    at: float = math.inf
    is_last: bool = False
    withheld: frozenset[str] = frozenset()


@attrs.frozen(slots=True)
class Outcome:
    """The decision about a directory that was read.

    Attributes:
        is_settled: Whether it may be published. If not, judge it again.
        held: Paths that keep their former content.
        overdue: Paths that were held for the longest time allowed, with the reason. They are published as they are.
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
        since: The time since when it may be half-written.
        write: The write that the kernel's events show, or None.
    """

    reason: Reason
    since: float
    write: Write | None = None


@attrs.frozen(slots=True)
class _Round:
    """The time from the first change to its publication.

    Attributes:
        began: The time of the first change.
        news: The changed files that aren't held, with their marks.
        changed: The time of the last change.
    """

    began: float
    news: Mapping[str, Mark | None]
    shape: _Shape
    changed: float


class Settling:
    """Makes the decisions about one directory."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._writes = Writes()
        # For each held path, the time since when it has been held without being published.
        self._held: dict[str, float] = {}
        self._round: _Round | None = None

    def heard(self, event: Event, now: float) -> bool:
        """Take note of an event. Return whether to look at the directory soon."""
        return self._writes.heard(event, now)

    @property
    def quiet_at(self) -> float:
        """When a single file that was written completely may be published, if no other event follows."""
        return self._writes.active + self._quiet_one_file

    @property
    def look_at(self) -> float:
        """When there may be something to publish at the earliest, if no other event follows.

        That is after the quiet time, or when a hold or the longest wait ends.
        """
        ends = [since + self._settings.hold for since in self._held.values()]
        if self._round is not None:
            ends.append(self._round.began + self._settings.max_wait)
        return min([self.quiet_at, *ends])

    def is_quiet(self, now: float) -> bool:
        """Return whether a single file that has changed may be published now, so that it can be read at once."""
        return self.quiet_at <= now and not self._writes.is_any_open()

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
        noticed: float | None = None,
    ) -> Verdict:
        """Decide the next action.

        Args:
            before: The published state.
            shown: The directory a moment ago.
            changed: The difference between the two, from `directory.difference`.
            unsettled: Paths to read again although their marks stay the same, from `Scan.unsettled`.
            begun: When that look at the directory began.
            is_watched: Whether the kernel reports events for all of its directories.
            noticed: When the look became due, if the caller waited for the end of a write before it. None if not.
        """
        reasons = self._unfinished(before, shown, changed, now)
        self._held = {path: since for path, since in self._held.items() if path in reasons or path in changed}
        held, _ = self._sorted(reasons, {*changed, *unsettled}, now)
        deadlines = {path: since + self._settings.hold for path, since in self._held.items()}
        due = {path for path in changed if deadlines.get(path, math.inf) <= now}
        news = {path: mark for path, mark in changed.items() if path not in held and path not in due}
        is_watched = is_watched and not held and not due
        ready = self._ready(before, shown, news, now, noticed, is_watched=is_watched)
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
        self,
        before: Outline,
        shown: Outline,
        news: Mapping[str, Mark | None],
        now: float,
        noticed: float | None,
        *,
        is_watched: bool,
    ) -> float:
        """Return when the new state may be published, if nothing else changes."""
        shape = _shape(shown)
        is_moved = shape != _shape(before)
        if not news and not is_moved:
            self._round = None
            return now
        is_one_file = is_watched and not is_moved and self._is_one_file(shown, news)
        if self._round is None:
            if noticed is None:
                # If one file changed, the kernel reported its change earlier than the scan saw it.
                noticed = self._writes.active if is_one_file else now
            self._round = _Round(noticed, news, shape, noticed)
        elif (news, shape) != (self._round.news, self._round.shape):
            self._round = _Round(self._round.began, news, shape, now)
        quiet = self._quiet_one_file if is_one_file else self._settings.quiet
        return min(max(self._round.changed, self._writes.active) + quiet, self._round.began + self._settings.max_wait)

    @property
    def _quiet_one_file(self) -> float:
        return min(self._settings.quiet, self._settings.quiet_one_file)

    def _is_one_file(self, shown: Outline, news: Collection[str]) -> bool:
        """Return whether the only change is one complete file, and no other write seems to be in progress."""
        return (
            len(news) == 1
            and not shown.beside.is_busy
            and not self._writes.is_any_open()
            and all(self._writes.is_complete(shown, path) for path in news)
        )

    def begin_reading(self, now: float) -> None:
        """Note that a reading of the directory begins. Call this before each reading."""
        self._writes.begin_reading(now)

    def first(self, shown: Outline, now: float, began: float) -> Outcome:
        """Decide about a directory that was read when nothing is published yet.

        No file has a former content, so all files wait.

        Args:
            shown: The directory as it was read.
            began: When the first attempt was made. From then on, the wait for a file is at most `hold` seconds.
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
        """Decide which files to publish of a directory that was read, after all events up to then were noted.

        Args:
            verdict: The decision to read the directory.
            before: The published state.
            shown: The directory as it was read.
            changed: The difference between the two.
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
        """Return whether the directory was read in a different state from the one that was found settled."""
        if self._round is None:
            return bool(news) or _shape(shown) != _shape(before)
        return self._writes.is_stirred or (news, _shape(shown)) != (self._round.news, self._round.shape)

    def published(self, shown: Outline, held: Collection[str], altered: Mapping[str, bool]) -> None:
        """Note that a state was published.

        Args:
            shown: The directory as it was read.
            held: Paths that kept their former content.
            altered: The overdue paths, and whether their published content has changed.
        """
        self._writes.published(shown, held, altered)
        self._held = {path: since for path, since in self._held.items() if path in held}

    def _unfinished(
        self, before: Outline, shown: Outline, changed: Mapping[str, Mark | None], now: float
    ) -> dict[str, _Found]:
        """Return the files that may be half-written, according to the kernel's events and the outlines."""
        found = {}
        for path, mark in changed.items():
            former = before.files.get(path)
            if mark is not None and former is not None and size(mark) == 0 < size(former):
                # The look may be later than the event, because it waited for the end of other writes.
                completed = self._writes.completed_at(shown, path)
                found[path] = _Found(Reason.EMPTY, now if completed is None else completed)
        for path, write in self._writes.unfinished(shown).items():
            found[path] = _Found(Reason.OPEN, write.since, write)
        return found

    def _restless(self, shown: Outline, now: float) -> dict[str, _Found]:
        """Return the files that were written while they were read."""
        return dict.fromkeys(self._writes.restless(shown), _Found(Reason.RESTLESS, now))

    def _sorted(
        self, reasons: Mapping[str, _Found], fresh: Collection[str], now: float
    ) -> tuple[dict[str, float], dict[str, Reason]]:
        """Return the held files with the end of their hold, and the files that were held for the longest time allowed.

        Args:
            fresh: Paths for which there is something new to publish.
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
                # The content that was written is already published.
                del self._held[path]
                if found.write is not None:
                    found.write.is_idle = True
        return held, overdue


def _shape(outline: Outline) -> _Shape:
    return outline.directories, outline.closed
