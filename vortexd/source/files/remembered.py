"""Keeps the last good content of a directory's files on disk.

So a broken file and a restart together cause no outage.
The content that is good now arrives, and its bytes are copied to the state directory. Later the path of a broken file
arrives, and its former content leaves. The bytes are those of the source, so encrypted values stay encrypted. Git
sources don't need this, because their mirror has every former content.

Each source has a directory. In it, `index.json` holds a format number, the root, and the SHA-256 of each path's
content. Each content is a file, named by its SHA-256. The index is written last, in one step. So a crash leaves the
former index, and all its contents exist. Nothing here stops the service: if a file can't be read or written, the server
logs a warning.

A write hashes and writes only the contents that are new, because the writer knows what it wrote before. Once an hour,
and if another program has changed the directory, it examines all that is on the disk.
"""

import hashlib
import os
import re
import stat
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import orjson
import structlog
import trio

from ...aio import threads
from ...core.model import Former, Good
from ...state import private_files
from ..memory import locked
from .versions import Versions

log = structlog.get_logger()

# Increased when older readers could no longer understand the index.
FORMAT = 1
# The limit for all contents of one source together, in bytes. Files beyond it aren't remembered.
MAX_BYTES = 67_108_864
# Seconds after which a content is too old to replace a broken file.
MAX_AGE = 7 * 86_400.0
# Seconds after which an unchanged index is confirmed, and after which a failed write is repeated.
_CONFIRM = 3_600.0
# Seconds after which a write examines the disk again.
_CHECK = 3_600.0
_RETRY = 60.0
# New content arrives at the moment at which messages to clients begin, and a write would take processor time from them. So
# the write waits for a pass of the event loop that is shorter than this, in seconds. The messages to 1,000 clients are a
# pass of several milliseconds. A timer would take more processor time, because it would find colder caches.
_SHORT_PASS = 0.001
_MOST_PASSES = 64
# Seconds for a write that is due when the source ends.
_LAST_WRITE = 2.0
_INDEX, _ASIDE = "index.json", "index.json.unknown"
_UNWRITTEN = "unwritten"
_MAX_WARNED = 100
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_INDEX = 67_108_864


@attrs.frozen
class _Entry:
    """The remembered state of a path.

    Attributes:
        digest: The SHA-256 of its last good content; "" if the content isn't kept.
        broken_since: When the file was first found broken, in seconds since the epoch. None while it is good.
    """

    digest: str
    broken_since: float | None = None


@attrs.frozen(eq=False)
class _Written:
    """The state of the disk after a write.

    Attributes:
        entries: The entries of the index.
        sizes: The sizes of the contents by their digests.
        digests: Maps each path to its content and its digest, also for contents beyond the limit.
        mark: The mark of the directory and the index, by which a change by another program is noticed. None if the disk
            was examined for this write.
        examined: When the disk was last examined, in seconds since the epoch.
    """

    entries: Mapping[str, _Entry]
    sizes: Mapping[str, int]
    digests: Mapping[str, tuple[bytes, str]]
    mark: tuple[int, ...] | None
    examined: float


