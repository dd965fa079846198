"""Watches a source's directories, and passes the kernel's events to the source in their order.

The directories to watch arrive, and `writes.Event`s leave. If a directory can't be watched or the kernel loses events,
this is logged once, and the periodic scan finds the changes.
"""

from collections.abc import Callable, Mapping

import structlog
import trio

from ...aio import threads
from ...aio.locks import Held
from .directory import Identity
from .watches import Followed, Place, Watches
from .writes import Event, Kind

log = structlog.get_logger()

# While events keep coming, they are taken at this interval, in seconds. The first event is taken at once. The last
# event of a save often comes a moment after the first, and clients wait for it.
_TAKE_INTERVAL = 0.001


class Watching:
    """The watches of one source.

    Args:
        name: The name of the source, for the log.
        scan_interval: If events are lost again within this time, in seconds, it isn't logged again.
        heard: Called with each event and the time.
    """

    def __init__(self, name: str, scan_interval: float, heard: Callable[[Event, float], None]) -> None:
        self._name = name
        self._scan_interval = scan_interval
        self._heard = heard
        self._watches = Watches()
        # No task takes events while watches are added.
        self._taking = trio.Lock()
        self._is_complete = False
        self._trouble: str | None = None
        self._lost_at = float("-inf")

    @property
    def is_complete(self) -> bool:
        """Whether all directories of the last call of `follow` are watched."""
        return self._is_complete

    async def run(self) -> None:
        """Take events. Never returns."""
        next_at = float("-inf")
        while True:
            await self._watches.wait()
            if trio.current_time() < next_at:
                await trio.sleep_until(next_at)
            await self.take_all()
            next_at = trio.current_time() + _TAKE_INTERVAL

    def follows(self, wanted: Mapping[Identity, Place]) -> bool:
        """Return whether these directories are watched and no others. May be called in a thread."""
        return self._watches.follows(wanted)

    async def follow(self, wanted: Mapping[Identity, Place] | None) -> bool:
        """Watch these directories and no others. Return whether some are watched now that weren't before.

        If so, the caller must look at the directories again, because the kernel doesn't report their earlier changes.

        Args:
            wanted: The directories, or None if `follows` has returned True.
        """
        followed = Followed(False, True)
        if wanted is not None:
            async with self._taking:
                followed = await threads.run_sync(self._watches.follow, wanted, abandon_on_cancel=True)
            self._watches.announce()
        trouble = followed.trouble
        if trouble is not None and trouble != self._trouble:
            log.info(
                "directory not watched",
                source=self._name,
                reason=trouble,
                consequence="the periodic scan finds its changes",
            )
        self._trouble = trouble
        self._is_complete = followed.is_complete
        return followed.is_new

    async def take_all(self) -> None:
        """Take all events that are waiting now."""
        left = self._watches.waiting()
        while left > 0:
            async with Held(self._taking):
                taken = self._take()
            if not taken:
                return
            left -= taken
            if left > 0:
                await trio.lowlevel.checkpoint()

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
            log.info("directory events lost", source=self._name, consequence="the periodic scan finds its changes")
        self._lost_at = now

    def close(self) -> None:
        """End all watches. The object may be used again."""
        self._watches.close()
