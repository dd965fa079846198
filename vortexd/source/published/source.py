"""The source of a published state: follows the head, and publishes each verified version.

The entries of the head, as they were read and as a watch reports them, arrive. Whole `Tree`s leave. If anything is
missing or wrong, or etcd can't be reached, the last state stays in force, and the source tries again.
"""

import math
import os
from collections.abc import AsyncIterator, Callable, Container, Mapping
from functools import partial
from random import Random
from time import time
from urllib.parse import urlsplit

import attrs
import structlog
import trio

from ...cluster.engine import Batch, Engine, Entry, Event
from ...cluster.etcd.access import open_etcd
from ...cluster.published.head import Head, Newer, Places
from ...cluster.records import Unusable
from ...core.errors import SourceError
from ...core.model import Files, Tree
from ..base import Publish, Surroundings
from ..following import Following
from ..status import SourceStatus
from .history import PublishedHistory
from .reading import read_state
from .settings import PublishedSettings

log = structlog.get_logger()

# Seconds until the source reads a version again that it couldn't use.
UNUSABLE_AGAIN = 10.0


class PublishedSource:
    """A published state in etcd. This `base.Source` also reads former versions.

    Args:
        engine: Reads and watches etcd. If it can't be made now, the function raises EngineError.
        random: Makes jitter.
        name: See `name_of`.
        remedy: What follows if nothing is published, for the error.
    """

    def __init__(
        self,
        settings: PublishedSettings,
        engine: Callable[[], Engine],
        random: Random,
        name: str,
        remedy: str = "set cluster.publish at a node that has the sources",
    ) -> None:
        self._settings = settings
        self._name = name
        self._remedy = remedy
        self._head = Places(settings.cluster).head
        self._status = SourceStatus(name, settings.kind, settings.max_staleness, root=name)
        self._following = Following(self.name, self._status, engine, random)
        self._history = PublishedHistory(settings, engine)
        # The number and the id of the published state, its contents, and the pages of its manifest.
        self._number = 0
        self._id = ""
        self._contents: Mapping[str, bytes] = {}
        self._pages: Mapping[str, bytes] = {}
        self._revision: str | None = None

    @property
    def name(self) -> str:
        """See `name_of`."""
        return self._name

    @property
    def status(self) -> SourceStatus:
        """See `base.Source`."""
        return self._status

    async def former(self, before: int = 0) -> tuple[int, Tree] | None:
        """See `base.FormerReader`. The numbers are those of the versions."""
        number = before or self._number
        return await self._history.read(number, self._contents) if number else None

    async def run(self, publish: Publish) -> None:
        """See `base.Source`."""
        await self._following.run(lambda engine: self._follow(engine, publish))

    async def _follow(self, engine: Engine, publish: Publish) -> None:
        """Take the head, and each new one. Never returns.

        Raises:
            EngineError: etcd can't be reached now, or the watch can't go on.
        """
        noticed = time()
        reading = await engine.read([self._head])
        entry = reading.entries[0] if reading.entries else None
        async with engine.watch(self._head, reading.revision) as batches:
            self._following.begun()
            while True:
                is_taken = await self._take(engine, entry, noticed, publish)
                entry = await self._next(batches, entry, math.inf if is_taken else UNUSABLE_AGAIN)
                noticed = time()

    async def _next(self, batches: AsyncIterator[Batch], entry: Entry | None, seconds: float) -> Entry | None:
        """Wait for a new head. After some seconds without one, return the present head."""
        found: list[Event] = []
        with trio.move_on_after(seconds):
            while not found:
                found = [event for event in (await anext(batches)).events if event.key == self._head]
        return found[-1].entry if found else entry

    async def _take(self, engine: Engine, entry: Entry | None, noticed: float, publish: Publish) -> bool:
        """Publish a version, unless it is the published one. Return whether its content is in force now.

        Raises:
            EngineError: etcd can't be reached now.
        """
        try:
            head = self._parsed(entry)
            if head.said.id != self._id:
                state = await read_state(engine, head, self._settings, self._contents, self._pages)
                await publish(attrs.evolve(_placed(state.tree, head.said.number), noticed=noticed))
                self._id, self._contents, self._pages = head.said.id, state.contents, state.pages
                self._learn(state.tree)
                log.info("published state taken", source=self.name, number=head.said.number, by=head.said.by)
            self._number = head.said.number
        except SourceError as error:
            self._status.failed(str(error))
            return False
        self._status.succeeded(self._revision)
        return True

    def _parsed(self, entry: Entry | None) -> Head:
        """Read a head.

        Raises:
            SourceError: There is none, or it can't be read.
        """
        if entry is None:
            raise SourceError(f"cluster {self._settings.cluster} has published nothing; {self._remedy}")
        try:
            return Head.parse(entry.value)
        except Newer as error:
            raise SourceError(f"the head {entry.key} can't be read: {error}; upgrade this node") from None
        except Unusable as error:
            raise SourceError(
                f"the head {entry.key} can't be read: {error}; the next version that is published replaces it"
            ) from None

    def _learn(self, tree: Tree) -> None:
        """Note the commit and the root of the default label, for /status."""
        files = tree.labels.get(tree.default_label)
        self._revision = files.revision if files is not None else None
        self._status.rooted(files.root if files is not None else self._name)


def _placed(tree: Tree, number: int) -> Tree:
    """Give all content that doesn't come from a commit a place in the order of the published versions."""

    def placed(files: Files) -> Files:
        others = tuple(map(placed, files.others))
        position = str(number) if files.origin is None else None
        return attrs.evolve(files, others=others, position=position)

    return attrs.evolve(tree, labels={label: placed(files) for label, files in tree.labels.items()})


def open_source(settings: PublishedSettings, surroundings: Surroundings) -> PublishedSource:
    """Make the source that the settings name."""
    name = name_of(settings, {each.name for each in surroundings.opened})
    return PublishedSource(settings, partial(open_etcd, settings, os.environ), surroundings.random, name)


def name_of(settings: PublishedSettings, taken: Container[str] = ()) -> str:
    """Return the name of a source: the kind and the cluster.

    Args:
        taken: The names of the sources before this one. Two etcd may have clusters of the same name. So the name of the
            later source has its first address, too.
    """
    name = f"published:{settings.cluster}"
    return name if name not in taken else f"published://{urlsplit(settings.endpoints[0]).netloc}/{settings.cluster}"
