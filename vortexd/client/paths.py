"""Paths into a nested document: `database.pool.size` and `servers[0].host`. Takes a document and a path, returns a value. Pure.

A document may have keys that contain dots or brackets themselves. At each level, the longest text that is a key comes first, and
shorter ones follow only if it leads nowhere. So a key with dots takes precedence over the same path through nested mappings.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Element = str | int
_MAX_DIGITS = 9


class NotFound(KeyError):
    """The document has nothing at a path. The text names the path and the part that is missing, and quotes no value."""

    def __str__(self) -> str:
        return str(self.args[0])


def find(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path.

    Raises:
        NotFound: There is no such value.
    """
    # Where the walk got furthest: the rest of the path that leads nowhere.
    furthest = [path]
    for value in _walk(document, path, furthest):
        return value
    found = path[: len(path) - len(furthest[0])].rstrip(".")
    raise NotFound(f"{path!r}: {found!r} has no {furthest[0]!r}" if found else f"{path!r}: there is no {furthest[0]!r}")


def text_of(elements: Sequence[Element]) -> str:
    """Write names and indexes as a path, as the server writes flat keys."""
    text = ""
    for element in elements:
        if isinstance(element, int):
            text += f"[{element}]"
        else:
            text += f".{element}" if text and not element.startswith("[") else element
    return text


def _walk(node: Any, rest: str, furthest: list[str]) -> Iterator[Any]:
    if not rest:
        yield node
        return
    if len(rest) < len(furthest[0]):
        furthest[0] = rest
    if isinstance(node, Mapping):
        for end in _ends(rest):
            if rest[:end] in node and (after := _after(rest, end)) is not None:
                yield from _walk(node[rest[:end]], after, furthest)
    if rest[0] == "[" and (end := rest.find("]")) > 0 and (after := _after(rest, end + 1)) is not None:
        inside = rest[1:end]
        if isinstance(node, list) and _is_index(inside) and int(inside) < len(node):
            yield from _walk(node[int(inside)], after, furthest)
        elif isinstance(node, Mapping) and inside in node:
            yield from _walk(node[inside], after, furthest)


def _ends(rest: str) -> Iterator[int]:
    """Yield the ends of the names with which a path can begin, the longest first."""
    yield len(rest)
    for end in range(len(rest) - 1, 0, -1):
        if rest[end] in ".[":
            yield end


def _after(rest: str, end: int) -> str | None:
    """Return the path after a name. None if a dot ends it, or if text follows a bracket."""
    if rest[end : end + 1] == ".":
        return rest[end + 1 :] or None
    return rest[end:] if rest[end : end + 1] in ("", "[") else None


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
