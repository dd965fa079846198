"""Merges only the parts of a document that a change can touch. Pure.

A *part* is all flat keys with the same text before their first `.` or `[`. By the rules of `nest`, keys of different
parts never share a place in the document: each name at the top of the document comes from one part. So if the values of
some parts change, the names of the other parts stay as they are.

The property sources of a key before and after a change arrive. The names at the top whose values may differ leave, with
their values before and after. Many keys read the same files, so results are kept and shared. One thread uses a `Parts`
object, and drops it with its publication.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs
import orjson

from ..core.diff import diff
from ..core.model import Json, PropertySource, Scalar, part_of
from ..core.version import encode
from .nest import effective_document

K = TypeVar("K")
V = TypeVar("V")

# At most this many results are kept. The files that many keys share have few.
_KEPT = 1_024
# `nest` limits the indexes that the lists of a document leave out. Each of them becomes a null, which takes five bytes.
# So a document of fewer bytes is below this limit, and its parts can be merged separately.
MOST_BYTES = 400_000

Names = dict[str, Json]


@attrs.define(slots=True, eq=False)
class Difference:
    """The names at the top of a document whose values may differ, with their values before and after.

    What follows from them is found out once, when it is first needed.
    """

    old: Names
    new: Names
    _is_none: bool | None = attrs.field(default=None, init=False)
    _patch: bytes | None = attrs.field(default=None, init=False)
    _texts: Sequence[tuple[bytes, bytes]] | None = attrs.field(default=None, init=False)

    @property
    def is_none(self) -> bool:
        """Whether the values are the same, types included."""
        if self._is_none is None:
            self._is_none = encode(self.old) == encode(self.new)
        return self._is_none

    @property
    def patch(self) -> bytes:
        """The RFC 6902 patch of the whole document, as compact JSON."""
        if self._patch is None:
            self._patch = orjson.dumps(diff(self.old, self.new))
        return self._patch

    def applied(self, body: bytes) -> bytes:
        """Return a document after the change, from the document before it. Both are JSON with sorted keys."""
        if self._texts is None:
            self._texts = _texts(self.old, self.new)
        if all(body.count(old) == 1 for old, _ in self._texts):
            # Find all places first, because a new text may contain another old text.
            places = sorted((body.index(old), len(old), new) for old, new in self._texts)
            ends = (0, *(at + length for at, length, _ in places))
            kept = (body[end:at] for end, (at, _, _) in zip(ends, places, strict=False))
            return b"".join(
                (
                    *(part for pair in zip(kept, (new for *_, new in places), strict=True) for part in pair),
                    body[ends[-1] :],
                )
            )
        document: Names = orjson.loads(body)
        for name in self.old:
            del document[name]
        return encode(document | self.new)


def _texts(old: Names, new: Names) -> Sequence[tuple[bytes, bytes]]:
    """Return the texts to replace in a document, each by another. The members keep their places.

    If the names aren't the same, the text that is returned occurs in no document.
    """
    if old.keys() != new.keys():
        return ((b"", b""),)
    return tuple((encode({name: old[name]})[1:-1], encode({name: new[name]})[1:-1]) for name in old)


class Parts:
    """Finds the differences between documents; see the module."""

    def __init__(self) -> None:
        # An identity names an object only while the object lives. So each entry also keeps the objects that name it.
        self._changed: dict[tuple[int, int], tuple[object, frozenset[str]]] = {}
        self._found: dict[tuple[object, ...], tuple[object, Difference]] = {}

    def difference(self, old: Sequence[PropertySource], new: Sequence[PropertySource]) -> Difference | None:
        """Return the difference between the documents of two lists of sources, highest precedence first.

        If files are shared, different keys may get the same object. Return None if the lists have different lengths.

        Raises:
            ResolveError: As in `effective_document`.
        """
        if len(old) != len(new):
            return None
        parts: frozenset[str] = frozenset()
        for one, other in zip(old, new, strict=True):
            if one.values is not other.values:
                parts |= self._changed_parts(one.values, other.values)
        before, after = ([each.values for each in sources if each.parts & parts] for sources in (old, new))
        name = (parts, *map(id, before), None, *map(id, after))
        known = self._found.get(name)
        if known is None:
            known = (before, after), Difference(_merged(before, parts), _merged(after, parts))
            _keep(self._found, name, known)
        return known[1]

    def _changed_parts(self, old: Mapping[str, Scalar], new: Mapping[str, Scalar]) -> frozenset[str]:
        name = id(old), id(new)
        known = self._changed.get(name)
        if known is None:
            one, other = _by_part(old), _by_part(new)
            parts = frozenset(part for part in one.keys() | other.keys() if one.get(part) != other.get(part))
            known = (old, new), parts
            _keep(self._changed, name, known)
        return known[1]


def _by_part(values: Mapping[str, Scalar]) -> dict[str, list[tuple[str, type, str]]]:
    """Return the content of each part, in order. Types count, and so do the texts of numbers: 0.0 isn't -0.0."""
    parts: dict[str, list[tuple[str, type, str]]] = {}
    for key, value in values.items():
        parts.setdefault(part_of(key), []).append((key, type(value), str(value)))
    return parts


def _merged(layers: Sequence[Mapping[str, Scalar]], parts: frozenset[str]) -> Names:
    chosen = ({key: value for key, value in values.items() if part_of(key) in parts} for values in layers)
    return effective_document([PropertySource("", values, {}) for values in chosen])


def _keep(kept: dict[K, tuple[object, V]], name: K, value: tuple[object, V]) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[name] = value
