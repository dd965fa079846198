"""The positions of labels in the order of their sources, and the records that number them. Pure.

The files of a label arrive, and their position leaves: the commits, or the numbers, that its content comes from. Nodes with the
same sources have the same positions for the same content. A record lists the newest positions of one label, each with the number
of its publication.
"""

import enum
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from operator import eq

import attrs
import orjson

from ..core.generation import HIGHEST_NUMBER
from ..core.model import Files
from .records import FORMAT, LONGEST_TEXT, MOST_ITEMS, Unusable, is_bounded, record_table

# The publications that a record lists. A node that is further behind gets no number until it has caught up.
MOST_PUBLICATIONS = 32
RECORD_BYTES = 65_536
EPOCH_BYTES = 1_024
_NAME_BYTES = 16
_EPOCH_DIGITS = frozenset("0123456789abcdef")
# As `Files.position`.
_NUMBERED = re.compile(r"([0-9]{1,19})(?:-([0-9a-f]+))?")


class Relation(enum.Enum):
    """How a position compares with another one of the same label.

    Attributes:
        SAME: They are the same.
        NEWER: It follows the other one.
        BEHIND: The other one follows it.
        APART: Neither follows the other: somebody has moved a branch, or several sources have changed in another order.
        UNKNOWN: This node can't tell now. Most often it hasn't fetched the other position yet.
    """

    SAME = enum.auto()
    NEWER = enum.auto()
    BEHIND = enum.auto()
    APART = enum.auto()
    UNKNOWN = enum.auto()


@attrs.frozen
class Position:
    """A position of a label.

    Attributes:
        name: Identifies the label and its sources, alike at all nodes. It is a part of a key in the store.
        roots: The root of each layer, the strongest first.
        places: The commit, or the number, of each layer.
    """

    name: str
    roots: tuple[str, ...]
    places: tuple[str, ...]


def position_of(label: str, files: Files, number: int | None = None) -> Position | None:
    """Return the position of a label, or None if the content of a source has no place in an order.

    Args:
        number: The place of content that has no place of its own, or None.
    """
    layers = (files, *files.others)
    places = [_place(each, number) for each in layers]
    if len(layers) > MOST_ITEMS or not all(each is not None and is_bounded(each) for each in places):
        return None
    sources = [[each.root, each.locations, each.applications, each.group] for each in layers]
    # Names of files may be any bytes, which are surrogates here.
    text = repr((label, sources)).encode(errors="surrogateescape")
    name = blake2b(text, digest_size=_NAME_BYTES).hexdigest()
    return Position(name, tuple(each.root for each in layers), tuple(each for each in places if each is not None))


def _place(files: Files, number: int | None) -> str | None:
    if files.position is not None:
        return files.position
    if files.origin is not None:
        return files.origin.commit
    return None if number is None else str(number)


def related(relations: Iterable[Relation]) -> Relation:
    """Return the relation of two positions, from the relations of their layers."""
    found = {*relations} - {Relation.SAME}
    if Relation.UNKNOWN in found:
        return Relation.UNKNOWN
    if len(found) > 1:
        return Relation.APART
    return found.pop() if found else Relation.SAME


def related_places(place: str, other: str) -> Relation | None:
    """Return the relation of two places as far as their texts tell it. None means that their source must be asked."""
    if _content(place) == _content(other):
        return Relation.SAME
    one, two = _NUMBERED.fullmatch(place), _NUMBERED.fullmatch(other)
    if one is None or two is None:
        return None
    return Relation.NEWER if int(one[1]) > int(two[1]) else Relation.BEHIND


def _content(place: str) -> str:
    """Return the part of a place that identifies its content."""
    found = _NUMBERED.fullmatch(place)
    return found[2] if found is not None and found[2] is not None else place


