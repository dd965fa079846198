"""Brings what is known of a directory up to date from the names in the kernel's events, without listing the directory.

An outline, and the names that events have mentioned since it was made, arrive. The outline of the present moment leaves,
or None if only a full scan can tell. Synchronous: call it in a thread. The invariant: a result is what a full scan would
find, if the kernel reported every change. So the caller needs watches on all directories, and no lost event. It scans
the whole directory at intervals anyway, because some file systems report nothing.

The rules are few, and anything unusual leads to a full scan: a directory that appears or goes, a new link, a file with
several names, a Kubernetes volume.
"""

import os
import stat
from collections.abc import Collection, Iterable
from typing import TypeAlias

import attrs

from . import directory
from .directory import Identity, Mark, Outline, Scan
from .settings import FilesSettings
from .writes import Event, Kind

# The kernel's name of a file: the device and inode of its directory, and the name in it.
Name: TypeAlias = tuple[Identity, str]

# Links and files with several names are examined each time. If there are more, a full scan is made.
_MOST_LINKS = 64


# After this many names a full scan is cheaper.
_MOST_NAMES = 1_000


class _Unusual(Exception):
    """Only a full scan can tell."""


class Known:
    """The last outline of a directory, and the names that events have mentioned since it was begun."""

    def __init__(self) -> None:
        self._outline: Outline | None = None
        self._names: set[Name] = set()
        self._is_lost = False
        self._is_plain = True

    @property
    def outline(self) -> Outline | None:
        """The last outline, or None if a full scan is necessary."""
        return self._outline

    @property
    def is_plain(self) -> bool:
        """Whether all changes since the last outline are known, and are those of files in directories that it has."""
        return self._outline is not None and self._is_plain

    def heard(self, event: Event) -> None:
        """Take note of an event."""
        if event.kind is Kind.TOUCHED:
            self._is_plain = False
        if event.kind in (Kind.LOST, Kind.GONE) or len(self._names) >= _MOST_NAMES:
            self.lose()
        else:
            self._names.add((event.directory, event.name))

    def lose(self) -> None:
        """Make the next look a full scan."""
        self._outline = None
        self._is_lost = True

    def begin(self) -> tuple[Outline | None, Collection[Name]]:
        """Begin a look at the directory. Return the last outline, or None for a full scan, and the names since then.

        Until `end` is called, no outline is known.
        """
        found = self._outline, self._names
        self._outline, self._names, self._is_lost, self._is_plain = None, set(), False, True
        return found

    def end(self, outline: Outline, *, is_watched: bool) -> None:
        """End a look.

        Args:
            is_watched: Whether all directories were watched when the look began.
        """
        if is_watched and not self._is_lost:
            self._outline = outline


def refreshed(
    root: str, settings: FilesSettings, former: Outline, names: Iterable[Name], own: Collection[str] = ()
) -> Outline | None:
    """Return the outline of a directory, or None if a full scan is necessary. If nothing differs, return the same object.

    Args:
        former: The outline to start from.
        names: All names that events have mentioned since `former` was begun.
        own: As in `directory.read`.
    """
    try:
        return _refreshed(os.path.realpath(root), settings, former, names, own)
    except (_Unusual, OSError):
        return None


def look_again(root: str, settings: FilesSettings, before: Scan, scan: Scan, own: Collection[str] = ()) -> Outline:
    """Return the outline after a reading, as far as the files that were read are concerned.

    Only events show whether other files have changed meanwhile. So the caller takes all events afterwards.

    Args:
        before: The reading before.
        scan: The reading.

    Raises:
        SourceError: As in `directory.outline`.
    """
    changed = {*directory.difference(before.outline, scan.outline), *before.unsettled, *scan.unsettled}
    names = [_name(scan.outline, path) for path in changed]
    return refreshed(root, settings, scan.outline, names, own) or directory.outline(root, settings, own)


def _name(shown: Outline, path: str) -> Name:
    prefix, slash, name = path.rpartition("/")
    return shown.directories.get(prefix + slash, (0, 0)), name


def _refreshed(
    root: str, settings: FilesSettings, former: Outline, names: Iterable[Name], own: Collection[str]
) -> Outline:
    beside = former.beside
    if former.closed or beside.directories:
        raise _Unusual
    if directory.identity_of(root) != former.root:
        raise _Unusual
    _check_links(root, former)
    files, unfinished, is_changed = dict(former.files), set(beside.unfinished), False
    prefixes = _prefixes(former)
    for identity, name in dict.fromkeys(names):
        if identity not in prefixes or not name or name == ".git":
            raise _Unusual
        path = prefixes[identity] + name
        if os.path.join(root, path) in own:
            continue
        mark, is_there = _mark(root, path, former)
        unfinished.discard(path)
        if is_there and directory.is_unfinished(name):
            unfinished.add(path)
        if name.startswith(".") or not name.isprintable():
            continue
        if files.get(path) != mark:
            is_changed = True
            if mark is None:
                del files[path]
            else:
                files[path] = mark
    if len(files) > settings.files:
        raise _Unusual
    is_busy = bool(unfinished) or directory.is_locked(root, beside.gits)
    if not is_changed and unfinished == set(beside.unfinished) and is_busy == beside.is_busy:
        return former
    return attrs.evolve(former, files=files, beside=attrs.evolve(beside, unfinished=unfinished, is_busy=is_busy))


def _prefixes(outline: Outline) -> dict[Identity, str]:
    prefixes = {identity: prefix for prefix, identity in outline.directories.items()}
    if len(prefixes) < len(outline.directories):
        raise _Unusual
    return prefixes


def _check_links(root: str, former: Outline) -> None:
    """Check that no link leads elsewhere, and no file with several names was written under another name."""
    paths = {*former.beside.special, *(path for paths in former.beside.names.values() for path in paths)}
    if len(paths) > _MOST_LINKS:
        raise _Unusual
    for path in paths:
        place = os.path.join(root, path)
        try:
            status = os.stat(place)
        except OSError:
            status = os.lstat(place)
        if directory.mark_of(status) != former.files.get(path):
            raise _Unusual


def _mark(root: str, path: str, former: Outline) -> tuple[Mark | None, bool]:
    """Return the mark of a file, None if it is gone or isn't served, and whether there is anything with that name."""
    if path + "/" in former.directories or path in former.beside.special:
        raise _Unusual
    try:
        status = os.lstat(os.path.join(root, path))
    except FileNotFoundError:
        return None, False
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise _Unusual
    return directory.mark_of(status), True
