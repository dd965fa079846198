"""Changes of a document as lines for people. Pure.

In come rows `{op, path, from, old, new}`, as vortexd-api(7) has them in differences; out go lines that begin with `-` for what was there and with
`+` for what is there now. Nothing in a value steers a terminal.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.model import Json
from ..core.text import printable
from .printing import Paint

# Of one value; whoever wants all of it takes JSON.
_MAX_WIDTH = 200


def lines_of(row: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    """The lines of one row."""
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
    """A value as JSON on one line, cut where it is long."""
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= width else text[: width - 3] + "..."
