"""Keeps a source's directories watched, and hands it the kernel's events in their order.

The directories to watch come in; `writes.Event`s go out. What can't be watched, and what the kernel has lost, is logged once: the periodic
scan finds it.
"""

from collections.abc import Callable, Mapping

import structlog
import trio

from ...aio import threads
from .directory import Identity
from .watches import Followed, Place, Watches
from .writes import Event, Kind

log = structlog.get_logger()

# While events go on and on, they are taken so often, in seconds. The first one is taken at once. The last event of a save often comes a moment
# after the first, and its clients wait for it.
_TAKE_INTERVAL = 0.001


class Watching:
    """The watches of one source.

    Args:
        name: Of the source, for the log.
        scan_interval: Events that are lost again within this time, in seconds, are not logged again.
        heard: Is called with each event and the time.
    """

    def __init__(self, name: str, scan_interval: float, heard: Callable[[Event, float], None]) -> None:
        self._name = name
        self._scan_interval = scan_interval
        self._heard = heard
        self._watches = Watches()
        # Nobody takes events while watches are added.
        self._taking = trio.Lock()
        self._is_complete = False
        self._trouble: str | None = None
        self._lost_at = float("-inf")

    @property
    def is_complete(self) -> bool:
        """Whether all directories of the last `follow` are watched."""
        return self._is_complete

    async def run(self) -> None:
        """Take events, for ever."""
        while True:
            await self._watches.wait()
            await self.take_all()
            await trio.sleep(_TAKE_INTERVAL)

    def follows(self, wanted: Mapping[Identity, Place]) -> bool:
        """Whether these directories are watched and no others. May be called in a thread."""
        return self._watches.follows(wanted)

    async def follow(self, wanted: Mapping[Identity, Place] | None) -> bool:
        """Watch these directories and no others. Returns whether some are watched now that weren't before.

        If so, the directories have to be looked at again: the kernel doesn't tell what they held before.

        Args:
            wanted: None where `follows` says that there is nothing to do.
        """
        followed = Followed(False, True)
        if wanted is not None:
            async with self._taking:
                followed = await threads.run_sync(self._watches.follow, wanted, abandon_on_cancel=True)
            self._watches.announce()
        trouble = followed.trouble
        if trouble is not None and trouble != self._trouble:
            log.info("directory not watched", source=self._name, reason=trouble, consequence="it is scanned")
        self._trouble = trouble
        self._is_complete = followed.is_complete
        return followed.is_new

    async def take_all(self) -> None:
        """Take all events that there are now."""
        left = self._watches.waiting()
        while left > 0:
            async with self._taking:
                taken = self._take()
            if not taken:
                return
            left -= taken

    def _take(self) -> int:
        events, taken = self._watches.take()
        now = trio.current_time()
        for event in events:
            if event.kind is Kind.LOST:
                self._tell_lost(now)
            self._heard(event, now)
        return taken

    def _tell_lost(self, now: float) -> None:
        if now - self._lost_at > self._scan_interval:
            log.info("directory events lost", source=self._name, consequence="it is scanned")
        self._lost_at = now

    def close(self) -> None:
        """End all watches. It may be used again."""
        self._watches.close()
