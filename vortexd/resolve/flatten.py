"""Turns trees into flat keys, as Spring's YamlProcessor does: `a: {b: [{c: 1}]}` becomes `a.b[0].c: 1`.

`flatten` takes the tree of a document and returns its values and their places. The invariant: no result exceeds the
limits, even when it is written out with aliases expanded. No result contains text that JSON can't hold.
"""

import re
import sys
from collections.abc import Iterator
from functools import lru_cache

from ..core.errors import FormatError
from ..core.model import Scalar
from ..encryption.values import PREFIX
from ..settings.formats import FormatSettings
from .nodes import Leaf, List, Map, Node, TooManyValues

Values = dict[str, Scalar]
Origins = dict[str, tuple[int, int]]

# No JSON text that every client can read may contain these characters.
_UNFIT = re.compile("[\0\ud800-\udfff]")
_INDEX = re.compile(r"\[([0-9]+)\]")


class Budget:
    """Limits the total size of all documents of one file when written out.

    Args:
        path: The file, for errors.
        limits: This class applies `nodes`, `text_bytes`, `expanded_bytes`, `depth`, `list_index` and `ciphertexts`.
    """

    def __init__(self, path: str, limits: FormatSettings) -> None:
        self._path = path
        self._limits = limits
        self._nodes = 0
        self._bytes = 0
        self._ciphertexts = 0

    def charge_node(self, line: int | None, column: int | None) -> None:
        self._nodes += 1
        if self._nodes > self._limits.nodes:
            raise TooManyValues(self._path, self._limits.nodes, line, column, are_expanded=True)

    def charge(self, key: str, value: Scalar, line: int | None, column: int | None) -> None:
        """Count one flat key and its value.

        Raises:
            FormatError: The key or the value exceeds a limit, or contains text that JSON can't hold.
        """
        limits = self._limits
        text = value if isinstance(value, str) else None
        if _is_unfit(key) or (text is not None and _is_unfit(text)):
            self.refuse("a NUL character or half of a surrogate pair", line, column)
        key_bytes, value_bytes = size(key), 8 if text is None else size(text)
        self._bytes += key_bytes + value_bytes
        if key_bytes > limits.text_bytes or value_bytes > limits.text_bytes:
            self.refuse(f"a key or value of more than {limits.text_bytes} bytes", line, column)
        if self._bytes > limits.expanded_bytes:
            self.refuse(f"more than {limits.expanded_bytes} bytes of keys and values", line, column)
        if key.count(".") + key.count("[") > limits.depth:
            self.refuse(f"a key nested deeper than {limits.depth} levels", line, column)
        if text is not None and text.startswith(PREFIX):
            self._ciphertexts += 1
            if self._ciphertexts > limits.ciphertexts:
                self.refuse(f"more than {limits.ciphertexts} encrypted values; split the file", line, column)
        if "[" in key:
            for match in _INDEX.finditer(key):
                # Python converts no text of more than 4,300 digits, not even if they are zeros.
                digits = match[1].lstrip("0") or "0"
                if len(digits) > 9 or int(digits) > limits.list_index:
                    self.refuse(f"a list index above {limits.list_index}", line, column)

    def refuse(self, reason: str, line: int | None, column: int | None) -> None:
        raise FormatError(self._path, reason, line, column)


def flatten(root: Node, budget: Budget, depth: int) -> tuple[Values, Origins]:
    """Flatten one document. If a key occurs twice (`a.b: 1` and `a: {b: 2}`), the later value wins.

    Empty lists and nulls become "". Empty mappings are left out. If a document isn't a mapping, its key is `document`.

    Args:
        depth: How deeply nodes may nest, aliases expanded.

    Raises:
        FormatError: As in `Budget.charge`.
    """
    values: Values = {}
    origins: Origins = {}
    stack = [_children("", root)] if type(root) is Map else [iter([("document", root)])]
    while stack:
        for key, node in stack[-1]:
            budget.charge_node(node.line, node.column)
            if type(node) is Leaf:
                value = "" if node.value is None else node.value
            elif node.entries if type(node) is Map else node.items:  # type: ignore[union-attr]  # a Leaf was handled above
                if len(stack) >= depth:
                    budget.refuse(f"nested deeper than {depth} levels, aliases expanded", node.line, node.column)
                stack.append(_children(key, node))
                break
            elif type(node) is Map:
                continue
            else:
                value = ""
            budget.charge(key, value, node.line, node.column)
            # Many files have the same keys, at the same places. They share the texts and the places.
            key = sys.intern(key)
            values[key] = value
            if node.line is not None and node.column is not None:
                origins[key] = _place(node.line, node.column)
        else:
            stack.pop()
    return values, origins


@lru_cache(maxsize=8_192)
def _place(line: int, column: int) -> tuple[int, int]:
    return line, column


def is_nothing(root: Node) -> bool:
    """Return whether a document is empty or null. A mapping without entries is not nothing."""
    return type(root) is Leaf and root.value is None


def _is_unfit(text: str) -> bool:
    return "\0" in text if text.isascii() else _UNFIT.search(text) is not None


def size(text: str) -> int:
    """Return the size of a text in UTF-8, in bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _children(prefix: str, node: Node) -> Iterator[tuple[str, Node]]:
    if type(node) is List:
        for index, item in enumerate(node.items):
            yield f"{prefix}[{index}]", item
    elif type(node) is Map:
        # As Spring does: join without a dot before `[`, and leave out a blank path.
        is_blank = not prefix.strip()
        for key, value in node.entries.items():
            if is_blank:
                yield key, value
            else:
                yield (prefix + key if key.startswith("[") else f"{prefix}.{key}"), value
