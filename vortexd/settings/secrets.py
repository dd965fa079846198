"""Reads the secrets of sources, each from a file. They are read when they are used, so a new token needs no restart."""

import os
import stat
from base64 import b64decode
from collections.abc import Mapping

from ..core.errors import SourceError
from .systemd_credentials import credential_path

_MAX_BYTES = 65_536
_MAGIC = b"openssh-key-v1\0"


def expanded(path: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a path in which systemd's directory replaces $CREDENTIALS_DIRECTORY at the beginning.

    Raises:
        SourceError: There is no such directory.
    """
    try:
        return credential_path(path, environ) or path
    except LookupError as error:
        raise SourceError(f"{path} can't be read: {error.args[0]}") from None


def needs_passphrase(path: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a file holds a private key with a passphrase. If the file can't be read, return False."""
    try:
        with open(os.open(expanded(path, environ), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return _is_encrypted(file.read(_MAX_BYTES))
    except (OSError, ValueError, SourceError):
        return False


def _is_encrypted(key: bytes) -> bool:
    """Return whether a private key is encrypted, judging by its header.

    Loading a long key would take seconds, because it is checked.
    """
    _, begins, rest = key.partition(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    if not begins:
        return b"ENCRYPTED" in key
    # PROTOCOL.key of OpenSSH: after the magic, the name of the cipher, with its length before it.
    data = b64decode(rest.partition(b"-----END")[0])
    return data.startswith(_MAGIC) and not data[len(_MAGIC) :].startswith(b"\0\0\0\x04none")


def read_secret(path: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the one line of a file.

    Raises:
        SourceError: It can't be read, other users may read it, it is too long, or it isn't one line. The message repeats
            nothing of it.
    """
    place = expanded(path, environ)
    try:
        # Without O_NONBLOCK, a pipe would wait for a writer.
        with open(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'not a path'}") from None
    # systemd protects its credentials from other users.
    if place == path and stat.S_IMODE(status.st_mode) & 0o077:
        raise SourceError(f"{path} is open to other users; run chmod 600 on it")
    if len(data) > _MAX_BYTES:
        raise SourceError(f"{path} must be at most {_MAX_BYTES} bytes long")
    try:
        text = data.decode("utf-8").rstrip("\r\n")
    except UnicodeError:
        text = ""
    if not text or not text.isprintable():
        raise SourceError(f"{path} must hold one line of text and nothing else")
    return text


def secret_problem(path: str, environ: Mapping[str, str]) -> str | None:
    """Return the reason why the secret in a file can't be used, or None if it can. Blocks on the file system."""
    try:
        read_secret(path, environ)
    except SourceError as error:
        return str(error)
    return None


def file_problem(path: str, environ: Mapping[str, str], forbidden: int, *, is_pem: bool) -> str | None:
    """Return the reason why a file can't be used that another program reads, or None if it can.

    Blocks on the file system.

    Args:
        forbidden: The mode bits that the file must not have.
        is_pem: Whether the file must hold certificates.
    """
    # Only a check of the settings needs this module.
    import ssl

    try:
        place = expanded(path, environ)
        # Without O_NONBLOCK, a pipe would wait for a writer.
        with open(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
        if not stat.S_ISREG(mode):
            return f"{path} must be a regular file"
        # systemd protects its credentials from other users.
        if place == path and stat.S_IMODE(mode) & forbidden:
            return f"{path} is open to other users; run chmod 600 on it"
        if is_pem:
            ssl.create_default_context(cafile=place)
    except SourceError as error:
        return str(error)
    except ssl.SSLError:
        return f"{path} must be PEM with a certificate for each authority"
    except (OSError, ValueError) as error:
        return f"{path} can't be read: {getattr(error, 'strerror', None) or 'not a path'}"
    return None
