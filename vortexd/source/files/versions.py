"""Keeps the former versions of a directory's files on disk, for histories of keys.

The digests of all good files arrive after each publication, and a version leaves for each state that differs from the one
before. Such a version has a time, but no author. `Remembered` has the contents of the files that are good now; here are the
contents that have been replaced since. One process writes, and all workers read.

The versions are in the directory `versions` below that of `Remembered`. In it, `versions.json` holds a format number, the
root, the digest of each path now, and for each version the digests that its change has replaced. Each replaced content is a
file, named by its SHA-256. `versions.json` is written last, in one step. An older vortexd leaves this directory alone. If a
replaced content is missing afterwards, the history begins anew.

The invariant: the versions, the paths in them and the replaced contents are bounded. The oldest versions are dropped first.
"""

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from ...core.commits import PastFiles
from ...core.model import Files
from ...core.text import rfc3339
from ...state import private_files
from .kept_versions import Kept, Version, decoded, encoded

log = structlog.get_logger()

DIRECTORY = "versions"
# The limits: the number of versions, of the paths that they have changed, and of the bytes that these had before.
MOST_VERSIONS = 100
MOST_PATHS = 20_000
MAX_BYTES = 8_388_608
_INDEX, _ASIDE = "versions.json", "versions.json.unknown"
_MAX_INDEX = 67_108_864
_UNWRITTEN = "unwritten"
_MAX_WARNED = 100
_DIGEST = re.compile(r"[0-9a-f]{64}")


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
        # The last content of the index, with the mark of the file.
        self._read: tuple[tuple[int, ...], Kept] | None = None
        # Whether there are no other contents than the index names. A crash or a failed write may have left some.
        self._is_clean = False
        self._warned: set[str] = set()

    # Writing.

    def record(self, files: Mapping[str, str], now: float) -> None:
        """Record the state of the directory, if it differs from the newest version. Only the writer may call this.

        If that fails, it is logged, and the next call records the change.

        Args:
            files: The digest of each path; "" if the content isn't kept.
            now: The time of the publication, in seconds since the epoch.
        """
        try:
            kept = self.read()
            if kept is not None and kept.files == files:
                return
            is_clean, self._is_clean = self._is_clean, False
            self._directory.mkdir(mode=0o700, exist_ok=True)
            private_files.check_private(self._directory)
            if kept is None:
                self._set_aside()
            added = self._added(kept or Kept({}), files, rfc3339(now, "seconds"))
            after = added.bounded(self._most_versions, self._most_paths, self._max_bytes)
            private_files.replace(self._directory / _INDEX, encoded(self._root, after))
            private_files.sync(self._directory)
            self._read = self._mark(), after
            # If the history begins anew, contents may have been kept that no version names.
            if is_clean and len(added.versions) > 1:
                self._remove(added.sizes.keys() - after.sizes.keys())
            else:
                self._remove_all_but(after.sizes)
            self._is_clean = True
            self._warned.discard(_UNWRITTEN)
        except OSError as error:
            if self._is_new(_UNWRITTEN):
                log.warning(
                    "version not remembered",
                    source=self._root,
                    reason=private_files.words(error),
                    consequence="histories may lack changes",
                )

    def _added(self, kept: Kept, files: Mapping[str, str], time: str) -> Kept:
        """Add the newest version, and keep the contents that it has replaced."""
        newest = kept.versions[0].id if kept.versions else ""
        paths = sorted(path for path in {**kept.files, **files} if kept.files.get(path) != files.get(path))
        named = orjson.dumps([newest, time, [(path, files.get(path)) for path in paths]])
        id = hashlib.sha256(named).hexdigest()[:40]
        before = {path: kept.files.get(path) for path in paths}
        sizes = dict(kept.sizes)
        is_whole = bool(kept.versions)
        for digest in {each for each in before.values() if each is not None} if is_whole else ():
            size = self._keep(digest)
            if size is None:
                is_whole = False
                break
            sizes[digest] = size
        if not is_whole:
            return Kept(files, [Version(id, time, {})])
        return Kept(files, [Version(id, time, before), *kept.versions], sizes)

    def _keep(self, digest: str) -> int | None:
        """Keep a content that is replaced. Return its size, or None if it is missing or too large."""
        if _DIGEST.fullmatch(digest) is None:
            return None
        file, former = self._directory / digest, self._current / digest
        try:
            if not file.exists():
                size = former.lstat().st_size
                if size > self._max_bytes:
                    return None
                try:
                    # `Remembered` has synced the content.
                    os.link(former, file, follow_symlinks=False)
                except OSError:
                    private_files.replace(file, private_files.read(former, self._max_bytes))
            return file.lstat().st_size
        except FileNotFoundError:
            return None

    def _set_aside(self) -> None:
        """Keep an unreadable index under another name. A newer version may have written it."""
        with suppress(FileNotFoundError):
            (self._directory / _INDEX).replace(self._directory / _ASIDE)

    def _remove(self, digests: Collection[str]) -> None:
        for digest in digests:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / digest)

    def _remove_all_but(self, digests: Mapping[str, int]) -> None:
        for each in os.scandir(self._directory):
            if (_DIGEST.fullmatch(each.name) and each.name not in digests) or each.name.endswith(private_files.PART):
                os.unlink(each.path)

    # Reading.

    def read(self) -> Kept | None:
        """Return the versions that are kept, or None if there are none or they can't be read."""
        try:
            private_files.check_private(self._directory)
            mark = self._mark()
            if self._read is None or self._read[0] != mark:
                found = orjson.loads(private_files.read(self._directory / _INDEX, _MAX_INDEX))
                self._read = mark, decoded(found, self._root)
            return self._read[1]
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = private_files.words(error) if isinstance(error, OSError) else str(error)
            if self._is_new(f"unreadable: {reason}"):
                log.warning("versions unreadable", source=self._root, reason=reason, consequence="histories begin anew")
            return None

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
        found: dict[str, bytes] = {}
        for digest in set(files.values()):
            content = known.get(digest) or self._content(digest)
            if content is None:
                return None
            found[digest] = content
        return PastFiles(Files({path: found[digest] for path, digest in files.items()}), {}, found)

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
