"""One reading of a directory: from a file system that may change under us to immutable bytes.

In come a directory and what was read of it before; out goes a `Scan`. Synchronous, for a thread. The invariant: only regular files that
really lie below the root are ever opened, whatever links are swapped meanwhile.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ..errors import SourceError
from ..settings import SourceSettings

# What says that a file is the same as at the last reading.
_Mark = tuple[int, int, int, int, int]
# A file that goes on changing while it is read is written in place by somebody; the next scan will see it whole.
_ATTEMPTS = 3
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}


@attrs.frozen(slots=True, eq=False)
class Scan:
    """A directory at one moment.

    Attributes:
        marks: Path to what identifies the file's state; two scans with equal marks are the same state.
        contents: Path to bytes.
        unreadable: Path to why it can't be read.
        device: The device of the root.
    """

    marks: Mapping[str, _Mark]
    contents: Mapping[str, bytes]
    unreadable: Mapping[str, str]
    device: int


def read(root: Path, settings: SourceSettings, before: Scan | None) -> Scan:
    """Read the directory whole, taking over what `before` has of unchanged files.

    Raises:
        SourceError: It isn't there, is too large, or can't be read as a whole now.
    """
    for _ in range(_ATTEMPTS):
        scan = _read_once(root, settings, before)
        if marks(root, settings) == scan.marks:
            return scan
        before = scan
    raise SourceError(f"{root} goes on changing while it is read")


def marks(root: Path, settings: SourceSettings) -> dict[str, _Mark]:
    """Only what identifies each file's state: cheap enough for every scan.

    Raises:
        SourceError: As `read`.
    """
    found: dict[str, _Mark] = {}
    for path, status in _walk(root):
        found[path] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if len(found) > settings.files:
            raise SourceError(f"{root} holds more than {settings.files} files; raise source.files if that is meant")
    return found


def _read_once(root: Path, settings: SourceSettings, before: Scan | None) -> Scan:
    found = marks(root, settings)
    contents: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    total = 0
    real = Path(os.path.realpath(root))
    for path, mark in found.items():
        try:
            if before is not None and before.marks.get(path) == mark and path in before.contents:
                contents[path] = before.contents[path]
            else:
                contents[path] = _read_file(real, path, settings.file_bytes)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise SourceError(f"{root} can't be read now: {error.strerror}") from None
            unreadable[path] = (error.strerror or "can't be read").lower()
        total += len(contents.get(path, b""))
        if total > settings.total_bytes:
            raise SourceError(f"{root} holds more than {settings.total_bytes} bytes; raise source.total_bytes if meant")
    return Scan(found, contents, unreadable, _status(root).st_dev)


def _status(root: Path) -> os.stat_result:
    try:
        return root.stat()
    except OSError as error:
        raise SourceError(f"{root} can't be read: {(error.strerror or 'error').lower()}") from None


def _walk(root: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything that isn't hidden, with the status of what links lead to; in a settled order."""
    try:
        with os.scandir(root / prefix) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if prefix and error.errno not in _EXHAUSTED:
            return
        raise SourceError(f"{root} can't be read: {(error.strerror or 'error').lower()}") from None
    for entry in listed:
        if entry.name.startswith(".") or not _is_text(entry.name):
            continue
        path = prefix + entry.name
        # Linked directories are not entered: a link to a parent would never end. Linked files are judged when they are opened.
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path + "/")
            continue
        try:
            status = entry.stat()
        except OSError:
            status = entry.stat(follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            yield path, status


def _is_text(name: str) -> bool:
    return name.isprintable()


def _read_file(root: Path, path: str, limit: int) -> bytes:
    """Read one file; OSError says why not, in words for the log."""
    target = Path(os.path.realpath(root / path))
    if not target.is_relative_to(root):
        raise OSError(errno.EPERM, "the link leads out of the directory")
    parts = target.relative_to(root).parts
    # `..2026_11_24` and `..data` are how Kubernetes names what a ConfigMap's links lead through; `.git` is nobody's business.
    if any(part.startswith(".") and not part.startswith("..") for part in parts):
        raise OSError(errno.EPERM, "the link leads to a hidden file")
    for _ in range(_ATTEMPTS):
        descriptor = _open_beneath(root, parts)
        with open(descriptor, "rb") as file:
            first = os.fstat(descriptor)
            if not stat.S_ISREG(first.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if first.st_size > limit:
                raise OSError(errno.EFBIG, f"larger than {limit} bytes; raise source.file_bytes if that is meant")
            content = file.read(limit + 1)
            last = os.fstat(descriptor)
        if (first.st_size, first.st_mtime_ns) == (last.st_size, last.st_mtime_ns) and len(content) == first.st_size:
            return content
    raise OSError(errno.EBUSY, "it goes on changing while it is read")


def _open_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """Open component by component, following no link: what was resolved a moment ago may be another link by now."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for number, part in enumerate(parts):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        # Non-blocking, for opening a FIFO would wait for its writer.
        flags |= os.O_NONBLOCK if number == len(parts) - 1 else os.O_DIRECTORY
        try:
            inner = os.open(part, flags, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
