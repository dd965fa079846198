"""The files in which the last accepted state of each label is kept. Synchronous: call it in a thread.

The files of labels arrive, as the sources have read them, and leave again in another process. If a source can read a
commit again, only the commit is kept, else the bytes of the files. The bytes are those of the source, so encrypted
values stay encrypted.

Each label has an index: `<hash>.json`, with a format number. Each content is a file, named by its SHA-256. An index is
written after its contents, in one step. So a crash leaves the former index, and all its contents exist. One process at a
time writes. Nothing here stops the service: if a file can't be read or written, the server logs a warning.
"""

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import orjson
import structlog

from ..core.model import Files, Origin
from . import private_files

log = structlog.get_logger()

# Increased when older readers could no longer understand an index.
FORMAT = 1
# The limit for the contents of all labels together, in bytes.
MAX_BYTES = 67_108_864
# At most this many labels that aren't served now are kept. A source reads some labels only when a client asks for them.
MOST_ABSENT = 1_000
_MAX_INDEX = 16_777_216
_DIGEST = re.compile(r"[0-9a-f]{64}")
_INDEX = re.compile(r"[0-9a-f]{32}\.json")
LOCK = "lock"
# The refused states. Like the lock, this isn't the index of a label.
REFUSED = "refused"


class Kept(Protocol):
    """The part of the sources that decides how files are kept."""

    def has_commits(self, root: str) -> bool:
        """Return whether the source with this root can read a commit again."""
        ...

    def may_copy(self, root: str) -> bool:
        """Return whether the bytes of the source with this root may be copied to the state directory."""
        ...


@attrs.frozen(slots=True, eq=False)
class AcceptedLayer:
    """The files of one source under one label, as they were accepted last.

    Attributes:
        root: As `Files.root`.
        commit: The commit that the source can read again, or None if `files` has the bytes.
        files: The bytes, with the revision and the origin.
    """

    root: str
    commit: str | None = None
    files: Files = attrs.field(factory=lambda: Files({}))


@attrs.frozen(slots=True, eq=False)
class _Written:
    """An index on the disk.

    Attributes:
        content: Its bytes.
        digests: The contents that it names, each with its size.
        files: The files that it was made of, or None if another process wrote it.
        hashed: Maps each root and path to its content and its digest.
    """

    content: bytes
    digests: Mapping[str, int]
    files: Files | None = None
    hashed: Mapping[tuple[str, str], tuple[bytes, str]] = attrs.field(factory=dict)


