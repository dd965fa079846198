"""What has changed from one document to another, for people and for programs. Pure.

In come the steps of a diff, out go rows that say what was there and what is there now, as JSON or as a table. The rows are those of the RFC 6902
patch, one by one, so the two never say different things.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from ..core.diff import Step
from ..core.model import Json
from ..core.text import printable

_WORDS = {"add": "added", "remove": "removed", "replace": "changed", "move": "moved"}
# A person reads no more, and a program takes the JSON.
_MAX_ROWS = 1_000
_MAX_WIDTH = 60


def members(step: Step) -> dict[str, Any]:
    """A step as JSON: its operation's `op`, `path` and, of a move, `from`; `old` and `new` where there is such a value. What is moved is `old`."""
    operation = step.operation
    row: dict[str, Any] = {name: operation[name] for name in ("op", "path", "from") if name in operation}
    if operation["op"] != "add":
        row["old"] = step.old
    if "value" in operation:
        row["new"] = operation["value"]
    return row


def table(steps: Sequence[Step], title: str) -> str:
    """The steps as aligned lines, for a terminal: long values are cut, and nothing in them can steer it."""
    if not steps:
        return f"{title}\nno difference\n"
    rows = [("", "path", "old", "new"), *map(_cells, steps[:_MAX_ROWS])]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [title]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join((*cells, row[-1])).rstrip())
    if len(steps) > _MAX_ROWS:
        lines.append(f"and {len(steps) - _MAX_ROWS} more")
    return "\n".join(lines) + "\n"


def _cells(step: Step) -> tuple[str, str, str, str]:
    row = members(step)
    path = f"{row['from']} -> {row['path']}" if "from" in row else row["path"]
    old, new = (_text(row[name]) if name in row else "" for name in ("old", "new"))
    return _WORDS[row["op"]], _cut(path), old, new


def _text(value: Json) -> str:
    return _cut(orjson.dumps(value).decode())


def _cut(text: str) -> str:
    text = printable(text[: _MAX_WIDTH + 1])
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 3] + "..."