class Remembered:
    """The remembered content of one source; a `model.Past`.

    Args:
        directory: The directory for the content. It is made at the first write.
        root: The root of the source, as in `Files.root`.
        now: Returns the seconds since the epoch.
        max_bytes: The limit for all contents together.
        versions: Keeps the former versions of the content, or None if they aren't kept.
    """

    is_authoritative = False

    def __init__(
        self,
        directory: Path,
        root: str,
        now: Callable[[], float] = time.time,
        max_bytes: int = MAX_BYTES,
        versions: Versions | None = None,
    ) -> None:
        self._directory = directory
        self._root = root
        self._now = now
        self._max_bytes = max_bytes
        self.versions = versions
        self._good: Callable[[], Good] | None = None
        # When the newest content arrived.
        self._good_at: float | None = None
        self._unwritten: Callable[[], Good] | None = None
        self._news = trio.Event()
        self._lock: int | None = None
        self._written: _Written | None = None
        self._warned: set[str] = set()
        # Writing waits for the disk. It has a thread of its own, so that requests don't wait for it.
        self._threads = trio.CapacityLimiter(1)

    def remember(self, good: Callable[[], Good]) -> None:
        """See `model.Past`. If newer content arrives before a write, the older content is never written."""
        self._good, self._good_at = good, self._now()
        self._news.set()

    async def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> AsyncGenerator[Former, None]:
        """See `model.Past`. Yields the last good content, if it isn't too old."""
        found = await threads.run_sync(self._recall, path)
        if found is not None:
            yield found

    def paths(self) -> Collection[str]:
        """Return the paths whose content is remembered. Blocks on the file system."""
        index = self._read_index()
        return [path for path, entry in index[0].items() if entry.digest] if index else ()

    async def run(self) -> None:
        """Write new content to the disk, after the messages to clients. Never returns.

        If this is cancelled, content that waits is still written.
        """
        try:
            while True:
                with trio.move_on_after(_CONFIRM if self._unwritten is None else _RETRY):
                    await self._news.wait()
                if self._good is not None:
                    await _clients_served()
                self._news = trio.Event()
                good, self._good = self._good or self._unwritten, None
                if good is None:
                    await threads.run_sync(self._confirm, limiter=self._threads)
                else:
                    # If a write fails, it is repeated. Until it succeeds, the former index isn't confirmed.
                    is_written = await threads.run_sync(self._write, good, limiter=self._threads)
                    self._unwritten = None if is_written else good
        finally:
            try:
                if self._good is not None:
                    with trio.move_on_after(_LAST_WRITE, shield=True):
                        await threads.run_sync(self._write, self._good, abandon_on_cancel=True, limiter=self._threads)
                    self._good = None
            finally:
                if self._lock is not None:
                    os.close(self._lock)
                    self._lock = None

    # Reading.

    def _recall(self, path: str) -> Former | None:
        index = self._read_index()
        if index is None:
            return None
        entries, confirmed = index
        entry = entries.get(path)
        since = confirmed if entry is None or entry.broken_since is None else entry.broken_since
        if self._now() - since > MAX_AGE:
            return None
        if entry is None:
            return Former(None)
        return None if not entry.digest else self._content(path, entry.digest)

    def _content(self, path: str, digest: str) -> Former | None:
        try:
            content = private_files.read(self._directory / digest, self._max_bytes)
        except OSError as error:
            self._warn_unreadable(path, private_files.words(error))
            return None
        if hashlib.sha256(content).hexdigest() != digest:
            self._warn_unreadable(path, "its hash is wrong")
            return None
        return Former(content)

    def _read_index(self) -> tuple[dict[str, _Entry], float] | None:
        """Return the entries by path, and when the index was last confirmed.

        Return None if there is no usable index.
        """
        file = self._directory / _INDEX
        try:
            private_files.check_private(self._directory)
            confirmed = file.lstat().st_mtime
            found = orjson.loads(private_files.read(file, _MAX_INDEX))
            return _entries(found, self._root), confirmed
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = private_files.words(error) if isinstance(error, OSError) else str(error)
            self._warn_unreadable(_INDEX, reason)
            return None

    # Writing.

    def _write(self, good: Callable[[], Good]) -> bool:
        """Write the good content.

        Return whether that succeeded. If another process is the writer, there is nothing to do, and this returns True.
        """
        try:
            if not self._is_writer():
                return True
            # If the write fails, the state of the disk isn't known.
            known, self._written = self._still_written(), None
            if known is None:
                former = self._read_index()
                self._set_aside(former is not None)
                known = _Written(former[0] if former else {}, {}, {}, None, self._now())
            written, left_out = self._stored(good(), known)
            private_files.replace(self._directory / _INDEX, _encoded(self._root, written.entries))
            # The contents that are replaced are still there.
            if self.versions is not None:
                digests = {path: entry.digest for path, entry in written.entries.items()}
                self.versions.record(digests, self._now() if self._good_at is None else self._good_at)
            self._confirm()
            private_files.sync(self._directory)
            if known.mark is None:
                self._remove_all_but(written.sizes)
            else:
                self._remove(known.sizes.keys() - written.sizes.keys())
            self._written = attrs.evolve(written, mark=self._marked())
            if left_out:
                self._warn_unwritten(f"{left_out} files are beyond {self._max_bytes} bytes together")
            else:
                self._warned.discard(_UNWRITTEN)
        except OSError as error:
            self._warn_unwritten(private_files.words(error))
            return False
        return True

    def _still_written(self) -> _Written | None:
        """Return the state of the disk after the last write, or None if the disk must be examined."""
        known = self._written
        if known is None or not 0 <= self._now() - known.examined < _CHECK or self._mark() != known.mark:
            return None
        return known

    def _marked(self) -> tuple[int, ...] | None:
        """Mark the directory, so that `_mark` tells whether another program has added or removed a file since."""
        # The kernel's clock has ticks of some milliseconds, so its own time could be the same after a change.
        os.utime(self._directory, (self._now(), self._now()))
        return self._mark()

    def _mark(self) -> tuple[int, ...] | None:
        """Return the mark of the directory and the index; None if one is missing."""
        try:
            directory, index = self._directory.lstat(), (self._directory / _INDEX).lstat()
        except OSError:
            return None
        # `_confirm` alters the time at which the index was modified.
        return directory.st_dev, directory.st_ino, directory.st_mtime_ns, index.st_ino, index.st_size

    def _stored(self, good: Good, known: _Written) -> tuple[_Written, int]:
        """Write the contents that aren't on the disk yet.

        Return the state of the disk once the index is written, and the number of contents beyond the limit.
        """
        before = known.entries
        entries: dict[str, _Entry] = {}
        digests: dict[str, tuple[bytes, str]] = {}
        kept: dict[str, int] = {}
        left = self._max_bytes
        now = self._now()
        for path, was_absent in good.broken.items():
            entry = before.get(path)
            if entry is not None:
                since = now if entry.broken_since is None else entry.broken_since
                digest = entry.digest if now - since <= MAX_AGE else ""
                entries[path] = _Entry(digest, since)
                if digest and digest not in kept:
                    kept[digest] = self._size(digest, known) or 0
                    left -= kept[digest]
            elif not was_absent:
                entries[path] = _Entry("", now)
        left_out = 0
        for path, content in sorted(good.contents.items()):
            same, digest = known.digests.get(path, (None, ""))
            if same is not content:
                digest = hashlib.sha256(content).hexdigest()
            digests[path] = content, digest
            if digest not in kept:
                if len(content) > left:
                    entries[path] = _Entry("")
                    left_out += 1
                    continue
                if self._size(digest, known) != len(content):
                    private_files.replace(self._directory / digest, content)
                kept[digest] = len(content)
                left -= len(content)
            former = before.get(path)
            is_same = former is not None and former.digest == digest and former.broken_since is None
            entries[path] = former if former is not None and is_same else _Entry(digest)
        return _Written(entries, kept, digests, None, known.examined), left_out

    def _size(self, digest: str, known: _Written) -> int | None:
        """Return the size of a content on the disk, or None if there is none."""
        found = known.sizes.get(digest)
        return _size(self._directory / digest) if found is None else found

    def _confirm(self) -> None:
        """Record that the remembered content is still current."""
        if self._lock is not None:
            with suppress(OSError):
                os.utime(self._directory / _INDEX, (self._now(), self._now()))

    def _is_writer(self) -> bool:
        """Return whether this process writes. The first of several workers that gets the lock writes, until it ends."""
        if self._lock is not None:
            return True
        for each in (self._directory.parent, self._directory):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.check_private(self._directory)
        self._lock = locked(self._directory)
        return self._lock is not None

    def _set_aside(self, is_known: bool) -> None:
        """Keep an unreadable index under another name, so that the operator can examine it.

        A newer version may have written it.
        """
        if not is_known:
            with suppress(FileNotFoundError):
                (self._directory / _INDEX).replace(self._directory / _ASIDE)

    def _remove(self, digests: Collection[str]) -> None:
        for digest in digests:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / digest)

    def _remove_all_but(self, digests: Collection[str]) -> None:
        for each in os.scandir(self._directory):
            if (_DIGEST.fullmatch(each.name) and each.name not in digests) or each.name.endswith(private_files.PART):
                os.unlink(each.path)

    def _warn_unwritten(self, reason: str) -> None:
        if self._is_new(_UNWRITTEN):
            log.warning(
                "content not remembered",
                source=self._root,
                reason=reason,
                consequence="if a file is broken after a restart, it may have no good content",
            )

    def _warn_unreadable(self, file: str, reason: str) -> None:
        if self._is_new(f"{file}: {reason}"):
            log.warning(
                "remembered content unreadable",
                source=self._root,
                file=file,
                reason=reason,
                consequence="it isn't used",
            )

    def _is_new(self, said: str) -> bool:
        """Return whether a problem hasn't been logged yet. Once a write succeeds, its problem counts as new again."""
        if said in self._warned or len(self._warned) >= _MAX_WARNED:
            return False
        self._warned.add(said)
        return True