class AcceptedFiles:
    """Keeps the last accepted state of each label; see the module.

    Args:
        directory: The directory for the files, which all workers share. It is made at the first write.
        kept: Decides how files are kept.
    """

    def __init__(self, directory: Path, kept: Kept, max_bytes: int = MAX_BYTES, most_absent: int = MOST_ABSENT) -> None:
        self._directory = directory
        self._kept = kept
        self._max_bytes = max_bytes
        self._most_absent = most_absent
        self._lock: int | None = None
        # By the name of the index. None: the disk must be examined.
        self._written: dict[str, _Written] | None = None
        self._warned: set[str] = set()

    def read(self, label: str) -> Sequence[AcceptedLayer]:
        """Return the last accepted state of a label, or nothing if it isn't known."""
        # The process that writes may have replaced the index meanwhile, and removed a content that it named.
        for is_last in (False, True):
            try:
                private_files.check_private(self._directory)
                index = private_files.read(self._directory / name_of(label), _MAX_INDEX)
            except FileNotFoundError:
                return ()
            except OSError as error:
                self._warn_unreadable(label, private_files.words(error))
                return ()
            try:
                return [self._layer(each) for each in _parsed(index, label)["layers"]]
            except (OSError, ValueError) as error:
                if isinstance(error, FileNotFoundError) and not is_last:
                    continue
                reason = private_files.words(error) if isinstance(error, OSError) else str(error)
                self._warn_unreadable(label, reason)
                break
        return ()

    def _layer(self, found: Mapping[str, Any]) -> AcceptedLayer:
        if found["commit"] is not None:
            return AcceptedLayer(found["root"], found["commit"])
        contents = {path: self._content(digest) for path, digest in found["files"].items()}
        origin = Origin(*found["origin"]) if found["origin"] is not None else None
        files = Files(contents, found["unreadable"], found["root"], revision=found["revision"], origin=origin)
        return AcceptedLayer(found["root"], None, files)

    def _content(self, digest: str) -> bytes:
        content = private_files.read(self._directory / digest, self._max_bytes)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("the hash of a content is wrong")
        return content

    # Writing.

    def write(self, labels: Mapping[str, Files]) -> bool:
        """Write the states of all labels that are served. Return whether that succeeded.

        If another process is the writer, there is nothing to do, and this returns True.
        """
        try:
            if not self._is_writer():
                return True
            # If the write fails, the state of the disk isn't known.
            before, self._written = self._written, None
            examined = self._examined() if before is None else before
            left_out = self._write(labels, examined)
            self._remove_contents(examined)
            self._written = examined
        except OSError as error:
            self._warn_unwritten(private_files.words(error))
            return False
        if left_out:
            self._warn_unwritten(f"{left_out} labels are beyond {self._max_bytes} bytes together")
        else:
            self._warned.discard("unwritten")
        return True

    def _write(self, labels: Mapping[str, Files], known: dict[str, _Written]) -> int:
        """Write what is new, and note it. Return the number of labels beyond the limit."""
        names = {name_of(label): label for label in labels}
        self._forget_absent(names, known)
        left_out, has_written = 0, False
        for name, label in names.items():
            files, before = labels[label], known.get(name)
            if before is not None and before.files is files:
                continue
            others = {
                digest: size for other, each in known.items() if other != name for digest, size in each.digests.items()
            }
            made, contents = self._made(label, files, before)
            is_small = sum({**others, **made.digests}.values()) <= self._max_bytes
            if not is_small or not self._may_keep(files):
                left_out += not is_small
                if known.pop(name, None) is not None:
                    (self._directory / name).unlink(missing_ok=True)
                continue
            if before is None or before.content != made.content:
                for digest, content in contents.items():
                    if digest not in others and (before is None or digest not in before.digests):
                        private_files.replace(self._directory / digest, content)
                private_files.replace(self._directory / name, made.content)
                has_written = True
            known[name] = made
        if has_written:
            private_files.sync(self._directory)
        return left_out

    def _may_keep(self, files: Files) -> bool:
        layers = (files, *files.others)
        return all(self._commit_of(each) is not None or self._kept.may_copy(each.root) for each in layers)

    def _commit_of(self, layer: Files) -> str | None:
        """Return the commit that the source of a layer can read again, or None."""
        return layer.origin.commit if layer.origin is not None and self._kept.has_commits(layer.root) else None

    def _made(self, label: str, files: Files, before: _Written | None) -> tuple[_Written, dict[str, bytes]]:
        """Make the index of a label. Return it, and the contents by their digests."""
        hashed: dict[tuple[str, str], tuple[bytes, str]] = {}
        contents: dict[str, bytes] = {}
        layers: list[dict[str, Any]] = []
        for layer in (files, *files.others):
            commit = self._commit_of(layer)
            digests: dict[str, str] = {}
            for path, content in sorted(layer.contents.items()) if commit is None else ():
                same, digest = before.hashed.get((layer.root, path), (None, "")) if before is not None else (None, "")
                if same is not content:
                    digest = hashlib.sha256(content).hexdigest()
                hashed[layer.root, path] = content, digest
                digests[path], contents[digest] = digest, content
            origin = None if layer.origin is None else [layer.origin.commit, layer.origin.author, layer.origin.time]
            layers.append(
                {
                    "root": layer.root,
                    "commit": commit,
                    "revision": layer.revision,
                    "origin": origin,
                    "files": digests,
                    "unreadable": dict(sorted(layer.unreadable.items())) if commit is None else {},
                }
            )
        index = orjson.dumps({"format": FORMAT, "label": label, "layers": layers})
        sizes = {digest: len(content) for digest, content in contents.items()}
        return _Written(index, sizes, files, hashed), contents

    def _forget_absent(self, names: Collection[str], known: dict[str, _Written]) -> None:
        """Remove the indexes of labels that aren't served, except those of commits, within a limit."""
        absent = [name for name in known if name not in names]
        commits = [name for name in absent if not known[name].digests]
        kept = {*commits[max(0, len(commits) - self._most_absent) :]}
        for name in absent:
            if name not in kept:
                del known[name]
                (self._directory / name).unlink(missing_ok=True)

    def _examined(self) -> dict[str, _Written]:
        """Return the indexes on the disk, the oldest first. Set those aside that can't be used."""
        found: dict[str, _Written] = {}
        indexes = [self._directory / name for name in os.listdir(self._directory) if _INDEX.fullmatch(name)]
        for each in sorted(indexes, key=lambda path: path.lstat().st_mtime_ns):
            try:
                content = private_files.read(each, _MAX_INDEX)
                layers = _parsed(content)["layers"]
                digests = {digest for layer in layers for digest in layer["files"].values()}
                sizes = {digest: (self._directory / digest).lstat().st_size for digest in digests}
            except (OSError, ValueError):
                # A newer version may have written it, or the operator wants to examine it.
                private_files.set_aside(each)
                continue
            found[each.name] = _Written(content, sizes)
        return found

    def _remove_contents(self, known: Mapping[str, _Written]) -> None:
        """Remove the contents that no index names, and the files that a crash has left unfinished."""
        used = {digest for each in known.values() for digest in each.digests}
        for name in os.listdir(self._directory):
            if (_DIGEST.fullmatch(name) and name not in used) or name.endswith(private_files.PART):
                os.unlink(self._directory / name)

    # Refused states.

    def refused(self) -> dict[str, tuple[str, float]]:
        """Return the refused states by label, each with the time since which it is refused. If they can't be read, none."""
        try:
            private_files.check_private(self._directory)
            found = orjson.loads(private_files.read(self._directory / REFUSED, _MAX_INDEX))
            if found["format"] != FORMAT:
                return {}
            return {str(label): (str(state), float(since)) for label, (state, since) in found["refused"].items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            # Without them, only the time and the audit log begin anew.
            return {}

    def write_refused(self, refused: Mapping[str, tuple[str, float]]) -> bool:
        """Write the refused states, if this process is the writer. Return whether that succeeded."""
        try:
            if not self._is_writer():
                return True
            file = self._directory / REFUSED
            if refused:
                private_files.replace(file, orjson.dumps({"format": FORMAT, "refused": refused}))
            else:
                file.unlink(missing_ok=True)
        except OSError as error:
            self._warn_unwritten(private_files.words(error))
            return False
        return True

    def _is_writer(self) -> bool:
        """Return whether this process writes. The first of several workers that gets the lock writes, until it ends."""
        if self._lock is None:
            for each in (self._directory.parent, self._directory):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.check_private(self._directory)
            self._lock = private_files.locked(self._directory / LOCK)
        return self._lock is not None

    def forget(self) -> None:
        """Remove all states. Without a gate, they would be out of date once there is one again."""
        try:
            if not self._directory.exists() or not self._is_writer():
                return
            self._written = None
            for name in os.listdir(self._directory):
                if name != LOCK:
                    os.unlink(self._directory / name)
        except OSError as error:
            log.warning(
                "accepted states not removed",
                directory=str(self._directory),
                reason=private_files.words(error),
                consequence="a gate that is set up later may serve one of them after a start",
            )

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _warn_unwritten(self, reason: str) -> None:
        if "unwritten" not in self._warned:
            self._warned.add("unwritten")
            log.warning(
                "accepted state not remembered",
                directory=str(self._directory),
                reason=reason,
                consequence="after a restart, the server may publish what the gate refuses now",
            )

    def _warn_unreadable(self, label: str, reason: str) -> None:
        if label not in self._warned:
            self._warned.add(label)
            log.warning(
                "accepted state unreadable",
                label=label,
                reason=reason,
                consequence="the newest files are served, even if they break the gate's rules",
            )


def name_of(label: str) -> str:
    """Return the name of a label's index."""
    return hashlib.sha256(label.encode()).hexdigest()[:32] + ".json"


def _parsed(content: bytes, label: str | None = None) -> dict[str, Any]:
    """Parse an index.

    Raises:
        ValueError: It isn't an index of this format, or of this label.
    """
    found = orjson.loads(content)
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise ValueError("it isn't an index")
    if found["format"] != FORMAT:
        raise ValueError(f"it has format {found['format']}, but this version only reads format {FORMAT}")
    layers = found.get("layers")
    if label not in (None, found.get("label")) or not isinstance(layers, list) or not all(map(_is_layer, layers)):
        raise ValueError("an entry can't be read")
    return found


def _is_layer(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("root"), str):
        return False
    files, unreadable, origin = found.get("files"), found.get("unreadable"), found.get("origin")
    if not isinstance(files, dict) or not isinstance(unreadable, dict):
        return False
    texts = [*unreadable.values(), *files.values(), *(origin if isinstance(origin, list) else ())]
    return (
        all(isinstance(each, str) for each in texts)
        and all(_DIGEST.fullmatch(each) for each in files.values())
        and (origin is None or (isinstance(origin, list) and len(origin) == 3))
        and all(isinstance(found.get(name), str | None) for name in ("commit", "revision"))
    )
