"""The file of the audit log in the state directory. All workers append to it. Synchronous: call it in a thread.

The first line of `audit.jsonl` holds a format number. Each further line is an entry. Lines are appended under a lock, and
synced to the disk. A line that a crash has cut off is skipped. If the file is too large, its oldest entries are left out:
a new file is written beside it, and takes its place in one step.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from ..state import private_files
from .entry import Entry, parse_entry

log = structlog.get_logger()

# Increased when older readers could no longer understand the file.
FORMAT = 1
FILE, LOCK = "audit.jsonl", "lock"
# The limits of the file, unless the settings have others. If it is beyond one of them, a quarter of it is left out.
MAX_BYTES = 4_194_304
MOST_ENTRIES = 10_000
# The largest file that the settings allow. A file of more than twice this size wasn't written by vortexd.
LARGEST_BYTES = 67_108_864
_ALIEN = 2
# Seconds to wait for another worker that writes.
_PATIENCE = 1.0


class AuditFile:
    """Appends entries to the file, and reads them.

    Args:
        directory: The directory of the file. It is made at the first entry.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES, most_entries: int = MOST_ENTRIES) -> None:
        self._directory = directory
        self._file = directory / FILE
        self._max_bytes = max_bytes
        self._most_entries = most_entries

    def limit(self, max_bytes: int, most_entries: int) -> None:
        """Put other limits in force. A file beyond them is shortened when the next entry is appended."""
        self._max_bytes, self._most_entries = max_bytes, most_entries

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries, and return once they are on the disk.

        Raises:
            OSError: None of them is in the file.
        """
        for each in (self._directory.parent, self._directory):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.check_private(self._directory)
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            content = self._usable()
            added = b"".join(each.line for each in entries)
            if content is None:
                private_files.replace(self._file, _header() + added)
                private_files.sync(self._directory)
                return
            # A crash may have cut off the last line.
            added = added if content.endswith(b"\n") else b"\n" + added
            # The first line isn't an entry.
            count = (content + added).count(b"\n") - 1
            if len(content) + len(added) > self._max_bytes or count > self._most_entries:
                private_files.replace(self._file, self._shortened(content + added))
                private_files.sync(self._directory)
            else:
                self._write(added, len(content))

    def read(self) -> list[Entry]:
        """Return all entries, the oldest first.

        Raises:
            OSError: The file can't be read.
        """
        try:
            private_files.check_private(self._directory)
            content = self._content()
        except FileNotFoundError:
            return []
        if content is None or _problem(content) is not None:
            # The next entry sets the file aside.
            return []
        return [entry for entry in map(parse_entry, content.splitlines()[1:]) if entry is not None]

    def _usable(self) -> bytes | None:
        """Return the content of the file. If there is none, or it can't be used, set it aside and return None."""
        try:
            content = self._content()
        except FileNotFoundError:
            return None
        reason = _problem(content) if content is not None else f"it is larger than {_ALIEN * LARGEST_BYTES} bytes"
        if reason is None:
            return content
        aside = private_files.set_aside(self._file)
        log.warning(
            "audit log set aside",
            file=str(aside),
            reason=reason,
            consequence="the audit log begins anew, and the former one stays in this file",
        )
        return None

    def _content(self) -> bytes | None:
        """Return the content of the file, or None if it is too large to be an audit log."""
        if self._file.lstat().st_size > _ALIEN * LARGEST_BYTES:
            return None
        return private_files.read(self._file, _ALIEN * LARGEST_BYTES)

    def _write(self, added: bytes, size: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(self._file, flags), "ab", buffering=0) as opened:
            try:
                if opened.write(added) != len(added):
                    raise OSError(0, "the disk is full")
                os.fsync(opened.fileno())
            except OSError:
                # Half of an entry on a full disk would stay there.
                with suppress(OSError):
                    os.ftruncate(opened.fileno(), size)
                raise

    def _shortened(self, content: bytes) -> bytes:
        """Return a content without its oldest entries, and without lines that aren't entries."""
        kept: list[bytes] = []
        left = self._max_bytes * 3 // 4
        for line in reversed(content.splitlines()[1:]):
            entry = parse_entry(line)
            if entry is None:
                continue
            left -= len(line) + 1
            if (left < 0 and kept) or len(kept) >= max(1, self._most_entries * 3 // 4):
                break
            kept.append(line + b"\n")
        return _header() + b"".join(reversed(kept))


def _header() -> bytes:
    return orjson.dumps({"format": FORMAT}) + b"\n"


def _problem(content: bytes) -> str | None:
    """Return the reason why a content can't be used, or None."""
    try:
        found = orjson.loads(content.partition(b"\n")[0])
        number = found["format"]
    except (ValueError, KeyError, TypeError):
        return "it isn't an audit log"
    return None if number == FORMAT else f"it has format {number}, but this version only reads format {FORMAT}"
