"""The file of all records of one kind, which all workers share. Synchronous: call it in a thread.

It holds a format number and the records with their files, one record a line. It is replaced in one step and synced to the
disk, under a lock. If its content can't be used, it is set aside.

The invariant: records are encoded and parsed one by one, so the event loop runs between two of them.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from ..core.errors import RemoteError
from ..state import private_files
from .kind import Change, Kind
from .layers import text

T = TypeVar("T")

LOCK = "lock"
# The separators of the lines. JSON has no line breaks within texts.
_BETWEEN, _END = b",\n", b"\n]}"
# After a record of so many bytes, this thread pauses for so many seconds. Without that, it often takes the interpreter again
# before the event loop does.
_LARGE, _BREAK = 65_536, 0.0005
# The records begin before this place, because the members before them are short.
_HEAD = 4_096
# Seconds to wait for another worker that writes.
_PATIENCE = 1.0
# The file's inode, size, and times of change: if they are the same, the content is, too.
_Mark = tuple[int, int, int, int]


class TooLarge(RemoteError):
    """The file would be larger than its limit."""

    def __init__(self, kind: Kind[Any], max_bytes: int) -> None:
        super().__init__(f"all {kind.nouns} together would take more than {max_bytes} bytes; {kind.too_large}", 409)


class GivenUp(Exception):
    """The caller doesn't wait for the change any more, so nothing has changed."""


class RecordsFile(Generic[T]):
    """Reads and replaces the file.

    Args:
        directory: The directory of the file. It is made at the first record.
        max_bytes: The limit of the file. The default is the one of the kind.
    """

    def __init__(self, kind: Kind[T], directory: Path, max_bytes: int | None = None) -> None:
        self._kind = kind
        self._directory = directory
        self._file = directory / kind.file
        self._max_bytes = kind.max_bytes if max_bytes is None else max_bytes
        # The records that were read or written last, with the mark of the file.
        self._known: tuple[_Mark, Sequence[T]] | None = None

    def read(self) -> list[T]:
        """Return all records. If the content can't be used, set the file aside, log a warning and return none.

        Raises:
            OSError: The file can't be read.
        """
        try:
            private_files.check_private(self._directory)
            found = self._parsed()
        except FileNotFoundError:
            return []
        if not isinstance(found, str):
            return found
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            return self._usable()

    def store(self) -> str:
        """Return the store that the file is a copy of, as in `copy`. Return "" if it isn't a copy, or can't be read."""
        try:
            found, _ = _loaded(self._kind, private_files.read(self._file, self._max_bytes))
            return text(found.get("store", ""))
        except (OSError, ValueError, TypeError, AttributeError):
            return ""

    def copy(self, records: Sequence[T], store: str) -> None:
        """Replace the records by those of a cluster. Without any record, no file is made.

        Args:
            store: The identity of the cluster's store.

        Raises:
            OSError: The file can't be read or written. Nothing has changed.
        """
        if not records and not self._file.exists():
            return
        self._make_directory()
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            mark = self._kind.mark
            if [*map(mark, self._usable())] != [*map(mark, records)] or self.store() != store:
                self._replace(records, store)

    def change(self, change: Change[T], given_up: threading.Event) -> list[T]:
        """Change the records, and return them once they are on the disk.

        Args:
            change: Returns the new records, given those of the file. If it raises, nothing has changed.
            given_up: If it is set before the file is replaced, nothing changes.

        Raises:
            OSError: The file can't be read or written. Nothing has changed.
            TooLarge: Nothing has changed.
            GivenUp: The event was set.
        """
        self._make_directory()
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            before = self._usable()
            after = list(change(before))
            if after == before:
                return after
            if given_up.is_set():
                raise GivenUp
            self._replace(after)
            try:
                private_files.sync(self._directory)
            except OSError:
                # The caller reports that nothing has changed.
                private_files.replace(self._file, *_lines(self._kind, before))
                raise
            self._known = self._mark(), [*after]
            return after

    def _make_directory(self) -> None:
        for each in (self._directory.parent, self._directory):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.check_private(self._directory)

    def _replace(self, records: Sequence[T], store: str = "") -> None:
        lines = _lines(self._kind, records, store)
        if sum(map(len, lines)) > self._max_bytes:
            raise TooLarge(self._kind, self._max_bytes)
        private_files.replace(self._file, *lines)

    def _usable(self) -> list[T]:
        """Return the records of the file. If there is none, or it can't be used, set it aside and return no record."""
        try:
            found = self._parsed()
        except FileNotFoundError:
            return []
        if not isinstance(found, str):
            return found
        aside = private_files.set_aside(self._file)
        self._kind.warnings.set_aside(str(aside), found)
        return []

    def _parsed(self) -> list[T] | str:
        """Return the records of the file, or the reason why it can't be used."""
        # If another worker replaces the file after this line, the next mark differs.
        mark = self._mark()
        if self._known is not None and self._known[0] == mark:
            return [*self._known[1]]
        if mark[1] > self._max_bytes:
            return f"it is larger than {self._max_bytes} bytes"
        found = parse(self._kind, private_files.read(self._file, self._max_bytes))
        if not isinstance(found, str):
            self._known = mark, found
        return found

    def _mark(self) -> "_Mark":
        status = self._file.lstat()
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def encode(kind: Kind[T], records: Sequence[T], store: str = "") -> bytes:
    """Encode records as the content of the file.

    Args:
        store: As in `RecordsFile.copy`, or "".
    """
    return b"".join(_lines(kind, records, store))


