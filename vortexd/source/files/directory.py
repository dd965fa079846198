"""Reads a directory once: from a file system that may change meanwhile to immutable bytes.

A directory and the result of the last reading arrive. A `Scan` leaves. Synchronous: call it in a thread. The invariant:
it opens only regular files that really lie below the root, even if links are swapped meanwhile. Bytes count for a path
only if they were read from exactly the state of the file that the outline shows.
"""

import errno
import itertools
import os
import re
import stat
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias, TypeVar

import attrs

from ...core.errors import SourceError
from ...core.identity import altered
from ..lfs import POINTER, is_pointer
from .settings import FilesSettings

# If a file keeps changing while it is read, a program is writing it in place. The next scan will see it whole.
_ATTEMPTS = 3
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_GONE = {errno.ENOENT, errno.ENOTDIR}
# File systems stamp changes with the time of the kernel's last tick, up to 10 ms ago. If a file was changed so shortly
# before it was read, it can change again without a new mark.
_TICK_NS = 50_000_000

# Names that programs give to a file while they write it, or to a lock next to the file that they edit.
_UNFINISHED = re.compile(
    r"4913|.*~|.*\.(?:sw[a-p]|tmp|temp|part|partial|filepart)|#.*#|\.\#.*"  # vim, Emacs, nano, WinSCP and many others
    r"|\..+\.[A-Za-z0-9]{6}|\.~tmp~"  # rsync; mkstemp of many programs
    r"|sed[A-Za-z0-9]{6}|\.goutputstream-.*|___jb_(?:tmp|old)___|.*___jb_(?:tmp|old)___|\.ansible_tmp.*",
    re.DOTALL,
)
# Most names end in one of these, and no name above does. This check is faster, so it comes first.
_FINISHED = (".yml", ".yaml", ".properties", ".json", ".toml")
# A `.git` directory has about 15 entries. At most this many are checked for locks.
_GIT_ENTRIES = 1_000
_GITDIR_BYTES = 4_096
# Linux follows at most this many links on the way to a file.
_LINKS = 40

_Value = TypeVar("_Value")

# Device and inode.
Identity: TypeAlias = tuple[int, int]
# Shows whether a file is the same as at the last reading: device, inode, size, time of modification, time of change.
Mark: TypeAlias = tuple[int, int, int, int, int]


@attrs.frozen(slots=True)
class Beside:
    """Facts about the directory that aren't part of the served state.

    Attributes:
        directories: The directories `..NAME` and those below them, as path prefix to identity. Only links lead into
            them.
        files: The files of these directories: identity of the directory and name, to the identity of the file.
        names: The identity of a file to the paths that are links to it. If a file has several names, all are listed.
        special: Paths that are links or aren't regular files. Programs don't write to these names.
        is_busy: Whether there is a git lock, or a file with a temporary name of an editor or of rsync.
        unfinished: The paths with such temporary names.
        gits: The paths of all `.git`, relative to the directory.
    """

    directories: Mapping[str, Identity] = attrs.field(factory=dict)
    files: Mapping[tuple[Identity, str], Identity] = attrs.field(factory=dict)
    names: Mapping[Identity, Collection[str]] = attrs.field(factory=dict)
    special: Collection[str] = attrs.field(factory=frozenset)
    is_busy: bool = False
    unfinished: Collection[str] = attrs.field(factory=frozenset)
    gits: Collection[str] = attrs.field(factory=frozenset)


@attrs.frozen(slots=True)
class Outline:
    """Everything about a directory except the bytes.

    Equal outlines mean the same state, except for a scan's `unsettled` paths.

    Attributes:
        files: Path to mark.
        directories: The directories that were listed: path prefix to identity. "" is the root, others end in `/`.
        closed: Path prefix of a directory that can't be listed, to the reason.
        beside: Facts that aren't part of the state.
    """

    files: Mapping[str, Mark]
    directories: Mapping[str, Identity]
    closed: Mapping[str, str]
    beside: Beside = attrs.field(factory=Beside, eq=False)
    _since: "tuple[weakref.ref[Outline], Mapping[str, Mark | None]] | None" = attrs.field(
        default=None, init=False, eq=False, repr=False
    )

    @property
    def root(self) -> Identity:
        """The device and the inode of the directory itself."""
        return self.directories[""]


