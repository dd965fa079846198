"""A random secret in vortexd's state, which all workers and all later processes share. Synchronous: call it in a thread."""

import os
import secrets
from pathlib import Path

from .private_files import PART, check_private, read, sync

SECRET_BYTES = 32


def shared_secret(file: Path) -> bytes:
    """Read the secret in a file. If there is no such file, make one.

    If several processes do this at once, all of them get the secret of the first one. A file that has no secret is never
    replaced.

    Raises:
        OSError: The file can't be read or made, another user could have written it, or it has no secret.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(file.parent)
    try:
        return _read(file)
    except FileNotFoundError:
        _make(file)
    return _read(file)


def _read(file: Path) -> bytes:
    secret = read(file, SECRET_BYTES)
    if len(secret) != SECRET_BYTES:
        raise OSError(0, f"{file} doesn't have {SECRET_BYTES} bytes")
    return secret


def _make(file: Path) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}{PART}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(part, flags, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(SECRET_BYTES))
            opened.flush()
            os.fsync(opened.fileno())
        try:
            # A link fails if another process has made the file meanwhile. A rename would replace it.
            os.link(part, file)
        except FileExistsError:
            return
        sync(file.parent)
    finally:
        part.unlink(missing_ok=True)
