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
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import orjson
import structlog

from ...core.commits import Commit, PastFiles
from ...core.model import Files, Origin
from ...core.text import rfc3339
from ...state import private_files

log = structlog.get_logger()

# Increased when older readers could no longer understand the index.
FORMAT = 1
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
# The parent of the oldest version that is known.
_UNKNOWN = "unknown"
_ID = re.compile(r"[0-9a-f]{40}")


@attrs.frozen
class Version:
    """One version of a directory.

    Attributes:
        id: Identifies it, as 40 hex digits.
        time: When it was published, as RFC 3339, UTC.
        before: The digests that its change has replaced, by path. None if there was no such file. It is empty for the
            oldest version that is known.
    """

    id: str
    time: str
    before: Mapping[str, str | None]


@attrs.frozen(eq=False)
class Kept:
    """The versions of a directory that are kept.

    Attributes:
        files: The digest of each path in the newest version. "" if the content isn't kept.
        versions: The newest first.
        sizes: The sizes of the replaced contents by their digests.
    """

    files: Mapping[str, str]
    versions: Sequence[Version] = ()
    sizes: Mapping[str, int] = attrs.field(factory=dict)

    def at(self, id: str) -> dict[str, str] | None:
        """Return the digests of all paths in a version, or None if it isn't kept."""
        found: dict[str, str | None] = dict(self.files)
        for each in self.versions:
            if each.id == id:
                return {path: digest for path, digest in found.items() if digest is not None}
            found |= each.before
        return None


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
            after = self._bounded(self._added(kept or Kept({}), files, rfc3339(now, "seconds")))
            private_files.replace(self._directory / _INDEX, _encoded(self._root, after))
            private_files.sync(self._directory)
            self._read = self._mark(), after
            if is_clean and kept is not None:
                self._remove(kept.sizes.keys() - after.sizes.keys())
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

    def _bounded(self, kept: Kept) -> Kept:
        """Drop the oldest versions beyond the limits."""
        versions: list[Version] = []
        sizes: dict[str, int] = {}
        paths = bytes = 0
        for each in kept.versions[: self._most_versions]:
            paths += len(each.before)
            replaced = {digest for digest in each.before.values() if digest is not None}
            more = {digest: kept.sizes[digest] for digest in replaced - sizes.keys()}
            bytes += sum(more.values())
            is_too_much = paths > self._most_paths or bytes > self._max_bytes
            if is_too_much or len(versions) + 1 == self._most_versions:
                # The state before this version isn't known.
                versions.append(attrs.evolve(each, before={}))
                break
            versions.append(each)
            sizes |= more
        return Kept(kept.files, versions, sizes)

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
                self._read = mark, _decoded(found, self._root)
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


def commits_of(kept: Kept) -> Sequence[Commit]:
    """Return the versions as commits without authors, the newest first."""
    parents = [*(each.id for each in kept.versions[1:]), _UNKNOWN]
    return [
        Commit(Origin(each.id, "", each.time), parent, each.before.keys())
        for each, parent in zip(kept.versions, parents, strict=True)
    ]


def _encoded(root: str, kept: Kept) -> bytes:
    versions = [{"id": each.id, "time": each.time, "before": dict(each.before)} for each in kept.versions]
    return orjson.dumps(
        {"format": FORMAT, "root": root, "files": dict(kept.files), "versions": versions, "sizes": dict(kept.sizes)}
    )


def _decoded(found: Any, root: str) -> Kept:
    """Check an index. Raises ValueError."""
    try:
        if found["format"] != FORMAT:
            raise ValueError(f"it has format {found['format']}, but this version only reads format {FORMAT}")
        versions = [Version(each["id"], each["time"], dict(each["before"])) for each in found["versions"]]
        kept = Kept(dict(found["files"]), versions, dict(found["sizes"]))
        is_right = found["root"] == root and versions and not versions[-1].before and _is_right(kept)
    except (KeyError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise ValueError("it isn't an index of versions")
    return kept


def _is_right(kept: Kept) -> bool:
    before = [digest for each in kept.versions for digest in each.before.values() if digest is not None]
    return (
        all(
            isinstance(each.id, str) and _ID.fullmatch(each.id) and isinstance(each.time, str) for each in kept.versions
        )
        and all(isinstance(digest, str) and (not digest or _DIGEST.fullmatch(digest)) for digest in kept.files.values())
        and all(isinstance(size, int) for size in kept.sizes.values())
        and all(digest in kept.sizes for digest in before)
    )