@attrs.frozen(slots=True, eq=False)
class Scan:
    """A directory at one moment.

    Attributes:
        outline: The outline at that moment.
        contents: Path to bytes.
        unreadable: Path to the reason why it can't be read.
        unsettled: Paths to read again even if the outline stays the same. If a reading failed, it may succeed. If a
            file was changed in the same tick of the clock, it may have changed after it was read.
    """

    outline: Outline
    contents: Mapping[str, bytes]
    unreadable: Mapping[str, str]
    unsettled: frozenset[str]


class _Refused(Exception):
    """The file won't be read because of its type or place. This stays so until its mark changes."""


class _Restless(Exception):
    """The file no longer is in the state that the outline shows."""


def read(
    root: str,
    settings: FilesSettings,
    before: Scan | None,
    own: Collection[str] = (),
    shown: Outline | None = None,
    look: Callable[[Scan], Outline] | None = None,
) -> Scan:
    """Read the directory whole. Take over the content of unchanged files from `before`.

    If a file keeps changing or can't be read, it is `unreadable` in the result.

    Args:
        own: Real paths of files and directories of vortexd itself, which are never served (ATTACKS P13).
        shown: The outline of a moment ago, or None to make a new one.
        look: Returns the outline of the present moment after a reading. None means a full scan.

    Raises:
        SourceError: The directory doesn't exist, is too large, or can't be read as a whole now.
    """
    look = look or (lambda _: outline(root, settings, own))
    scan = _read_once(shown or outline(root, settings, own), root, settings, before, own)
    for _ in range(_ATTEMPTS - 1):
        after = look(scan)
        if after == scan.outline and not scan.unsettled & scan.unreadable.keys():
            return scan
        scan = _read_once(after, root, settings, scan, own)
    return _without_restless(scan, look(scan))


def outline(root: str, settings: FilesSettings, own: Collection[str] = ()) -> Outline:
    """Return the marks that identify the state of each file. No file is opened, so this is cheap enough for every scan.

    Raises:
        SourceError: As in `read`.
    """
    files: dict[str, Mark] = {}
    directories: dict[str, Identity] = {}
    closed: dict[str, str] = {}
    noted = _Noted()
    real = os.path.realpath(root)
    left = [""]
    while left:
        prefix = left.pop()
        try:
            directories[prefix] = _list(real, prefix, files, left, own, noted)
        except OSError as error:
            if not prefix or error.errno in _EXHAUSTED:
                raise SourceError(f"{root} can't be read: {_words(error)}") from None
            if error.errno not in _GONE:
                closed[prefix] = _words(error)
        for kind, found in (("files", files), ("directories", directories)):
            if len(found) > settings.files:
                excess = f"{root} holds more than {settings.files} {kind}"
                raise SourceError(f"{excess}; raise source.files to allow this")
    return Outline(files, directories, closed, noted.beside(real, settings.files))


def difference(before: Outline, after: Outline) -> Mapping[str, Mark | None]:
    """Return the paths whose files differ, with their current marks. If a file is gone, the mark is None."""
    known = after._since
    if known is None or known[0]() is not before:
        former = before.files.get
        marks = {path: after.files.get(path) for path in altered(before.files, after.files)}
        changed = {path: mark for path, mark in marks.items() if mark is None or former(path) != mark}
        # The same two outlines are compared several times for each publication.
        known = weakref.ref(before), changed
        object.__setattr__(after, "_since", known)
    return known[1]


def held_back(scan: Scan, before: Scan, held: Collection[str]) -> Scan:
    """Return a scan in which some paths are as they were before: with their bytes and their mark, or absent.

    They are unsettled in the result, so the next reading opens them even if their mark is the same.
    """
    if not held:
        return scan
    return Scan(
        attrs.evolve(scan.outline, files=_as_before(scan.outline.files, before.outline.files, held)),
        _as_before(scan.contents, before.contents, held),
        _as_before(scan.unreadable, before.unreadable, held),
        scan.unsettled | frozenset(held),
    )


