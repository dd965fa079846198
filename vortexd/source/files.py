"""The files source: a directory, watched.

What arrives are hints of the kernel and the time; what leaves are whole `Tree`s, debounced. The scan is the truth and the hint only makes it
come sooner, so a lost hint costs `scan_interval` seconds and nothing else.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
import structlog
import trio
from watchfiles import awatch

from .. import names, threads
from ..errors import InvalidName, SourceError
from ..model import Files, Tree
from ..settings import SourceSettings
from . import directory
from .base import Publish
from .directory import Outline, Scan
from .remembered import Remembered
from .status import SourceStatus

log = structlog.get_logger()

_Value = TypeVar("_Value")

# The watcher gathers hints for at most this long, in steps of this length; what is published is debounced by the settings.
_GATHER_MS = 50
_STEP_MS = 10
# How often the watcher's thread looks up when nothing happens; it is woken at once when it is to end.
_WATCH_MS = 1_000


class FilesSource:
    """A directory in Spring's layout; a `base.Source`.

    Args:
        base: Where a relative path starts.
        own: Files and directories that are vortexd's own, and never served.
        remembered: Where the last good content of its files is kept; None if it isn't.
    """

    def __init__(
        self,
        settings: SourceSettings,
        base: Path,
        own: Iterable[str] = (),
        remembered: Remembered | None = None,
    ) -> None:
        self._remembered = remembered
        self._settings = settings
        self._own = frozenset(real for path in own for real in (os.path.abspath(path), os.path.realpath(path)))
        self._root = str(Path(base, settings.path).absolute())
        self._status = SourceStatus(self.name, settings.kind, settings.max_staleness, root=f"file:{self._root}/")
        self._hint = trio.Event()
        self._watching = trio.CancelScope()
        self._published: Scan | None = None
        self._trouble: str | None = None
        self._skipped: frozenset[tuple[str, str]] = frozenset()

    @property
    def name(self) -> str:
        """The kind and the directory."""
        return f"files:{self._root}"

    @property
    def status(self) -> SourceStatus:
        """See `base.Source`."""
        return self._status

    async def run(self, publish: Publish) -> None:
        """See `base.Source`. Inside run the watcher and the scans."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, name=f"watch {self._root}")
            if self._remembered is not None:
                nursery.start_soon(self._remembered.run, name=f"remember {self._root}")
            while True:
                self._hint = trio.Event()
                wait = self._settings.scan_interval
                try:
                    if await self._look(publish):
                        wait = min(wait, self._settings.quiet)
                    self._is_well()
                except SourceError as error:
                    self._is_ill(str(error))
                with trio.move_on_after(wait):
                    await self._hint.wait()

    async def _look(self, publish: Publish) -> bool:
        """Publish what is new, and say whether to look again soon."""
        before = self._published
        noticed = time.time()
        if before is not None:
            shown = await self._outline()
            if shown != before.outline:
                await self._settle(shown)
            elif not before.unsettled:
                return False
        scan = await threads.run_sync(
            directory.read, self._root, self._settings, before, self._own, abandon_on_cancel=True
        )
        self._published = scan
        if before is None:
            await publish(self._tree(scan, noticed))
            return bool(scan.unsettled)
        if before.outline.root != scan.outline.root:
            self._watching.cancel()  # a watch on a directory that was replaced never tells anything again
        if before.contents != scan.contents or before.unreadable != scan.unreadable:
            if before.contents and not scan.outline.files and scan.outline.root[0] != before.outline.root[0]:
                # A volume that was unmounted leaves an empty directory on another device: that is no empty configuration.
                self._published = before
                raise SourceError(f"{self._root} is empty and on another device: its volume isn't mounted")
            await publish(self._tree(scan, noticed))
        return not scan.unsettled <= before.unsettled

    async def _settle(self, shown: Outline) -> None:
        """Wait until nothing has changed for `quiet` seconds, at most `max_wait` in all."""
        with trio.move_on_after(self._settings.max_wait):
            while True:
                await trio.sleep(self._settings.quiet)
                now = await self._outline()
                if now == shown:
                    return
                shown = now

    async def _outline(self) -> Outline:
        return await threads.run_sync(directory.outline, self._root, self._settings, self._own, abandon_on_cancel=True)

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

    async def _watch(self) -> None:
        """Turn notifications into hints, for ever; without them the scans go on."""
        is_told = False
        while True:
            with trio.CancelScope() as self._watching:
                try:
                    async for _ in awatch(
                        self._root, watch_filter=None, debounce=_GATHER_MS, step=_STEP_MS, rust_timeout=_WATCH_MS
                    ):
                        is_told = False
                        self._hint.set()
                except (OSError, RuntimeError) as error:
                    if isinstance(error, RuntimeError) and not threads.is_shortage(error):
                        raise
                    if not is_told:
                        log.info(
                            "directory not watched", source=self.name, reason=str(error), consequence="it is scanned"
                        )
                    is_told = True
                await trio.sleep(self._settings.scan_interval)
            self._hint.set()  # what changed while nobody watched

    def _is_well(self) -> None:
        self._status.succeeded()
        if self._trouble is not None:
            log.info("source readable again", source=self.name)
        self._trouble = None

    def _is_ill(self, reason: str) -> None:
        self._status.failed(reason)
        if reason != self._trouble:
            log.warning(
                "source unreadable", source=self.name, reason=reason, consequence="what is served stays as it is"
            )
        self._trouble = reason


def tree_of(scan: Scan, settings: SourceSettings, root: str) -> tuple[Tree, dict[str, str]]:
    """What a directory is as a tree, and which directories are none of it, with the reasons.

    Args:
        root: Its path.
    """
    root = f"file:{root}/"
    skipped = {path.rstrip("/"): why for path, why in scan.outline.closed.items()}
    if not settings.label_directories:
        shared = Files(scan.contents, scan.unreadable, root)
        return Tree({settings.default_label: shared}, settings.default_label, shared), skipped
    labels = {}
    for name in _directories(scan):
        try:
            label = names.label(name)
        except InvalidName:
            skipped[name] = "its name can't be a label"
        else:
            prefix = f"{label}/"
            labels[label] = Files(_below(scan.contents, prefix), _below(scan.unreadable, prefix), root, ("", prefix))
    shared = Files(_below(scan.contents, None), _below(scan.unreadable, None), root)
    return Tree(labels, settings.default_label, shared), skipped


def _directories(scan: Scan) -> Iterator[str]:
    """The directories at the top that hold a file, or held one."""
    yield from sorted({path.partition("/")[0] for path in (*scan.contents, *scan.unreadable) if "/" in path})


def _below(found: Mapping[str, _Value], prefix: str | None) -> dict[str, _Value]:
    """What a label is made of: the files at the top, which are every label's, and those of its directory if it has one."""
    return {
        path: value
        for path, value in found.items()
        if "/" not in path or (prefix is not None and path.startswith(prefix))
    }
