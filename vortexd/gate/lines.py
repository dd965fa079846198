"""Finds the line of a place in a schema, by the JSON parser that reads configuration files. Pure."""

from collections.abc import Sequence

from ..core.errors import FormatError
from ..resolve.json import parse_json
from ..resolve.nodes import List, Map, Node
from ..settings.formats import FormatSettings

# A schema may be nested more deeply than a configuration file.
_LIMITS = FormatSettings(depth=500, nodes=1_000_000)


def line_of(text: str, steps: Sequence[str | int]) -> int | None:
    """Return the line of a place in a JSON text, or of its nearest surrounding place. None if the text isn't usable."""
    try:
        [node] = parse_json("", text, _LIMITS)
    except (FormatError, ValueError):
        return None
    line = node.line
    for step in steps:
        inner = _step(node, step)
        if inner is None:
            break
        node = inner
        line = node.line or line
    return line


def _step(node: Node, step: str | int) -> Node | None:
    if isinstance(node, Map):
        return node.entries.get(str(step))
    if isinstance(node, List) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None


def syntax_problem(name: str, content: bytes) -> tuple[str, int | None] | None:
    """Return why bytes aren't a JSON text, and the line. None if they are one. The reason quotes no value."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return "not UTF-8", content.count(b"\n", 0, error.start) + 1
    try:
        nodes = parse_json(name, text, _LIMITS)
    except FormatError as error:
        return error.reason, error.line
    if not isinstance(nodes[0], Map):
        return "a schema must be an object", nodes[0].line
    return None
