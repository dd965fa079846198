"""Remembers the state of each label that the gate has accepted last, so that a restart doesn't publish a refused one.

The files of the served labels arrive after each publication, and are written by a task of their own. The publications
don't wait for the disk. At the next start, the publisher asks for the accepted state of each label: it leaves as the
files that the source has read at that time.

The invariant: what leaves was served. If a process is killed between a publication and the write, it may be the state
before.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs
import structlog
import trio

from ..aio import threads
from ..core.errors import SourceError
from ..core.model import Files

if TYPE_CHECKING:
    from .accepted_files import AcceptedFiles, AcceptedLayer

log = structlog.get_logger()

# Seconds after which a failed write is repeated, and after which a disk that didn't answer is read again.
RETRY = 60.0
# Seconds for one reading, and for the last write.
PATIENCE = 2.0
LAST = 2.0


class StateReader(Protocol):
    """The part of the sources that reads accepted states."""

    def has_commits(self, root: str) -> bool:
        """Return whether the source with this root can read a commit again."""
        ...

    def may_copy(self, root: str) -> bool:
        """Return whether the bytes of the source with this root may be copied to the state directory."""
        ...

    async def state_at(self, root: str, commit: str) -> Files:
        """Read a commit as the source with this root reads a label.

        Raises:
            SourceError: It can't be read.
        """
        ...


class AcceptedStates:
    """Remembers accepted states; see the module. Without a gate, nothing is read or written.

    Args:
        directory: The directory for the files, which all workers share, or None if vortexd keeps no state.
        sources: Reads commits again.
    """

    def __init__(self, directory: Path | None, sources: StateReader) -> None:
        self._directory = directory
        self._sources = sources
        self._opened: AcceptedFiles | None = None
        # What is to be written. The empty mapping stands for "forget everything".
        self._newest: Mapping[str, Files] | None = None
        self._refused: Mapping[str, tuple[str, float]] | None = None
        self._is_refused_written = True
        self._news = trio.Event()
        # The event loop and the threads take turns each. A thread that was abandoned keeps its turn until it ends.
        self._threads = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)
        # When the disk may be read again, after it didn't answer.
        self._again_at = 0.0

    def note(self, labels: Mapping[str, Files]) -> None:
        """Remember the files of all labels that are served. Returns at once."""
        self._newest = labels
        self._news.set()

    def forget(self) -> None:
        """Forget everything, because there is no gate any more. Returns at once."""
        self._refused, self._is_refused_written = None, True
        self.note({})

    async def recall(self, label: str, newest: Files) -> Files | None:
        """Return the files of a label that were accepted last, or None if they aren't known or can't be read.

        Args:
            newest: The newest files of the label. If they are the accepted ones, they are returned.
        """
        if self._directory is None or trio.current_time() < self._again_at:
            return None
        layers: list[AcceptedLayer] = []
        with trio.move_on_after(PATIENCE) as scope:
            read = partial(threads.run_sync, self._files.read, label, abandon_on_cancel=True, limiter=self._reading)
            layers = [*await read()]
        if scope.cancelled_caught:
            # There may be hundreds of labels, and each would wait.
            self._again_at = trio.current_time() + RETRY
            self._warn(label, f"the disk didn't answer within {PATIENCE:g} s")
        if not layers:
            return None
        try:
            found = [await self._layer(each, layers) for each in (newest, *newest.others)]
        except SourceError as error:
            self._warn(label, str(error))
            return None
        if found == [newest, *newest.others]:
            return newest
        return attrs.evolve(found[0], others=tuple(found[1:]))

    def note_refused(self, refused: Mapping[str, tuple[str, float]]) -> None:
        """Remember the refused states of labels, each with the time since which it is refused. Returns at once."""
        if refused != self._refused:
            self._refused, self._is_refused_written = dict(refused), False
            self._news.set()

    async def recall_refused(self) -> Mapping[str, tuple[str, float]]:
        """Return the refused states of an earlier process, by label. If the disk doesn't answer in time, return none."""
        if self._directory is None or trio.current_time() < self._again_at:
            return {}
        with trio.move_on_after(PATIENCE):
            found: dict[str, tuple[str, float]] = await threads.run_sync(
                self._files.refused, abandon_on_cancel=True, limiter=self._reading
            )
            return found
        self._again_at = trio.current_time() + RETRY
        return {}

    async def _layer(self, newest: Files, layers: "list[AcceptedLayer]") -> Files:
        """Return the accepted files of one source. If the source wasn't there, its newest files count."""
        accepted = next((each for each in layers if each.root == newest.root), None)
        if accepted is None:
            return newest
        layers.remove(accepted)
        if accepted.commit is None:
            return _with(newest, accepted.files)
        if newest.origin is not None and newest.origin.commit == accepted.commit:
            return newest
        found = await self._sources.state_at(newest.root, accepted.commit)
        return attrs.evolve(
            found,
            locations=newest.locations,
            applications=newest.applications,
            group=newest.group,
            revision=found.revision if newest.revision is not None else None,
        )

    async def run(self) -> None:
        """Write accepted states. Never returns."""
        if self._directory is None:
            await trio.sleep_forever()
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                if not await self._write():
                    with trio.move_on_after(RETRY):
                        await self._news.wait()
                    self._news.set()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + LAST, shield=True):
                await self._write()
            if self._opened is not None:
                self._opened.close()

    async def _write(self) -> bool:
        """Write what is new. Return whether nothing is left to be written."""
        labels = self._newest
        if labels is None:
            return await self._write_refused()
        work = partial(self._files.write, labels) if labels else self._forgotten
        is_done = await threads.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        if is_done and self._newest is labels:
            self._newest = None
        return await self._write_refused() and is_done

    async def _write_refused(self) -> bool:
        refused = self._refused
        if refused is None or self._is_refused_written:
            return True
        work = partial(self._files.write_refused, refused)
        is_done = await threads.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        if is_done and self._refused is refused:
            self._is_refused_written = True
        return is_done

    def _forgotten(self) -> bool:
        self._files.forget()
        return True

    @property
    def _files(self) -> "AcceptedFiles":
        # A server without a gate doesn't load this module.
        from .accepted_files import AcceptedFiles

        if self._opened is None:
            assert self._directory is not None
            self._opened = AcceptedFiles(self._directory, self._sources)
        return self._opened

    def _warn(self, label: str, reason: str) -> None:
        log.warning(
            "accepted state unreadable",
            label=label,
            reason=reason,
            consequence="the newest files are served, even if they break the gate's rules",
        )


def _with(newest: Files, accepted: Files) -> Files:
    """Return the newest files of a source with the accepted contents. If these are the same, return the same object."""
    if newest.contents == accepted.contents and newest.unreadable == accepted.unreadable:
        return newest
    known = newest.contents
    contents = {path: known[path] if known.get(path) == each else each for path, each in accepted.contents.items()}
    return attrs.evolve(
        newest,
        contents=contents,
        unreadable=accepted.unreadable,
        revision=accepted.revision,
        origin=accepted.origin,
        others=(),
        edits=None,
        position=None,
    )
