"""Trees of parsed values, and the builder that makes them within limits.

The parsers of YAML, JSON and TOML report their input, event by event. The builder makes a tree of `Leaf`, `Map` and
`List`. Aliases make it a graph without cycles, because a node may have several parents. So only `flatten` knows the
size of a node when it is written out. No function here recurses, however deep the nesting.
"""

from typing import NoReturn, TypeAlias

import attrs

from ..core.errors import FormatError
from ..core.model import Scalar
from ..settings.formats import FormatSettings


@attrs.define(slots=True, eq=False)
class Leaf:
    """A scalar and its place. Lines and columns count from 1. They are None if the format doesn't record them."""

    value: Scalar
    line: int | None = None
    column: int | None = None


@attrs.define(slots=True, eq=False)
class Map:
    """A mapping.

    Attributes:
        entries: Maps each key to its value. The key is in flattened form: `name`, or `[200]` if it isn't a string.
        typed: The keys that aren't strings, as text.
        merges: The nodes that `<<` merges, until the mapping is closed.
        is_open: Whether it is still being read. If so, an alias to it would be recursive.
    """

    line: int | None = None
    column: int | None = None
    entries: "dict[str, Node]" = attrs.field(factory=dict)
    typed: set[str] | None = None
    merges: "list[Node] | None" = None
    is_open: bool = True


@attrs.define(slots=True, eq=False)
class List:
    """A sequence. `is_open` has the meaning that it has in `Map`."""

    line: int | None = None
    column: int | None = None
    items: "list[Node]" = attrs.field(factory=list)
    is_open: bool = True


Node: TypeAlias = Leaf | Map | List

# Replaces the key `<<`. The next node isn't an entry. It is merged into the mapping.
MERGE = "<<"


class TooManyValues(FormatError):
    """A file has more values than `formats.nodes` allows."""

    def __init__(
        self, path: str, nodes: int, line: int | None, column: int | None, *, are_expanded: bool = False
    ) -> None:
        expanded = ", aliases expanded" if are_expanded else ""
        super().__init__(path, f"more than {nodes} values{expanded}; split the file", line, column)


class Builder:
    """Builds the documents of one file. The limits apply to all of them together.

    Args:
        path: The file, for errors.
        limits: This class applies `depth`, `nodes`, `documents` and `list_index`.

    Attributes:
        documents: The finished documents, in file order.
        needs_key: Whether the next node is a key of a mapping.
    """

    def __init__(self, path: str, limits: FormatSettings) -> None:
        self.path = path
        self.limits = limits
        self.documents: list[Node] = []
        self._open: list[Map | List] = []
        # For each open container, the key whose value comes next.
        self._keys: list[str | None] = []
        self._is_merge = False
        self._nodes = 0

    @property
    def needs_key(self) -> bool:
        return bool(self._open) and self._keys[-1] is None and type(self._open[-1]) is Map

    @property
    def container(self) -> Map | List | None:
        """The innermost container that is still open."""
        return self._open[-1] if self._open else None

    def error(self, reason: str, line: int | None, column: int | None) -> FormatError:
        return FormatError(self.path, reason, line, column)

    def count(self, nodes: int, line: int | None, column: int | None) -> None:
        """Count nodes of the file.

        Raises:
            TooManyValues: There are more than the limit.
        """
        self._nodes += nodes
        if self._nodes > self.limits.nodes:
            self._refuse(line, column)

    def _refuse(self, line: int | None, column: int | None) -> NoReturn:
        raise TooManyValues(self.path, self.limits.nodes, line, column)

    def key(self, text: str, is_text: bool, line: int | None, column: int | None) -> None:
        """Set the key of the next node. `is_text` is whether it was a string in the file."""
        mapping = self._open[-1]
        assert type(mapping) is Map
        flat = text if is_text else f"[{text}]"
        if (
            flat in mapping.entries
            or (mapping.typed and text in mapping.typed)
            or (not is_text and text in mapping.entries)
        ):
            raise self.error(f"duplicate key {shown(text)}; keep one of them", line, column)
        if not is_text:
            mapping.typed = set() if mapping.typed is None else mapping.typed
            mapping.typed.add(text)
        self._keys[-1] = flat

    def merge_key(self) -> None:
        """Merge the next node into the open mapping."""
        self._keys[-1] = MERGE
        self._is_merge = True

    def add(self, node: Node) -> None:
        """Add a node: to the open container under its key, or as a new document."""
        self._nodes += 1
        if self._nodes > self.limits.nodes:
            self._refuse(node.line, node.column)
        if not self._open:
            if len(self.documents) >= self.limits.documents:
                raise self.error(f"more than {self.limits.documents} documents; split the file", node.line, node.column)
            self.documents.append(node)
            return
        container = self._open[-1]
        if type(container) is List:
            if len(container.items) > self.limits.list_index:
                raise self.error(f"a list with an index above {self.limits.list_index}", node.line, node.column)
            container.items.append(node)
            return
        assert type(container) is Map
        key, self._keys[-1] = self._keys[-1], None
        assert key is not None
        if self._is_merge:
            self._is_merge = False
            container.merges = [] if container.merges is None else container.merges
            container.merges.append(node)
        else:
            container.entries[key] = node

    def open(self, container: Map | List) -> None:
        """Add a container, and make it the innermost open container."""
        self.add(container)
        if len(self._open) >= self.limits.depth:
            reason = f"nested deeper than {self.limits.depth} levels"
            raise self.error(reason, container.line, container.column)
        self._open.append(container)
        self._keys.append(None)

    def close(self) -> None:
        """Close the innermost container. If it merges mappings, their entries become its own."""
        container = self._open.pop()
        self._keys.pop()
        container.is_open = False
        if type(container) is Map and container.merges is not None:
            self._merge(container)

    def _merge(self, mapping: Map) -> None:
        """Add the entries of the mappings that `<<` names. The mapping's own keys win, then the keys of earlier merges.

        Every examined key is counted, so that merges of merges can't multiply.
        """
        merged: dict[str, Node] = {}
        for source in mapping.merges or ():
            for each in source.items if type(source) is List else [source]:
                if type(each) is not Map:
                    reason = "`<<` can only merge a mapping, or a list of mappings"
                    raise self.error(reason, mapping.line, mapping.column)
                self.count(len(each.entries), mapping.line, mapping.column)
                for key, node in each.entries.items():
                    merged.setdefault(key, node)
        mapping.merges = None
        mapping.entries = merged | mapping.entries


def shown(key: str) -> str:
    """Return a key in a form for errors. It is bounded, and it can't forge a line of a log."""
    return ascii(key if len(key) <= 100 else key[:100] + "...")
