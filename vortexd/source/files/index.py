"""The index of a source's remembered content: the entry of each path, as JSON. Pure.

The bytes of an index arrive, and its entries leave, or the reverse.
"""

import re
from collections.abc import Mapping
from typing import Any

import attrs
import orjson

# Increased when older readers could no longer understand the index. Format 1 has no journal.
FORMAT = 2
_READABLE = (1, 2)
DIGEST = re.compile(r"[0-9a-f]{64}")
_JOURNAL = re.compile(r"[0-9a-f]{32}")


@attrs.frozen
class Entry:
    """The remembered state of a path.

    Attributes:
        digest: The SHA-256 of its last good content; "" if the content isn't kept.
        broken_since: When the file was first found broken, in seconds since the epoch. None while it is good.
    """

    digest: str
    broken_since: float | None = None


@attrs.frozen
class Index:
    """An index.

    Attributes:
        journal: The name of the journal that continues this index, or "" if none does. Each index has another name.
        former: The name of the journal that continued the index of versions when this index was written. After a crash, that
            index of versions is still there. None if none belongs to this index.
    """

    entries: Mapping[str, Entry]
    journal: str = ""
    former: str | None = None


def encode(root: str, index: Index) -> bytes:
    """Return an index as bytes.

    Args:
        root: The root of the source.
    """
    return orjson.dumps(
        {
            "format": FORMAT,
            "root": root,
            "journal": index.journal,
            "former": index.former,
            "files": shown(index.entries),
        }
    )


def parse(content: bytes, root: str) -> Index:
    """Read an index.

    Raises:
        ValueError: It isn't an index of a known format and of this source.
    """
    found = orjson.loads(content)
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise ValueError("it isn't an index")
    if found["format"] not in _READABLE:
        raise ValueError(f"it has format {found['format']}, but this version only reads format {FORMAT} and older ones")
    files, journal, former = found.get("files"), found.get("journal", ""), found.get("former")
    if found.get("root") != root or not isinstance(files, dict):
        raise ValueError("it is the index of another source")
    if not _is_name(journal) or not (former is None or _is_name(former)):
        raise ValueError("the name of its journal can't be read")
    return Index({path: entry_of(each) for path, each in files.items()}, journal, former)


def shown(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return entries as JSON."""
    return {path: {"sha256": each.digest, "broken_since": each.broken_since} for path, each in entries.items()}


def entry_of(found: Any) -> Entry:
    """Read an entry.

    Raises:
        ValueError: It isn't an entry.
    """
    digest, since = (found.get("sha256"), found.get("broken_since")) if isinstance(found, dict) else (None, None)
    is_digest = isinstance(digest, str) and (not digest or DIGEST.fullmatch(digest) is not None)
    if not is_digest or not isinstance(since, int | float | None):
        raise ValueError("an entry can't be read")
    return Entry(str(digest), since)


def _is_name(found: Any) -> bool:
    return isinstance(found, str) and (not found or _JOURNAL.fullmatch(found) is not None)
