"""Turns flat keys into the nested document of a key, which the server versions, compares and pushes.

`effective_document` takes property sources, highest precedence first, and returns one mapping, by the rules of Spring's
suffix formats. No value is lost, and the result doesn't depend on the order of keys in a file:

- For a scalar, the highest source wins. A list is all keys with the same text before their first `[`. For a list, the
  highest source wins as a whole. Indexes that it leaves out are null.
- If a name has a value or a list, and also names below it, both are kept. `org: WARN` and `org.cloud: ERROR` become
  `{"org": "WARN", "org.cloud": "ERROR"}`. As in Spring, a compound name has the position of its first key.
- If a scalar and a list have the same name, the higher source wins. Within one source, the later wins.
- If a key can't be split, the rest of it is a literal name. An empty name (`a..b`, `.a`, `a.`) makes the rest of the key
  literal, with its dot: `{"a": {".b": ...}}`. Brackets that aren't an index at the end of a name (`a[x]`, `a[]`,
  `a[0]x`, `[0]`) belong to the name. A bracket that isn't closed makes the rest literal.
"""

from collections.abc import Iterable, Iterator, Sequence

import attrs

from ..core.errors import ResolveError
from ..core.model import Json, PropertySource, Scalar
from .ordinary import ordinary_document

MAX_INDEX = 10_000
# The most nulls that one document may have for indexes that lists leave out. Otherwise a few keys could fill the memory.
_MAX_GAPS = 100_000
# A key is split into at most this many levels. The rest is literal. JSON writers and readers stop at a few hundred levels.
_MAX_LEVELS = 128


@attrs.define(slots=True, eq=False)
class _Node:
    """A place in the document that may hold a value, a list and names below it at the same time.

    Attributes:
        at: The number of the key that created this place, from 0.
        rank: When the value was set. If there are a value and a list, the later one wins.
        items_rank: When an item was last added to the list.
    """

    at: int = 0
    value: Scalar = None
    rank: int = -1
    items: "dict[int, _Node] | None" = None
    items_rank: int = -1
    names: "dict[str, _Node] | None" = None

    @property
    def has_value(self) -> bool:
        """Whether the value wins over the list."""
        return self.rank > self.items_rank


def effective_document(sources: Sequence[PropertySource]) -> dict[str, Json]:
    """Merge property sources, highest precedence first, into one nested document, in linear time.

    Raises:
        ResolveError: A list index is above 10,000, or lists leave out more than 100,000 indexes in total.
    """
    document = ordinary_document(winning(sources), _MAX_LEVELS, MAX_INDEX + 1)
    return general_document(sources) if document is None else document


def general_document(sources: Sequence[PropertySource]) -> dict[str, Json]:
    """Merge property sources as `effective_document` does, whatever their keys are. Raises its errors."""
    return _Writer().mapping(_tree(merged(sources)))


def standing_keys(sources: Sequence[PropertySource]) -> set[str]:
    """Return the flat keys of `merged` whose values are in the effective document.

    If a list of the same name wins over a scalar, the scalar is missing, and vice versa.
    """
    entries = list(merged(sources))
    standing: set[int] = set()
    nodes = [_tree(entries)]
    while nodes:
        node = nodes.pop()
        if node.has_value:
            standing.add(node.rank)
        elif node.items is not None:
            nodes += node.items.values()
        if node.names is not None:
            nodes += node.names.values()
    return {key for key, _, rank in entries if rank in standing}


def _tree(entries: Iterable[tuple[str, Scalar, int]]) -> _Node:
    root = _Node()
    for at, (key, value, rank) in enumerate(entries):
        node = root
        for step in split_key(key):
            if isinstance(step, int):
                node.items = {} if node.items is None else node.items
                node.items_rank = rank
                node = node.items.setdefault(step, _Node(at))
            else:
                node.names = {} if node.names is None else node.names
                node = node.names.setdefault(step, _Node(at))
        node.value = value
        node.rank = rank
    return root


def merged(sources: Sequence[PropertySource]) -> Iterator[tuple[str, Scalar, int]]:
    """Yield the keys that win, each with a rank that grows with precedence. As in Spring, scalars come before lists."""
    scalars: dict[str, tuple[Scalar, int]] = {}
    lists: dict[str, tuple[int, dict[str, tuple[Scalar, int]]]] = {}
    rank = 0
    for layer, source in enumerate(reversed(sources)):
        for key, value in source.values.items():
            rank += 1
            prefix, bracket, _ = key.partition("[")
            if not bracket:
                scalars[key] = value, rank
                continue
            entries = lists.get(prefix)
            if entries is None or entries[0] != layer:
                entries = lists[prefix] = layer, {}
            entries[1][key] = value, rank
    for key, (value, at) in scalars.items():
        yield key, value, at
    for _, group in lists.values():
        for key, (value, at) in group.items():
            yield key, value, at


def winning(sources: Sequence[PropertySource]) -> dict[str, Scalar]:
    """Return the keys of `merged` with their values, in the same order."""
    scalars: dict[str, Scalar] = {}
    lists: dict[str, tuple[int, dict[str, Scalar]]] = {}
    for layer, source in enumerate(reversed(sources)):
        if not source.has_lists:
            scalars.update(source.values)
            continue
        for key, value in source.values.items():
            prefix, bracket, _ = key.partition("[")
            if not bracket:
                scalars[key] = value
                continue
            entries = lists.get(prefix)
            if entries is None or entries[0] != layer:
                entries = lists[prefix] = layer, {}
            entries[1][key] = value
    for _, group in lists.values():
        scalars.update(group)
    return scalars


def split_key(key: str) -> list[str | int]:
    """Split a flat key into names and list indexes. The module describes how malformed keys are split.

    Raises:
        ResolveError: An index is above 10,000.
    """
    if "[" not in key and ".." not in key and key[:1] != "." and key[-1:] != "." and key.count(".") < _MAX_LEVELS:
        return [*key.split(".")]
    steps: list[str | int] = []
    at = 0
    while True:
        end = _name_end(key, at)
        name = key[at:end]
        if len(steps) >= _MAX_LEVELS or end < 0:
            return [*steps, key[at:]]
        if not name:
            return [*steps, key[at:]]
        bare, indexes = _indexes(name)
        if len(steps) + len(indexes) >= _MAX_LEVELS:
            return [*steps, key[at:]]
        steps += [bare, *indexes]
        if end == len(key):
            return steps
        at = end + 1


def _name_end(key: str, at: int) -> int:
    """Find the end of the name that begins here: a dot outside brackets, or the key's end.

    Returns -1 if a bracket isn't closed.
    """
    while True:
        dot = key.find(".", at)
        bracket = key.find("[", at, dot if dot >= 0 else len(key))
        if bracket < 0:
            return dot if dot >= 0 else len(key)
        at = key.find("]", bracket) + 1
        if not at:
            return -1


def _indexes(name: str) -> tuple[str, list[int]]:
    """Split a name from the indexes at its end."""
    indexes: list[int] = []
    end = len(name)
    while name[end - 1] == "]":
        start = name.rfind("[", 0, end)
        digits = name[start + 1 : end - 1]
        if start <= 0 or not (digits.isascii() and digits.isdigit()):
            break
        # Python converts no text of more than 4,300 digits, not even if they are zeros.
        digits = digits.lstrip("0") or "0"
        if len(digits) > 9 or int(digits) > MAX_INDEX:
            raise ResolveError(f"a list index above {MAX_INDEX}")
        indexes.append(int(digits))
        end = start
    return name[:end], indexes[::-1]


@attrs.define(slots=True, eq=False)
class _Mapping:
    """A mapping of the document while it is being written.

    Attributes:
        places: Maps each name to the number of the key that created it.
        is_mixed: Whether the mapping contains compound names, which are out of order.
    """

    entries: dict[str, Json] = attrs.field(factory=dict)
    places: dict[str, int] = attrs.field(factory=dict)
    is_mixed: bool = False

    def ordered(self) -> dict[str, Json]:
        if not self.is_mixed:
            return self.entries
        return {name: self.entries[name] for name in sorted(self.entries, key=self.places.__getitem__)}


class _Writer:
    """Writes nodes as JSON.

    If a place has a value and also names below it, those names become compound keys of the surrounding mapping.
    """

    def __init__(self) -> None:
        self._gaps = 0

    def mapping(self, node: _Node) -> dict[str, Json]:
        """Return the names below a node as a mapping."""
        target = _Mapping()
        self._names(node, "", target)
        return target.ordered()

    def _names(self, node: _Node, prefix: str, target: _Mapping) -> None:
        """Write the names below a node into a mapping, each with the given prefix."""
        for name, child in (node.names or {}).items():
            target.is_mixed = target.is_mixed or bool(prefix)
            target.places[prefix + name] = child.at
            self._named(child, prefix + name, target)

    def _named(self, node: _Node, name: str, target: _Mapping) -> None:
        if node.rank >= 0 or node.items is not None:
            target.entries[name] = self._value(node, name, target)
            self._names(node, name + ".", target)
        else:
            target.entries[name] = self.mapping(node)

    def _value(self, node: _Node, name: str, around: _Mapping) -> Json:
        if node.items is None or node.has_value:
            return node.value
        last = max(node.items)
        self._gaps += last + 1 - len(node.items)
        if self._gaps > _MAX_GAPS:
            raise ResolveError(f"lists leave out more than {_MAX_GAPS} indexes")
        items: list[Json] = [None] * (last + 1)
        for index, item in node.items.items():
            items[index] = self._item(item, f"{name}[{index}]", around)
        return items

    def _item(self, node: _Node, name: str, around: _Mapping) -> Json:
        if node.rank >= 0 or node.items is not None:
            value = self._value(node, name, around)
            self._names(node, name + ".", around)
            return value
        return self.mapping(node)
