"""The files source: a directory, watched.

What arrives are hints of the kernel and the time; what leaves are whole `Tree`s, debounced. The scan is the truth and the hint only makes it
come sooner, so a lost hint costs `scan_interval` seconds and nothing else.
"""

from collections.abc import Iterator
from pathlib import Path

import structlog
import trio
from watchfiles import awatch

from .. import names
from ..errors import InvalidName, SourceError
from ..model import Files, Tree
from ..settings import SourceSettings
from . import directory
from .base import Publish
from .directory import Scan

log = structlog.get_logger()


class FilesSource:
    """A directory in Spring's layout; a `base.Source`.

    Args:
        base: Where a relative path starts.
    """

    def __init__(self, settings: SourceSettings, base: Path) -> None:
        self._settings = settings
        self._root = Path(base, settings.path).absolute()
        self._hint = trio.Event()
        self._published: Scan | None = None
        self._trouble: str | None = None

    @property
    def name(self) -> str:
        """The kind and the directory."""
        return f"files:{self._root}"

    async def run(self, publish: Publish) -> None:
        """See `base.Source`. Inside run the watcher and the scans."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, name=f"watch {self._root}")
            while True:
                self._hint = trio.Event()
                try:
                    if await self._has_changed():
                        await self._publish_settled(publish)
                    self._is_well()
                except SourceError as error:
                    self._is_ill(str(error))
                with trio.move_on_after(self._settings.scan_interval):
                    await self._hint.wait()

    async def _has_changed(self) -> bool:
        if self._published is None:
            return True
        return await self._marks() != self._published.marks

    async def _publish_settled(self, publish: Publish) -> None:
        """Wait until nothing has changed for `quiet` seconds, at most `max_wait`, then read and publish."""
        if self._published is not None:
            with trio.move_on_after(self._settings.max_wait):
                settled = False
                while not settled:
                    before = await self._marks()
                    await trio.sleep(self._settings.quiet)
                    settled = before == await self._marks()
        scan = await trio.to_thread.run_sync(
            directory.read, self._root, self._settings, self._published, abandon_on_cancel=True
        )
        before_scan = self._published
        if before_scan and before_scan.contents and not scan.marks and scan.device != before_scan.device:
            # A volume that was unmounted leaves an empty directory on another device: that is no empty configuration.
            raise SourceError(f"{self._root} is empty and on another device: its volume isn't mounted")
        self._published = scan
        if before_scan and (before_scan.contents, before_scan.unreadable) == (scan.contents, scan.unreadable):
            return
        await publish(self._tree(scan))

    async def _marks(self) -> object:
        return await trio.to_thread.run_sync(directory.marks, self._root, self._settings, abandon_on_cancel=True)

    def _tree(self, scan: Scan) -> Tree:
        root = f"file:{self._root}/"
        if not self._settings.label_directories:
            files = Files(scan.contents, scan.unreadable, root)
            return Tree({self._settings.default_label: files}, self._settings.default_label)
        labels = {}
        for label in self._labels(scan):
            prefix = f"{label}/"
            mine = {
                path: content for path, content in scan.contents.items() if "/" not in path or path.startswith(prefix)
            }
            broken = {path: why for path, why in scan.unreadable.items() if "/" not in path or path.startswith(prefix)}
            labels[label] = Files(mine, broken, root, ("", prefix))
        return Tree(labels, self._settings.default_label)

    def _labels(self, scan: Scan) -> Iterator[str]:
        for label in sorted({path.partition("/")[0] for path in scan.marks if "/" in path}):
            try:
                yield names.label(label)
            except InvalidName:
                log.warning("directory skipped", source=self.name, directory=label, reason="its name can't be a label")

    async def _watch(self) -> None:
        """Turn notifications into hints, for ever; without them the scans go on."""
        is_told = False
        while True:
            try:
                async for _ in awatch(self._root, debounce=50, step=10, rust_timeout=1_000, recursive=True):
                    is_told = False
                    self._hint.set()
            except OSError as error:
                if not is_told:
                    log.info("directory not watched", source=self.name, reason=str(error), consequence="it is scanned")
                is_told = True
            await trio.sleep(self._settings.scan_interval)
            self._hint.set()

    def _is_well(self) -> None:
        if self._trouble is not None:
            log.info("source readable again", source=self.name)
        self._trouble = None

    def _is_ill(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning(
                "source unreadable", source=self.name, reason=reason, consequence="what is served stays as it is"
            )
        self._trouble = reason
