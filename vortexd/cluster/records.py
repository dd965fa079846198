"""The records that nodes write for each other, as JSON with a format number. Pure.

A node may be older or newer than its neighbours, and other programs may write to the store. So a node reads each record
within bounds. If it can't read a record, it passes over it. It ignores members that it doesn't know.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import orjson

# The newest format that this version reads. A change that older versions can't read takes the next number.
FORMAT = 1
SERVING, DRAINING = "serving", "draining"
# The limits of a record: bytes, items of a list, and characters of a text.
MEMBER_BYTES = 4_096
HINT_BYTES = 65_536
MOST_ITEMS = 64
LONGEST_TEXT = 512
_LARGEST = 2**53


class Unusable(Exception):
    """A record can't be read. The text says why, and repeats nothing of the record."""


class Newer(Unusable):
    """A newer version of vortexd wrote a record, in a format that this version can't read. It must not be replaced."""


@attrs.frozen
class Member:
    """A node of the cluster, as it describes itself.

    Attributes:
        address: The address at which other nodes reach it, or "".
        started: When its process started, as RFC 3339.
        version: The version of vortexd.
        state: `SERVING` or `DRAINING`.
        publishes: Whether it publishes its state if it leads. Records of former versions don't say so.
    """

    node: str
    address: str
    started: str
    version: str
    state: str
    publishes: bool = False

    def encoded(self) -> bytes:
        """Return the record."""
        table = {"format": FORMAT, **attrs.asdict(self)}
        if not self.publishes:
            del table["publishes"]
        return orjson.dumps(table)

    @classmethod
    def parse(cls, data: bytes) -> "Member":
        """Read a record.

        Raises:
            Unusable: See the class.
        """
        table = record_table(data, MEMBER_BYTES)
        names = ("node", "address", "started", "version", "state")
        node, address, started, version, state = (_text(table, name) for name in names)
        member = cls(node, address, started, version, state, table.get("publishes") is True)
        if member.state not in (SERVING, DRAINING):
            raise Unusable("its state is unknown")
        return member


@attrs.frozen
class Push:
    """What a webhook says: the addresses of the repository, and full names of refs. An empty list means any."""

    addresses: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()

    def __or__(self, other: "Push") -> "Push":
        """Return a push that includes both."""
        return Push(_union(self.addresses, other.addresses), _union(self.refs, other.refs))


@attrs.frozen
class Hint:
    """Says that sources should look at their remotes.

    Attributes:
        id: Identifies the process that wrote it, and the hint.
        push: The webhooks, or None if there was none.
        sources: Maps the name of each source that has found a new state of its remote to that state.
        at: When it was written, in seconds since the epoch. For people only, because clocks differ.
    """

    id: str
    push: Push | None = None
    sources: Mapping[str, str] = attrs.field(factory=dict)
    at: float = 0.0

    @property
    def process(self) -> str:
        """The process that wrote it."""
        return self.id.partition("-")[0]

    def encoded(self) -> bytes:
        """Return the record."""
        push = self.push
        return orjson.dumps(
            {
                "format": FORMAT,
                "id": self.id,
                "addresses": None if push is None else push.addresses,
                "refs": None if push is None else push.refs,
                "sources": self.sources,
                "at": self.at,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Hint":
        """Read a record.

        Raises:
            Unusable: See the class.
        """
        table = record_table(data, HINT_BYTES)
        addresses, refs = _texts(table, "addresses"), _texts(table, "refs")
        if (addresses is None) != (refs is None):
            raise Unusable("it has addresses without refs, or refs without addresses")
        push = None if addresses is None or refs is None else Push(addresses, refs)
        return cls(_text(table, "id"), push, _pairs(table, "sources"), _number(table, "at"))


def bounded_push(addresses: Sequence[str], refs: Sequence[str]) -> Push:
    """Return a push that a record may hold. If a list is too large, it becomes "any"."""
    return Push(_bounded(addresses), _bounded(refs))


def fitted(hint: Hint) -> Hint:
    """Return a hint that a record may hold: the same one or, if it is too large, one that concerns every source."""
    is_small = len(hint.sources) <= MOST_ITEMS and is_bounded(*hint.sources, *hint.sources.values())
    if is_small and len(hint.encoded()) <= HINT_BYTES:
        return hint
    return attrs.evolve(hint, push=Push(), sources={})


def is_bounded(*texts: str) -> bool:
    """Return whether a record may hold these texts."""
    return all(len(each) <= LONGEST_TEXT and _is_encodable(each) for each in texts)


def _bounded(texts: Sequence[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(texts))
    return unique if len(unique) <= MOST_ITEMS and is_bounded(*unique) else ()


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return _bounded([*one, *other]) if one and other else ()


def _is_encodable(text: str) -> bool:
    """Return whether JSON can hold a text. Names of refs may be any bytes, which are surrogates here."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


# Parsing.


def record_table(data: bytes, limit: int) -> Mapping[str, Any]:
    """Read the members of a record of at most `limit` bytes.

    Raises:
        Unusable: See the class.
    """
    if len(data) > limit:
        raise Unusable(f"it is longer than {limit} bytes")
    try:
        table = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Unusable("it isn't JSON") from None
    if not isinstance(table, dict) or type(table.get("format")) is not int:
        raise Unusable("it has no format number")
    if table["format"] != FORMAT:
        kind = Newer if table["format"] > FORMAT else Unusable
        raise kind(f"its format is {table['format']}, and this version reads {FORMAT}; another version wrote it")
    return table


def _text(table: Mapping[str, Any], name: str) -> str:
    found = table.get(name)
    if not isinstance(found, str) or len(found) > LONGEST_TEXT or not found.isprintable():
        raise Unusable(f"its member {name} isn't a text of at most {LONGEST_TEXT} characters")
    return found


def _texts(table: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    found = table.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or len(found) > MOST_ITEMS or not all(map(_is_short, found)):
        raise Unusable(f"its member {name} isn't a list of at most {MOST_ITEMS} texts")
    return tuple(found)


def _pairs(table: Mapping[str, Any], name: str) -> dict[str, str]:
    found = table.get(name)
    if not isinstance(found, dict) or len(found) > MOST_ITEMS or not all(map(_is_short, (*found, *found.values()))):
        raise Unusable(f"its member {name} isn't a table of at most {MOST_ITEMS} texts")
    return found


def _number(table: Mapping[str, Any], name: str) -> float:
    found = table.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > _LARGEST:
        raise Unusable(f"its member {name} isn't a number")
    return float(found)


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT
