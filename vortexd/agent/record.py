"""The agent's knowledge of one target, kept on disk so that it survives a crash. Blocks on the file system.

Before a target is replaced, its old content is saved here; it is deleted after the reload has succeeded. Invariant: `applied` names a
content only after its reload succeeded. Until a new content is known to be accepted, the old content can be restored.
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
    """Return the digest that identifies a content. It reveals nothing of the content, but equal contents have equal digests."""
    return hashlib.sha256(content).hexdigest()


@attrs.frozen
class Known:
    """The state of a target.

    Attributes:
        applied: The digest of the last content that the program accepted; "" if unknown.
        version: The version of the configuration that this content was made from.
        pending: The digest of a content that was about to replace another; "" if there is none.
        had_file: Whether a file existed before the pending content.
    """

    applied: str = ""
    version: str = ""
    pending: str = ""
    had_file: bool = False


class Record:
    """The files in the state directory that belong to one target.

    Args:
        directory: The state directory; `make_private` creates it.
        name: The path of the target, or the name of the hook.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._name = name
        stem = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
        self._path = directory / f"{stem}.json"
        self._old_path = directory / f"{stem}.old"

    def read(self) -> Known:
        """Read the state. If the file is missing or broken, nothing is known."""
        try:
            found = json.loads(self._path.read_bytes())
            known = Known(**{name: found[name] for name in attrs.fields_dict(Known)})
        except (OSError, ValueError, KeyError, TypeError):
            return Known()
        return known

    def begin(self, known: Known, pending: str, old: FileSnapshot | None) -> Known:
        """Save the target's old content before it is replaced by the content with this digest.

        Raises:
            OSError: It can't be saved; the target must not be replaced.
        """
        if old is not None:
            head = json.dumps({"mode": old.mode, "uid": old.uid, "gid": old.gid}).encode()
            _write(self._old_path, head + b"\n" + old.content)
        now = attrs.evolve(known, pending=pending, had_file=old is not None)
        self._save(now)
        return now

    def old(self, known: Known) -> FileSnapshot | None:
        """Return the file that the target held before the pending content. None if there was no file.

        Raises:
            OSError: The saved file can't be read.
            ValueError: The saved file is broken.
        """
        if not known.had_file:
            return None
        head, _, content = self._old_path.read_bytes().partition(b"\n")
        found = json.loads(head)
        return FileSnapshot(content, int(found["mode"]), int(found["uid"]), int(found["gid"]))

    def settle(self, applied: str, version: str) -> Known:
        """Record which content is in force, and delete the content before it.

        Args:
            applied: The digest of that content; "" if it is unknown which content is in force.

        Raises:
            OSError: It can't be recorded.
        """
        known = Known(applied, version)
        self._save(known)
        with contextlib.suppress(OSError):
            self._old_path.unlink()
        return known

    def _save(self, known: Known) -> None:
        # The program doesn't read the name; it helps people who look into the directory.
        _write(self._path, json.dumps({"name": self._name, **attrs.asdict(known)}, indent=1).encode() + b"\n")


def state_directory(setting: str, environment: Mapping[str, str], home: Callable[[], Path] = Path.home) -> Path:
    """Return the state directory that the settings or the environment name."""
    if setting:
        return Path(setting)
    if given := environment.get("STATE_DIRECTORY"):
        # systemd separates several directories by colons; the agent uses the first.
        return Path(given.partition(":")[0])
    return Path(environment.get("XDG_STATE_HOME") or home() / ".local/state") / "vortexctl"


def make_private(directory: Path) -> None:
    """Create the state directory if it doesn't exist.

    Raises:
        StartError: It can't be created, or other users can write to it.
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
    """Write a file as a whole, and sync it to disk."""
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
