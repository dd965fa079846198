"""What is remembered of the instances across a restart, as JSON with a format number. Pure.

Records arrive, and the bytes of a file leave, or the other way round. A file is read as a whole or not at all. If a
record in it can't be read, or another format has the file, the error says why.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from ..core.model import Key
from .pages import Ack
from .roll import make_ack

# Increased when older readers could no longer understand the file.
FORMAT = 1
# The limit of a file, in bytes. Records beyond it are left out.
MAX_BYTES = 67_108_864
# The longest name in a key: `core.names` accepts at most 16 names of 128 characters.
_LONGEST_NAME = 2_100
# The longest name of an instance or a connection. A name that a client gives has at most 128 characters.
_LONGEST_INSTANCE = 256
# The end of the year 9999, which RFC 3339 can still express.
_LATEST = 253_402_300_799
_HEAD, _TAIL = b'{"format":%d,"instances":[' % FORMAT, b"]}"


class Unreadable(Exception):
    """A file can't be read. The text says why, and repeats nothing of the file."""


class Record(NamedTuple):
    """An instance of a key, as it is remembered.

    Attributes:
        connection: The id of its last connection.
        ack: Its last acknowledgement, or None.
        left: When it left, in seconds since the epoch, or None if it was connected.
    """

    key: Key
    name: str
    connection: str
    ack: Ack | None
    left: float | None


def encode(records: Iterable[Record], max_bytes: int = MAX_BYTES) -> tuple[bytes, int]:
    """Encode records as a file of at most `max_bytes`. Return the file, and how many records have no room in it."""
    texts: list[bytes] = []
    room = max_bytes - len(_HEAD) - len(_TAIL) + 1
    left_out = 0
    for record in records:
        text = orjson.dumps(_row(record))
        if left_out or len(text) + 1 > room:
            left_out += 1
            continue
        texts.append(text)
        room -= len(text) + 1
    return _HEAD + b",".join(texts) + _TAIL, left_out


def parse(data: bytes) -> list[Record]:
    """Read a file.

    Raises:
        Unreadable: See the class.
    """
    try:
        found = orjson.loads(data)
    except ValueError:
        raise Unreadable("it isn't JSON") from None
    number = found.get("format") if isinstance(found, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise Unreadable("it has no format number")
    if number != FORMAT:
        raise Unreadable(f"it has format {number}, but this version only reads format {FORMAT}")
    rows = found.get("instances")
    if not isinstance(rows, list):
        raise Unreadable("it has no list of instances")
    keys: dict[Key, Key] = {}
    return [_record(row, keys) for row in rows]


def _row(record: Record) -> list[str | float | None]:
    key, ack = record.key, record.ack
    row = [key.application, key.profile, key.label, record.name, record.connection, record.left]
    return row if ack is None else [*row, ack.version, ack.status, ack.error, ack.at]


def _record(row: Any, keys: dict[Key, Key]) -> Record:
    """Read a record. Equal keys are shared by way of `keys`."""
    if not isinstance(row, list) or len(row) not in (6, 10):
        raise Unreadable("an instance isn't a list of 6 or 10 items")
    application, profile, label, name, connection, left = row[:6]
    if not all(_is_name(each, _LONGEST_NAME) for each in (application, profile, label)):
        raise Unreadable("a key has no name")
    if not (_is_name(name, _LONGEST_INSTANCE) and name.isprintable() and _is_name(connection, _LONGEST_INSTANCE)):
        raise Unreadable("an instance has no name")
    if left is not None and not _is_time(left):
        raise Unreadable("a time can't be read")
    key = Key(application, profile, label)
    return Record(keys.setdefault(key, key), name, connection, _ack(row[6:]), left)


def _ack(row: list[Any]) -> Ack | None:
    if not row:
        return None
    version, status, error, at = row
    if not isinstance(version, str) or status not in ("applied", "rejected") or not isinstance(error, str | None):
        raise Unreadable("an acknowledgement can't be read")
    if not _is_time(at):
        raise Unreadable("a time can't be read")
    return make_ack(version, status, error, at)


def _is_name(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST
