"""The files source: watches a directory.

The kernel's events, the time and scans arrive. Whole `Tree`s leave, debounced. Only the file system decides the content.
An event makes the next look come sooner, and shows which files are half-written. While all directories are watched, a
look examines only the names in the events (refresh.py). A full scan follows at intervals, and whenever events were lost.
So a change without an event costs at most `scan_interval` seconds.
"""

import contextlib
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import attrs
import structlog
import trio

from ...aio import threads
from ...core.commits import Commit, PastFiles
from ...core.errors import SourceError
from ...core.model import Files, Tree
from .. import layout
from ..base import Publish, Surroundings
from ..memory import directory_for
from ..status import SourceStatus
from . import directory, refresh
from .directory import Identity, Mark, Outline, Scan
from .kept_versions import commits_of
from .refresh import Known, Name
from .remembered import Remembered
from .settings import FilesSettings
from .settling import Action, Outcome, Settling, Verdict
from .versions import Versions
from .watches import Place
from .watching import Watching
from .writes import Event

log = structlog.get_logger()

_Changed: TypeAlias = Mapping[str, Mark | None]
# A directory that was read, and its difference from the published state.
_Read: TypeAlias = tuple[Scan, _Changed]

# When a new directory is watched, the source looks again, at most this many times, because directories may keep
# appearing.
_ROUNDS = 3


@attrs.frozen
class _Seen:
    """A look at the directory.

    Attributes:
        changed: The difference from the published state.
        is_watched: Whether the kernel reports events for all of it.
        read: The directory as it was read at the same moment, or None if it wasn't read.
    """

    outline: Outline
    changed: _Changed
    is_watched: bool
    read: _Read | None