def _lines(kind: Kind[T], records: Sequence[T], store: str = "") -> list[bytes]:
    """Encode records as the lines of the file. Together they are one JSON object."""
    copied = {"store": store} if store else {}
    head = orjson.dumps({"format": kind.format, **copied, _member(kind): []})
    if not records:
        return [head]
    lines = [head.removesuffix(b"]}") + b"\n"]
    for number, each in enumerate(records):
        lines += [_BETWEEN] * (number > 0)
        lines.append(orjson.dumps(kind.members(each)))
        _let_others_run(len(lines[-1]))
    return [*lines, _END]


def _let_others_run(size: int) -> None:
    if size >= _LARGE:
        time.sleep(_BREAK)


def _member(kind: Kind[Any]) -> str:
    """Return the name under which the file has the records."""
    return kind.nouns.replace("-", "_")


def _loaded(kind: Kind[Any], content: bytes) -> tuple[Any, Iterable[Any] | None]:
    """Parse the content of the file as JSON. Return its members, and the records, which are parsed one by one.

    If the content has other lines than those of `_lines`, the records are among the members. Then the second value is None.

    Raises:
        ValueError: The content isn't JSON. The records raise it, too.
    """
    start = f'"{_member(kind)}":[\n'.encode()
    begin = content.find(start, 0, _HEAD) + len(start)
    if begin < len(start) or not content.endswith(_END):
        return orjson.loads(content), None
    return orjson.loads(content[:begin] + b"]}"), _each(content, begin, len(content) - len(_END))


def _each(content: bytes, begin: int, end: int) -> Iterator[Any]:
    """Parse the records in a part of the content of the file."""
    whole = memoryview(content)
    while (at := content.find(_BETWEEN, begin, end)) >= 0:
        yield orjson.loads(whole[begin:at])
        _let_others_run(at - begin)
        begin = at + len(_BETWEEN)
    yield orjson.loads(whole[begin:end])


def parse(kind: Kind[T], content: bytes) -> list[T] | str:
    """Parse the content of the file. Return the records, or the reason why it can't be used."""
    try:
        found, records = _loaded(kind, content)
        number = found["format"]
    except (ValueError, KeyError, TypeError):
        return f"it isn't a file of {kind.nouns}"
    if number != kind.format:
        return f"it has format {number}, but this version only reads format {kind.format}"
    try:
        return [kind.parse(each) for each in (found[_member(kind)] if records is None else records)]
    except (ValueError, KeyError, TypeError, AttributeError, RemoteError):
        return f"it isn't a file of {kind.nouns}"
