"""What WebSocket connections ask of the pipeline: keys to hold, patterns to subscribe to, and the frames that bring a client up to date.

In come main subscriptions and patterns; out go configurations, keys and deliveries. The long work (resolving many keys, diffing large documents)
runs in threads over immutable values. The invariant: a subscription and the first state that it returns are one moment on the loop, so no change
falls between them.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import orjson
import trio

from ..aio import threads
from ..aio.fair_queue import FairQueue
from ..core.diff import patch_between
from ..core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from ..core.model import Change, Config, Key
from ..core.patterns import Pattern
from .broadcast import Broadcaster, Delivery, Subscriber
from .encoder import Encoder
from .key_usage import KeyUsage
from .reader import ConfigReader
from .registry import Registry
from .state import State
from .store import Store

T = TypeVar("T")

# Up to this size a diff takes well under a millisecond, even if the document is nothing but short lists that have changed. A thread costs a
# tenth of one.
_SMALL_DIFF_BYTES = 512
# Steps that are remembered to be longer as a patch than as a snapshot. Few are.
_MOST_REPLACED = 1_024
# A larger document takes more than a tenth of a millisecond to become a payload, and its clients may all ask at once.
_LARGE_BYTES = 65_536


class TooManyKeys(RemoteError):
    """Patterns that match more keys than one client may have."""


class Pipeline:
    """See the module.

    Args:
        store: What is served.
        key_usage: The keys in use.
        registry: The subscribers.
        broadcaster: Where the beginnings and ends of keys go.
        encoder: Makes the frames.
        reader: Answers single questions.
    """

    def __init__(
        self,
        store: Store,
        key_usage: KeyUsage[Subscriber],
        registry: Registry[Subscriber],
        broadcaster: Broadcaster,
        encoder: Encoder,
        reader: ConfigReader,
    ) -> None:
        self._store = store
        self._key_usage = key_usage
        self._registry = registry
        self._broadcaster = broadcaster
        self._encoder = encoder
        self._reader = reader
        self._flight = threads.SingleFlight()
        # What clients ask for has threads of its own, so that publications don't wait behind it.
        self._client_threads = trio.CapacityLimiter(2)
        self._turns = FairQueue()
        # Handshakes wait behind each other, and not behind the requests of connected clients.
        self._arrivals = FairQueue()
        # Steps whose patch would be too long, so that it isn't made anew for each client that takes one. Oldest first.
        self._replaced: dict[tuple[Key, str, str], None] = {}

    @property
    def default_label(self) -> str | None:
        """See `ConfigReader.default_label`."""
        return self._reader.default_label

    async def read(self, key: Key) -> Config:
        """See `ConfigReader.read`."""
        return await self._reader.read(key)

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
        """Bring a key into use: from now on its changes are published. `KeyUsage.hold` says what it raises."""
        # What `read` resolved in a thread isn't resolved again on the loop.
        self._key_usage.hold(key, self._broadcaster.publish, self._reader.kept(key))

    def release(self, key: Key) -> None:
        """Take back one `hold`."""
        self._key_usage.release(key, self._broadcaster.publish)

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
        return self._key_usage.version_of(key)

    def _served(self, key: Key) -> Config | None:
        return self._key_usage.find(key)

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        """The message that brings a client from a version (None: from nothing) to the newest state of a held key.

        Equal versions give `in_sync`, a version in the history one `config_change`, any other a snapshot, as does a patch that would be too
        long. By the time this returns, the state may have gone on: compare `new_version` with the store before counting the client as up to date.
        """
        config = self._served(key)
        if config is None:
            return Delivery(key, version, None, self._encoder.removed(key, version))
        if version == config.version:
            return Delivery(key, version, version, self._encoder.in_sync(config))
        if version is not None and (key, version, config.version) not in self._replaced:
            payload = self._encoder.known(version, config)
            if payload is not None:
                return Delivery(key, version, config.version, payload)
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
        """The whole document; a large one is made into a payload in a turn."""
        if len(config.body) > _LARGE_BYTES and self._encoder.known(None, config) is None:
            await self._turns.take()
        return Delivery(config.key, None, config.version, self._encoder.snapshot(config))

    async def _in_client_thread(self, function: Callable[..., T], *args: object) -> T:
        return await threads.run_sync(function, *args, abandon_on_cancel=True, limiter=self._client_threads)


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
