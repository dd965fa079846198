"""Keeps the last good content of a directory's files on disk.

So a broken file and a restart together cause no outage.
The content that is good now arrives, and its bytes are copied to the state directory. Later the path of a broken file
arrives, and its former content leaves. The bytes are those of the source, so encrypted values stay encrypted. Git
sources don't need this, because their mirror has every former content.

Each source has a directory. In it, `index.json` holds a format number, the root, and the SHA-256 of each path's
content. Each content is a file, named by its SHA-256. The index is written last, in one step. So a crash leaves the
former index, and all its contents exist. Small changes since then, with their contents, are records of a journal that the
index names. When the journal is full, or large and nothing has changed for some seconds, its contents are written as files,
and a new index with them. Nothing here stops the service: if a file can't be read or written, the server logs a warning.

A write hashes and writes only the contents that are new, because the writer knows what it wrote before. Once an hour,
and if another program has changed the directory, it examines all that is on the disk, and writes a new index.
"""

import hashlib
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import structlog
import trio

from ...aio import threads
from ...core.model import Former, Good
from ...state import private_files
from ..memory import locked
from . import journal
from .index import DIGEST, Entry, Index, encode, parse
from .versions import Versions

log = structlog.get_logger()

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
# If nothing has changed for so many seconds, a journal that has reached this part of a limit is written as files. Then a full
# journal is rare while files change often.
_IDLE = 10.0
_LARGE = 0.25
_INDEX = "index.json"
_UNWRITTEN = "unwritten"
_MAX_WARNED = 100
_MAX_INDEX = 67_108_864


@attrs.frozen(eq=False)
class _Found:
    """The state of the disk, as it was read.

    Attributes:
        entries: The entries of the index, after the changes of its journal.
        journaled: The contents in the journal by their digests.
        confirmed: When the index was last confirmed, in seconds since the epoch.
        names: The names of the journals of which one continues the index of versions.
    """

    entries: Mapping[str, Entry]
    journaled: Mapping[str, bytes]
    confirmed: float
    names: Collection[str | None]


@attrs.frozen(eq=False)
class _Written:
    """The state of the disk after a write.

    Attributes:
        entries: The entries of the index, after the changes of its journal.
        sizes: The sizes of the contents on the disk by their digests, also of those that aren't remembered any more.
        digests: Maps each path to its content and its digest, also for contents beyond the limit.
        mark: The mark of the directory, the index and the journal, by which a change by another program is noticed. None if
            the disk was examined for this write.
        examined: When the disk was last examined, in seconds since the epoch.
        journal: The name of the journal; "" if there is none.
        journal_bytes: The size of the journal.
        journal_records: The number of its records.
        names: The names of the journals of which one continues the index of versions. None if any may.
        journaled: The contents that are only in the journal, by their digests.
    """

    entries: Mapping[str, Entry]
    sizes: Mapping[str, int]
    digests: Mapping[str, tuple[bytes, str]]
    mark: tuple[int, ...] | None
    examined: float
    journal: str = ""
    journal_bytes: int = 0
    journal_records: int = 0
    names: Collection[str | None] | None = None
    journaled: Mapping[str, bytes] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class _Wanted:
    """The state to write.

    Attributes:
        entries: The entries.
        sizes: The sizes of the remembered contents by their digests.
        digests: As in `_Written`.
        new: The contents that aren't on the disk, by their digests.
        left_out: The number of contents beyond the limit.
    """

    entries: Mapping[str, Entry]
    sizes: Mapping[str, int]
    digests: Mapping[str, tuple[bytes, str]]
    new: Mapping[str, bytes]
    left_out: int

    @property
    def files(self) -> dict[str, str]:
        """The digest of each path."""
        return {path: entry.digest for path, entry in self.entries.items()}


