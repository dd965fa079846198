"""Merges the parts of documents once for all keys that share them, and after a change only those that it touches. Pure.

A *part* is all flat keys with the same text before their first `.` or `[`. By the rules of `nest`, keys of different
parts never share a place in the document: each name at the top of the document comes from one part. So if the values of
some parts change, the names of the other parts stay as they are.

The property sources of a key arrive, and its document leaves as pieces of JSON. After a change, the sources before and
after it arrive. The names at the top whose values may differ leave, with their values before and after. Many keys read
the same files, so results are kept and shared. One thread uses a `Parts` object, and drops it with its publication.

A document is cut into pieces only between its members at the top. So each of these members is whole in one piece.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

import attrs
import orjson

from ..core.diff import diff
from ..core.errors import ResolveError
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
Pieces = tuple[bytes, ...]


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
    # The pieces of documents that were looked at. Most keys share them.
    _pieces: dict[int, tuple[object, tuple[int, Pieces]]] = attrs.field(factory=dict, init=False)

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

    def applied(self, pieces: Pieces) -> Pieces | None:
        """Replace the texts of the names in a document with sorted keys.

        Args:
            pieces: The document before the change.

        Returns:
            The document after it, or None if the places of the names can't be found by their texts.
        """
        if self.old.keys() != self.new.keys():
            return None
        found = [self._replaced(piece) for piece in pieces]
        # Each text is in the document at least once, as a member at the top.
        if sum(count for count, _ in found) != len(self.old):
            return None
        return tuple(piece for _, replaced in found for piece in replaced)

    def _replaced(self, piece: bytes) -> tuple[int, Pieces]:
        """Return how often old texts are in a piece, and the piece with the new texts in their places."""
        known = self._pieces.get(id(piece))
        if known is None:
            if self._texts is None:
                self._texts = _texts(self.old, self.new)
            known = piece, _replaced(piece, self._texts)
            _keep(self._pieces, id(piece), known)
        return known[1]


def _replaced(piece: bytes, texts: Sequence[tuple[bytes, bytes]]) -> tuple[int, Pieces]:
    # Find all places first, because a new text may contain another old text.
    places = sorted((at, at + len(old), new) for old, new in texts if (at := piece.find(old)) >= 0)
    if not places:
        return 0, (piece,)
    count = sum(piece.count(old) for old, _ in texts)
    parts: list[bytes] = []
    end = 0
    for at, after, new in places:
        parts += (piece[end:at], new)
        end = after
    parts.append(piece[end:])
    # Only one key has a piece that is a whole document. All keys share the new texts in it.
    is_whole = piece[:1] == b"{" and piece[-1:] == b"}"
    return count, tuple(parts) if is_whole else (b"".join(parts),)


def _texts(old: Names, new: Names) -> Sequence[tuple[bytes, bytes]]:
    """Return the texts to replace in a document, each by another."""
    return tuple((_member(name, old[name]), _member(name, new[name])) for name in old)


def _member(name: str, value: Json) -> bytes:
    return encode({name: value})[1:-1]


@attrs.frozen(slots=True, eq=False)
class _Members:
    """Members at the top of documents that come from the same sources.

    Attributes:
        names: Their names, sorted.
        texts: For each, `"name":value`.
        runs: Consecutive members as one text, by the numbers of the first and of the one after the last.
    """

    names: Sequence[str]
    texts: Sequence[bytes]
    runs: dict[tuple[int, int], bytes] = attrs.field(factory=dict)

    def run(self, start: int, end: int) -> bytes:
        """Return consecutive members, separated by commas."""
        known = self.runs.get((start, end))
        if known is None:
            known = self.runs[start, end] = b",".join(self.texts[start:end])
        return known


class Parts:
    """Makes documents, and finds the differences between them; see the module."""

    def __init__(self) -> None:
        # An identity names an object only while the object lives. So each entry also keeps the objects that name it.
        self._changed: dict[tuple[int, int], tuple[object, frozenset[str]]] = {}
        self._found: dict[tuple[object, ...], tuple[object, Difference]] = {}
        self._members: dict[tuple[object, ...], tuple[object, _Members]] = {}

    def document(self, sources: Sequence[PropertySource]) -> Pieces:
        """Return the effective document of sources, highest precedence first, as JSON with sorted keys, in pieces.

        Raises:
            ResolveError: As in `effective_document`.
        """
        try:
            pieces = tuple(_joined([self._members_of(*each) for each in _by_sources(sources)]))
        except ResolveError:
            # The whole document decides which error is raised.
            pieces = ()
        if pieces and (sum(map(len, pieces)) < MOST_BYTES or not any(source.has_lists for source in sources)):
            return pieces
        return (encode(effective_document(sources)),)

    def _members_of(self, sources: Sequence[PropertySource], parts: frozenset[str]) -> _Members:
        """Merge parts that are in these sources only."""
        values = [source.values for source in sources]
        name = (parts, *map(id, values))
        known = self._members.get(name)
        if known is None:
            if all(source.parts <= parts for source in sources):
                names = effective_document(sources)
            else:
                names = _merged(values, parts)
            ordered = sorted(names)
            members = _Members(ordered, [_member(each, names[each]) for each in ordered])
            known = values, members
            _keep(self._members, name, known)
        return known[1]

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


def _by_sources(sources: Sequence[PropertySource]) -> Iterator[tuple[tuple[PropertySource, ...], frozenset[str]]]:
    """Yield the parts of a document, together with those that are in the same sources."""
    holders: dict[str, tuple[PropertySource, ...]] = {}
    for source in sources:
        for part in source.parts:
            holders[part] = (*holders.get(part, ()), source)
    together: dict[tuple[int, ...], tuple[tuple[PropertySource, ...], set[str]]] = {}
    for part, held_by in holders.items():
        together.setdefault(tuple(map(id, held_by)), (held_by, set()))[1].add(part)
    for held_by, parts in together.values():
        yield held_by, frozenset(parts)


def _joined(groups: Sequence[_Members]) -> Iterator[bytes]:
    """Yield the pieces of a document from all its members."""
    ordered = sorted((name, at, number) for at, group in enumerate(groups) for number, name in enumerate(group.names))
    separator = b"{"
    for at, run in groupby(ordered, key=lambda each: each[1]):
        numbers = [number for *_, number in run]
        yield separator
        yield groups[at].run(numbers[0], numbers[-1] + 1)
        separator = b","
    yield b"}" if ordered else b"{}"


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
