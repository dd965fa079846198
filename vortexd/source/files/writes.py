"""Finds the files that are being written, from the kernel's events.

Pure: events, outlines and time in, paths with a reason out.

The kernel reports when a file is modified, and when a program that had it open for writing closes it. Between these
events the file may be half-written. If a file gets its name by `rename`, it is complete at once. The exception is a
file that was modified under its old name and not closed since.
"""

import enum
import math
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias, TypeVar

import attrs

from .directory import Identity, Mark, Outline

# The kernel's name of a file: the directory's device and inode, and the name in it. Renaming a directory doesn't change
# it.
_Name: TypeAlias = tuple[Identity, str]

# Limits of the remembered entries. Beyond them, the oldest entries are forgotten.
# The kernel nearly always reports the new name of a moved file in the next event.
_MOVING = 64
_WRITES = 10_000
_COMPLETE = 1_000

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Kind(enum.Enum):
    """The type of an event about a name in a directory."""

    CREATED = enum.auto()
    MODIFIED = enum.auto()
    CLOSED = enum.auto()  # by a program that had the file open for writing
    MOVED_AWAY = enum.auto()
    MOVED_HERE = enum.auto()
    DELETED = enum.auto()
    TOUCHED = enum.auto()  # attributes, sub-directories, the directory itself
    GONE = enum.auto()  # the directory isn't watched any more
    LOST = enum.auto()  # the kernel's queue was full, and it dropped events


@attrs.frozen(slots=True)
class Event:
    """One event of the kernel.

    Attributes:
        name: The name in the directory; "" is the directory itself.
        cookie: The same number in both events of a move.
    """

    kind: Kind
    directory: Identity = (0, 0)
    name: str = ""
    cookie: int = 0


@attrs.define(slots=True)
class Write:
    """A file that was created or modified and not closed since.

    Attributes:
        since: When the write began.
        is_created: The file was created but not modified. A new link causes the same event, so this counts only if the
            file is empty.
        is_idle: The write has changed nothing. The next modification begins a new write.
        is_released: The file was published before it was closed. It isn't held again until it is closed.
    """

    since: float
    is_created: bool = False
    is_idle: bool = False
    is_released: bool = False


