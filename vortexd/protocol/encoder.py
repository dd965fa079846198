"""Messages of the pipeline as frames, each made once and shared by everybody who is sent it.

In come configurations and changes, out go frames. A frame is named by all that it is made of: the key, the two versions, and the origin
and the moment of the publication that it stands for. So a bounded cache of frames serves any number of clients that connect, resume or
lag, and which frames it holds changes nothing that a client can see. A version that comes back is another publication and another frame.
"""

from collections import OrderedDict
from collections.abc import Callable

from ..core.model import Change, Config, Key, Origin
from ..core.text import rfc3339
from . import messages
from .frames import text_frame

# Key, old version, new version, and the origin and the moment of the new one.
_Name = tuple[Key, str | None, str, Origin | None, float]
# What a frame costs beside its bytes: its name and its places in memory. Without it a cache of short frames outgrows its bound.
_OVERHEAD_BYTES = 512


class Encoder:
    """Makes frames, and keeps those made last.

    Args:
        timestamp: The current time as RFC 3339, UTC.
        cache_bytes: Size of the frames that are kept, with what keeping them costs; the newest always is.
    """

    def __init__(self, timestamp: Callable[[], str], cache_bytes: int = 67_108_864) -> None:
        self._timestamp = timestamp
        self._cache_bytes = cache_bytes
        self._bytes = 0
        self._frames: OrderedDict[_Name, bytes] = OrderedDict()

    def replace(self, cache_bytes: int) -> None:
        """Keep frames of another size from now on."""
        self._cache_bytes = cache_bytes
        self._shrink()

    def change(self, change: Change) -> bytes:
        """The frame of a change; the one of the snapshot if it has no patch."""
        if change.new is not None and change.patch is None:
            return self.snapshot(change.new)
        old = change.old.version if change.old else None
        if change.new is None:
            return self.removed(change.key, old)
        timestamp = _timestamp(change.new)
        return self._cached(_name(old, change.new), lambda: messages.config_change(change, timestamp))

    def snapshot(self, config: Config) -> bytes:
        """The frame of a whole document."""
        return self._cached(_name(None, config), lambda: messages.config_snapshot(config, _timestamp(config)))

    def in_sync(self, config: Config) -> bytes:
        """The frame for a client that has this very version."""
        return self._cached(_name(config.version, config), lambda: messages.in_sync(config, _timestamp(config)))

    def removed(self, key: Key, old_version: str | None) -> bytes:
        """The frame of a key's end, for a client that had it at a version. A key may end many times, so it isn't kept."""
        return text_frame(messages.config_removed(key, old_version, self._timestamp()))

    def known(self, old_version: str | None, config: Config) -> bytes | None:
        """The frame from a version to a configuration, if it is kept."""
        name = _name(old_version, config)
        if name in self._frames:
            self._frames.move_to_end(name)
        return self._frames.get(name)

    def _cached(self, name: _Name, make: Callable[[], bytes]) -> bytes:
        frame = self._frames.get(name)
        if frame is None:
            frame = self._frames[name] = text_frame(make())
            self._bytes += len(frame) + _OVERHEAD_BYTES
            self._shrink()
        else:
            self._frames.move_to_end(name)
        return frame

    def _shrink(self) -> None:
        while self._bytes > self._cache_bytes and len(self._frames) > 1:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= len(oldest) + _OVERHEAD_BYTES


def _name(old_version: str | None, new: Config) -> _Name:
    return new.key, old_version, new.version, new.origin, new.published.seconds


def _timestamp(config: Config) -> str:
    return rfc3339(config.published.seconds)
