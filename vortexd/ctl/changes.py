"""Formats the changes of a document as lines for people. Pure.

It takes rows `{op, path, from, old, new}`, as vortexd-api(7) describes them for differences. Lines with the old value begin with `-`, lines
with the new value with `+`. No value can control the terminal.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.model import Json
from ..core.text import printable
from .printing import Paint

# The most characters of one value. JSON output has the whole value.
_MAX_WIDTH = 200


def lines_of(row: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    """Yield the lines of one row."""
    path = printable(str(row["path"])) or "(all)"
    if "from" in row:
        yield paint(f"- {printable(str(row['from']))}: {brief(row.get('old'))}", "red")
        yield paint(f"+ {path}: {brief(row.get('old'))}", "green")
        return
    if "old" in row:
        yield paint(f"- {path}: {brief(row['old'])}", "red")
    if "new" in row:
        yield paint(f"+ {path}: {brief(row['new'])}", "green")


def brief(value: Json, width: int = _MAX_WIDTH) -> str:
    """Return a value as JSON on one line, shortened if it is long."""
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= width else text[: width - 3] + "..."
