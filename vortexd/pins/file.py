"""The file of all pins in the state directory, which all workers share. Synchronous: call it in a thread.

`pins.json` holds a format number and the pins with their files, one pin a line. It is replaced in one step and synced to the
disk, under a lock. If its content can't be used, it is set aside.

The invariant: pins are encoded and parsed one by one, so the event loop runs between two of them.
"""

import base64
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import orjson
import structlog

from ..core.errors import RemoteError
from ..core.model import Edits, Files, Origin
from ..core.names import parse_key
from ..core.term import Term
from ..state import private_files
from .pin import Pin

log = structlog.get_logger()

# Increased when older readers could no longer understand the file.
FORMAT = 1
FILE, LOCK = "pins.json", "lock"
# The end of the year 9999, in seconds since the epoch. No later date can be written.
_LAST = 253_402_300_799
# The limit of the file. It is enough for 100 pins with the most bytes, which take a third more as base64.
MAX_BYTES = 83_886_080
# The separators of the lines. JSON has no line breaks within texts.
_BEGIN, _BETWEEN, _END = b'"pins":[\n', b",\n", b"\n]}"
# After a pin of so many bytes, this thread pauses for so many seconds. Without that, it often takes the interpreter again
# before the event loop does.
_LARGE, _BREAK = 65_536, 0.0005
# The pins begin before this place, because the members before them are short.
_HEAD = 4_096
# Seconds to wait for another worker that writes.
_PATIENCE = 1.0
Change = Callable[[Sequence[Pin]], Sequence[Pin]]
# The file's inode, size, and times of change: if they are the same, the content is, too.
_Mark = tuple[int, int, int, int]


class TooLarge(RemoteError):
    """The file would be larger than its limit."""

    def __init__(self, max_bytes: int) -> None:
        reason = (
            f"all pins together would take more than {max_bytes} bytes; lift a pin, or pin a key with smaller files"
        )
        super().__init__(reason, 409)


class GivenUp(Exception):
    """The caller doesn't wait for the change any more, so nothing has changed."""


class PinsFile:
    """Reads and replaces the file.

    Args:
        directory: The directory of the file. It is made at the first pin.
        max_bytes: The limit of the file.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._file = directory / FILE
        self._max_bytes = max_bytes
        # The pins that were read or written last, with the mark of the file.
        self._known: tuple[_Mark, Sequence[Pin]] | None = None

    def read(self) -> list[Pin]:
        """Return all pins. If the content can't be used, set the file aside, log a warning and return none.

        Raises:
            OSError: The file can't be read.
        """
        try:
            private_files.check_private(self._directory)
            found = self._parsed()
        except FileNotFoundError:
            return []
        if not isinstance(found, str):
            return found
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            return self._usable()

    def store(self) -> str:
        """Return the store that the file is a copy of, as in `copy`. Return "" if it isn't a copy, or can't be read."""
        try:
            found, _ = _loaded(private_files.read(self._file, self._max_bytes))
            return _text(found.get("store", ""))
        except (OSError, ValueError, TypeError, AttributeError):
            return ""

    def copy(self, pins: Sequence[Pin], store: str) -> None:
        """Replace the pins by those of a cluster. Without any pin, no file is made.

        Args:
            store: The identity of the cluster's store.

        Raises:
            OSError: The file can't be read or written. Nothing has changed.
        """
        if not pins and not self._file.exists():
            return
        self._make_directory()
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            if [each.id for each in self._usable()] != [each.id for each in pins] or self.store() != store:
                self._replace(pins, store)

    def change(self, change: Change, given_up: threading.Event) -> list[Pin]:
        """Change the pins, and return them once they are on the disk.

        Args:
            change: Returns the new pins, given those of the file. If it raises, nothing has changed.
            given_up: If it is set before the file is replaced, nothing changes.

        Raises:
            OSError: The file can't be read or written. Nothing has changed.
            TooLarge: Nothing has changed.
            GivenUp: The event was set.
        """
        self._make_directory()
        with private_files.waiting_lock(self._directory / LOCK, _PATIENCE):
            before = self._usable()
            after = list(change(before))
            if after == before:
                return after
            if given_up.is_set():
                raise GivenUp
            self._replace(after)
            try:
                private_files.sync(self._directory)
            except OSError:
                # The caller reports that nothing has changed.
                private_files.replace(self._file, *_lines(before))
                raise
            self._known = self._mark(), [*after]
            return after

    def _make_directory(self) -> None:
        for each in (self._directory.parent, self._directory):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.check_private(self._directory)

    def _replace(self, pins: Sequence[Pin], store: str = "") -> None:
        lines = _lines(pins, store)
        if sum(map(len, lines)) > self._max_bytes:
            raise TooLarge(self._max_bytes)
        private_files.replace(self._file, *lines)

    def _usable(self) -> list[Pin]:
        """Return the pins of the file. If there is none, or it can't be used, set it aside and return no pin."""
        try:
            found = self._parsed()
        except FileNotFoundError:
            return []
        if not isinstance(found, str):
            return found
        aside = private_files.set_aside(self._file)
        log.warning(
            "pins set aside",
            file=str(aside),
            reason=found,
            consequence="the keys that were pinned are served from their sources",
        )
        return []

    def _parsed(self) -> list[Pin] | str:
        """Return the pins of the file, or the reason why it can't be used."""
        # If another worker replaces the file after this line, the next mark differs.
        mark = self._mark()
        if self._known is not None and self._known[0] == mark:
            return [*self._known[1]]
        if mark[1] > self._max_bytes:
            return f"it is larger than {self._max_bytes} bytes"
        found = parse(private_files.read(self._file, self._max_bytes))
        if not isinstance(found, str):
            self._known = mark, found
        return found

    def _mark(self) -> "_Mark":
        status = self._file.lstat()
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def encode(pins: Sequence[Pin], store: str = "") -> bytes:
    """Encode pins as the content of the file.

    Args:
        store: As in `PinsFile.copy`, or "".
    """
    return b"".join(_lines(pins, store))