class FilesSource:
    """A directory in Spring's layout; a `base.Source`.

    Args:
        base: The directory at which a relative path starts.
        own: Files and directories of vortexd itself, which are never served.
        remembered: Keeps the last good content of its files; None if it isn't kept.
    """

    def __init__(
        self,
        settings: FilesSettings,
        base: Path,
        own: Iterable[str] = (),
        remembered: Remembered | None = None,
    ) -> None:
        self._remembered = remembered
        self._versions = remembered.versions if remembered is not None else None
        self._settings = settings
        self._own = frozenset(real for path in own for real in (os.path.abspath(path), os.path.realpath(path)))
        self._root = str(Path(base, settings.path).absolute())
        self._status = SourceStatus(self.name, settings.kind, settings.max_staleness, root=f"file:{self._root}/")
        # Former versions are read one after the other.
        self._reading_versions = trio.CapacityLimiter(1)
        self._hint = trio.Event()
        self._settling = Settling(settings)
        self._watching = Watching(self.name, settings.scan_interval, self._heard)
        self._published: Scan | None = None
        self._known = Known()
        # When the next full scan is due.
        self._scan_at = -math.inf
        self._skipped: frozenset[tuple[str, str]] = frozenset()

    @property
    def name(self) -> str:
        """The kind and the path of the directory."""
        return f"files:{self._root}"

    @property
    def status(self) -> SourceStatus:
        """See `base.Source`."""
        return self._status

    @property
    def root(self) -> str:
        """See `base.VersionReader`."""
        return f"file:{self._root}/"

    @property
    def remembered_root(self) -> str | None:
        """See `base.Rememberer`."""
        return self.root if self._remembered is not None else None

    async def versions(self) -> Sequence[Commit]:
        """See `base.VersionReader`."""
        if self._versions is None:
            return ()
        kept = await threads.run_sync(self._versions.read, abandon_on_cancel=True, limiter=self._reading_versions)
        return commits_of(kept) if kept is not None else ()

    async def version(self, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        """See `base.VersionReader`."""
        if self._versions is None:
            return None
        read = partial(self._versions.past, id, near)
        found = await threads.run_sync(read, abandon_on_cancel=True, limiter=self._reading_versions)
        if found is None or not self._settings.label_directories:
            return found
        # The locations of a label are the top and its directory, if it has one.
        contents = layout.below(found.files.contents, files.locations[1] if len(files.locations) > 1 else None)
        return attrs.evolve(found, files=attrs.evolve(found.files, contents=contents))

    async def run(self, publish: Publish) -> None:
        """See `base.Source`. This runs the scans, and a task that takes the kernel's events."""
        self._known = Known()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watching.run, name=f"watch {self._root}")
                if self._remembered is not None:
                    nursery.start_soon(self._remembered.run, name=f"remember {self._root}")
                while True:
                    self._hint = trio.Event()
                    if trio.current_time() >= self._scan_at:
                        self._known.lose()
                    until = trio.current_time() + self._settings.scan_interval
                    try:
                        until = min(until, await self._look(publish), self._scan_at)
                        self._status.succeeded()
                    except SourceError as error:
                        self._status.failed(str(error))
                    with trio.move_on_at(until):
                        await self._hint.wait()
        finally:
            self._watching.close()

    async def _look(self, publish: Publish) -> float:
        """Publish the new state once it has settled. Return when to look again at the latest."""
        before = self._published
        noticed = time.time()
        if before is None:
            scan, outcome = await self._first()
            return await self._publish(None, scan, outcome, noticed, publish)
        while True:
            seen, verdict = await self._settled(before)
            if verdict.action is Action.REST:
                return verdict.at
            scan, changed = seen.read or await self._reading(before, None if verdict.is_last else seen.outline)
            outcome = self._settling.finish(
                verdict, before.outline, scan.outline, changed, before.unsettled, trio.current_time()
            )
            if outcome.is_settled:
                return await self._publish(before, scan, outcome, noticed, publish)

    async def _first(self) -> tuple[Scan, Outcome]:
        """Read the directory for the first time.

        While a file is being written, read it again, for at most `hold` seconds.
        """
        began = trio.current_time()
        while True:
            seen = await self._see(None)
            scan, _ = await self._reading(None, seen.outline)
            outcome = self._settling.first(scan.outline, trio.current_time(), began)
            if outcome.is_settled:
                return scan, outcome
            with trio.move_on_at(outcome.at):
                await self._hint.wait()
            self._hint = trio.Event()

    async def _settled(self, before: Scan) -> tuple[_Seen, Verdict]:
        """Wait until the directory must be read, or has nothing new. It may have been read already by then."""
        # If a file must be read again although nothing has changed, it is read at once.
        expected = before.outline if before.unsettled else None
        noticed = await self._pause()
        is_quiet = noticed is not None and self._settling.is_quiet(trio.current_time())
        while True:
            # The look finds all that was reported until now.
            self._hint = trio.Event()
            begun = trio.current_time()
            self._settling.begin_reading(begun)
            seen = await self._see(before, expected, is_quiet=is_quiet)
            await self._watching.take_all()
            verdict = self._settling.judge(
                before.outline,
                seen.outline,
                seen.changed,
                before.unsettled,
                begun,
                trio.current_time(),
                is_watched=seen.is_watched,
                noticed=noticed if seen.is_watched else None,
            )
            is_quiet = False
            if verdict.action is not Action.WAIT:
                return seen, verdict
            expected = seen.outline
            await trio.sleep_until(verdict.at)

    async def _pause(self) -> float | None:
        """If events tell that files were written completely, wait until a single one of them may be published.

        So one look finds it settled and reads it. Return when the wait began, or None if there was none. If a directory
        has appeared, there is none: the kernel doesn't report the writes in it until a look has found it.
        """
        noticed, until = trio.current_time(), self._settling.look_at
        if until <= noticed or not (self._known.is_plain and self._watching.is_complete):
            return None
        await trio.sleep_until(until)
        return noticed

    async def _reading(self, before: Scan | None, shown: Outline | None) -> _Read:
        """Read the directory, and take all events up to the end of the reading."""
        self._settling.begin_reading(trio.current_time())
        is_known = before is not None and shown is not None and shown is self._known.outline
        found = await threads.run_sync(self._read, before, shown, is_known, abandon_on_cancel=True)
        await self._watching.take_all()
        return found

    def _read(self, before: Scan | None, shown: Outline | None, is_known: bool) -> _Read:
        """Read the directory. Return the result, and its difference from the published state.

        Args:
            is_known: Whether events tell of every change since `shown`.
        """
        look = None
        if is_known and before is not None:
            look = partial(refresh.look_again, self._root, self._settings, before, own=self._own)
        scan = directory.read(self._root, self._settings, before, self._own, shown, look)
        if before is None and scan.outline.closed and self._remembered is not None:
            # For a directory that can't be listed, only the remembered paths are known.
            lost = {
                path: f"its directory can't be listed: {why}"
                for path in self._remembered.paths()
                for prefix, why in scan.outline.closed.items()
                if path.startswith(prefix)
            }
            scan = attrs.evolve(scan, unreadable={**scan.unreadable, **lost})
        return scan, {} if before is None else directory.difference(before.outline, scan.outline)

    async def _publish(
        self, before: Scan | None, found: Scan, outcome: Outcome, noticed: float, publish: Publish
    ) -> float:
        scan = found
        if before is not None and outcome.held:
            scan = await threads.run_sync(directory.held_back, found, before, outcome.held, abandon_on_cancel=True)
        self._published = scan
        is_new = before is None or before.contents != scan.contents or before.unreadable != scan.unreadable
        if before is not None and is_new and _is_unmounted(before, scan):
            self._published = before
            raise SourceError(f"{self._root} is empty and on another device: its volume isn't mounted")
        altered = {path: _differs(before, scan, path) for path in outcome.overdue}
        self._settling.published(found.outline, outcome.held, altered)
        # A file counts as unfinished until other content of it is published.
        unfinished = {path: why for path, why in self._status.unfinished.items() if not _differs(before, scan, path)}
        for path, reason in outcome.overdue.items():
            if altered[path]:
                unfinished[path] = f"{reason.value}, for {self._settings.hold:g} s"
                self._warn(path, unfinished[path])
        self._status.published(unfinished)
        if is_new:
            await publish(self._tree(scan, noticed))
        is_unsettled = bool(scan.unsettled) if before is None else not scan.unsettled <= before.unsettled
        if not is_unsettled or self._is_reported(scan):
            return outcome.at
        return min(outcome.at, trio.current_time() + self._settings.quiet)

    def _is_reported(self, scan: Scan) -> bool:
        """Return whether an event comes before anything new can be read of the unsettled files.

        They were changed in the tick of their reading. The next look reads them again, at the latest with the next scan.
        A look only for that would add a quarter to the processor time of a publication.
        """
        return self._watching.is_complete and scan.unsettled.isdisjoint(scan.unreadable)

    async def _see(self, before: Scan | None, expected: Outline | None = None, *, is_quiet: bool = False) -> _Seen:
        """Look at the directory, and watch all of it. If it is in the expected state, read it at once.

        Args:
            is_quiet: Whether to read it at once, too, if a single file has changed.
        """
        rounds = 0
        while True:
            await self._watching.take_all()
            former, mentioned = self._known.begin()
            if former is None:
                self._scan_at = trio.current_time() + self._settings.scan_interval
            shown, changed, wanted, read = await threads.run_sync(
                self._outline, before, expected, former, mentioned, is_quiet, abandon_on_cancel=True
            )
            is_new = await self._watching.follow(wanted)
            if isinstance(shown, SourceError):
                raise shown
            rounds += 1
            if not is_new:
                self._known.end(shown, is_watched=self._watching.is_complete)
                return _Seen(shown, changed, self._watching.is_complete, read)
            if rounds == _ROUNDS:
                self._hint.set()
                return _Seen(shown, changed, False, read)

    def _outline(
        self,
        before: Scan | None,
        expected: Outline | None,
        former: Outline | None,
        mentioned: Collection[Name],
        is_quiet: bool,
    ) -> tuple[Outline | SourceError, _Changed, Mapping[Identity, Place] | None, _Read | None]:
        """Return the outline, its difference from the published state, the directories to watch, and any reading.

        If the right directories are watched already, the third value is None.

        Args:
            former: The last outline, or None for a full scan.
            mentioned: The names that events have mentioned since then.
            is_quiet: As in `_see`.
        """
        if before is not None and former is not None:
            renewed = refresh.refreshed(self._root, self._settings, former, mentioned, self._own)
            if renewed is not None:
                changed = directory.difference(before.outline, renewed)
                is_read = renewed == expected or (is_quiet and len(changed) == 1)
                return renewed, changed, None, self._read(before, renewed, True) if is_read else None
        wanted: dict[Identity, Place] = {}
        try:
            shown = directory.outline(self._root, self._settings, self._own)
        except SourceError as error:
            wanted = self._signposts()  # their events show when the directory returns
            return error, {}, None if self._watching.follows(wanted) else wanted, None
        for prefix, identity in (*shown.directories.items(), *shown.beside.directories.items()):
            wanted[identity] = Place(os.path.join(self._root, prefix))
        for identity, place in self._signposts().items():
            wanted.setdefault(identity, place)
        changed = {} if before is None else directory.difference(before.outline, shown)
        read = self._read(before, shown, False) if before is not None and shown == expected else None
        return shown, changed, None if self._watching.follows(wanted) else wanted, read

    def _signposts(self) -> dict[Identity, Place]:
        """Return the directories whose events show that the path of the root leads elsewhere."""
        found = {}
        for path, entries in directory.signposts(self._root).items():
            # They are watched if permissions allow it. Many users may list a directory but not its parent.
            with contextlib.suppress(OSError):
                status = os.stat(path)
                if os.access(path, os.R_OK):
                    found[status.st_dev, status.st_ino] = Place(path, frozenset(entries))
        return found

    def _heard(self, event: Event, now: float) -> None:
        self._known.heard(event)
        if self._settling.heard(event, now):
            self._hint.set()

    def _tree(self, scan: Scan, noticed: float) -> Tree:
        tree, skipped = tree_of(scan, self._settings, self._root)
        self._tell_skipped(frozenset(skipped.items()))
        labels = {label: attrs.evolve(files, past=self._remembered) for label, files in tree.labels.items()}
        shared = attrs.evolve(tree.shared, past=self._remembered) if tree.shared is not None else None
        return attrs.evolve(tree, labels=labels, shared=shared, noticed=noticed)

    def _tell_skipped(self, skipped: frozenset[tuple[str, str]]) -> None:
        for path, why in sorted(skipped - self._skipped):
            log.warning("directory skipped", source=self.name, directory=path, reason=why)
        self._skipped = skipped

    def _warn(self, path: str, reason: str) -> None:
        log.warning(
            "unfinished file published",
            source=self.name,
            file=path,
            reason=reason,
            remedy="write a new file and rename it over this one, or raise hold of the source",
        )


