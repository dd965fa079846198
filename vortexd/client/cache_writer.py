"""Keeps the file of the last known good configuration up to date, beside whatever else a program on Trio does.

In come a configuration's news, out goes a file, written in a thread. What can't be written is logged and tried again with the next news.
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
from .last_known_good import LastKnownGood, Saved, Unusable
from .view import View

T = TypeVar("T")
log = logging.getLogger("vortexd.client")
# Each heartbeat says that the file is current; so often it is written anew for that alone.
_CONFIRM_INTERVAL = 600.0


class CacheWriter:
    """The file of one configuration."""

    def __init__(self, file: str | os.PathLike[str] | LastKnownGood, subject: Subject) -> None:
        self._file = file if isinstance(file, LastKnownGood) else LastKnownGood(file)
        self._subject = subject
        self._saved: Saved | None = None
        self._complaint = ""

    @property
    def patience(self) -> float:
        return self._file.patience

    async def load(self) -> Saved | None:
        """What is in the file; None, and a warning, where it can't be used."""
        try:
            self._saved = await _in_thread(partial(last_known_good.load, self._file, self._subject, time.time()))
        except Unusable as error:
            log.warning("the last known good configuration %s %s", self._file.path, error)
        return self._saved

    async def run(self, view: View, notifier: ChangeNotifier) -> None:
        """Save what a server has confirmed, until nothing comes any more."""
        while True:
            # Before it is looked at: what comes while the file is written must not be slept over.
            event = notifier.event
            await self._save(view)
            if view.is_over and not event.is_set():
                return
            await event.wait()

    async def _save(self, view: View) -> None:
        saved, key, version, confirmed_at = self._saved, view.key, view.version, view.confirmed_at
        if confirmed_at is None or key is None:
            return
        if version is None:
            if saved is not None:
                self._saved = None
                await self._try(partial(last_known_good.remove, self._file))
            return
        # A time to come is that of a clock that was wrong, and would keep the file young for as long.
        if saved and saved.version == version and abs(confirmed_at - saved.confirmed_at) < _CONFIRM_INTERVAL:
            return
        new = Saved(key, version, view.document, confirmed_at)
        if await self._try(partial(last_known_good.save, self._file, self._subject, new)):
            self._saved = new

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
    # A file is written as a whole or not at all, even when nobody waits for that any more.
    return await trio.to_thread.run_sync(do, abandon_on_cancel=True)
