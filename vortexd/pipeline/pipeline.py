"""The methods that WebSocket connections call: they hold keys, subscribe to patterns and bring clients up to date.

Main subscriptions and patterns arrive. Configurations, keys and deliveries leave. The long work, which is resolving
many keys and diffing large documents, runs in threads over immutable values. The invariant: a subscription and the
first state that it returns happen without an await in between. So no change is lost between them.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TypeVar

import trio

from ..aio import threads
from ..aio.collector import Collector
from ..aio.fair_queue import FairQueue
from ..core.diff import patch_between
from ..core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from ..core.generation import Generation
from ..core.model import Change, Config, Key
from ..core.patterns import Pattern
from .broadcast import Broadcaster, Delivery, Subscriber
from .encoder import Encoder
from .key_usage import KeyUsage
from .order import Order
from .reader import ConfigReader
from .registry import Registry
from .resolution import Resolution
from .state import State
from .store import Store
from .tracks import Tracks

T = TypeVar("T")

# Up to this size a diff takes well under a millisecond, even if the document holds only short lists that have changed.
# Starting a thread takes a tenth of a millisecond.
_SMALL_DIFF_BYTES = 512
# Bringing this many keys into use takes less than a millisecond.
_KEYS_AT_ONCE = 128
# The number of steps to remember whose patch is longer than the snapshot. Few steps are like that.
_MOST_REPLACED = 1_024
# A larger document takes more than a tenth of a millisecond to encode, and all its clients may ask at once.
_LARGE_BYTES = 65_536


class TooManyKeys(RemoteError):
    """The patterns match more keys than one client may have."""


class Pipeline:
    """Serves WebSocket connections; see the module.

    Args:
        store: The served state.
        key_usage: The keys in use.
        registry: The subscribers.
        broadcaster: Publishes the beginnings and ends of keys.
        encoder: Makes the payloads.
        reader: Answers single questions.
        collector: Pauses the garbage collector during large subscriptions.
        order: Has the generations, if this server belongs to a cluster.
        tracks: Says which clients get candidates of roll-outs.
    """

    def __init__(
        self,
        store: Store,
        key_usage: KeyUsage[Subscriber],
        registry: Registry[Subscriber],
        broadcaster: Broadcaster,
        encoder: Encoder,
        reader: ConfigReader,
        collector: Collector | None = None,
        order: Order | None = None,
        tracks: Tracks | None = None,
    ) -> None:
        self._order = order or Order()
        self._tracks = tracks or Tracks()
        self._store = store
        self._key_usage = key_usage
        self._registry = registry
        self._broadcaster = broadcaster
        self._encoder = encoder
        self._reader = reader
        self._paused = collector.briefly_paused if collector is not None else nullcontext
        self._flight = threads.SingleFlight()
        # Work for clients has threads of its own, so that publications don't wait behind it.
        self._client_threads = trio.CapacityLimiter(2)
        self._turns = FairQueue()
        # Handshakes wait for each other, but not for the requests of connected clients.
        self._arrivals = FairQueue()
        # Steps whose patch is too long. They are remembered so that the patch isn't made again for each client. Oldest
        # first.
        self._replaced: dict[tuple[Key, str, str], None] = {}

    @property
    def default_label(self) -> str | None:
        """See `ConfigReader.default_label`."""
        return self._reader.default_label

    async def read(self, key: Key) -> Config:
        """See `ConfigReader.read`."""
        return await self._reader.read(key)

    def track(self, key: Key, instance: str | None, *, wants_candidate: bool = False) -> Key:
        """See `Tracks.track`."""
        return self._tracks.track(key, instance, wants_candidate=wants_candidate)

    def target(self, key: Key) -> str | None:
        """Return the target version of the roll-out of a key whose candidate instances may have now, or None."""
        found = self._tracks.rollout(key)
        return found.target if found is not None else None

    @asynccontextmanager
    async def arriving(self, key: Key) -> AsyncIterator[None]:
        """Match a key against the patterns, in turns with other keys.

        Inside the `with`, `hold` doesn't need to match it again.
        """
        if not self._registry.has_patterns or self._registry.is_known(key):
            yield
            return
        with self._registry.ahead(keys=[key]) as steps:
            await self._arrivals.work(steps)
            yield

    def hold(self, key: Key) -> None:
        """Bring a key into use: from now on its changes are published. For the errors, see `KeyUsage.hold`."""
        # If `read` has resolved the key in a thread, it isn't resolved again in the event loop.
        resolved = self._reader.kept(key) if self._served(key) is None else None
        if resolved is None and self._reader.is_unjudged(key):
            raise ResolveError("the gate hasn't judged this key yet; ask again")
        self._key_usage.hold(key, self._broadcaster.publish, resolved)

    def release(self, key: Key) -> None:
        """Undo one `hold`."""
        self._key_usage.release(key, self._broadcaster.publish)

    async def subscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int) -> Collection[Key]:
        """Subscribe to patterns, and return the keys that they match now and that can be served.

        From then on the subscriber receives each change of these keys, and the beginning and end of other keys that
        match. The subscription and the return happen without an await in between. So each change is either in the first
        state of its key or delivered.

        Raises:
            TooManyKeys: The patterns match more keys than a client may have. Then the call subscribes to nothing.
        """
        with self._registry.ahead(patterns) as steps, self._key_usage.ahead() as expect:
            await self._turns.work(steps)
            while True:
                keys = self._registry.matches(*patterns)
                if len(keys) > max_keys:
                    raise TooManyKeys(f"the patterns match more than {max_keys} keys")
                state = self._store.state
                missing = self._key_usage.unresolved(keys)
                if state is None or not missing:
                    break
                with self._paused(len(missing)):
                    resolved = await self._in_client_thread(_resolve_all, state, missing)
                    await self._turns.work(self._expect(state, resolved, expect))
            # No await from here on. Later publications are delivered, and earlier ones are in the keys' current state.
            matched = self._key_usage.subscribe(subscriber, patterns, {})
            return [key for key in matched if self._store.find(key) is not None]

    def subscribe_now(
        self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int
    ) -> Collection[Key] | None:
        """Do what `subscribe` does, without waiting.

        Return None if matching takes more than one step, if a key must be resolved, or if the patterns match too many keys.
        Then the call subscribes to nothing, and `subscribe` must decide.
        """
        with self._registry.ahead(patterns) as steps:
            for _ in steps:
                return None
            keys = self._registry.matches(*patterns)
            if len(keys) > max_keys or self._key_usage.unresolved(keys):
                return None
            matched = self._key_usage.subscribe(subscriber, patterns, {})
            return [key for key in matched if self._store.find(key) is not None]

    def _expect(
        self, state: State, resolved: Mapping[Key, Config | None], expect: Callable[[Key, Config | None], None]
    ) -> Iterator[None]:
        """Bring keys into use in steps, as long as the state is served from which they were resolved."""
        for number, (key, config) in enumerate(resolved.items(), 1):
            if self._store.state is not state:
                return
            expect(key, config)
            if number % _KEYS_AT_ONCE == 0:
                yield

    async def turn(self) -> None:
        """Wait for a turn at the event loop. Call it before work for a client that takes a while."""
        await self._turns.take()

    def unmatched(self, keys: Iterable[Key], patterns: Sequence[Pattern]) -> list[Key]:
        """See `Registry.unmatched_by`."""
        return self._registry.unmatched_by(keys, patterns)

    def unsubscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns. If a subscription doesn't exist, nothing happens."""
        self._key_usage.unsubscribe(subscriber, patterns)

    def version_of(self, key: Key) -> str | None:
        """Return the current version of a held key, or None if the key has ended."""
        return self._key_usage.version_of(key)

    def postponed(self, key: Key) -> str | None:
        """See `Broadcaster.postponed`."""
        return self._broadcaster.postponed(key)

    def in_use(self, key: Key) -> Key | None:
        """Return the store's own object for a key that is in use, so that all its clients share it, or None."""
        config = self._key_usage.find(key)
        return config.key if config is not None else None

    def _served(self, key: Key) -> Config | None:
        return self._key_usage.find(key)

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        """Make the message that brings a client from a version to the newest state of a held key.

        If the version is the current one, the message is `in_sync`. If it is in the history, the message is one
        `config_change`. In all other cases it is a snapshot: if the version is unknown or None, or if the patch would
        be too long. If the version isn't in the history, the states before the served one may have it.

        By the time this returns, a newer state may be served. So compare `new_version` with the store before you count the
        client as up to date.
        """
        if version is not None and self._may_recall(key, version):
            await self._reader.recall(key, version)
        config = self._served(key)
        ready, base = self._ready_or_base(key, version, config)
        if ready is not None:
            return ready
        assert config is not None  # otherwise the message is ready
        if version is not None and base is not None:
            work = (key, version, config)
            return await self._flight.shared(work, partial(self._change_from, version, base, config))
        return await self._flight.shared((key, None, config), partial(self._snapshot, config))

    def ready(self, key: Key, version: str | None) -> Delivery | None:
        """Return the message of `catch_up` if no patch and no snapshot must be made for it, or None."""
        if version is not None and self._may_recall(key, version):
            return None
        return self._ready_or_base(key, version, self._served(key))[0]

    def _may_recall(self, key: Key, version: str) -> bool:
        """Return whether a version is unknown, and a state before the served one may have it."""
        if not self._reader.may_recall(key, version):
            return False
        config = self._served(key)
        if config is None or (key, version, config.version) in self._replaced:
            return False
        return not self._store.knows(key, version) and self._encoder.known(version, config) is None

    def _ready_or_base(
        self, key: Key, version: str | None, config: Config | None
    ) -> tuple[Delivery | None, bytes | None]:
        """Return the message of `catch_up` if nothing must be made for it.

        If a patch must be made, return the body of the former version instead. If a snapshot must be made, return neither.
        """
        if config is None:
            return Delivery(key, version, None, self._encoder.removed(key, version)), None
        if version == config.version:
            return Delivery(key, version, version, self._encoder.in_sync(config)), None
        if version is not None and (key, version, config.version) not in self._replaced:
            payload = self._encoder.known(version, config)
            if payload is not None:
                return Delivery(key, version, config.version, payload), None
            base = self._store.body_of(key, version)
            if base is not None:
                return None, base
        payload = self._encoder.known(None, config)
        return (Delivery(key, None, config.version, payload) if payload is not None else None), None

    def is_ahead(self, key: Key, version: str | None, claimed: Generation | None) -> bool:
        """Return whether a client has a newer state of a key than this server.

        A client that has the served version is never ahead.

        Args:
            version: The version that the client has, or None.
            claimed: The generation that the client claims for it, or None.
        """
        if version is None or not self._order.is_kept:
            return False
        config = self._served(key)
        if config is None or config.version == version:
            return False
        return self._order.is_ahead(key, claimed, lambda: self._store.knows(key, version))

    async def wait_level(self, key: Key, version: str | None, claimed: Generation | None) -> None:
        """Wait until a client isn't ahead any more; see `is_ahead`. The caller limits the time."""
        while self.is_ahead(key, version, claimed):
            await self._order.wait_changed()

    async def stale(self, key: Key) -> Delivery:
        """Make the message for a client that is ahead and must take the state of this server nevertheless.

        As with `catch_up`, a newer state may be served by the time this returns. Many clients wait for the same time, so
        encoding a large document waits for a turn.
        """
        config = self._served(key)
        if (
            config is not None
            and config.size > _LARGE_BYTES
            and self._encoder.known(None, config, is_stale=True) is None
        ):
            await self._turns.take()
            config = self._served(key)
        if config is None:
            return Delivery(key, None, None, self._encoder.removed(key, None))
        return Delivery(key, None, config.version, self._encoder.snapshot(config, is_stale=True))

    def at_once(self, key: Key, version: str | None) -> Delivery | None:
        """Return the message of `catch_up` if it can be made in the event loop without waiting, or None.

        Unlike `ready`, this makes the snapshot of a small document.
        """
        if version is not None and self._may_recall(key, version):
            return None
        config = self._served(key)
        ready, base = self._ready_or_base(key, version, config)
        if ready is not None or config is None:
            return ready
        if config.size > _LARGE_BYTES or base is not None:
            return None
        return Delivery(key, None, config.version, self._encoder.snapshot(config))

    async def _change_from(self, version: str, body: bytes, config: Config) -> Delivery:
        """Make the message from a former version, of which only the body is kept.

        If the patch is too long, send the snapshot.
        """
        if max(len(body), config.size) <= _SMALL_DIFF_BYTES:
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
        """Make the message with the whole document. Encoding a large document waits for a turn."""
        if config.size > _LARGE_BYTES and self._encoder.known(None, config) is None:
            await self._turns.take()
        return Delivery(config.key, None, config.version, self._encoder.snapshot(config))

    async def _in_client_thread(self, function: Callable[..., T], *args: object) -> T:
        return await threads.run_sync(function, *args, abandon_on_cancel=True, limiter=self._client_threads)


def _change(version: str, body: bytes, config: Config) -> Change:
    """Make the change from a former version, of which only the body is kept, to a configuration."""
    old = Config(config.key, version, body, ())
    return Change(config.key, old, config, patch_between(old, config))


def _resolve_all(state: State, keys: Iterable[Key]) -> dict[Key, Config | None]:
    """Resolve keys. The value is None for a key that can't be resolved now."""
    resolved: dict[Key, Config | None] = {}
    resolution = Resolution(state, None)
    for key in keys:
        try:
            resolved[key], _ = resolution.resolve(key, None)
        except (FormatError, ResolveError, UnknownLabel):
            resolved[key] = None
    return resolved