def _as_before(now: Mapping[str, _Value], before: Mapping[str, _Value], held: Collection[str]) -> dict[str, _Value]:
    kept = {path: value for path, value in now.items() if path not in held}
    return kept | {path: before[path] for path in held if path in before}


def signposts(root: str) -> dict[str, set[str]]:
    """Return the directories that decide where a path leads, each with the names that matter in it.

    These are the parent of the directory that the path leads to, and the parents of all links on the way.

    Args:
        root: An absolute path. It need not exist.
    """
    found: dict[str, set[str]] = {}
    place, left, links = "/", [part for part in root.split("/") if part], 0
    while left:
        name = left.pop(0)
        path = os.path.normpath(os.path.join(place, name))
        try:
            target = os.readlink(path) if links < _LINKS else ""
        except OSError:
            target = ""
        if target:
            links += 1
            found.setdefault(place, set()).add(name)
            place = "/" if target.startswith("/") else place
            left = [part for part in target.split("/") if part] + left
        else:
            place = path
    if place != "/":
        found.setdefault(os.path.dirname(place), set()).add(os.path.basename(place))
    return found


@attrs.define(eq=False)
class _Noted:
    """Collects the facts for `Beside` while a directory is listed."""

    left: list[str] = attrs.field(factory=list)
    names: dict[Identity, list[str]] = attrs.field(factory=dict)
    special: set[str] = attrs.field(factory=set)
    unfinished: set[str] = attrs.field(factory=set)
    gits: set[str] = attrs.field(factory=set)

    def entry(self, path: str, name: str) -> None:
        if is_unfinished(name):
            self.unfinished.add(path)
        if name == ".git":
            self.gits.add(path)

    def file(self, path: str, found: os.stat_result, *, is_link: bool) -> None:
        if is_link or found.st_nlink > 1:
            self.names.setdefault((found.st_dev, found.st_ino), []).append(path)
        if is_link or not stat.S_ISREG(found.st_mode):
            self.special.add(path)

    def beside(self, root: str, limit: int) -> Beside:
        directories: dict[str, Identity] = {}
        files: dict[tuple[Identity, str], Identity] = {}
        while self.left and len(directories) < limit and len(files) < limit:
            prefix = self.left.pop()
            try:
                directories[prefix] = _list_behind(root, prefix, files, self.left)
            except OSError:
                continue  # the directory is only watched, not served
        is_busy = bool(self.unfinished) or is_locked(root, self.gits)
        return Beside(directories, files, self.names, self.special, is_busy, self.unfinished, self.gits)


def _list(
    root: str, prefix: str, files: dict[str, Mark], left: list[str], own: Collection[str], noted: _Noted
) -> Identity:
    """Note a directory's files and the directories to list next. Return its device and inode."""
    place = os.path.join(root, prefix)
    identity = identity_of(place)
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.path in own:
                continue
            if entry.name.startswith(".") or not entry.name.endswith(_FINISHED):
                noted.entry(prefix + entry.name, entry.name)
            if entry.name.startswith("..") and entry.is_dir(follow_symlinks=False):
                noted.left.append(f"{prefix}{entry.name}/")
            # If a name is hidden, isn't UTF-8 or has control characters, no client can ask for it.
            if entry.name.startswith(".") or not entry.name.isprintable():
                continue
            path = prefix + entry.name
            found = _status(entry)
            if found is None:
                continue
            if not stat.S_ISDIR(found.st_mode):
                files[path] = mark_of(found)
                noted.file(path, found, is_link=entry.is_symlink())
            elif not entry.is_symlink() or (not prefix and _is_projected(root, entry.name)):
                left.append(path + "/")
    return identity


def identity_of(place: str) -> Identity:
    """Return the device and inode of a directory."""
    status = os.stat(place)
    return status.st_dev, status.st_ino


