"""Keeps the former versions of a directory's files on disk, for histories of keys.

The digests of all good files arrive after each publication, and a version leaves for each state that differs from the one
before. Such a version has a time, but no author. `Remembered` has the contents of the files that are good now; here are the
contents that have been replaced since. One process writes, and all workers read.

The versions are in the directory `versions` below that of `Remembered`. In it, `versions.json` holds a format number, the
root, the digest of each path now, and for each version the digests that its change has replaced. Each replaced content is a
file, named by its SHA-256. `versions.json` is written last, in one step. Newer versions are in the records of the journal
that it names, and their replaced contents are in the journal or among those of `Remembered`. An older vortexd leaves this
directory alone. If a replaced content is missing afterwards, or if it wrote an index, the history begins anew.

The invariant: the versions, the paths in them and the replaced contents are bounded. The oldest versions are dropped first.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import orjson
import structlog

from ...core.commits import PastFiles
from ...core.model import Files
from ...core.text import rfc3339
from ...state import private_files
from . import journal
from .kept_versions import Added, Kept, Version, decoded, encoded

log = structlog.get_logger()

DIRECTORY = "versions"
# The limits: the number of versions, of the paths that they have changed, and of the bytes that these had before.
MOST_VERSIONS = 100
MOST_PATHS = 20_000
MAX_BYTES = 8_388_608
_INDEX = "versions.json"
_MAX_INDEX = 67_108_864
_UNWRITTEN = "unwritten"
_MAX_WARNED = 100
_DIGEST = re.compile(r"[0-9a-f]{64}")


@attrs.frozen(eq=False)
class _Read:
    """The versions as they were read last.

    Attributes:
        mark: The mark of the index.
        stored: The sizes of the contents that the index names, by their digests.
        size: The size of the journal.
        kept: The versions after the records of the journal.
    """

    mark: tuple[int, ...]
    stored: Mapping[str, int]
    size: int
    kept: Kept


class Versions:
    """The versions of one directory. Synchronous: call it in a thread.

    Args:
        directory: The directory of `Remembered`.
        root: The root of the source, as in `Files.root`.
        max_bytes, most_versions, most_paths: The limits.
    """

    def __init__(
        self,
        directory: Path,
        root: str,
        max_bytes: int = MAX_BYTES,
        most_versions: int = MOST_VERSIONS,
        most_paths: int = MOST_PATHS,
    ) -> None:
        self._current = directory
        self._directory = directory / DIRECTORY
        self._root = root
        self._max_bytes = max_bytes
        self._most_versions = most_versions
        self._most_paths = most_paths
        self._read: _Read | None = None
        # The contents in the directory, or None if a crash or a failed write may have left others.
        self._stored: frozenset[str] | None = None
        self._warned: set[str] = set()

    # Writing.

    def following(
        self, files: Mapping[str, str], now: float, name: str, sizes: Mapping[str, int]
    ) -> tuple[Kept, Added | None] | None:
        """Return the versions after a change that is to be a record of a journal, and the version that it adds.

        Only the writer may call this. It adds no version if nothing differs from the newest one. Return None if `record`
        must write an index instead.

        Args:
            files: As for `record`.
            now: As for `record`.
            name: The name of the journal.
            sizes: The sizes of the contents in the directory of `Remembered` and the journal, by their digests.
        """
        kept = self.read()
        if kept is None or kept.journal != name:
            return None
        if kept.files == files:
            return kept, None
        after = self._added(kept, files, now, sizes)
        return after, after.newest()

    def journaled(self, kept: Kept, size: int) -> None:
        """Take note of the versions after a record. Then the next call of `read` needn't read the journal.

        Args:
            size: The size of the journal.
        """
        if self._read is not None:
            self._read = attrs.evolve(self._read, size=size, kept=kept)

    def record(
        self, files: Mapping[str, str], now: float, name: str = "", names: Collection[str | None] | None = None
    ) -> bool:
        """Write an index of the versions, if the state differs from the newest version, or if a new journal begins.

        Only the writer may call this. If it fails, that is logged, and the next call records the change.

        Args:
            files: The digest of each path; "" if the content isn't kept.
            now: The time of the publication, in seconds since the epoch.
            name: The name of the journal that will continue the index; "" if none does.
            names: The names of the journals of which one continued the former index, or None if any may have. If none of
                them did, an older vortexd has made changes meanwhile, and the history begins anew.
        """
        try:
            found = self.read()
            kept = found if found is not None and (names is None or found.journal in names) else None
            if kept is not None and kept.files == files and kept.journal == name:
                return True
            stored, self._stored = self._stored, None
            self._directory.mkdir(mode=0o700, exist_ok=True)
            private_files.check_private(self._directory)
            if found is None:
                self._set_aside()
            held = self._journal_contents(kept)
            after = kept
            if after is None or after.files != files:
                sizes = {digest: len(content) for digest, content in held.items()}
                after = self._added(kept or Kept({}), files, now, sizes)
            added, after = after, attrs.evolve(self._with_contents(after, kept, held), journal=name)
            private_files.replace(self._directory / _INDEX, encoded(self._root, after))
            private_files.sync(self._directory)
            self._read = _Read(self._mark(), after.sizes, 0, after)
            if stored is None:
                self._remove_all_but(after.sizes)
            else:
                self._remove((stored | added.sizes.keys()) - after.sizes.keys())
            self._stored = frozenset(after.sizes)
            self._warned.discard(_UNWRITTEN)
        except OSError as error:
            if self._is_new(_UNWRITTEN):
                log.warning(
                    "version not remembered",
                    source=self._root,
                    reason=private_files.words(error),
                    consequence="histories may lack changes",
                )
            return False
        return True

    def needed(self) -> set[str]:
        """Return the digests of the contents that the versions on the disk, or the next one, need."""
        kept = self.read()
        return {*kept.sizes, *kept.files.values()} if kept is not None else set()

    def journal_name(self) -> str | None:
        """Return the name of the journal of the index on the disk, or None if there is no usable index."""
        kept = self.read()
        return kept.journal if kept is not None else None

    def _added(self, kept: Kept, files: Mapping[str, str], now: float, sizes: Mapping[str, int]) -> Kept:
        """Add the newest version."""
        time = rfc3339(now, "seconds")
        newest = kept.versions[0].id if kept.versions else ""
        paths = sorted(path for path in {**kept.files, **files} if kept.files.get(path) != files.get(path))
        named = orjson.dumps([newest, time, [(path, files.get(path)) for path in paths]])
        id = hashlib.sha256(named).hexdigest()[:40]
        if not kept.versions:
            return Kept(files, [Version(id, time, {})], {}, kept.journal)
        before = {path: kept.files.get(path) for path in paths}
        known = dict(kept.sizes)
        for digest in {each for each in before.values() if each is not None}:
            size = sizes[digest] if digest in sizes else self._size(digest)
            if size is not None:
                known[digest] = size
        # If a content is missing or too large, the history begins anew.
        return self._bounded(Kept(files, [Version(id, time, before), *kept.versions], known, kept.journal))

    def _bounded(self, kept: Kept) -> Kept:
        return kept.bounded(self._most_versions, self._most_paths, self._max_bytes)

    def _size(self, digest: str) -> int | None:
        """Return the size of a content in a file, or None if there is none."""
        if _DIGEST.fullmatch(digest) is None:
            return None
        for directory in (self._directory, self._current):
            with suppress(FileNotFoundError):
                return (directory / digest).lstat().st_size
        return None

    def _with_contents(self, after: Kept, kept: Kept | None, held: Mapping[str, bytes]) -> Kept:
        """Keep the replaced contents in files. Return the versions whose contents are there.

        Args:
            after: The versions to write.
            kept: The versions before, or None if the history begins anew.
            held: The contents in the journal by their digests.
        """
        stored = self._read.stored if self._read is not None and kept is not None else {}
        needed = after.sizes.keys() - stored.keys()
        if after.versions[:1] != (kept.versions[:1] if kept is not None else []):
            needed |= {digest for digest in after.versions[0].before.values() if digest is not None}
        missing = {digest for digest in needed if not self._keep(digest, held.get(digest))}
        if not missing:
            return after
        sizes = {digest: size for digest, size in after.sizes.items() if digest not in missing}
        return self._bounded(attrs.evolve(after, sizes=sizes))

    def _keep(self, digest: str, held: bytes | None) -> bool:
        """Keep a content that is replaced in a file. Return whether it is there.

        Args:
            held: The content, if the journal has it.
        """
        file, former = self._directory / digest, self._current / digest
        if file.exists():
            return True
        try:
            try:
                # `Remembered` has synced the content.
                os.link(former, file, follow_symlinks=False)
            except FileNotFoundError:
                raise
            except OSError:
                private_files.replace(file, private_files.read(former, self._max_bytes))
        except FileNotFoundError:
            if held is None:
                return False
            private_files.replace(file, held)
        return True

    def _set_aside(self) -> None:
        """Keep an unreadable index under another name. A newer version may have written it."""
        with suppress(FileNotFoundError):
            private_files.set_aside(self._directory / _INDEX)

    def _remove(self, digests: Collection[str]) -> None:
        for digest in digests:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / digest)

    def _remove_all_but(self, digests: Mapping[str, int]) -> None:
        for each in [*os.scandir(self._directory)]:
            if (_DIGEST.fullmatch(each.name) and each.name not in digests) or each.name.endswith(private_files.PART):
                os.unlink(each.path)

    # Reading.

    def read(self) -> Kept | None:
        """Return the versions that are kept, or None if there are none or they can't be read."""
        try:
            private_files.check_private(self._directory)
            mark, former = self._mark(), self._read
            if former is not None and former.mark == mark and self._journal_size(former.kept.journal) == former.size:
                return former.kept
            index, records = journal.read(self._index, self._current, journal.MAX_BYTES)
            kept = self._bounded(index.continued(each.step for each in records.changes)) if records.changes else index
            # If the writer has appended a record meanwhile, the size doesn't match, and the next call reads it.
            self._read = _Read(mark, index.sizes, records.size, kept)
            return kept
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = private_files.words(error) if isinstance(error, OSError) else str(error)
            if self._is_new(f"unreadable: {reason}"):
                log.warning("versions unreadable", source=self._root, reason=reason, consequence="histories begin anew")
            return None

    def _index(self) -> Kept:
        """Read the index. Raises OSError and ValueError."""
        return decoded(orjson.loads(private_files.read(self._directory / _INDEX, _MAX_INDEX)), self._root)

    def _journal_size(self, name: str) -> int:
        """Return the size of a journal; 0 if it hasn't begun. Raises OSError."""
        if name:
            with suppress(FileNotFoundError):
                return (self._current / (journal.PREFIX + name)).lstat().st_size
        return 0

    def _journal_contents(self, kept: Kept | None) -> Mapping[str, bytes]:
        """Return the undamaged contents in the journal by their digests. If it can't be read, there are none."""
        if kept is None or not kept.journal:
            return {}
        with suppress(OSError, ValueError):
            held = journal.read(self._index, self._current, journal.MAX_BYTES)[1].contents
            return {digest: each for digest, each in held.items() if hashlib.sha256(each).hexdigest() == digest}
        return {}

    def _mark(self) -> tuple[int, ...]:
        """Return the mark of the index, which another one wouldn't have. Raises OSError."""
        status = (self._directory / _INDEX).lstat()
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def past(self, id: str, near: PastFiles | None) -> PastFiles | None:
        """Return the files of a version, or None if one of their contents isn't kept.

        Args:
            near: The files of a similar version, or None.
        """
        kept = self.read()
        files = kept.at(id) if kept is not None else None
        if files is None:
            return None
        # The contents by their digests.
        known = dict(near.snapshot) if near is not None and isinstance(near.snapshot, Mapping) else {}
        found = {digest: known[digest] for digest in set(files.values()) if digest in known}
        self._find(found, files.values())
        if not found.keys() >= set(files.values()):
            # If the journal ends while this reads, its contents are in files afterwards.
            found = {**self._journal_contents(kept), **found}
            self._find(found, files.values())
        found = {digest: found[digest] for digest in files.values() if digest in found}
        if len(found) < len(set(files.values())):
            return None
        return PastFiles(Files({path: found[digest] for path, digest in files.items()}), {}, found)

    def _find(self, found: dict[str, bytes], digests: Iterable[str]) -> None:
        """Add the contents that have files."""
        for digest in digests:
            if digest not in found:
                content = self._content(digest)
                if content is not None:
                    found[digest] = content

    def _content(self, digest: str) -> bytes | None:
        for directory in (self._current, self._directory):
            with suppress(OSError):
                content = private_files.read(directory / digest, _MAX_INDEX)
                if hashlib.sha256(content).hexdigest() == digest:
                    return content
        return None

    def _is_new(self, problem: str) -> bool:
        """Return whether a problem hasn't been logged yet. Once a write succeeds, its problem counts as new again."""
        if problem in self._warned or len(self._warned) >= _MAX_WARNED:
            return False
        self._warned.add(problem)
        return True
