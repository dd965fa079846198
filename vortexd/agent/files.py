"""One target file: reads it, replaces it as a whole, restores it, and locks it against other agents. Blocks on the file system.

Invariant: at any time the path holds the complete old file or the complete new file, with the requested owner and mode. No other user can
have put a file in its place, because the agent refuses a directory that other users can write to.
"""

import contextlib
import difflib
import errno
import fcntl
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..core.errors import StartError, VortexdError

NEW_MODE = 0o600
_BEGINNING = ".vortexctl-"
_OTHERS_WRITE = 0o002
_HINTS = {
    errno.EROFS: "; under systemd, add its directory to ReadWritePaths=",
    errno.EPERM: "; only root can keep or set an owner other than the agent's user",
}


class FileError(VortexdError):
    """A target can't be read or written now. The text holds its path and the reason."""


@attrs.frozen
class FileSnapshot:
    """The content of a file, and the attributes to restore with it.

    Attributes:
        content: The bytes of the file.
        attributes: Extended attributes to keep when the file is replaced, such as access lists and labels (xattr(7)).
    """

    content: bytes
    mode: int
    uid: int
    gid: int
    attributes: tuple[tuple[str, bytes], ...] = ()


@attrs.frozen
class Ownership:
    """The owner and mode that the settings ask for; None keeps the file's own.

    Attributes:
        mode: Permission bits.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def ownership(mode: str, owner: str, group: str) -> Ownership:
    """Look up the user and group that the settings name.

    Raises:
        StartError: There is no such user or group.
    """
    try:
        uid = None if not owner else int(owner) if owner.isdecimal() else pwd.getpwnam(owner).pw_uid
        gid = None if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise StartError(f"agent.toml: {error.args[0]}") from None
    return Ownership(int(mode, 8) if mode else None, uid, gid)


class Target:
    """The file that a path leads to. If the path is a symbolic link, the link stays, and the file behind it is replaced.

    Args:
        path: The path from the settings.
        max_bytes: If the existing file is larger, `read` refuses it.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.name = path
        self._max_bytes = max_bytes
        self.path = Path(os.path.realpath(path))
        # In the same directory, because a rename is atomic only within a file system. The leading dot hides it from `conf.d/*`. Some checks need the suffix.
        self.candidate = self.path.with_name(f"{_BEGINNING}{self.path.name}")
        self._lock_path = self.path.with_name(f"{_BEGINNING}{self.path.name}.lock")

    def read(self) -> FileSnapshot | None:
        """Read the file. Return None if there is no file.

        Raises:
            FileError: It can't be read, or isn't a regular file.
        """
        with self._explained():
            try:
                # O_NONBLOCK: opening a named pipe would otherwise wait for a writer.
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise FileError(f"{self.name} isn't a regular file; name another target")
                content = file.read(self._max_bytes + 1)
                if len(content) > self._max_bytes:
                    raise FileError(
                        f"{self.name} has more than {self._max_bytes} bytes (max_bytes); the agent writes no file that large"
                    )
                return FileSnapshot(
                    content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, _attributes(descriptor)
                )

    def prepare(self, content: bytes, wanted: Ownership, old: FileSnapshot | None) -> None:
        """Write the candidate beside the target, with its owner and mode, and sync it to disk.

        Args:
            old: The file to be replaced.

        Raises:
            FileError: The candidate can't be written; it was removed.
        """
        with self._explained():
            self._refuse_open_directory()
            self.discard()
            descriptor = os.open(
                self.candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, NEW_MODE
            )
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    _own(descriptor, wanted, old)
                    os.fsync(descriptor)
            except BaseException:
                self.discard()
                raise

    def commit(self) -> None:
        """Rename the candidate to the target. When this returns, the new file survives a power cut.

        Raises:
            FileError: The target is unchanged.
        """
        with self._explained():
            if Path(os.path.realpath(self.name)) != self.path:
                raise FileError(f"{self.name} now leads to another file; restart the agent")
            os.replace(self.candidate, self.path)
            self._sync_directory()

    def restore(self, old: FileSnapshot | None) -> None:
        """Restore the old file with its owner and mode. If there was none, remove the file.

        Raises:
            FileError: It can't be restored.
        """
        if old is None:
            with self._explained():
                self.path.unlink(missing_ok=True)
                self._sync_directory()
            return
        self.prepare(old.content, Ownership(), old)
        self.commit()

    def discard(self) -> None:
        """Remove the candidate, if there is one."""
        self.candidate.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the file against other agents. The lock also ends with the process, however the process ends.

        Raises:
            StartError: Another agent holds the lock, or other users can write to the directory.
        """
        try:
            with self._explained():
                self._refuse_open_directory()
                descriptor = self._lock()
        except FileError as error:
            raise StartError(str(error)) from None
        try:
            yield
        finally:
            # Remove the file while it is still locked: another agent that has opened it then sees that it is gone.
            with contextlib.suppress(OSError):
                self.discard()
                self._lock_path.unlink()
            os.close(descriptor)

    def _lock(self) -> int:
        while True:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, NEW_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(descriptor, self._lock_path):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise StartError(
                    f"another agent writes {self.name}; stop it, or remove the template from one agent's settings"
                ) from None
            os.close(descriptor)

    def _refuse_open_directory(self) -> None:
        for directory in {self.path.parent, Path(os.path.abspath(self.name)).parent}:
            status = directory.stat()
            if status.st_mode & _OTHERS_WRITE or status.st_uid not in (0, os.geteuid()):
                raise FileError(
                    f"other users can write to {directory}, and so replace {self.name}; the directory must belong to root or to the agent's user, and have mode 755 or less"
                )

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "")
            raise FileError(f"{self.name}: {(error.strerror or 'I/O error').lower()}{hint}") from None


def difference(name: str, old: bytes, new: bytes) -> str:
    """Return the unified diff from one content to another, or "" if they are equal."""
    before, after = (content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new))
    lines = difflib.unified_diff(before, after, name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _own(descriptor: int, wanted: Ownership, old: FileSnapshot | None) -> None:
    """Set a new file's owner first and its mode second, because chown clears some mode bits."""
    uid = wanted.uid if wanted.uid is not None else old.uid if old else -1
    gid = wanted.gid if wanted.gid is not None else old.gid if old else -1
    status = os.fstat(descriptor)
    if (uid, gid) != (-1, -1) and (uid, gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, wanted.mode if wanted.mode is not None else old.mode if old else NEW_MODE)
    if old is not None:
        for name, value in old.attributes:
            # Not every file system supports attributes, and only the kernel may set some of them.
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, value)
        if wanted.mode is not None:
            # An access list contains the mode of the group, so setting it may have changed the mode.
            os.fchmod(descriptor, wanted.mode)


def _attributes(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    with contextlib.suppress(OSError):
        return tuple((name, os.getxattr(descriptor, name)) for name in os.listxattr(descriptor))
    return ()


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
