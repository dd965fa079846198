"""The disk that holds a mirror: its free space, and the files that failed calls of git leave there.

Synchronous, for a thread.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import attrs

# If less than this is free, a failed fetch has probably failed because the disk is full.
_NO_BYTES = 1_048_576
_PACKS = "objects/pack"
_LOCKS = ("*.lock", "gc.pid", "refs/**/*.lock", "objects/pack/*.lock")
# git's names for packs and objects, and for directories of both, until they are complete.
_HALVES = ("objects/pack/tmp_*", "objects/??/tmp_obj_*", "objects/incoming-*", "objects/tmp_objdir-*")


@attrs.frozen
class Room:
    """The free space for a user without privileges.

    Attributes:
        bytes: The number of bytes.
        files: The number of files; None if the file system has no limit.
    """

    bytes: int
    files: int | None

    @property
    def is_used_up(self) -> bool:
        """Whether almost nothing can be written."""
        return self.bytes < _NO_BYTES or self.files == 0

    def is_more_than(self, other: "Room") -> bool:
        """Return whether enough space was freed since to try again."""
        return self.bytes >= other.bytes + _NO_BYTES or (other.files == 0 and self.files != 0)


def room_at(path: Path) -> Room:
    """Return the free space on the disk of a directory.

    Raises:
        OSError: The directory doesn't exist.
    """
    found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def remove_halves(directory: Path) -> None:
    """Remove the partial packs and objects of a mirror. Call it only when no git process writes there."""
    _remove_all(directory, _HALVES, None)


def packs_of(directory: Path) -> frozenset[str]:
    """Return the names of a mirror's pack files. If there is no mirror, there are none."""
    with suppress(OSError):
        return frozenset(name for name in os.listdir(directory / _PACKS) if name.startswith("pack-"))
    return frozenset()


def remove_packs(directory: Path, known: frozenset[str]) -> None:
    """Remove the packs that a failed fetch has added: all except those that were known before. No ref uses them yet.

    git keeps a pack even if it finally refuses its objects. At the next fetch it treats them as checked.
    """
    found = packs_of(directory)
    # If another program has repacked the mirror meanwhile, it isn't known which packs are in use. Then all are kept.
    if known <= found:
        for name in found - known:
            (directory / _PACKS / name).unlink(missing_ok=True)


def remove_leftovers(directory: Path, older_than: float) -> None:
    """Remove locks and partial packs that killed calls have left, if they weren't modified for this many seconds."""
    _remove_all(directory, (*_LOCKS, *_HALVES), time.time() - older_than)


def _remove_all(directory: Path, patterns: tuple[str, ...], moment: float | None) -> None:
    for pattern in patterns:
        for path in directory.glob(pattern):
            with suppress(FileNotFoundError):
                if moment is None or path.lstat().st_mtime <= moment:
                    remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a directory with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
