"""Messages of the line as frames, each made once and shared by everybody who is sent it.

In come configurations and changes, out go frames. A frame is a function of its key and versions, so a bounded cache of them
serves any number of clients that connect, resume or lag; which frames it holds changes nothing that a client can see.
"""

from collections import OrderedDict
from collections.abc import Callable

from ..model import Change, Config, Key
from . import messages
from .frames import text_frame

_Name = tuple[Key, str | None, str | None]
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
        new = change.new.version if change.new else None
        return self._cached((change.key, old, new), lambda: messages.config_change(change, self._timestamp()))

    def snapshot(self, config: Config) -> bytes:
        """The frame of a whole document."""
        return self._cached(
            (config.key, None, config.version), lambda: messages.config_snapshot(config, self._timestamp())
        )

    def in_sync(self, config: Config) -> bytes:
        """The frame for a client that has this very version."""
        return self._cached(
            (config.key, config.version, config.version), lambda: messages.in_sync(config, self._timestamp())
        )

    def removed(self, key: Key, old_version: str | None) -> bytes:
        """The frame of a key's end, for a client that had it at a version."""
        return self._cached(
            (key, old_version, None), lambda: messages.config_removed(key, old_version, self._timestamp())
        )

    def known(self, key: Key, old_version: str | None, new_version: str | None) -> bytes | None:
        """The frame from one version to another, if it is kept."""
        name = (key, old_version, new_version)
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
