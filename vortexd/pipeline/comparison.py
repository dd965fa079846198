"""Shows the difference between two documents, for people and for programs. Pure.

The steps of a diff arrive. Rows with the old and the new values leave, as JSON or as a table. Each row is one operation
of the RFC 6902 patch, so the rows and the patch always agree.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from ..core.diff import Step
from ..core.model import Json
from ..core.text import printable

_WORDS = {"add": "added", "remove": "removed", "replace": "changed", "move": "moved"}
# A person doesn't read more rows than this, and a program uses the JSON.
_MAX_ROWS = 1_000
_MAX_WIDTH = 60


def members(step: Step) -> dict[str, Any]:
    """Return a step as JSON.

    It has its operation's `op`, `path` and, for a move, `from`. It has `old` and `new` if there are such values. For a
    move, `old` is the moved value.
    """
    operation = step.operation
    row: dict[str, Any] = {name: operation[name] for name in ("op", "path", "from") if name in operation}
    if operation["op"] != "add":
        row["old"] = step.old
    if "value" in operation:
        row["new"] = operation["value"]
    return row


def table(steps: Sequence[Step], title: str) -> str:
    """Return the steps as aligned lines, for a terminal.

    Long values are cut, and control characters can't reach the terminal.
    """
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
