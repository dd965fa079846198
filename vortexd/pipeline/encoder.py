"""Makes the payloads of messages. Each payload is made once and shared by all its receivers. Pure.

Configurations and changes arrive. Payloads leave: JSON that each transport frames in its own way. The name of a payload
contains everything that it is made of: the key, both versions, the generation, the term of its pin, and the origin and time of its publication. So a bounded
cache of payloads serves any number of clients that connect, resume or lag. A client can't see whether a payload came
from the cache. If a version comes back later, that is another publication with another payload.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from ..core.generation import Generation
from ..core.model import Change, Config, Key, Origin
from ..core.text import rfc3339
from ..protocol import messages

if TYPE_CHECKING:
    from ..core.term import Term

F = TypeVar("F", bound=bytes)
P = ParamSpec("P")

# Key, old version, new version, the origin, time and generation of the new version, whether it is marked as stale, and the
# term of its pin.
_Name = tuple[Key, str | None, str, Origin | None, float, Generation | None, bool, "Term | None"]
# The cost of a payload in addition to its bytes: its name and its entries. Without it a cache of short payloads would
# exceed its limit.
_OVERHEAD_BYTES = 512


class Payload(bytes):
    """The JSON of one message.

    It keeps each transport's framed form of the message, made once and shared by all clients.

    Otherwise it behaves like `bytes`. Its content never changes, even if it keeps framed forms.
    """

    def framed(self, frame: Callable[Concatenate[bytes, P], F], *facts: P.args, **_: P.kwargs) -> F:
        """Return this payload as a transport frames it. `frame` is called once for each payload.

        Args:
            facts: The further arguments of `frame`. They are facts about the payload, so they are always the same.
        """
        # Many thousands of payloads are kept. So this dictionary is the only one of each.
        frames = cast(dict[Callable[Concatenate[bytes, P], F], F], self.__dict__)
        framed = frames.get(frame)
        if framed is None:
            framed = frames[frame] = frame(self, *facts, **_)
        return framed


class Encoder:
    """Makes payloads, and caches the most recent ones.

    Args:
        timestamp: Returns the current time as RFC 3339, UTC.
        cache_bytes: The largest size of all cached payloads, with their frames and the overhead. The newest is always
            kept.
        generation: Returns the generation of a configuration that is served now, or None.
    """

    def __init__(
        self,
        timestamp: Callable[[], str],
        cache_bytes: int = 67_108_864,
        generation: Callable[[Config], Generation | None] = lambda _: None,
    ) -> None:
        self._timestamp = timestamp
        self._cache_bytes = cache_bytes
        self._generation = generation
        self._bytes = 0
        self._payloads: OrderedDict[_Name, Payload] = OrderedDict()

    def replace(self, cache_bytes: int) -> None:
        """Change the size of the cache."""
        self._cache_bytes = cache_bytes
        self._shrink()

    def change(self, change: Change) -> Payload:
        """Return the payload of a change. If the change has no patch, it is the payload of the snapshot."""
        if change.new is not None and change.patch is None:
            return self.snapshot(change.new)
        old = change.old.version if change.old else None
        if change.new is None:
            return self.removed(change.key, old)
        timestamp, name = _timestamp(change.new), self._name(old, change.new)
        return self._cached(name, lambda: messages.config_change(change, timestamp, _text(name)))

    def snapshot(self, config: Config, *, is_stale: bool = False) -> Payload:
        """Return the payload of a whole document.

        Args:
            is_stale: Whether the client has a newer state, which this server doesn't have.
        """
        name = self._name(None, config, is_stale=is_stale)
        return self._cached(
            name, lambda: messages.config_snapshot(config, _timestamp(config), _text(name), is_stale=is_stale)
        )

    def in_sync(self, config: Config) -> Payload:
        """Return the payload for a client that already has this version."""
        name = self._name(config.version, config)
        return self._cached(name, lambda: messages.in_sync(config, _timestamp(config), _text(name)))

    def removed(self, key: Key, old_version: str | None) -> Payload:
        """Return the payload for a key that has ended, for a client that had this version.

        A key may end many times, so the payload isn't cached.
        """
        return Payload(messages.config_removed(key, old_version, self._timestamp()))

    def known(self, old_version: str | None, config: Config, *, is_stale: bool = False) -> Payload | None:
        """Return the cached payload from a version to a configuration, or None if it isn't cached."""
        name = self._name(old_version, config, is_stale=is_stale)
        if name in self._payloads:
            self._payloads.move_to_end(name)
        return self._payloads.get(name)

    def _name(self, old_version: str | None, new: Config, *, is_stale: bool = False) -> _Name:
        seconds = new.published.seconds
        return new.key, old_version, new.version, new.origin, seconds, self._generation(new), is_stale, new.pinned

    def _cached(self, name: _Name, make: Callable[[], bytes]) -> Payload:
        payload = self._payloads.get(name)
        if payload is None:
            payload = self._payloads[name] = Payload(make())
            self._bytes += _cost(payload)
            self._shrink()
        else:
            self._payloads.move_to_end(name)
        return payload

    def _shrink(self) -> None:
        while self._bytes > self._cache_bytes and len(self._payloads) > 1:
            _, oldest = self._payloads.popitem(last=False)
            self._bytes -= _cost(oldest)


def _cost(payload: Payload) -> int:
    # The size counts twice: for a payload and for its frame.
    return 2 * len(payload) + _OVERHEAD_BYTES


def _text(name: _Name) -> str | None:
    generation = name[5]
    return None if generation is None else str(generation)


def _timestamp(config: Config) -> str:
    return rfc3339(config.published.seconds)
