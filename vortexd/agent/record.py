"""What the agent knows of one target, on disk, so that it is known after a crash. Blocks on the file system.

Before a target is replaced, what it held is kept here; only when the reload has succeeded it is forgotten. The invariant: `applied` names a content only after
its reload succeeded, and while it isn't known whether a new content is taken, the one before it can be put back.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from ..core.errors import StartError
from .files import FileSnapshot

_MODE = 0o600


def digest_of(content: bytes) -> str:
    """What a content is known by; a rejected one says nothing of what is in it but that it is the same."""
    return hashlib.sha256(content).hexdigest()


@attrs.frozen
class Known:
    """What is known of a target.

    Attributes:
        applied: The digest of the content that was taken last; "" where that isn't known.
        version: The version of the configuration that it was made of.
        pending: The digest of a content that was about to replace another; "" where none is.
        had_file: Whether there was a file before it.
    """

    applied: str = ""
    version: str = ""
    pending: str = ""
    had_file: bool = False


class Record:
    """The files in the state directory that belong to one target.

    Args:
        directory: The state directory; `make_private` makes it.
        name: The path of the target, or what else names the item.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._name = name
        stem = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
        self._path = directory / f"{stem}.json"
        self._old_path = directory / f"{stem}.old"

    def read(self) -> Known:
        """What is known; nothing where the file is broken."""
        try:
            found = json.loads(self._path.read_bytes())
            known = Known(**{name: found[name] for name in attrs.fields_dict(Known)})
        except (OSError, ValueError, KeyError, TypeError):
            return Known()
        return known

    def begin(self, known: Known, pending: str, old: FileSnapshot | None) -> Known:
        """Keep what a target holds, before it is replaced by the content with this digest.

        Raises:
            OSError: It can't be kept; nothing may be replaced.
        """
        if old is not None:
            head = json.dumps({"mode": old.mode, "uid": old.uid, "gid": old.gid}).encode()
            _write(self._old_path, head + b"\n" + old.content)
        now = attrs.evolve(known, pending=pending, had_file=old is not None)
        self._save(now)
        return now

    def old(self, known: Known) -> FileSnapshot | None:
        """What the target held before the pending content; None where there was no file.

        Raises:
            OSError: It can't be read.
            ValueError: It is broken.
        """
        if not known.had_file:
            return None
        head, _, content = self._old_path.read_bytes().partition(b"\n")
        found = json.loads(head)
        return FileSnapshot(content, int(found["mode"]), int(found["uid"]), int(found["gid"]))

    def settle(self, applied: str, version: str) -> Known:
        """Note which content is in force, and forget the one before it.

        Args:
            applied: Its digest; "" where it isn't known whether it is.

        Raises:
            OSError: It can't be noted.
        """
        known = Known(applied, version)
        self._save(known)
        with contextlib.suppress(OSError):
            self._old_path.unlink()
        return known

    def _save(self, known: Known) -> None:
        # The name is for people who look.
        _write(self._path, json.dumps({"name": self._name, **attrs.asdict(known)}, indent=1).encode() + b"\n")


def state_directory(setting: str, environment: Mapping[str, str], home: Callable[[], Path] = Path.home) -> Path:
    """The directory that settings and environment give."""
    if setting:
        return Path(setting)
    if given := environment.get("STATE_DIRECTORY"):
        # Several are separated by colons; ours is the first.
        return Path(given.partition(":")[0])
    return Path(environment.get("XDG_STATE_HOME") or home() / ".local/state") / "vortexctl"


def make_private(directory: Path) -> None:
    """Make the state directory where there is none.

    Raises:
        StartError: It can't be made, or is open to others.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise StartError(
            f"the state directory {directory}: {(error.strerror or 'I/O error').lower()}; name another in [agent] state_directory"
        ) from None
    if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o022:
        raise StartError(f"the state directory {directory} is open to other users; run chmod 700 on it")


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, down to the disk."""
    temporary = path.with_name(path.name + ".part")
    with open(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE), "wb"
    ) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
