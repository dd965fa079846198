"""The names of the entries of published states, and the records that name chunks. Pure.

The entries have a prefix of their own beside that of the cluster, so that the watches of the nodes don't read them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import orjson

from ..records import LONGEST_TEXT, Unusable

# The newest format that this version reads and writes. It covers the head and the manifest.
FORMAT = 2
# The format of the announcement and of the record of loose chunks, which haven't changed.
_UNCHANGED = 1
# The most chunks that a version has. The record of loose chunks may name all of them.
MOST_CHUNKS = 5_000
RECORD_BYTES = 400_000
# The end of the year 9999, which RFC 3339 can still express.
_LATEST = 253_402_300_799
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGITS = 16


class Newer(Unusable):
    """A record has a newer format than this version reads."""


@attrs.frozen
class Places:
    """The names of the entries.

    Args:
        cluster: The name of the cluster.
    """

    cluster: str

    @property
    def prefix(self) -> str:
        """The beginning of every name."""
        return f"/vortexd-published/{self.cluster}/"

    @property
    def head(self) -> str:
        """The newest version."""
        return f"{self.prefix}head"

    @property
    def loose(self) -> str:
        """The chunks that no kept version may name: those being written, and those to delete."""
        return f"{self.prefix}loose"

    @property
    def versions(self) -> str:
        """The beginning of the names of kept versions."""
        return f"{self.prefix}versions/"

    def version(self, number: int) -> str:
        """A kept version. It has the same value as the head had."""
        return f"{self.versions}{number:0{_DIGITS}}"

    def number_of(self, key: str) -> int:
        """Return the number of a kept version, or 0 if an entry isn't one."""
        digits = key.removeprefix(self.versions)
        return int(digits) if len(digits) == _DIGITS and digits.isascii() and digits.isdigit() else 0

    def chunk(self, name: str) -> str:
        """A chunk."""
        return f"{self.prefix}chunks/{name}"


@attrs.frozen
class Announcement:
    """The newest version, as each node of the cluster shows it. The cluster's own prefix holds it.

    Attributes:
        number: Counts the versions.
        id: Identifies the content of the state, with its labels and commits: the SHA-256 of the manifest.
        at: When the leader wrote it, in seconds since the epoch.
        by: The node that wrote it.
    """

    number: int
    id: str
    at: float
    by: str

    def encoded(self) -> bytes:
        """Return the record."""
        return orjson.dumps({"format": _UNCHANGED, "number": self.number, "id": self.id, "at": self.at, "by": self.by})

    @classmethod
    def parse(cls, data: bytes) -> "Announcement":
        """Read a record.

        Raises:
            Unusable: See the class.
        """
        return cls(*_said(table_of(data)))


@attrs.frozen
class Head:
    """A version: its announcement, and the names of the chunks with which a reader begins.

    Attributes:
        manifest: The chunks of the manifest's root, in order. In format 1 that is the whole manifest.
        chunks: The chunks of the contents in format 1, and None in format 2, in which the manifest alone names them.
    """

    said: Announcement
    manifest: tuple[str, ...]
    chunks: tuple[str, ...] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The chunks that the head itself names."""
        return frozenset((*self.manifest, *(self.chunks or ())))

    def encoded(self) -> bytes:
        """Return the record."""
        said = orjson.loads(self.said.encoded())
        if self.chunks is not None:
            return orjson.dumps({**said, "format": 1, "manifest": self.manifest, "chunks": self.chunks})
        return orjson.dumps({**said, "format": FORMAT, "manifest": self.manifest})

    @classmethod
    def parse(cls, data: bytes) -> "Head":
        """Read a record.

        Raises:
            Unusable: See the class.
        """
        table = table_of(data)
        chunks = digests(table, "chunks") if table["format"] == 1 else None
        head = cls(Announcement(*_said(table)), digests(table, "manifest"), chunks)
        if not head.manifest or len(head.manifest) + len(head.chunks or ()) > MOST_CHUNKS:
            raise Unusable(f"it names no manifest, or more than {MOST_CHUNKS} chunks")
        return head


def loose_record(names: Sequence[str]) -> bytes:
    """Return the record of loose chunks."""
    return orjson.dumps({"format": _UNCHANGED, "chunks": names})


def loose_chunks(data: bytes) -> tuple[str, ...]:
    """Read the record of loose chunks.

    Raises:
        Unusable: See the class.
    """
    return digests(table_of(data), "chunks")


def table_of(data: bytes) -> Mapping[str, Any]:
    """Parse a record, and check its format number.

    Raises:
        Newer: See the class.
        Unusable: It isn't such a record.
    """
    if len(data) > RECORD_BYTES:
        raise Unusable(f"it is longer than {RECORD_BYTES} bytes")
    try:
        table = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Unusable("it isn't JSON") from None
    check_format(table)
    found: Mapping[str, Any] = table
    return found


def check_format(table: object) -> None:
    """Check the format number of a parsed record.

    Raises:
        Newer: See the class.
        Unusable: There is none, or it is unknown.
    """
    found = table.get("format") if isinstance(table, dict) else None
    if type(found) is not int:
        raise Unusable("it has no format number")
    if found > FORMAT:
        raise Newer(f"its format is {found}, and this version reads 1 to {FORMAT}; a newer vortexd wrote it")
    if found < 1:
        raise Unusable(f"its format is {found}, and this version reads 1 to {FORMAT}")


def digests(table: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a member that lists the names of chunks.

    Raises:
        Unusable: It isn't such a list, or it is too long.
    """
    found = table.get(name)
    if not isinstance(found, list) or len(found) > MOST_CHUNKS:
        raise Unusable(f"its member {name} isn't a list of at most {MOST_CHUNKS} chunks")
    if not all(map(is_digest, found)):
        raise Unusable(f"its member {name} has an item that isn't a SHA-256")
    return tuple(found)


def is_digest(value: object) -> bool:
    """Return whether a value is a SHA-256 as hex digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _said(table: Mapping[str, Any]) -> tuple[int, str, float, str]:
    number, id, at, by = (table.get(name) for name in ("number", "id", "at", "by"))
    if type(number) is not int or not 0 < number < 10**_DIGITS:
        raise Unusable("its member number isn't a positive number")
    if not isinstance(id, str) or not is_digest(id):
        raise Unusable("its member id isn't a SHA-256")
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= _LATEST:
        raise Unusable("its member at isn't a time")
    if not isinstance(by, str) or len(by) > LONGEST_TEXT or not by.isprintable():
        raise Unusable("its member by isn't the name of a node")
    return number, id, float(at), by