def _list_behind(root: str, prefix: str, files: dict[tuple[Identity, str], Identity], left: list[str]) -> Identity:
    """Do the same for a directory that only links lead into."""
    place = os.path.join(root, prefix)
    identity = identity_of(place)
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                files[identity, entry.name] = (identity[0], entry.inode())
    return identity


def is_unfinished(name: str) -> bool:
    """Return whether a program gives such a name to a file while it writes it, or to a lock beside the file."""
    return not (name.endswith(_FINISHED) and not name.startswith(".")) and _UNFINISHED.fullmatch(name) is not None


def is_locked(root: str, gits: Collection[str]) -> bool:
    """Return whether git is changing a directory.

    Args:
        root: The directory, without links.
        gits: The paths of all `.git` in it.
    """
    return any(_is_locked(os.path.join(root, git)) for git in gits) or (not gits and _is_work_tree_locked(root))


def _is_work_tree_locked(root: str) -> bool:
    """Return whether git is changing the work tree that contains a directory."""
    place = root
    while place != "/":
        place = os.path.dirname(place)
        git = os.path.join(place, ".git")
        if os.path.lexists(git):
            return _is_locked(git)
    return False


def _is_locked(git: str) -> bool:
    """Return whether a repository has a lock. Git holds one while it changes the index or the work tree.

    Args:
        git: The path of `.git`: the directory itself, or the file of a linked work tree that names the directory.
    """
    try:
        status = os.lstat(git)
        if stat.S_ISREG(status.st_mode) and status.st_size <= _GITDIR_BYTES:
            with open(os.open(git, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                named = os.fsdecode(file.read(_GITDIR_BYTES)).removeprefix("gitdir:").strip()
            git = os.path.join(os.path.dirname(git), named)
        with os.scandir(git) as entries:
            return any(entry.name.endswith(".lock") for entry in itertools.islice(entries, _GIT_ENTRIES))
    except (OSError, ValueError):
        return False  # there is no repository, or it can't be examined


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of an entry's target.

    If a link leads nowhere, return its own status. If the entry is gone, return None.
    """
    try:
        return entry.stat()
    except OSError:
        try:
            return entry.stat(follow_symlinks=False)
        except OSError:
            return None


def _is_projected(root: str, name: str) -> bool:
    """Return whether a link at the top is part of a Kubernetes volume: it leads into a directory such as `..2026_11`.

    No other linked directory is entered, because a link to a parent would never end. This link never
    leads to a directory that is listed by itself.
    """
    parts = _parts_below(root, name)
    return parts is not None and len(parts) > 1 and parts[0].startswith("..") and not _is_hidden(parts)


def mark_of(status: os.stat_result) -> Mark:
    """Return the mark of a file with this status."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _words(error: OSError) -> str:
    return (error.strerror or "error").lower()


def _read_once(shown: Outline, root: str, settings: FilesSettings, before: Scan | None, own: Collection[str]) -> Scan:
    now = time.time_ns()
    wanted, contents, unreadable = _taken_over(shown, before)
    unsettled = set()
    total = sum(map(len, contents.values()))
    real = os.path.realpath(root)
    for path in wanted:
        mark = shown.files[path]
        if abs(now - mark[4]) < _TICK_NS:
            unsettled.add(path)
        try:
            contents[path] = _same(_read_file(real, path, mark, settings.file_bytes, own), path, before)
        except _Refused as refusal:
            unreadable[path] = str(refusal)
        except _Restless:
            unreadable[path] = "it keeps changing while it is read"
            unsettled.add(path)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise SourceError(f"{root} can't be read now: {_words(error)}") from None
            unreadable[path] = _words(error)
            unsettled.add(path)
        total += len(contents.get(path, b""))
        if total > settings.total_bytes:
            raise SourceError(
                f"{root} holds more than {settings.total_bytes} bytes; raise source.total_bytes to allow this"
            )
    return Scan(shown, contents, unreadable, frozenset(unsettled))


def _taken_over(shown: Outline, before: Scan | None) -> tuple[list[str], dict[str, bytes], dict[str, str]]:
    """Return the paths to read, in order, and the contents and reasons of the others."""
    lost = dict(_lost(shown, before))
    if before is None:
        return sorted(shown.files), {}, lost
    changed = difference(before.outline, shown)
    wanted = {path for path in changed if path in shown.files} | (before.unsettled & shown.files.keys())
    contents = dict(before.contents)
    for path in (*changed, *wanted):
        contents.pop(path, None)
    unreadable = {path: why for path, why in before.unreadable.items() if path in shown.files and path not in wanted}
    return sorted(wanted), contents, lost | unreadable


def _same(content: bytes, path: str, before: Scan | None) -> bytes:
    """Return the former object if it holds the same bytes, because states are compared by identity first."""
    former = before.contents.get(path) if before else None
    return content if former is None or former != content else former


def _lost(shown: Outline, before: Scan | None) -> Iterable[tuple[str, str]]:
    """Yield the known paths below directories that can't be listed any more. They are broken, not absent."""
    for prefix, why in shown.closed.items():
        for path in (*before.contents, *before.unreadable) if before else ():
            if path.startswith(prefix):
                yield path, f"its directory can't be listed: {why}"


def _without_restless(scan: Scan, after: Outline) -> Scan:
    """Mark files that still differ as broken.

    The rest was the same before and after the reading, so it is one state.
    """
    restless = {
        path for path in {*scan.outline.files, *after.files} if scan.outline.files.get(path) != after.files.get(path)
    }
    contents = {path: content for path, content in scan.contents.items() if path not in restless}
    reasons = dict.fromkeys(restless, "it keeps changing while it is read")
    return Scan(scan.outline, contents, {**scan.unreadable, **reasons}, scan.unsettled | restless)


def _read_file(root: str, path: str, mark: Mark, limit: int, own: Collection[str]) -> bytes:
    """Read one file in the state that `mark` shows. `root` contains no links."""
    parts = _parts_below(root, path)
    if parts is None:
        raise _Refused("the link leads out of the directory")
    if not parts or _is_hidden(parts):
        raise _Refused("the link leads to a hidden file")
    if any(os.path.join(root, *parts[:count]) in own for count in range(1, len(parts) + 1) if own):
        raise _Refused("it belongs to vortexd itself")
    descriptor = _open_beneath(root, parts)
    try:
        first = os.fstat(descriptor)
        if not stat.S_ISREG(first.st_mode):
            raise _Refused("not a regular file")
        if first.st_size > limit:
            raise _Refused(f"larger than {limit} bytes; raise source.file_bytes to allow this")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(first.st_size + 1)
        if not mark == mark_of(first) == mark_of(os.fstat(descriptor)) or len(content) != first.st_size:
            raise _Restless
        if is_pointer(content):
            raise _Refused(POINTER)
        return content
    finally:
        os.close(descriptor)


def _parts_below(root: str, path: str) -> list[str] | None:
    """Return the names below the root that a path leads to in the end, or None if its target lies elsewhere."""
    target = os.path.realpath(os.path.join(root, path))
    start = root.rstrip("/") + "/"
    return target.removeprefix(start).split("/") if target.startswith(start) else None


def _is_hidden(parts: Iterable[str]) -> bool:
    """Return whether a target is hidden, such as `.git`.

    The links of a Kubernetes volume lead through `..data`, which isn't hidden.
    """
    return any(part.startswith(".") and not part.startswith("..") for part in parts)


def _open_beneath(root: str, parts: list[str]) -> int:
    """Open a file component by component, without following links.

    A component may have become a link since the path was resolved.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for number, part in enumerate(parts):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        is_last = number == len(parts) - 1
        # Non-blocking, because opening a FIFO would wait for its writer.
        flags |= os.O_NONBLOCK if is_last else os.O_DIRECTORY
        try:
            # If possible, only regular files are opened at all: opening a watchdog device would start the watchdog.
            if is_last and not stat.S_ISREG(os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode):
                raise _Refused("not a regular file")
            inner = os.open(part, flags, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
