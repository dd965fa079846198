"""The journal of remembered content: a file with the changes since the index was written.

A new index takes three syncs of the disk, and a record at the end of the journal takes one. So most changes are records.
A change arrives, and a record leaves. All records arrive, and the state after them leaves. Each record is a line with the
SHA-256 of the rest of the line. It has the changed entries, the new contents, and the new version of the directory.

Only the end of a journal can be incomplete, after a crash or on a full disk. It is ignored, because the write of that record
never succeeded. The next write makes a new index with another journal.
"""

import base64
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

import attrs
import orjson

from ...state import private_files
from .index import Entry, Index, entry_of, shown
from .kept_versions import Added, Step, added_of
from .kept_versions import shown as shown_version

# The name of a journal begins with this, and continues with `Index.journal`.
PREFIX = "changes-"
# The limits for a journal, in bytes and records. The first one also limits the contents on the disk that aren't remembered
# any more.
MAX_BYTES = 1_048_576
MAX_RECORDS = 512
# The most readings of an index that is replaced meanwhile.
READS = 3


class Continued(Protocol):
    """An index that a journal continues."""

    @property
    def journal(self) -> str:
        """The name of the journal, or "" if there is none."""


_Index = TypeVar("_Index", bound=Continued)


@attrs.frozen
class Change:
    """The difference between two states.

    Attributes:
        entries: The new entries, and those that have changed.
        removed: The paths whose entries have gone.
        contents: The new contents, by their digests.
        added: The new version of the directory, or None if there is none.
    """

    entries: Mapping[str, Entry]
    removed: Collection[str]
    contents: Mapping[str, bytes]
    added: Added | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no difference."""
        return not (self.entries or self.removed or self.contents or self.added)

    @property
    def step(self) -> Step:
        """The part that concerns versions."""
        return Step({path: each.digest for path, each in self.entries.items()}, self.removed, self.added)


@attrs.frozen
class Records:
    """The records of a journal.

    Attributes:
        size: The size of the journal in bytes.
        is_damaged: Whether a complete line at the end isn't a record. It was ignored.
    """

    changes: Sequence[Change] = ()
    size: int = 0
    is_damaged: bool = False

    @property
    def contents(self) -> dict[str, bytes]:
        """The contents in all records by their digests."""
        return {digest: each for change in self.changes for digest, each in change.contents.items()}

    def entries(self, index: Index) -> dict[str, Entry]:
        """Return the entries of an index after all changes."""
        entries = dict(index.entries)
        for change in self.changes:
            for path in change.removed:
                entries.pop(path, None)
            entries |= change.entries
        return entries


def change_between(
    before: Mapping[str, Entry],
    after: Mapping[str, Entry],
    contents: Mapping[str, bytes],
    added: Added | None = None,
) -> Change:
    """Return the difference between two states.

    Args:
        contents: The contents that the state before didn't have, by their digests.
        added: The version that the state after adds.
    """
    entries = {path: entry for path, entry in after.items() if before.get(path) != entry}
    return Change(entries, sorted(before.keys() - after.keys()), contents, added)


def record(change: Change) -> bytes:
    """Return a change as one line."""
    text = orjson.dumps(
        {
            "files": shown(change.entries),
            "removed": list(change.removed),
            "contents": {digest: base64.b64encode(each).decode() for digest, each in change.contents.items()},
            "version": None if change.added is None else shown_version(change.added),
        }
    )
    return b"%s %s\n" % (_digest(text), text)


def records(journal: bytes) -> Records:
    """Read the records of a journal.

    Raises:
        ValueError: A complete line before the last record isn't a record.
    """
    lines = journal.split(b"\n")[:-1]
    whole = [_is_whole(line) for line in lines]
    count = whole.index(False) if False in whole else len(lines)
    if any(whole[count:]):
        raise ValueError("a record is damaged")
    changes = [_change(line.partition(b" ")[2]) for line in lines[:count]]
    return Records(changes, len(journal), count < len(lines))


def read(index: Callable[[], _Index], directory: Path, max_bytes: int) -> tuple[_Index, Records]:
    """Read an index and its journal at the same state, while another process may write.

    Args:
        index: Reads the index.
        max_bytes: The limit for the journal.

    Raises:
        OSError: The files can't be read.
        ValueError: The journal can't be used.
    """
    found = index()
    for _ in range(READS):
        if not found.journal:
            return found, Records()
        try:
            return found, records(private_files.read(directory / (PREFIX + found.journal), max_bytes))
        except FileNotFoundError:
            # The journal begins with the first change. Or the writer has replaced the index meanwhile.
            again = index()
            if again.journal == found.journal:
                return found, Records()
            found = again
    raise OSError(0, "it was replaced during each reading")


def append(file: Path, line: bytes) -> None:
    """Append a record to a journal, and sync it to the disk. The caller syncs the directory of a new journal.

    Raises:
        OSError: It isn't on the disk. The journal is as before, or ends with an incomplete line.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(file, flags, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _change(text: bytes) -> Change:
    found = orjson.loads(text)
    try:
        entries = {path: entry_of(each) for path, each in found["files"].items()}
        removed = [str(path) for path in found["removed"]]
        contents = {name: base64.b64decode(each) for name, each in found["contents"].items()}
        version = found["version"]
    except (LookupError, TypeError, AttributeError):
        raise ValueError("a record can't be read") from None
    return Change(entries, removed, contents, None if version is None else added_of(version))


def _is_whole(line: bytes) -> bool:
    digest, _, text = line.partition(b" ")
    return _digest(text) == digest


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
