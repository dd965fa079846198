"""One target file: read, replaced whole, put back as it was, and locked against another agent. Blocks on the file system.

The invariant: under its name there is always the old file or the new one, whole, with the owner and mode that were asked for; and nobody can have put anything
in its way, for its directory is closed to others.
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
    errno.EPERM: "; only root keeps or gives an owner that isn't the agent's own",
}


class FileError(VortexdError):
    """A target that can't be read or written now: path and reason."""


@attrs.frozen
class FileSnapshot:
    """A file as it is.

    Attributes:
        content: What it holds.
        attributes: What else is kept when it is replaced, such as access lists and labels (xattr(7)).
    """

    content: bytes
    mode: int
    uid: int
    gid: int
    attributes: tuple[tuple[str, bytes], ...] = ()


@attrs.frozen
class Ownership:
    """What settings ask for; None keeps what is there.

    Attributes:
        mode: Permission bits.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def ownership(mode: str, owner: str, group: str) -> Ownership:
    """Look the names of settings up.

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
    """The file that a path leads to. A symbolic link stays as it is: the file behind it is replaced.

    Args:
        path: As settings have it.
        max_bytes: A larger file that is there isn't read.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.name = path
        self._max_bytes = max_bytes
        self.path = Path(os.path.realpath(path))
        # In the same directory, for a rename is atomic within a file system; hidden from `conf.d/*`, and with the same suffix, which some checks look at.
        self.candidate = self.path.with_name(f"{_BEGINNING}{self.path.name}")
        self._lock_path = self.path.with_name(f"{_BEGINNING}{self.path.name}.lock")

    def read(self) -> FileSnapshot | None:
        """The file as it is; None where there is none.

        Raises:
            FileError: It can't be read, or isn't a regular file.
        """
        with self._explained():
            try:
                # A pipe would wait for somebody to write.
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise FileError(f"{self.name} is no regular file; name another target")
                content = file.read(self._max_bytes + 1)
                if len(content) > self._max_bytes:
                    raise FileError(
                        f"{self.name} has more than {self._max_bytes} bytes (max_bytes); nothing of ours is as large"
                    )
                return FileSnapshot(
                    content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, _attributes(descriptor)
                )

    def prepare(self, content: bytes, wanted: Ownership, old: FileSnapshot | None) -> None:
        """Write the candidate beside the target, with its owner and mode, down to the disk.

        Args:
            old: The file that is to be replaced.

        Raises:
            FileError: It can't be written so; nothing is left of it.
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
        """Put the candidate in the target's place; when this returns it has survived a power cut.

        Raises:
            FileError: The target is as it was.
        """
        with self._explained():
            if Path(os.path.realpath(self.name)) != self.path:
                raise FileError(f"{self.name} leads to another file than before; start the agent again")
            os.replace(self.candidate, self.path)
            self._sync_directory()

    def restore(self, old: FileSnapshot | None) -> None:
        """Put back what was there: a file with its owner and mode, or none.

        Raises:
            FileError: It can't be done.
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
        """Keep other agents off this file; the lock ends with the process, however it ends.

        Raises:
            StartError: Another agent has it, or the directory is no place for a file that matters.
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
            # While it is locked: whoever has opened it and waits sees that it isn't there any more.
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
                    f"another agent writes {self.name}; stop it, or take the template out of one of both"
                ) from None
            os.close(descriptor)

    def _refuse_open_directory(self) -> None:
        for directory in {self.path.parent, Path(os.path.abspath(self.name)).parent}:
            status = directory.stat()
            if status.st_mode & _OTHERS_WRITE or status.st_uid not in (0, os.geteuid()):
                raise FileError(
                    f"{directory} is open to other users, who could replace {self.name}; it must belong to root or to the agent's user, and have mode 755 or less"
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
    """The unified diff from one content to another; "" where they are the same."""
    before, after = (content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new))
    lines = difflib.unified_diff(before, after, name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _own(descriptor: int, wanted: Ownership, old: FileSnapshot | None) -> None:
    """Give a new file its owner, then its mode: chown takes some bits away."""
    uid = wanted.uid if wanted.uid is not None else old.uid if old else -1
    gid = wanted.gid if wanted.gid is not None else old.gid if old else -1
    status = os.fstat(descriptor)
    if (uid, gid) != (-1, -1) and (uid, gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, wanted.mode if wanted.mode is not None else old.mode if old else NEW_MODE)
    if old is not None:
        for name, value in old.attributes:
            # Not every file system has them, and some are only for the kernel to set.
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, value)
        if wanted.mode is not None:
            # An access list has the mode of the group in it.
            os.fchmod(descriptor, wanted.mode)


def _attributes(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    with contextlib.suppress(OSError):
        return tuple((name, os.getxattr(descriptor, name)) for name in os.listxattr(descriptor))
    return ()


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one under a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