def open_files(settings: FilesSettings, surroundings: Surroundings) -> FilesSource:
    """Make the source that the settings name."""
    root = f"file:{Path(settings.path).absolute()}/"
    memory = surroundings.memory
    kept = None
    if memory is not None and settings.remember:
        place = directory_for(memory, root)
        kept = Remembered(place, root, versions=Versions(place, root))
    return FilesSource(settings, Path(), surroundings.own, kept)


def _is_unmounted(before: Scan, after: Scan) -> bool:
    """Return whether the volume was unmounted.

    That leaves an empty directory on another device, which doesn't mean an empty configuration.
    """
    return bool(before.contents) and not after.outline.files and before.outline.root[0] != after.outline.root[0]


def _differs(before: Scan | None, after: Scan, path: str) -> bool:
    """Return whether the published content of a path has changed."""
    if before is None:
        return True
    return before.contents.get(path) != after.contents.get(path) or (
        before.unreadable.get(path) != after.unreadable.get(path)
    )


def tree_of(scan: Scan, settings: FilesSettings, root: str) -> tuple[Tree, dict[str, str]]:
    """Make a tree of a directory. Return the tree and the directories that it leaves out, with the reasons.

    Args:
        root: The path of the directory.
    """
    tree, skipped = layout.tree_of(
        scan.contents,
        scan.unreadable,
        f"file:{root}/",
        settings.default_label,
        label_directories=settings.label_directories,
    )
    return tree, {path.rstrip("/"): why for path, why in scan.outline.closed.items()} | skipped
