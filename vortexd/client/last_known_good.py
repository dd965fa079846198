"""A file with the last configuration that a server had, for a start while every server is away.

In comes what was verified, out goes the same, or why the file can't be used. The invariants: the file is whole or not there at all; nobody else
could have read or written it; and what comes out has the version that it is said to have. Blocks on the file system.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import attrs
import orjson

from ..core.model import Key
from .address import Subject
from .replica import version_of

_SCHEMA = 1
_MAX_BYTES = 67_108_864
_FOR_OTHERS = 0o077


@attrs.frozen
class LastKnownGood:
    """Where the file is, and when it counts.

    Attributes:
        path: In a directory that this user may write to; it has mode 600.
        max_age: How long ago a server may have said that it is current, in seconds. None: ever.
        patience: How long a start waits for a server before the file is used, in seconds.
    """

    path: str | os.PathLike[str]
    max_age: float | None = 604_800.0
    patience: float = 2.0


@attrs.frozen
class Saved:
    """What is in the file.

    Attributes:
        confirmed_at: When a server said last that it is current, in seconds since the epoch.
    """

    key: Key
    version: str
    document: dict[str, Any] = attrs.field(repr=False)
    confirmed_at: float


class Unusable(Exception):
    """The file is there and can't be used; the text says why, and holds nothing of it."""


def load(file: LastKnownGood, subject: Subject, now: float) -> Saved | None:
    """Read the file; None where there is none.

    Raises:
        Unusable: It is damaged, too old, of another configuration, or somebody else could have read or written it.
    """
    try:
        data = _read(file.path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"can't be read: {error.strerror}") from None
    try:
        content = orjson.loads(data)
        asked = content["schema"], *content["asked"]
        key = Key(*map(str, content["key"]))
        saved = Saved(key, content["version"], content["document"], float(content["confirmed_at"]))
        is_whole = isinstance(saved.document, dict) and version_of(saved.document) == saved.version
    except (KeyError, TypeError, ValueError):
        raise Unusable("is damaged") from None
    if not is_whole:
        raise Unusable("hasn't the version that it is said to have")
    if asked != (_SCHEMA, subject.application, subject.profile, subject.label):
        raise Unusable("is of another configuration")
    if file.max_age is not None and now - saved.confirmed_at > file.max_age:
        raise Unusable(f"is older than max_age ({file.max_age:g} s)")
    return saved


def save(file: LastKnownGood, subject: Subject, saved: Saved) -> None:
    """Write the file, as a whole, with mode 600.

    Raises:
        OSError: It stays as it was.
    """
    content = {
        "schema": _SCHEMA,
        "asked": [subject.application, subject.profile, subject.label],
        "key": [saved.key.application, saved.key.profile, saved.key.label],
        "version": saved.version,
        "confirmed_at": saved.confirmed_at,
        "document": saved.document,
    }
    path = Path(file.path)
    # mkstemp's mode is 600, and nobody else can have put a link there.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as written:
            written.write(orjson.dumps(content))
            written.flush()
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove(file: LastKnownGood) -> None:
    """Remove the file: there is no such configuration any more.

    Raises:
        OSError: It can't be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file.path)


def _read(path: str | os.PathLike[str]) -> bytes:
    # A pipe would wait for somebody to write: O_NONBLOCK.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("must be a regular file")
        if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & _FOR_OTHERS:
            raise Unusable("is open to other users, or belongs to one; remove it")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise Unusable("is too large")
    return data