async def _clients_served() -> None:
    """Wait until the event loop has little to do, for a bounded number of passes."""
    for _ in range(_MOST_PASSES):
        began = trio.current_time()
        await trio.lowlevel.checkpoint()
        if trio.current_time() - began < _SHORT_PASS:
            return


def _entries(found: Any, root: str) -> dict[str, _Entry]:
    """Read the entries of an index.

    Raises:
        ValueError: It isn't an index of this format and source.
    """
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise ValueError("it isn't an index")
    if found["format"] != FORMAT:
        raise ValueError(f"it has format {found['format']}, but this version only reads format {FORMAT}")
    files = found.get("files")
    if found.get("root") != root or not isinstance(files, dict):
        raise ValueError("it is the index of another source")
    return {path: _entry(each) for path, each in files.items()}


def _entry(found: Any) -> _Entry:
    digest, since = (found.get("sha256"), found.get("broken_since")) if isinstance(found, dict) else (None, None)
    is_digest = isinstance(digest, str) and (not digest or _DIGEST.fullmatch(digest) is not None)
    if not is_digest or not isinstance(since, int | float | None):
        raise ValueError("an entry can't be read")
    return _Entry(str(digest), since)


def _encoded(root: str, entries: Mapping[str, _Entry]) -> bytes:
    files = {path: {"sha256": each.digest, "broken_since": each.broken_since} for path, each in entries.items()}
    return orjson.dumps({"format": FORMAT, "root": root, "files": files})


def _size(file: Path) -> int | None:
    """Return the size of a regular file, or None if there is none."""
    try:
        status = file.lstat()
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
