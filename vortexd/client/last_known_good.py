"""The file with the last known good configuration, for a start while every server is down.

A verified configuration is saved and loaded again, or `Unusable` says why the file can't be used. Three invariants hold. The file is complete or
absent. No other user can have read or written it. A loaded document has the version that the file names. Blocks on the file system.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import attrs
import orjson

from ..core.generation import Generation
from ..core.model import Key
from .address import Subject
from .replica import version_of

_SCHEMA = 1
_MAX_BYTES = 67_108_864
_FOR_OTHERS = 0o077


@attrs.frozen
class LastKnownGood:
    """Where the file is, and under which conditions it is used.

    Attributes:
        path: The file, in a directory that this user may write to. It has mode 600.
        max_age: The greatest age, in seconds since a server last confirmed the content. None: no limit.
        patience: How long a start waits for a server before it uses the file, in seconds.
    """

    path: str | os.PathLike[str]
    max_age: float | None = 604_800.0
    patience: float = 2.0


@attrs.frozen
class Saved:
    """The content of the file.

    Attributes:
        confirmed_at: When a server last confirmed that the content is current, in seconds since the epoch.
        generation: The generation of the version, if a server named it.
    """

    key: Key
    version: str
    document: dict[str, Any] = attrs.field(repr=False)
    confirmed_at: float
    generation: Generation | None = None


class Unusable(Exception):
    """The file exists but can't be used. The text gives the reason, and quotes none of the content."""


def load(file: LastKnownGood, subject: Subject, now: float) -> Saved | None:
    """Read the file. Return None if there is no file.

    Raises:
        Unusable: The file is damaged, too old or for another configuration, or another user could have read or written it.
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
        # Files of former versions have no generation.
        generation = content.get("generation")
        saved = Saved(
            key,
            content["version"],
            content["document"],
            float(content["confirmed_at"]),
            Generation.parse(generation) if isinstance(generation, str) else None,
        )
        is_whole = isinstance(saved.document, dict) and version_of(saved.document) == saved.version
    except (KeyError, TypeError, ValueError):
        raise Unusable("is damaged") from None
    if not is_whole:
        raise Unusable("doesn't match the version that it names")
    if asked != (_SCHEMA, subject.application, subject.profile, subject.label):
        raise Unusable("is for another configuration")
    if file.max_age is not None and now - saved.confirmed_at > file.max_age:
        raise Unusable(f"is older than max_age ({file.max_age:g} s)")
    return saved


def save(file: LastKnownGood, subject: Subject, saved: Saved) -> None:
    """Replace the file as a whole, with mode 600.

    Raises:
        OSError: The file can't be written. The old file stays as it was.
    """
    content: dict[str, Any] = {
        "schema": _SCHEMA,
        "asked": [subject.application, subject.profile, subject.label],
        "key": [saved.key.application, saved.key.profile, saved.key.label],
        "version": saved.version,
        "confirmed_at": saved.confirmed_at,
        "document": saved.document,
    }
    if saved.generation is not None:
        # Former versions of the client ignore this member.
        content["generation"] = str(saved.generation)
    path = Path(file.path)
    # mkstemp creates the file with mode 600, and refuses a link that another user has put there.
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
    """Remove the file, because the configuration no longer exists.

    Raises:
        OSError: The file can't be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file.path)


def _read(path: str | os.PathLike[str]) -> bytes:
    # O_NONBLOCK: opening a named pipe would otherwise wait for a writer.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("must be a regular file")
        if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & _FOR_OTHERS:
            raise Unusable("is open to other users, or belongs to another user; remove it")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise Unusable("is too large")
    return data
