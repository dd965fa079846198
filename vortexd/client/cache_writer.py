"""Keeps the file of the last known good configuration up to date. Runs as a Trio task beside the rest of the program.

A thread writes the file after each change of the view. If a write fails, it is logged and tried again after the next change.
"""

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

from . import last_known_good
from .address import Subject
from .change_notifier import ChangeNotifier
from .client_state import ClientState
from .last_known_good import LastKnownGood, Saved, Unusable
from .view import View

T = TypeVar("T")
log = logging.getLogger("vortexd.client")
# Each heartbeat confirms that the file is current. For this reason alone the file is rewritten only so often, in seconds.
_CONFIRM_INTERVAL = 600.0


class CacheWriter:
    """Reads and writes the file of one configuration."""

    def __init__(self, file: str | os.PathLike[str] | LastKnownGood, subject: Subject) -> None:
        self._file = file if isinstance(file, LastKnownGood) else LastKnownGood(file)
        self._subject = subject
        self._saved: Saved | None = None
        self._complaint = ""

    @property
    def patience(self) -> float:
        return self._file.patience

    async def load(self) -> Saved | None:
        """Return the content of the file. If the file is missing, return None; if it is unusable, also log a warning."""
        try:
            self._saved = await _in_thread(partial(last_known_good.load, self._file, self._subject, time.time()))
        except Unusable as error:
            log.warning("can't use the last known good configuration: %s %s", self._file.path, error)
        return self._saved

    async def run(self, view: View, notifier: ChangeNotifier, held: ClientState) -> None:
        """Save each confirmed configuration, until no more news come. `held` knows their generations."""
        while True:
            # Take the event before the view is read, so that news that come during the write aren't missed.
            event = notifier.event
            await self._save(view, held)
            if view.is_over and not event.is_set():
                return
            await event.wait()

    async def _save(self, view: View, held: ClientState) -> None:
        saved, key, version, confirmed_at = self._saved, view.key, view.version, view.confirmed_at
        if confirmed_at is None or key is None:
            return
        if version is None:
            if saved is not None:
                self._saved = None
                await self._try(partial(last_known_good.remove, self._file))
            return
        new = Saved(key, version, view.document, confirmed_at, held.main.generation)
        if saved and self._is_saved(saved, new):
            return
        if await self._try(partial(last_known_good.save, self._file, self._subject, new)):
            self._saved = new

    @staticmethod
    def _is_saved(saved: Saved, new: Saved) -> bool:
        """Whether the file needs no rewrite: at most the time of the last confirmation differs, and by less than the interval."""
        if (saved.version, saved.generation) != (new.version, new.generation):
            return False
        # A time in the future comes from a clock that was wrong. Without abs(), it would keep the file from being rewritten.
        return abs(new.confirmed_at - saved.confirmed_at) < _CONFIRM_INTERVAL

    async def _try(self, write: Callable[[], None]) -> bool:
        try:
            await _in_thread(write)
        except OSError as error:
            complaint = f"{self._file.path}: {error.strerror}"
            if complaint != self._complaint:
                log.warning("can't keep the last known good configuration in %s", complaint)
            self._complaint = complaint
            return False
        self._complaint = ""
        return True


async def _in_thread(do: Callable[[], T]) -> T:
    # A write replaces the file as a whole or leaves it alone, so the thread may finish after a cancellation.
    return await trio.to_thread.run_sync(do, abandon_on_cancel=True)
