"""Messages of the pipeline as payloads, each made once and shared by all its receivers. Pure.

In come configurations and changes; out go payloads: JSON that each transport frames in its own way. A payload is named by all that it is
made of: the key, the two versions, and the origin and the moment of the publication that it stands for. So a bounded cache of payloads
serves any number of clients that connect, resume or lag, and its content changes nothing that a client can see. A version that comes back
is another publication and another payload.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, cast

from ..core.model import Change, Config, Key, Origin
from ..core.text import rfc3339
from ..protocol import messages

F = TypeVar("F", bound=bytes)

# Key, old version, new version, and the origin and the moment of the new one.
_Name = tuple[Key, str | None, str, Origin | None, float]
# What a payload costs beside its bytes: its name and its places in memory. Without it a cache of short payloads outgrows its bound.
_OVERHEAD_BYTES = 512


class Payload(bytes):
    """The JSON of one message. Each transport keeps in it how it frames the message, made once and shared by its clients.

    Bytes like any other otherwise; never changed, whatever frames are kept in it.
    """

    _framed: dict[Callable[[bytes], bytes], bytes]

    def framed(self, frame: Callable[[bytes], F]) -> F:
        """This payload as a transport frames it; `frame` is called once for each payload."""
        frames = self.__dict__.setdefault("_framed", {})
        framed = frames.get(frame)
        if framed is None:
            framed = frames[frame] = frame(self)
        return cast(F, framed)


class Encoder:
    """Makes payloads, and keeps those made last.

    Args:
        timestamp: The current time as RFC 3339, UTC.
        cache_bytes: Size of the payloads that are kept, with their frames and what keeping them costs; the newest always is.
    """

    def __init__(self, timestamp: Callable[[], str], cache_bytes: int = 67_108_864) -> None:
        self._timestamp = timestamp
        self._cache_bytes = cache_bytes
        self._bytes = 0
        self._payloads: OrderedDict[_Name, Payload] = OrderedDict()

    def replace(self, cache_bytes: int) -> None:
        """Keep payloads of another size from now on."""
        self._cache_bytes = cache_bytes
        self._shrink()

    def change(self, change: Change) -> Payload:
        """The payload of a change; the one of the snapshot if it has no patch."""
        if change.new is not None and change.patch is None:
            return self.snapshot(change.new)
        old = change.old.version if change.old else None
        if change.new is None:
            return self.removed(change.key, old)
        timestamp = _timestamp(change.new)
        return self._cached(_name(old, change.new), lambda: messages.config_change(change, timestamp))

    def snapshot(self, config: Config) -> Payload:
        """The payload of a whole document."""
        return self._cached(_name(None, config), lambda: messages.config_snapshot(config, _timestamp(config)))

    def in_sync(self, config: Config) -> Payload:
        """The payload for a client that has this very version."""
        return self._cached(_name(config.version, config), lambda: messages.in_sync(config, _timestamp(config)))

    def removed(self, key: Key, old_version: str | None) -> Payload:
        """The payload of a key's end, for a client that had it at a version. A key may end many times, so it isn't kept."""
        return Payload(messages.config_removed(key, old_version, self._timestamp()))

    def known(self, old_version: str | None, config: Config) -> Payload | None:
        """The payload from a version to a configuration, if it is kept."""
        name = _name(old_version, config)
        if name in self._payloads:
            self._payloads.move_to_end(name)
        return self._payloads.get(name)

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
    # Twice, for a payload and its frame.
    return 2 * len(payload) + _OVERHEAD_BYTES


def _name(old_version: str | None, new: Config) -> _Name:
    return new.key, old_version, new.version, new.origin, new.published.seconds


def _timestamp(config: Config) -> str:
    return rfc3339(config.published.seconds)
