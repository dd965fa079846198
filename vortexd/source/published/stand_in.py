"""Lets a node that publishes start from the published state of its cluster while its own sources can't be read.

The sources and the published state arrive. Until the sources have all been read once, the newest published version
leaves in their place. It never replaces what the sources have given, and the node doesn't publish it again.
"""

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from random import Random
from typing import Protocol

import attrs
import structlog
import trio

from ...cluster.etcd.access import open_etcd
from ...core.model import Files, Tree
from ...settings.cluster import ClusterSettings
from ...settings.etcd import EtcdAccess
from ...settings.source import SourceSettings
from ..base import Publish, Source
from .history import PublishedHistory
from .settings import PublishedSettings
from .source import PublishedSource, name_of

log = structlog.get_logger()

# Seconds from the start until the published state stands in. A git source serves its mirror before.
PATIENCE = 10.0


class Absent(Protocol):
    """The sources, as far as they can be replaced for a while."""

    async def wait_published(self) -> None:
        """Wait until all sources have been read once."""
        ...

    async def stand_in(self, publish: Publish, tree: Tree) -> None:
        """Publish a state in place of the sources, unless all of them have been read by now."""
        ...


class StandIn:
    """Serves the published state until all sources have been read once.

    Args:
        sources: The node's own sources.
        published: Reads the published state.
    """

    def __init__(self, sources: Absent, published: Source) -> None:
        self._sources = sources
        self._published = published
        self._is_logged = False
        self._is_serving = False

    @property
    def is_serving(self) -> bool:
        """Whether the published state is served now in place of the sources."""
        return self._is_serving

    async def run(self, publish: Publish) -> None:
        """Wait for the sources and, if that takes long, publish what the cluster has published. Returns at their first state.

        Args:
            publish: Publishes a state at this node alone.
        """
        with trio.move_on_after(PATIENCE):
            await self._sources.wait_published()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._published.run, partial(self._take, publish), name="stand-in for the sources")
            await self._sources.wait_published()
            self._is_serving = False
            nursery.cancel_scope.cancel()

    async def _take(self, publish: Publish, tree: Tree) -> None:
        if not self._is_logged:
            log.warning(
                "published state stands in",
                source=self._published.name,
                consequence="the content may be old until all sources of this node have been read",
            )
        self._is_logged = True

        async def serve(state: Tree) -> None:
            await publish(state)
            self._is_serving = True

        await self._sources.stand_in(serve, tree)


def settings_of(cluster: ClusterSettings, sources: Sequence[SourceSettings]) -> PublishedSettings:
    """Return the settings with which a node reads what its cluster publishes. Its limits are those of its sources."""
    access = {each.name: getattr(cluster, each.name) for each in attrs.fields(EtcdAccess)}
    limits = {name: [getattr(each, name) for each in sources] for name in ("file_bytes", "total_bytes", "files")}
    return PublishedSettings(
        **access,
        cluster=cluster.name,
        file_bytes=max(limits["file_bytes"]),
        total_bytes=sum(limits["total_bytes"]),
        files=sum(limits["files"]),
    )


def open_stand_in(settings: PublishedSettings, sources: Absent, random: Random) -> StandIn:
    """Make the stand-in for the sources of a node."""
    engine = partial(open_etcd, settings, os.environ)
    remedy = "this node serves once its own sources have been read"
    return StandIn(sources, PublishedSource(settings, engine, random, name_of(settings), remedy))


def open_history(settings: PublishedSettings, present: Callable[[], Collection[Files]]) -> PublishedHistory:
    """Make the reader of the versions that the cluster of a node keeps.

    Args:
        present: See `PublishedHistory`.
    """
    return PublishedHistory(settings, partial(open_etcd, settings, os.environ), present)
