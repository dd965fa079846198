"""Reads files that hold secrets or grant rights, but only if no other user could have read or written them.

Paths from the settings arrive. The content of the files leaves, or all problems at once. If other users can read a
secret, it isn't secret. If other users can write a file, they decide its content. Both are refused, with a remedy
(T06).
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ..core.errors import SettingsError
from .systemd_credentials import CREDENTIALS, credential_path

T = TypeVar("T")
OTHERS_READ_OR_WRITE = 0o077
OTHERS_WRITE = 0o022
MAX_BYTES = 1_048_576


class TrustedFiles:
    """Reads such files, and collects their problems. Blocks on the file system.

    Args:
        base: The directory at which relative paths start.
        environ: The environment, for $CREDENTIALS_DIRECTORY.

    Attributes:
        problems: Pairs of a path, or a place in a file, and the problem there.
    """

    def __init__(self, base: Path, environ: Mapping[str, str]) -> None:
        self._base = base
        self._environ = environ
        credentials = environ.get(CREDENTIALS[1:])
        self._credentials = os.path.realpath(credentials) if credentials else None
        self.problems: list[tuple[str, str]] = []

    def expanded(self, path: str) -> Path | None:
        """Return the whole path. If it begins with a directory that doesn't exist, note a problem and return None."""
        try:
            return self._base / (credential_path(path, self._environ) or path)
        except LookupError as error:
            self.problems.append((path, error.args[0]))
            return None

    def load(self, path: Path, forbidden: int, load: Callable[[bytes, str], T]) -> T | None:
        """Return the content of a file. If it can't be used, note its problems and return None.

        Args:
            forbidden: The mode bits that the file must not have. systemd's credentials may have any.
            load: Makes a value of the file's bytes and name. May raise SettingsError.
        """
        try:
            return load(self._read(path, forbidden), str(path))
        except SettingsError as error:
            self.problems += [(": ".join(filter(None, (error.origin, place))), text) for place, text in error.problems]
        except OSError as error:
            self.problems.append((str(path), f"can't be read: {error.strerror}"))
        except ValueError:
            self.problems.append((str(path), "isn't the path of a file"))
        return None

    def _read(self, path: Path, forbidden: int) -> bytes:
        # systemd protects its credentials from other users. Kubernetes makes its own links in such a directory.
        is_credential = self._credentials is not None and Path(os.path.realpath(path)).is_relative_to(self._credentials)
        if not is_credential and path.is_symlink():
            raise SettingsError([("", "must not be a symbolic link; name the file itself")], str(path))
        # O_NOFOLLOW, because the link could appear after the check. O_NONBLOCK, because a pipe would wait for a writer.
        follow = 0 if is_credential else os.O_NOFOLLOW
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | follow), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SettingsError([("", "must be a regular file")], str(path))
            if not is_credential:
                _check_access(status, forbidden, str(path))
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError([("", f"must be at most {MAX_BYTES} bytes long")], str(path))
        return data


def _check_access(status: os.stat_result, forbidden: int, path: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise SettingsError([("", "must belong to root or to the user that vortexd runs as; chown it")], path)
    if stat.S_IMODE(status.st_mode) & forbidden:
        mode = "600" if forbidden == OTHERS_READ_OR_WRITE else "644"
        raise SettingsError([("", f"is open to other users; run chmod {mode} on it")], path)


def as_text(data: bytes, origin: str) -> str:
    """Decode the text of a file.

    Raises:
        SettingsError: It isn't UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeError:
        raise SettingsError([("", "isn't UTF-8")], origin) from None
