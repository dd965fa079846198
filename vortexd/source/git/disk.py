"""The disk that a mirror is on: how much room it has, and the files that failed calls of git leave there. Synchronous, for a thread."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import attrs

# If less than this is free, a failed fetch has probably failed for want of room.
_NO_BYTES = 1_048_576
_PACKS = "objects/pack"
_LOCKS = ("*.lock", "gc.pid", "refs/**/*.lock", "objects/pack/*.lock")
# Names that git gives to packs, objects and directories of both until they are whole.
_HALVES = ("objects/pack/tmp_*", "objects/??/tmp_obj_*", "objects/incoming-*", "objects/tmp_objdir-*")


@attrs.frozen
class Room:
    """The room that is left for a user without privileges.

    Attributes:
        bytes: Bytes.
        files: Files; None where the file system has no bound.
    """

    bytes: int
    files: int | None

    @property
    def is_used_up(self) -> bool:
        """Whether next to nothing can be written."""
        return self.bytes < _NO_BYTES or self.files == 0

    def is_more_than(self, other: "Room") -> bool:
        """Whether something was freed since: enough to try again."""
        return self.bytes >= other.bytes + _NO_BYTES or (other.files == 0 and self.files != 0)


def room_at(path: Path) -> Room:
    """The room on the disk of a directory.

    Raises:
        OSError: The directory isn't there.
    """
    found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def remove_halves(directory: Path) -> None:
    """Remove the half-written packs and objects of a mirror. Call it when no git writes there."""
    _remove_all(directory, _HALVES, None)


def packs_of(directory: Path) -> frozenset[str]:
    """The names of the files that a mirror's packs are; none where there is no mirror."""
    with suppress(OSError):
        return frozenset(name for name in os.listdir(directory / _PACKS) if name.startswith("pack-"))
    return frozenset()


def remove_packs(directory: Path, known: frozenset[str]) -> None:
    """Remove the packs of a mirror that no ref uses yet: all but those that were known before a fetch that failed.

    git keeps a pack whose objects it refuses in the end, and takes them for checked at the next fetch.
    """
    found = packs_of(directory)
    # Where somebody has packed anew meanwhile, nobody can tell which packs are in use.
    if known <= found:
        for name in found - known:
            (directory / _PACKS / name).unlink(missing_ok=True)


def remove_leftovers(directory: Path, older_than: float) -> None:
    """Remove locks and half-written packs of calls that were killed, if nothing has touched them for so many seconds."""
    _remove_all(directory, (*_LOCKS, *_HALVES), time.time() - older_than)


def _remove_all(directory: Path, patterns: tuple[str, ...], moment: float | None) -> None:
    for pattern in patterns:
        for path in directory.glob(pattern):
            with suppress(FileNotFoundError):
                if moment is None or path.lstat().st_mtime <= moment:
                    remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
