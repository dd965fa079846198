"""The etcd source: reads a prefix, and watches it.

The entries below the prefix and the batches of a watch arrive. Whole `Tree`s leave: one for each transaction or, with a
marker, for each write of the marker. If etcd can't be reached, the last state stays in force. When etcd answers again,
the source reads everything anew, so nothing is missed.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from urllib.parse import urlsplit

import attrs
import structlog
import trio

from ...aio import threads
from ...cluster.engine import Batch, Compacted, Engine, EngineError, TooMuch
from ...cluster.etcd.access import open_etcd
from ...core.errors import SourceError
from ..base import Publish, Surroundings
from ..following import Following
from ..layout import tree_of
from ..status import SourceStatus
from .keys import Keys, State
from .settings import EtcdSettings

log = structlog.get_logger()

# The source reads so many times `total_bytes`, and no more: keys that are skipped, and files that are too large, don't count
# for that setting, but take memory.
_MOST_READ = 2
# The most skipped keys that the log names.
_MOST_NAMED = 20


class EtcdSource:
    """A prefix of keys in etcd; a `base.Source`.

    Args:
        engine: Reads and watches etcd. If it can't be made now, the function raises EngineError.
        random: Makes jitter.
        root: The kind and the prefix; see `root_of`.
    """

    def __init__(self, settings: EtcdSettings, engine: Callable[[], Engine], random: Random, root: str) -> None:
        self._settings = settings
        self._root = root
        self._most_bytes = _MOST_READ * settings.total_bytes
        self._status = SourceStatus(self.name, settings.kind, settings.max_staleness, root=self._root)
        self._following = Following(self.name, self._status, engine, random)
        self._published: State | None = None
        self._skipped: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """See `root_of`."""
        return self._root

    @property
    def status(self) -> SourceStatus:
        """See `base.Source`."""
        return self._status

    async def run(self, publish: Publish) -> None:
        """See `base.Source`."""
        await self._following.run(lambda engine: self._follow(engine, publish))

    async def _follow(self, engine: Engine, publish: Publish) -> None:
        """Read everything, and publish each further state. Never returns.

        Raises:
            EngineError: etcd can't be reached now, or the watch can't go on.
        """
        noticed = time.time()
        reading = await engine.read(prefix=self._settings.prefix, most_bytes=self._most_bytes)
        keys = Keys(self._settings, reading.entries, reading.revision)
        if await self._is_marked(engine, keys):
            await self._publish(keys, noticed, publish)
        async with engine.watch(self._settings.prefix, reading.revision) as batches:
            self._following.begun()
            while True:
                noticed = await self._settled(batches, keys)
                await self._publish(keys, noticed, publish)
                self._check_size(keys)

    def _check_size(self, keys: Keys) -> None:
        if keys.size > self._most_bytes:
            raise TooMuch(self._settings.prefix, self._most_bytes)

    async def _is_marked(self, engine: Engine, keys: Keys) -> bool:
        """Return whether there is a state to publish. With a marker, go back to the state at its last write."""
        if not self._settings.marker:
            return True
        marker = self._settings.prefix + self._settings.marker
        if not keys.marked:
            self._status.failed(f"there is no key {marker}, the marker; write it once all files are there")
            return False
        if keys.marked < keys.newest:
            try:
                former = await engine.read(
                    prefix=self._settings.prefix, revision=keys.marked, most_bytes=self._most_bytes
                )
            except Compacted:
                self._status.failed(
                    f"keys were written after {marker}, and etcd no longer keeps what they were before; write it again"
                )
                return False
            keys.go_back(former.entries)
        return True

    async def _settled(self, batches: AsyncIterator[Batch], keys: Keys) -> float:
        """Wait for a new state, and until no other follows. Return when it was noticed, in seconds since the epoch."""
        while not keys.apply(await anext(batches)):
            # The marker may never be written.
            self._check_size(keys)
        noticed = time.time()
        is_quiet = False
        with trio.move_on_after(self._settings.max_wait), suppress(EngineError):
            # If the watch ends now, its next step says so once more. The new state is published before.
            while not is_quiet:
                with trio.move_on_after(self._settings.quiet) as scope:
                    keys.apply(await anext(batches))
                is_quiet = scope.cancelled_caught
        return noticed

    async def _publish(self, keys: Keys, noticed: float, publish: Publish) -> None:
        """Publish the newest complete state, if it differs from the published one."""
        try:
            state = keys.state()
        except SourceError as error:
            self._status.failed(str(error))
            return
        before, self._published = self._published, state
        if before is None or (before.contents, before.unreadable) != (state.contents, state.unreadable):
            tree, skipped = tree_of(
                state.contents,
                state.unreadable,
                self._root,
                self._settings.default_label,
                label_directories=self._settings.label_directories,
            )
            place = await threads.run_sync(lambda: state.place)
            labels = {label: attrs.evolve(files, position=place) for label, files in tree.labels.items()}
            shared = attrs.evolve(tree.shared, position=place) if tree.shared is not None else None
            tree = attrs.evolve(tree, labels=labels, shared=shared)
            self._warn({**state.skipped, **{f"{self._settings.prefix}{name}/": why for name, why in skipped.items()}})
            await publish(attrs.evolve(tree, noticed=noticed))
        self._status.succeeded(str(state.revision))

    def _warn(self, skipped: Mapping[str, str]) -> None:
        """Log the keys that are left out, once for as long as they are."""
        new = [key for key in skipped if skipped[key] != self._skipped.get(key)]
        for key in new[:_MOST_NAMED]:
            log.warning("key skipped", source=self.name, key=_shown(key), reason=skipped[key])
        if len(new) > _MOST_NAMED:
            log.warning("keys skipped", source=self.name, count=len(new), named=_MOST_NAMED)
        self._skipped = skipped


def _shown(key: str) -> str:
    """Return a key as text that every reader of JSON takes. Bytes that aren't UTF-8 are written as \\xNN."""
    return key.encode(errors="surrogateescape").decode(errors="backslashreplace")


def open_source(settings: EtcdSettings, surroundings: Surroundings) -> EtcdSource:
    """Make the source that the settings name."""
    root = root_of(settings, {each.name for each in surroundings.opened})
    return EtcdSource(settings, partial(open_etcd, settings, os.environ), surroundings.random, root)


def root_of(settings: EtcdSettings, taken: Container[str] = ()) -> str:
    """Return the name of a source, which is also the root of its files: the kind and the prefix.

    Args:
        taken: The names of the sources before this one. Two clusters of etcd may have the same prefix, and not the same
            files. So the name of the later source has its first address, too.
    """
    root = f"etcd:{settings.prefix}"
    return root if root not in taken else f"etcd://{urlsplit(settings.endpoints[0]).netloc}{settings.prefix}"
