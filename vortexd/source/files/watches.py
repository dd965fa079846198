"""Receives the kernel's events about a directory and the directories below it, with inotify.

Paths and the identities of directories arrive, and `writes.Event`s leave. There is one watch for each directory. It is
identified by device and inode, so it stays right if the directory is renamed. The events are hints that supplement the
periodic scan. If a directory can't be watched, the caller learns the reason, and the scan finds its changes.
"""

import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Mapping

import attrs
import inotify_simple
import trio
from inotify_simple import flags

from .directory import Identity
from .writes import Event, Kind

_MOVES = flags.CREATE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE
_ALL = _MOVES | flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF
# A file that was unlinked or replaced is no longer in the directory. Two callers may watch one directory, so masks add
# up.
_ALWAYS = flags.ONLYDIR | flags.EXCL_UNLINK | flags.MASK_ADD
# Plain numbers: an operation on flags takes a microsecond, and each event needs several.
_KINDS = {
    int(flags.CREATE): Kind.CREATED,
    int(flags.MODIFY): Kind.MODIFIED,
    int(flags.CLOSE_WRITE): Kind.CLOSED,
    int(flags.MOVED_FROM): Kind.MOVED_AWAY,
    int(flags.MOVED_TO): Kind.MOVED_HERE,
    int(flags.DELETE): Kind.DELETED,
}
_OVERFLOW, _IGNORED, _IS_DIRECTORY = int(flags.Q_OVERFLOW), int(flags.IGNORED), int(flags.ISDIR)
# About 250 events. The event loop takes them in one step of less than a millisecond.
_CHUNK_BYTES = 8_192

_REMEDIES = {
    errno.ENOSPC: "no more watches are allowed; raise fs.inotify.max_user_watches",
    errno.EMFILE: "no more inotify instances are allowed; raise fs.inotify.max_user_instances",
}


@attrs.frozen
class Place:
    """A directory to watch.

    Attributes:
        path: The path of the directory.
        names: The only names in it that matter. None means that everything in it and the directory itself matter.
    """

    path: str
    names: frozenset[str] | None = None


@attrs.frozen
class Followed:
    """The result of an attempt to watch directories.

    Attributes:
        is_new: Whether a directory is watched that wasn't before. If so, the caller must look at its content again.
        is_complete: Whether all of them are watched.
        trouble: The reason why some of them can't be watched, or None. A directory that has just gone is no trouble.
    """

    is_new: bool
    is_complete: bool
    trouble: str | None = None


class Watches:
    """One inotify instance, and its watches.

    `follow` may block: call it in a thread. While `follow` runs, the caller must not take events, because those of a
    new watch would have no name.
    """

    def __init__(self) -> None:
        self._inotify: inotify_simple.INotify | None = None
        self._opened = trio.Event()
        # Watch descriptor to directory. An entry stays until the kernel reports the end of its events.
        self._watched: dict[int, tuple[Identity, Place]] = {}
        self._descriptors: dict[Identity, int] = {}

    def close(self) -> None:
        """End all watches. No task may be waiting. `follow` may begin them again."""
        inotify, self._inotify = self._inotify, None
        self._opened = trio.Event()
        self._watched.clear()
        self._descriptors.clear()
        if inotify is not None:
            inotify.close()

    def follows(self, wanted: Mapping[Identity, Place]) -> bool:
        """Return whether these directories are watched and no others."""
        if self._inotify is None or len(wanted) != len(self._descriptors):
            return False
        return all(self._is_watched(identity, place) for identity, place in wanted.items())

    def follow(self, wanted: Mapping[Identity, Place]) -> Followed:
        """Watch these directories and no others.

        If a directory is gone or has been replaced, it is left out. The next outline has the right one.
        """
        try:
            inotify = self._inotify = self._inotify or inotify_simple.INotify(nonblocking=True)
        except OSError as error:
            return Followed(False, False, _words(error))
        for identity in self._descriptors.keys() - wanted.keys():
            with contextlib.suppress(OSError):
                inotify.rm_watch(self._descriptors.pop(identity))
        is_new, is_complete, trouble = False, True, None
        for identity, place in wanted.items():
            if self._is_watched(identity, place):
                continue
            try:
                is_added = self._add(inotify, identity, place)
            except OSError as error:
                is_complete = False
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                trouble = _words(error)
                if error.errno in _REMEDIES:
                    break
            else:
                is_new, is_complete = is_new or is_added, is_complete and is_added
        return Followed(is_new, is_complete, trouble)

    def _is_watched(self, identity: Identity, place: Place) -> bool:
        descriptor = self._descriptors.get(identity)
        watched = self._watched.get(descriptor) if descriptor is not None else None
        return watched is not None and watched[1].names == place.names

    def _add(self, inotify: inotify_simple.INotify, identity: Identity, place: Place) -> bool:
        """Watch a directory. Return whether the path leads to the directory with this identity."""
        descriptor = inotify.add_watch(place.path, (_ALL if place.names is None else _MOVES) | _ALWAYS)
        status = os.stat(place.path)
        if (status.st_dev, status.st_ino) == identity:
            self._watched[descriptor] = identity, place
            self._descriptors[identity] = descriptor
            return True
        if descriptor not in self._watched:
            inotify.rm_watch(descriptor)
        return False

    # For the event loop.

    async def wait(self) -> None:
        """Wait until there are events. While there is no inotify instance, this waits for one."""
        while self._inotify is None:
            await self._opened.wait()
        await trio.lowlevel.wait_readable(self._inotify)

    def announce(self) -> None:
        """Tell `wait` that `follow` has made an instance."""
        if self._inotify is not None:
            self._opened.set()

    def waiting(self) -> int:
        """Return how many bytes of events can be taken now."""
        if self._inotify is None:
            return 0
        found: bytes = fcntl.ioctl(self._inotify, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", found)[0])

    def take(self) -> tuple[list[Event], int]:
        """Take the next events, in the kernel's order.

        Return them and their size in bytes. One call returns a few hundred events at most.
        """
        if self._inotify is None:
            return [], 0
        try:
            data = os.read(self._inotify.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return [], 0
        events = []
        for descriptor, mask, cookie, name in inotify_simple.parse_events(data):
            event = self._event(descriptor, mask, cookie, name)
            if event is not None:
                events.append(event)
        return events, len(data)

    def _event(self, descriptor: int, mask: int, cookie: int, name: str) -> Event | None:
        if mask & _OVERFLOW:
            return Event(Kind.LOST)
        if descriptor not in self._watched:
            return None
        identity, place = self._watched[descriptor]
        if mask & _IGNORED:
            del self._watched[descriptor]
            if self._descriptors.get(identity) == descriptor:
                del self._descriptors[identity]
            return Event(Kind.GONE, identity)
        if place.names is not None and name not in place.names:
            return None
        if mask & _IS_DIRECTORY or place.names is not None:
            return Event(Kind.TOUCHED, identity, name)
        kind = next((kind for flag, kind in _KINDS.items() if mask & flag), Kind.TOUCHED)
        return Event(kind, identity, name, cookie)


def _words(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0) or (error.strerror or "error").lower()