def are_alike(places: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether two lists of places have the same content."""
    return len(places) == len(others) and all(map(eq, map(_content, places), map(_content, others)))


@attrs.frozen
class Numbered:
    """A publication of a label.

    Attributes:
        places: As in `Position`.
    """

    number: int
    places: tuple[str, ...]


@attrs.frozen
class LabelRecord:
    """The newest publications of a label.

    Attributes:
        epoch: The epoch of their numbers.
        label: The name of the label, for people.
        at: When the newest one was numbered, in seconds since the epoch.
        publications: The newest first. There is at least one.
    """

    epoch: str
    label: str
    at: float
    publications: tuple[Numbered, ...]

    @property
    def newest(self) -> Numbered:
        """The newest publication."""
        return self.publications[0]

    def number(self, places: tuple[str, ...]) -> int | None:
        """Return the number of the newest publication of these places, or None if the record doesn't list them."""
        return next((each.number for each in self.publications if are_alike(each.places, places)), None)

    def encoded(self) -> bytes:
        """Return the record."""
        publications = [[each.number, each.places] for each in self.publications]
        table = {
            "format": FORMAT,
            "epoch": self.epoch,
            "label": self.label,
            "at": self.at,
            "publications": publications,
        }
        return orjson.dumps(table)

    @classmethod
    def parse(cls, data: bytes) -> "LabelRecord":
        """Read a record.

        Raises:
            Unusable: See the class.
        """
        table = record_table(data, RECORD_BYTES)
        epoch, label, at, found = (table.get(name) for name in ("epoch", "label", "at", "publications"))
        if not is_epoch(epoch) or not isinstance(label, str) or not isinstance(at, int | float):
            raise Unusable("it has no epoch, no label or no time")
        if not isinstance(found, list) or not 0 < len(found) <= MOST_PUBLICATIONS:
            raise Unusable(f"it doesn't list 1 to {MOST_PUBLICATIONS} publications")
        publications = tuple(map(_numbered, found))
        numbers = [each.number for each in publications]
        if numbers != sorted({*numbers}, reverse=True):
            raise Unusable("its numbers don't decrease")
        return cls(str(epoch), label, float(at), publications)


def _numbered(value: object) -> Numbered:
    if not isinstance(value, list) or len(value) != 2:
        raise Unusable("a publication isn't a number and a list")
    number, places = value
    if type(number) is not int or not 0 < number <= HIGHEST_NUMBER:
        raise Unusable("a publication has no usable number")
    if not isinstance(places, list) or not 0 < len(places) <= MOST_ITEMS or not all(map(_is_place, places)):
        raise Unusable("a publication has no usable list of places")
    return Numbered(number, tuple(places))


def _is_place(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT


def numbered_next(
    record: LabelRecord | None, epoch: str, label: str, position: Position, now: float, above: int = 0
) -> LabelRecord:
    """Return the record with a new publication.

    Its number is higher than the last one, and at least the seconds since 1970. So it is also higher than numbers that the
    store has lost: with a label's record, or because it was restored from a backup.

    Args:
        record: The record of the label, or None if there is none in this epoch.
        above: A number of this epoch that the label had, or 0. The new one is higher.
    """
    before = record.publications if record is not None else ()
    number = max(before[0].number + 1 if before else 1, above + 1, int(now))
    publications = (Numbered(number, position.places), *before)[:MOST_PUBLICATIONS]
    # Labels with many sources have long lists. A shorter history only means that a node without a number waits longer.
    while len(publications) > 1:
        made = LabelRecord(epoch, label, round(now, 3), publications)
        if len(made.encoded()) <= RECORD_BYTES:
            return made
        publications = publications[:-1]
    return LabelRecord(epoch, label, round(now, 3), publications)


@attrs.frozen
class EpochRecord:
    """The epoch of all numbers.

    Attributes:
        epoch: 1 to 32 hexadecimal digits.
        store: The identity of the store in which it began.
    """

    epoch: str
    store: str

    def encoded(self) -> bytes:
        """Return the record."""
        return orjson.dumps({"format": FORMAT, "epoch": self.epoch, "store": self.store})

    @classmethod
    def parse(cls, data: bytes) -> "EpochRecord":
        """Read a record.

        Raises:
            Unusable: See the class.
        """
        table = record_table(data, EPOCH_BYTES)
        epoch, store = table.get("epoch"), table.get("store")
        if not is_epoch(epoch) or not isinstance(store, str) or len(store) > LONGEST_TEXT:
            raise Unusable("it has no epoch or no store")
        return cls(str(epoch), store)


def is_epoch(value: object) -> bool:
    """Return whether a value can be the name of an epoch."""
    return isinstance(value, str) and 0 < len(value) <= 32 and _EPOCH_DIGITS.issuperset(value)
