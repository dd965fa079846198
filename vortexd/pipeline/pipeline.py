"""The pipeline in motion: the Trio shell around the pure stages from resolve to broadcast.

In come whole `Tree`s from a source, and questions from HTTP and WebSocket connections; out go publications, configurations
and the frames that bring one client up to date. The long work (parsing, resolving many keys, diffing large documents) runs in
threads over immutable values; what changes the state runs on the loop between two awaits.
"""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import attrs
import orjson
import structlog
import trio

from ..aio import threads
from ..aio.fair_queue import FairQueue
from ..core.diff import patch_between
from ..core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from ..core.model import BrokenFile, Change, Config, Good, Key, Moment, Past, PropertySource, Served, Tree
from ..core.patterns import Pattern
from ..encryption.decryptor import Decryptor
from ..observe.metrics import Metrics
from ..observe.publication import Publication, Stopwatch, named, without_configuration
from ..protocol.encoder import Encoder
from ..protocol.frames import Frame
from ..resolve.listing import Listing, list_keys
from ..resolve.tree import ParsedFiles, ParsedTree
from ..settings.sections import FormatSettings
from .broadcast import Broadcaster, Delivery, Subscriber
from .key_usage import KeyUsage
from .last_good import LastGood
from .parsing import parse_all
from .reader import ConfigReader
from .registry import Registry
from .state import State
from .store import Staged, Store, stage

log = structlog.get_logger()
T = TypeVar("T")

# Up to this size a frame is compressed in well under a millisecond; a thread costs a tenth of one.
_SMALL_BYTES = 16_384
# Up to this size a diff takes no more than that, even if the document is nothing but short lists that have changed.
_SMALL_DIFF_BYTES = 512
# Steps that are remembered to be longer as a patch than as a snapshot. Few are.
_MOST_REPLACED = 1_024
# A larger document takes more than a tenth of a millisecond to become a frame, and its clients may all ask at once.
_LARGE_BYTES = 65_536
# Keys that come into use while others are staged: each time it is fewer that are left for the loop.
_LATE_ROUNDS = 4


# Seconds until the last good content that couldn't be found is looked for again; twice as long each time, and at least this often.
_AGAIN, _AGAIN_AT_LEAST = 5.0, 60.0
# What a broken file means for the keys that read it.
CONSEQUENCES = {
    Served.LAST_GOOD: "keys that read it are served with its last good content",
    Served.WITHOUT: "keys that read it are served without it, as before it appeared",
    Served.NOTHING: "keys that read it can't be served: no good content of it is known",
}


class TooManyKeys(RemoteError):
    """Patterns that match more keys than one client may have."""


class Pipeline:
    """What sources publish to, and what HTTP and WebSocket connections ask.

    Args:
        formats: The bounds of parsing.
        store: The state, which nobody else commits to.
        registry: Who wants what.
        broadcaster: Where changes go.
        encoder: Makes the frames.
        decryptor: Opens what is encrypted; None leaves it as it is.
        overrides: What goes over all that the sources have, or None.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        formats: FormatSettings,
        store: Store,
        registry: Registry[Subscriber],
        broadcaster: Broadcaster,
        encoder: Encoder,
        metrics: Metrics,
        decryptor: Decryptor | None = None,
        overrides: PropertySource | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._formats = formats
        self._now = now
        self._decryptor = decryptor
        self._overrides = overrides
        self._store = store
        self._registry = registry
        self._key_usage = KeyUsage(store, registry)
        self._broadcaster = broadcaster
        self._encoder = encoder
        self._metrics = metrics
        self._tree: Tree | None = None
        self._parsed: ParsedTree | None = None
        self._listing: Listing | None = None
        self._publishing = trio.Lock()
        self._ready = trio.Event()
        self._flight = threads.SingleFlight()
        # The work is bound by the processor, and one interpreter lock: more threads would only slow the loop down.
        self._threads = trio.CapacityLimiter(1)
        # What clients ask for has threads of its own, so that publications don't wait behind it.
        self._client_threads = trio.CapacityLimiter(2)
        self._turns = FairQueue()
        # Those of handshakes: they wait behind each other, and not behind what clients ask for that are connected.
        self._arrivals = FairQueue()
        self._failing: dict[Key, str] = {}
        self._last_good = LastGood(self._in_thread)
        self._incomplete = trio.Event()
        self._without_configuration: frozenset[str] = frozenset()
        # Steps whose patch would be too long, so that it isn't made anew for each client that takes one. Oldest first.
        self._replaced: dict[tuple[Key, str, str], None] = {}
        # Threads of its own: publications don't queue behind those who ask.
        self.reading = ConfigReader(store, formats, trio.CapacityLimiter(2))
        # Who else wants to know of each publication, when it is done; it must not wait.
        self.on_publication: Callable[[Publication], None] | None = None

    # The state.

    @property
    def default_label(self) -> str | None:
        """See `ConfigReader.default_label`."""
        return self.reading.default_label

    async def wait_ready(self) -> None:
        """Wait until the first complete state is served."""
        await self._ready.wait()

    @property
    def broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        """See `ConfigReader.broken`."""
        return self.reading.broken

    # What sources do.

    async def publish(self, tree: Tree) -> None:
        """Parse, resolve, commit and broadcast a state: everybody gets all of it, or, when cancelled, nobody any."""
        async with self._publishing:
            await self._publish(tree, self._parsed)

    async def run(self) -> None:
        """Look again, for ever, for the last good content that couldn't be found when it was needed."""
        pause = _AGAIN
        while True:
            await self._incomplete.wait()
            await trio.sleep(pause)
            async with self._publishing:
                self._incomplete = trio.Event()
                if self._tree is not None and self._last_good.incomplete:
                    await self._publish(attrs.evolve(self._tree, noticed=None), self._parsed, again=True)
            pause = min(2 * pause, _AGAIN_AT_LEAST) if self._last_good.incomplete else _AGAIN

    async def parse_by(self, formats: FormatSettings) -> None:
        """Parse everything again, within other bounds, and publish what became another document by it."""
        async with self._publishing:
            self._formats = self.reading.formats = formats
            if self._tree is not None:
                await self._publish(attrs.evolve(self._tree, noticed=None), None)

    async def _publish(self, tree: Tree, former: ParsedTree | None, *, again: bool = False) -> None:
        """See `publish`.

        Args:
            former: What was parsed within the same bounds.
            again: As `LastGood.fill`.
        """
        before = self.broken
        watch = Stopwatch(tree.noticed)
        parsed = await self._in_thread(parse_all, tree, self._formats, former, self._parsed)
        parsed = await self._last_good.fill(parsed, self._parsed, self._formats, again=again)
        if self._last_good.incomplete:
            self._incomplete.set()
        watch.lap("parse")
        state = State(parsed.labels, parsed.default_label, self._decryptor, self._overrides)
        listing = await self._in_thread(list_keys, parsed, self._listing)
        existing = listing.keys
        while self._key_usage.settle():
            await trio.lowlevel.checkpoint()
        with self._registry.ahead(keys=self._key_usage.new(existing)) as steps:
            # Not in turns: nobody waits for a publication longer than for its own work.
            for _ in steps:
                await trio.lowlevel.checkpoint()
            configs = self._store.configs() | dict.fromkeys(self._key_usage.appearing(existing))
            staged = await self._staged(state, configs)
            watch.lap("resolve")
            # No await from here on: the commit and its broadcast are one moment for every reader and subscriber.
            # What has ended first: what is committed of it beyond its end is nobody's.
            deliveries = sum(map(self._end, self._key_usage.update(existing)))
        former_tree, self._tree = self._tree, tree
        self._parsed = parsed
        self._listing = listing
        changed, more = self._commit(staged)
        changes = len(changed)
        deliveries += more
        self._ready.set()
        watch.lap("broadcast")
        self._report_broken(before)
        self._report_failures(staged)
        commits = frozenset(each.new.origin.commit for each in staged.changes if each.new and each.new.origin)
        _remember(parsed)
        done = Publication(watch.began, watch.laps, staged.diff_seconds, len(tree.labels), changes, deliveries, commits)
        self._metrics.publication(done)
        if self.on_publication is not None:
            self.on_publication(done)
        log.info(
            "configuration published",
            labels=len(tree.labels),
            changes=changes,
            deliveries=deliveries,
            **named(changed, former_tree, tree),
        )
        self._report_empty(parsed)

    async def resolve_by(self, decryptor: Decryptor | None, overrides: PropertySource | None = None) -> None:
        """Resolve everything in use again, by other keys and with other overrides, and publish what became another document by it."""
        async with self._publishing:
            self._decryptor, self._overrides = decryptor, overrides
            if self._store.state is None:
                return
            state = attrs.evolve(self._store.state, decryptor=decryptor, overrides=overrides, published=Moment())
            staged = await self._staged(state, self._store.configs())
            # As in `publish`: no await from here on.
            changed, deliveries = self._commit(staged)
        changes = len(changed)
        self._report_failures(staged)
        self._metrics.published(changes, deliveries)
        log.info("configuration resolved anew", changes=changes, deliveries=deliveries)

    async def _staged(self, state: State, configs: Mapping[Key, Config | None]) -> Staged:
        """Stage keys in a thread, and those, too, that come into use meanwhile: to decrypt their values would hold the loop up."""
        staged = await self._in_thread(stage, state, configs, time.perf_counter)
        for _ in range(_LATE_ROUNDS):
            late = {key: config for key, config in self._store.configs().items() if key not in staged.configs}
            if not late:
                break
            staged = staged.with_more(await self._in_thread(stage, state, late, time.perf_counter))
        return staged

    def _commit(self, staged: Staged) -> tuple[Sequence[Change], int]:
        """Put a publication in force, and broadcast it. Returns the changes, and the number of deliveries."""
        # A clock that was set back in between makes no publication older than the one before it.
        before = self._store.state.published.seconds if self._store.state else 0.0
        staged.state.published.seconds = max(self._now(), before)
        changes = self._store.commit(staged)
        self.reading.renew(self._listing, {key: str(failure) for key, failure in staged.failures.items()})
        return changes, self._broadcaster.publish(changes)

    def _report_broken(self, before: Mapping[tuple[str, str], BrokenFile]) -> None:
        now = self.broken
        for name, each in now.items():
            if before.get(name) != each:
                log.warning(
                    "configuration file broken",
                    label=each.label,
                    file=each.path,
                    line=each.line,
                    reason=each.reason,
                    consequence=CONSEQUENCES[each.served],
                    **({"last_good": each.revision} if each.revision else {}),
                )
        for name in before.keys() - now.keys():
            if self._is_there(before[name]):
                log.info("configuration file sound again", label=name[0], file=name[1])
            else:
                log.info("broken configuration file gone", label=name[0], file=name[1])
        self._metrics.broken_files(len(now), sum(each.served is Served.NOTHING for each in now.values()))

    def _report_empty(self, parsed: ParsedTree) -> None:
        layers = [layer for files in parsed.labels.values() for layer in files.layers]
        now = without_configuration((layer.files.root, bool(layer.paths)) for layer in layers)
        for root in sorted(now - self._without_configuration):
            log.warning(
                "no configuration",
                source=root,
                reason="no file there is .yml, .yaml, .properties, .json or .toml",
                consequence="it gives nothing to any application",
            )
        self._without_configuration = now

    def _is_there(self, broken: BrokenFile) -> bool:
        files = self._parsed.labels.get(broken.label) if self._parsed else None
        layers = files.layers if files else ()
        return any(layer.files.root == broken.root and broken.path in layer.files.contents for layer in layers)

    def _report_failures(self, staged: Staged) -> None:
        failures = {key: str(failure) for key, failure in staged.failures.items()}
        for key, reason in failures.items():
            if self._failing.get(key) != reason:
                log.warning(
                    "configuration not resolved",
                    key=str(key),
                    reason=reason,
                    consequence="it keeps its last good state",
                )
        self._failing = failures
        self.reading.report_undecryptable()

    # What connections ask.

    async def read(self, key: Key) -> Config:
        """See `ConfigReader.read`."""
        return await self.reading.read(key)

    @property
    def main_labels(self) -> frozenset[str]:
        """The labels that connections have as their main subscriptions."""
        return self._key_usage.main_labels()

    @asynccontextmanager
    async def arriving(self, key: Key) -> AsyncIterator[None]:
        """Match a key against the patterns, so that `hold` inside of this finds it done. It takes turns with other keys."""
        if not self._registry.has_patterns or self._registry.is_known(key):
            yield
            return
        with self._registry.ahead(keys=[key]) as steps:
            await self._arrivals.work(steps)
            yield

    def hold(self, key: Key) -> None:
        """Bring a key into use: from now on its changes are published. `Store.hold` says what it raises."""
        # What `read` resolved in a thread isn't resolved again on the loop.
        if self._key_usage.hold(key, self.reading.kept(key)):
            self._broadcaster.publish([Change(key, None, self._store.find(key))])

    def release(self, key: Key) -> None:
        """Take back one `hold`."""
        if self._key_usage.release(key):
            self._end(key)

    def _end(self, key: Key) -> int:
        """Tell those whose patterns match a key that it has ended. Returns the number of deliveries."""
        config = self._store.find(key)
        deliveries = self._broadcaster.publish([Change(key, config, None)]) if config else 0
        self._key_usage.forget(key)
        return deliveries

    async def subscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int) -> Collection[Key]:
        """Subscribe to patterns, and return the keys that they match now and that can be served.

        From then on the subscriber is delivered each change of these keys, and the beginning and the end of others that match. What is in none of the
        keys' first states is delivered: the subscription and the return are one moment.

        Raises:
            TooManyKeys: They match more keys than a client may have; nothing is subscribed to then.
        """
        resolved: dict[Key, Config | None] = {}
        with self._registry.ahead(patterns) as steps:
            await self._turns.work(steps)
            while True:
                keys = self._registry.matches(*patterns)
                if len(keys) > max_keys:
                    raise TooManyKeys(f"the patterns match more than {max_keys} keys")
                state = self._store.state
                missing = self._key_usage.unresolved(keys) - resolved.keys()
                if state is None or not missing:
                    break
                more = await self._in_client_thread(_resolve_all, state, missing)
                # A publication in between makes them old.
                resolved = resolved | more if self._store.state is state else {}
            # No await from here on: what is published next is delivered, and what was published before is what the keys are now.
            matched = self._key_usage.subscribe(subscriber, patterns, resolved)
            return [key for key in matched if self._store.find(key) is not None]

    async def turn(self) -> None:
        """Wait for a turn at the loop: for what a client asks for and what takes a while."""
        await self._turns.take()

    def unmatched(self, keys: Iterable[Key], patterns: Sequence[Pattern]) -> list[Key]:
        """See `Registry.unmatched_by`."""
        return self._registry.unmatched_by(keys, patterns)

    def unsubscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns; nothing happens where there are none."""
        self._key_usage.unsubscribe(subscriber, patterns)

    def version_of(self, key: Key) -> str | None:
        """The current version of a held key; None where the key has ended."""
        config = self._served(key)
        return config.version if config else None

    def _served(self, key: Key) -> Config | None:
        return self._store.find(key) if self._key_usage.is_served(key) else None

    async def compress(self, frame: Frame, window_bits: int) -> bytes:
        """The form of a frame for a client that agreed on compression, made once however many ask for it at a time."""
        if frame.is_ready(window_bits) or len(frame) <= _SMALL_BYTES:
            return frame.for_window(window_bits)
        return await self._flight.shared(
            (id(frame), window_bits), partial(self._in_client_thread, frame.for_window, window_bits)
        )

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        """The frame that brings a client from a version (None: from nothing) to the newest state of a held key.

        Equal versions give `in_sync`, a version in the history one `config_change`, any other a snapshot, as does a patch that would be too
        long. By the time this returns, the state may have gone on: compare `new_version` with the store before counting the client as up to date.
        """
        config = self._served(key)
        if config is None:
            return Delivery(key, version, None, self._encoder.removed(key, version))
        if version == config.version:
            return Delivery(key, version, version, self._encoder.in_sync(config))
        if version is not None and (key, version, config.version) not in self._replaced:
            frame = self._encoder.known(version, config)
            if frame is not None:
                return Delivery(key, version, config.version, frame)
            body = self._store.body_of(key, version)
            if body is not None:
                work = (key, version, config)
                return await self._flight.shared(work, partial(self._change_from, version, body, config))
        return await self._flight.shared((key, None, config), partial(self._snapshot, config))

    async def _change_from(self, version: str, body: bytes, config: Config) -> Delivery:
        """The step from a former version, of which only the body is kept; the snapshot if the patch would be too long."""
        if max(len(body), len(config.body)) <= _SMALL_DIFF_BYTES:
            change = _change(version, body, config)
        else:
            change = await self._in_client_thread(_change, version, body, config)
        if change.patch is not None:
            return Delivery(config.key, version, config.version, self._encoder.change(change))
        self._replaced[config.key, version, config.version] = None
        if len(self._replaced) > _MOST_REPLACED:
            del self._replaced[next(iter(self._replaced))]
        return await self._snapshot(config)

    async def _snapshot(self, config: Config) -> Delivery:
        """The whole document; a large one is made into a frame in a turn."""
        if len(config.body) > _LARGE_BYTES and self._encoder.known(None, config) is None:
            await self._turns.take()
        return Delivery(config.key, None, config.version, self._encoder.snapshot(config))

    async def _in_client_thread(self, function: Callable[..., T], *args: object) -> T:
        return await threads.run_sync(function, *args, abandon_on_cancel=True, limiter=self._client_threads)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        # Pure functions over immutable values: a thread that nobody waits for any more does no harm.
        return await threads.run_sync(function, *args, abandon_on_cancel=True, limiter=self._threads)


def _remember(parsed: ParsedTree) -> None:
    """Let sources that remember the last good content of their files know what is good now."""
    layers: dict[Past, list[ParsedFiles]] = {}
    for files in parsed.labels.values():
        for layer in files.layers:
            if layer.files.past is not None:
                layers.setdefault(layer.files.past, []).append(layer)
    for past, known in layers.items():
        past.remember(partial(_good, known))


def _good(layers: Sequence[ParsedFiles]) -> Good:
    """What is good now of the layers of one source, which several labels may share."""
    broken = {path: _was_absent(layer, path) for layer in layers for path in layer.broken}
    contents = {path: layer.files.contents[path] for layer in layers for path in layer.documents if path not in broken}
    return Good(contents, broken)


def _was_absent(layer: ParsedFiles, path: str) -> bool:
    fallback = layer.fallbacks.get(path)
    return fallback is not None and fallback.former.content is None


def _change(version: str, body: bytes, config: Config) -> Change:
    """The step from a former version, of which only the body is kept, to a configuration."""
    old = Config(config.key, version, orjson.loads(body), body, ())
    return Change(config.key, old, config, patch_between(old, config))


def _resolve_all(state: State, keys: Iterable[Key]) -> dict[Key, Config | None]:
    """Resolve keys one by one; None for those that can't be now."""
    resolved: dict[Key, Config | None] = {}
    for key in keys:
        try:
            resolved[key] = state.resolve(key)
        except (FormatError, ResolveError, UnknownLabel):
            resolved[key] = None
    return resolved