class Writes:
    """The files of one directory, and of those below it, that are being written.

    Attributes:
        active: The time of the last event that changes what may be published.
        is_stirred: Whether there was such an event since `begin_reading`.
    """

    def __init__(self) -> None:
        self.active = -math.inf
        self.is_stirred = False
        self._open: dict[_Name, Write] = {}
        self._moving: dict[int, Write] = {}
        # The names whose change is complete, with the time of the event.
        self._complete: dict[_Name, float] = {}
        # The names that were written since `begin_reading`.
        self._written: set[_Name] = set()
        self._reading = -math.inf

    def heard(self, event: Event, now: float) -> bool:
        """Take note of an event. Return whether to look at the directory soon."""
        name = (event.directory, event.name)
        is_new = self._note(event, name, now)
        if event.kind in (Kind.CREATED, Kind.MODIFIED, Kind.CLOSED):
            self._written.add(name)
        self._bound()
        if not _is_visible(event.name) or event.kind is Kind.GONE:
            return False
        write = self._open.get(name)
        if write is not None and not write.is_released:
            return is_new
        self.active = now
        self.is_stirred = True
        if event.kind not in (Kind.MODIFIED, Kind.LOST):
            self._complete[name] = now
            _shorten(self._complete, _COMPLETE)
        return True

    def _note(self, event: Event, name: _Name, now: float) -> bool:
        """Take note of an event. Return whether a write has just begun."""
        write = self._open.get(name)
        match event.kind:
            case Kind.CREATED:
                self._open[name] = Write(now, is_created=True)
                return True
            case Kind.MODIFIED:
                if write is None:
                    self._open[name] = Write(now)
                    return True
                is_new = write.is_idle or write.is_created
                write.since = now if write.is_idle else write.since
                write.is_created = write.is_idle = False
                return is_new
            case Kind.CLOSED | Kind.DELETED:
                self._open.pop(name, None)
            case Kind.MOVED_AWAY:
                if write is not None:
                    self._moving[event.cookie] = self._open.pop(name)
            case Kind.MOVED_HERE:
                self._open.pop(name, None)
                if moved := self._moving.pop(event.cookie, None):
                    self._open[name] = Write(now, moved.is_created)
                    return True
            case Kind.GONE:
                self._open = {each: write for each, write in self._open.items() if each[0] != event.directory}
            case Kind.LOST:
                # Files with visible names stay held, because it isn't known whether they were closed.
                self._open = {each: write for each, write in self._open.items() if _is_visible(each[1])}
                self._complete.clear()
            case Kind.TOUCHED:
                pass
        return False

    def _bound(self) -> None:
        _shorten(self._open, _WRITES)
        _shorten(self._moving, _MOVING)
        if len(self._written) > _WRITES:
            self._written.clear()
            self.is_stirred = True

    def begin_reading(self, now: float) -> None:
        """Note that a reading of the directory begins. Call this before each reading."""
        self._reading = now
        self._written.clear()
        self.is_stirred = False

    def unfinished(self, shown: Outline) -> dict[str, Write]:
        """Return the paths whose files were modified and not closed since, and aren't released."""
        found: dict[str, Write] = {}
        prefixes = _prefixes(shown) if self._open else {}
        for name, write in self._open.items():
            if write.is_released or write.is_idle:
                continue
            for path in _paths(shown, prefixes, name):
                is_link = size(shown.files[path]) > 0 or path in shown.beside.special
                if not (write.is_created and is_link):
                    found[path] = write
        return found

    def restless(self, shown: Outline) -> set[str]:
        """Return the paths whose files were closed, and so perhaps written, since `begin_reading`."""
        prefixes = _prefixes(shown) if self._written else {}
        closed = (name for name in self._written if name not in self._open)
        return {path for name in closed for path in _paths(shown, prefixes, name)}

    def is_complete(self, shown: Outline, path: str) -> bool:
        """Return whether the kernel has reported the end of a path's last change: closed, renamed or deleted."""
        return self.completed_at(shown, path) is not None

    def completed_at(self, shown: Outline, path: str) -> float | None:
        """Return when the kernel reported the end of a path's last change, or None if it hasn't."""
        prefix, slash, name = path.rpartition("/")
        directory = shown.directories.get(prefix + slash)
        return None if directory is None else self._complete.get((directory, name))

    def is_any_open(self) -> bool:
        """Return whether any file was modified and not closed since, under any name."""
        return not all(write.is_created for write in self._open.values())

    def published(self, shown: Outline, held: Collection[str], altered: Mapping[str, bool]) -> None:
        """Note that a state was published.

        Args:
            shown: The directory as it was read.
            held: Paths that kept their former content.
            altered: The paths that were published unfinished, and whether their published content has changed.
        """
        prefixes = _prefixes(shown) if self._open else {}
        for name, write in list(self._open.items()):
            paths = list(_paths(shown, prefixes, name))
            if any(altered.get(path) for path in paths):
                write.is_released = True
            elif any(path in altered for path in paths):
                write.is_idle = True
            elif write.is_created and not any(path in held for path in paths):
                del self._open[name]  # a link, or an empty file that was published
        self.done(self._reading)

    def done(self, moment: float) -> None:
        """Forget the changes that were complete by this moment. They are published, or there was nothing to publish."""
        self._complete = {name: at for name, at in self._complete.items() if at > moment}


def size(mark: Mark) -> int:
    """Return the size of a file with this mark, in bytes."""
    return mark[2]


def _is_visible(name: str) -> bool:
    """Return whether a name can belong to a served file. `..data` can, because it leads to one."""
    return not name.startswith(".") or name.startswith("..")


def _prefixes(shown: Outline) -> dict[Identity, list[str]]:
    found: dict[Identity, list[str]] = {}
    for prefix, identity in shown.directories.items():
        found.setdefault(identity, []).append(prefix)
    return found


def _paths(shown: Outline, prefixes: Mapping[Identity, Collection[str]], name: _Name) -> Iterator[str]:
    """Yield the paths whose content a write to a name changes: its own, the links to it, and the file's other names."""
    directory, last = name
    own = [prefix + last for prefix in prefixes.get(directory, ()) if prefix + last in shown.files]
    yield from own
    identity = shown.files[own[0]][:2] if own else shown.beside.files.get(name)
    if identity is not None:
        yield from (path for path in shown.beside.names.get(identity, ()) if path not in own)


def _shorten(kept: dict[_Key, _Value], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