class Remembered:
    """The remembered content of one source; a `model.Past`.

    Args:
        directory: The directory for the content. It is made at the first write.
        root: The root of the source, as in `Files.root`.
        now: Returns the seconds since the epoch.
        max_bytes: The limit for all contents together.
        versions: Keeps the former versions of the content, or None if they aren't kept.
        journal_bytes: The limit for a journal, at most `journal.MAX_BYTES`. 0 means that each write makes a new index.
        journal_records: The limit for the number of its records.
    """

    is_authoritative = False

    def __init__(
        self,
        directory: Path,
        root: str,
        now: Callable[[], float] = time.time,
        max_bytes: int = MAX_BYTES,
        versions: Versions | None = None,
        journal_bytes: int = journal.MAX_BYTES,
        journal_records: int = journal.MAX_RECORDS,
    ) -> None:
        self._directory = directory
        self._root = root
        self._now = now
        self._max_bytes = max_bytes
        self.versions = versions
        self._journal_bytes = journal_bytes
        self._journal_records = journal_records
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
        found = self._read_index()
        return [path for path, entry in found.entries.items() if entry.digest] if found else ()

    async def run(self) -> None:
        """Write new content to the disk, after the messages to clients. Never returns.

        If this is cancelled, content that waits is still written.
        """
        try:
            while True:
                is_large = self._is_large()
                patience = _IDLE if is_large else _CONFIRM
                with trio.move_on_after(patience if self._unwritten is None else _RETRY):
                    await self._news.wait()
                if self._good is not None:
                    await _clients_served()
                self._news = trio.Event()
                good, self._good = self._good or self._unwritten, None
                if good is None:
                    await threads.run_sync(self._compact if is_large else self._confirm, limiter=self._threads)
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
        found = self._read_index()
        if found is None:
            return None
        entry = found.entries.get(path)
        since = found.confirmed if entry is None or entry.broken_since is None else entry.broken_since
        if self._now() - since > MAX_AGE:
            return None
        if entry is None:
            return Former(None)
        return None if not entry.digest else self._content(path, entry.digest, found.journaled.get(entry.digest))

    def _content(self, path: str, digest: str, content: bytes | None) -> Former | None:
        """Return a content, if it is undamaged. If it isn't given, read its file."""
        try:
            if content is None:
                content = private_files.read(self._directory / digest, self._max_bytes)
        except OSError as error:
            self._warn_unreadable(path, private_files.words(error))
            return None
        if hashlib.sha256(content).hexdigest() != digest:
            self._warn_unreadable(path, "its hash is wrong")
            return None
        return Former(content)

    def _read_index(self) -> _Found | None:
        """Return the state of the disk, or None if there is no usable index."""
        name, confirmed = _INDEX, 0.0

        def index() -> Index:
            nonlocal name, confirmed
            name = _INDEX
            confirmed = (self._directory / _INDEX).lstat().st_mtime
            found = parse(private_files.read(self._directory / _INDEX, _MAX_INDEX), self._root)
            if found.journal:
                name = journal.PREFIX + found.journal
            return found

        try:
            private_files.check_private(self._directory)
            found, records = journal.read(index, self._directory, journal.MAX_BYTES)
            if records.is_damaged:
                self._warn_unreadable(name, "its last record is damaged")
            return _Found(records.entries(found), records.contents, confirmed, {found.journal, found.former})
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = private_files.words(error) if isinstance(error, OSError) else str(error)
            self._warn_unreadable(name, reason)
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
                found = self._read_index()
                self._set_aside(found is not None)
                known = _examined(found, self._now())
            wanted = self._wanted(good(), known)
            at = self._now() if self._good_at is None else self._good_at
            self._written = self._continued(wanted, known, at) or self._replaced(wanted, known, at)
            if wanted.left_out:
                self._warn_unwritten(f"{wanted.left_out} files are beyond {self._max_bytes} bytes together")
            else:
                self._warned.discard(_UNWRITTEN)
        except OSError as error:
            self._warn_unwritten(private_files.words(error))
            return False
        return True

    def _continued(self, wanted: _Wanted, known: _Written, at: float) -> _Written | None:
        """Append the changes to the journal. Return the state of the disk, or None if a new index must be written.

        Args:
            at: When the content arrived, in seconds since the epoch.
        """
        sizes = {**known.sizes, **wanted.sizes}
        spare = sum(sizes.values()) - sum(wanted.sizes.values())
        room = self._journal_bytes - known.journal_bytes
        if not known.journal or spare > self._journal_bytes or sum(map(len, wanted.new.values())) > room:
            return None
        kept, added = None, None
        if self.versions is not None:
            following = self.versions.following(wanted.files, at, known.journal, known.sizes)
            if following is None:
                return None
            kept, added = following
        change = journal.change_between(known.entries, wanted.entries, wanted.new, added)
        line = b"" if change.is_empty else journal.record(change)
        if line and (len(line) > room or known.journal_records >= self._journal_records):
            return None
        size = known.journal_bytes + len(line)
        mark = known.mark
        if line:
            journal.append(self._directory / (journal.PREFIX + known.journal), line)
            if not known.journal_bytes:
                private_files.sync(self._directory)
            mark = self._mark(known.journal) if known.journal_bytes else self._marked(known.journal)
            if self.versions is not None and kept is not None:
                self.versions.journaled(kept, size)
        self._confirm()
        return attrs.evolve(
            known,
            entries=wanted.entries,
            sizes=sizes,
            digests=wanted.digests,
            mark=mark,
            journal_bytes=size,
            journal_records=known.journal_records + bool(line),
            journaled={**known.journaled, **wanted.new},
        )

    def _replaced(self, wanted: _Wanted, known: _Written, at: float) -> _Written:
        """Write the new contents, and those of the journal, as files, and a new index. Return the state of the disk.

        Args:
            at: As for `_continued`.
        """
        journaled = {digest: content for digest, content in known.journaled.items() if digest in wanted.sizes}
        for digest, content in {**journaled, **wanted.new}.items():
            private_files.replace(self._directory / digest, content)
        name = secrets.token_hex(16) if self._journal_bytes else ""
        former = self.versions.journal_name() if self.versions is not None else None
        if known.names is not None and former not in known.names:
            former = None
        private_files.replace(self._directory / _INDEX, encode(self._root, Index(wanted.entries, name, former)))
        self._confirm()
        private_files.sync(self._directory)
        sizes, journals = {**wanted.sizes}, {name}
        # The contents that are replaced are still there.
        if self.versions is not None and not self.versions.record(wanted.files, at, name, known.names):
            # The former index of versions is still there. It needs its journal, and contents that aren't remembered any more.
            journals |= {former} if former else set()
            for digest in self.versions.needed() - wanted.sizes.keys():
                size = _size(self._directory / digest) if digest else None
                sizes |= {} if size is None else {digest: size}
        if known.mark is None:
            self._remove_all_but(sizes.keys() | {journal.PREFIX + each for each in journals})
        else:
            ended = {each for each in (known.journal, *(known.names or ())) if each} - journals
            self._remove((known.sizes.keys() - sizes.keys()) | {journal.PREFIX + each for each in ended})
        names = {name, former}
        return _Written(wanted.entries, sizes, wanted.digests, self._marked(name), known.examined, name, names=names)

    def _is_large(self) -> bool:
        """Return whether the journal is to be written as files when nothing changes."""
        known = self._written
        return known is not None and (
            known.journal_bytes > _LARGE * self._journal_bytes or known.journal_records > _LARGE * self._journal_records
        )

    def _compact(self) -> None:
        """Write the contents of the journal as files, and a new index. If that fails, the journal stays."""
        try:
            # If another program has changed the directory, the next write examines it.
            known, self._written = self._still_written(), None
            if known is not None:
                sizes = {each.digest: known.sizes[each.digest] for each in known.entries.values() if each.digest}
                wanted = _Wanted(known.entries, sizes, known.digests, {}, 0)
                self._written = self._replaced(wanted, known, self._now())
        except OSError as error:
            self._warn_unwritten(private_files.words(error))

    def _still_written(self) -> _Written | None:
        """Return the state of the disk after the last write, or None if the disk must be examined."""
        known = self._written
        if known is None or not 0 <= self._now() - known.examined < _CHECK:
            return None
        if self._mark(known.journal) != known.mark:
            return None
        return known

    def _marked(self, name: str) -> tuple[int, ...] | None:
        """Mark the directory, so that `_mark` tells whether another program has added or removed a file since."""
        # The kernel's clock has ticks of some milliseconds, so its own time could be the same after a change.
        os.utime(self._directory, (self._now(), self._now()))
        return self._mark(name)

    def _mark(self, name: str) -> tuple[int, ...] | None:
        """Return the mark of the directory, the index and a journal; None if the directory or the index is missing."""
        try:
            directory, index = self._directory.lstat(), (self._directory / _INDEX).lstat()
        except OSError:
            return None
        # `_confirm` alters the time at which the index was modified.
        size = 0
        if name:
            # The journal begins with the first change.
            with suppress(FileNotFoundError):
                size = (self._directory / (journal.PREFIX + name)).lstat().st_size
        return directory.st_dev, directory.st_ino, directory.st_mtime_ns, index.st_ino, index.st_size, size

    def _wanted(self, good: Good, known: _Written) -> _Wanted:
        """Return the state to write."""
        before = known.entries
        entries: dict[str, Entry] = {}
        digests: dict[str, tuple[bytes, str]] = {}
        kept: dict[str, int] = {}
        new: dict[str, bytes] = {}
        left = self._max_bytes
        now = self._now()
        for path, was_absent in good.broken.items():
            entry = before.get(path)
            if entry is not None:
                since = now if entry.broken_since is None else entry.broken_since
                digest = entry.digest if now - since <= MAX_AGE else ""
                entries[path] = Entry(digest, since)
                if digest and digest not in kept:
                    kept[digest] = self._size(digest, known) or 0
                    left -= kept[digest]
            elif not was_absent:
                entries[path] = Entry("", now)
        left_out = 0
        for path, content in sorted(good.contents.items()):
            same, digest = known.digests.get(path, (None, ""))
            if same is not content:
                digest = hashlib.sha256(content).hexdigest()
            digests[path] = content, digest
            if digest not in kept:
                if len(content) > left:
                    entries[path] = Entry("")
                    left_out += 1
                    continue
                if self._size(digest, known) != len(content):
                    new[digest] = content
                kept[digest] = len(content)
                left -= len(content)
            former = before.get(path)
            is_same = former is not None and former.digest == digest and former.broken_since is None
            entries[path] = former if former is not None and is_same else Entry(digest)
        return _Wanted(entries, kept, digests, new, left_out)

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
                private_files.set_aside(self._directory / _INDEX)

    def _remove(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / name)

    def _remove_all_but(self, names: Collection[str]) -> None:
        for each in [*os.scandir(self._directory)]:
            is_own = DIGEST.fullmatch(each.name) or each.name.startswith(journal.PREFIX)
            if (is_own and each.name not in names) or each.name.endswith(private_files.PART):
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


def _examined(found: _Found | None, now: float) -> _Written:
    """Return the state of the disk from a reading. Only the contents of the journal are known to be there."""
    if found is None:
        return _Written({}, {}, {}, None, now)
    sizes = {digest: len(content) for digest, content in found.journaled.items()}
    return _Written(found.entries, sizes, {}, None, now, names=found.names, journaled=found.journaled)


def _size(file: Path) -> int | None:
    """Return the size of a regular file, or None if there is none."""
    try:
        status = file.lstat()
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