def _lines(pins: Sequence[Pin], store: str = "") -> list[bytes]:
    """Encode pins as the lines of the file. Together they are one JSON object."""
    copied = {"store": store} if store else {}
    head = orjson.dumps({"format": FORMAT, **copied, "pins": []})
    if not pins:
        return [head]
    lines = [head.removesuffix(b"]}") + b"\n"]
    for number, each in enumerate(pins):
        lines += [_BETWEEN] * (number > 0)
        lines.append(orjson.dumps(_pin_members(each)))
        _let_others_run(len(lines[-1]))
    return [*lines, _END]


def _let_others_run(size: int) -> None:
    if size >= _LARGE:
        time.sleep(_BREAK)


def _loaded(content: bytes) -> tuple[Any, Iterable[Any] | None]:
    """Parse the content of the file as JSON. Return its members, and the pins, which are parsed one by one.

    If the content has other lines than those of `_lines`, the pins are among the members. Then the second value is None.

    Raises:
        ValueError: The content isn't JSON. The pins raise it, too.
    """
    begin = content.find(_BEGIN, 0, _HEAD) + len(_BEGIN)
    if begin < len(_BEGIN) or not content.endswith(_END):
        return orjson.loads(content), None
    return orjson.loads(content[:begin] + b"]}"), _each(content, begin, len(content) - len(_END))


def _each(content: bytes, begin: int, end: int) -> Iterator[Any]:
    """Parse the pins in a part of the content of the file."""
    whole = memoryview(content)
    while (at := content.find(_BETWEEN, begin, end)) >= 0:
        yield orjson.loads(whole[begin:at])
        _let_others_run(at - begin)
        begin = at + len(_BETWEEN)
    yield orjson.loads(whole[begin:end])


def parse(content: bytes) -> list[Pin] | str:
    """Parse the content of the file. Return the pins, or the reason why it can't be used."""
    try:
        found, pins = _loaded(content)
        number = found["format"]
    except (ValueError, KeyError, TypeError):
        return "it isn't a file of pins"
    if number != FORMAT:
        return f"it has format {number}, but this version only reads format {FORMAT}"
    try:
        return [_pin(each) for each in (found["pins"] if pins is None else pins)]
    except (ValueError, KeyError, TypeError, AttributeError, RemoteError):
        return "it isn't a file of pins"


def _pin_members(pin: Pin) -> dict[str, Any]:
    return {
        "id": pin.id,
        "key": [pin.key.application, pin.key.profile, pin.key.label],
        "version": pin.version,
        "commit": pin.commit,
        "reason": pin.reason,
        "by": pin.by,
        "since": pin.term.since,
        "until": pin.term.until,
        "labels": [[_layer_members(layer) for layer in layers] for layers in pin.labels],
    }


def _pin(found: Mapping[str, Any]) -> Pin:
    """Parse a pin. Raises ValueError, KeyError, TypeError, AttributeError or RemoteError."""
    texts = [_text(found[name]) for name in ("id", "version", "reason", "by")]
    id, version, reason, by = texts
    key = parse_key(*map(_text, found["key"]))
    until = found["until"]
    term = Term(_seconds(found["since"]), None if until is None else _seconds(until))
    if term.until is not None and term.until < term.since:
        raise ValueError("a pin ends before it begins")
    labels = tuple(tuple(map(_layer, layers)) for layers in found["labels"])
    if len(labels) != len(key.labels):
        raise ValueError("a pin has files of other labels than its key")
    return Pin(id, key, version, _optional(found["commit"]), reason, by, term, labels)


def _layer_members(files: Files) -> dict[str, Any]:
    edits = files.edits
    return {
        "root": files.root,
        "locations": files.locations,
        "applications": files.applications,
        "group": files.group,
        "revision": files.revision,
        "origin": _origin_members(files.origin),
        "edits": None if edits is None else {path: _origin_members(each) for path, (_, each) in edits.by_path.items()},
        "contents": {path: base64.b64encode(content).decode() for path, content in files.contents.items()},
    }


def _layer(found: Mapping[str, Any]) -> Files:
    edits = found["edits"]
    contents = {_text(path): base64.b64decode(_text(each), validate=True) for path, each in found["contents"].items()}
    group = found["group"]
    if not isinstance(group, int):
        raise TypeError("a group isn't a number")
    return Files(
        contents,
        root=_text(found["root"]),
        locations=tuple(map(_text, found["locations"])),
        applications=tuple(map(_text, found["applications"])),
        group=group,
        revision=_optional(found["revision"]),
        origin=_origin(found["origin"]),
        edits=None if edits is None else Edits(0, {path: (0, _known_origin(each)) for path, each in edits.items()}),
    )


def _origin_members(origin: Origin | None) -> dict[str, str] | None:
    return None if origin is None else attrs.asdict(origin)


def _origin(found: Mapping[str, Any] | None) -> Origin | None:
    return None if found is None else _known_origin(found)


def _known_origin(found: Mapping[str, Any]) -> Origin:
    return Origin(*(_text(found[name]) for name in ("commit", "author", "time")))


def _optional(found: object) -> str | None:
    return None if found is None else _text(found)


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError("not a text")
    return found


def _seconds(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError("not a number")
    if not 0 <= found <= _LAST:
        raise ValueError("no time that a date can be written for")
    return float(found)
