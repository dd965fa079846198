"""List the acts that have changed something at the server, with the actor, the time and the reason, the newest last.

It reads the audit log from the server page by page, from the newest entry backwards, and prints it as a log.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..core.text import printable
from .acts import MISREAD, endpoint, other
from .configuration import warn
from .errors import CtlError
from .printing import Paint, add_colour_argument, paint_of
from .server import Refused, Server, add_server_arguments, server_of
from .times import moment

PATH = "/api/v1/audit"
_DEFAULT = 100
# The most entries that a server can be set to keep, and the most that it sends at once.
_MOST = 100_000
_PER_PAGE = 1_000
# A page can be short only at the end.
_MOST_PAGES = 120
_COLOURS = {"refused": "yellow", "failed": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="only entries since then: a duration such as 2h or 3d, a date, or a time such as 2026-11-29T12:00:00Z",
    )
    parser.add_argument("--act", metavar="ACT", default="", help="only this act, such as reload, pin or rollback")
    parser.add_argument("--who", metavar="NAME", default="", help="only acts of the owner of this name")
    parser.add_argument(
        "--limit", type=_count, metavar="N", default=_DEFAULT, help=f"the most entries (default: {_DEFAULT})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each entry")
    add_colour_argument(parser)
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the entries. Return 1 if there is none."""
    server = server_of(arguments)
    paint = paint_of(arguments.color, sys.stdout.isatty())
    filters = {name: text for name, text in (("act", arguments.act), ("who", arguments.who)) if text}
    try:
        entries = _entries(server, filters, arguments.since, arguments.limit)[::-1]
        lines = [json.dumps(each) if arguments.json else _line(each, paint) for each in entries]
    except MISREAD:
        raise other(server) from None
    if lines:
        print("\n".join(lines))
    elif not arguments.json:
        print("no entry of the audit log matches" if filters or arguments.since else "the audit log has no entries")
    return 0 if lines else 1


def _entries(server: Server, filters: Mapping[str, str], since: datetime | None, limit: int) -> list[dict[str, Any]]:
    """Request the entries, the newest first. Request further pages until there are as many as wanted."""
    found: list[dict[str, Any]] = []
    after: str | None = ""
    for _ in range(_MOST_PAGES):
        page = _page(server, {**filters, "limit": str(min(limit - len(found), _PER_PAGE)), "after": after or ""})
        entries, after = list(page["entries"]), page["next"]
        recent = [each for each in entries if since is None or datetime.fromisoformat(each["time"]) >= since]
        found += recent[: limit - len(found)]
        if len(recent) < len(entries) or after is None:
            return found
        if len(found) >= limit:
            break
    if since is not None:
        warn(f"only the newest {len(found)} entries are shown, and there are older ones since then; see --limit")
    return found


def _page(server: Server, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Request one page, and warn if it may lack entries."""
    asked = {name: text for name, text in parameters.items() if text}
    try:
        with endpoint(server, PATH):
            page: dict[str, Any] = server.get(PATH, asked).json()
    except Refused as error:
        if error.code == 404 and "after" in asked:
            raise CtlError("the server has shortened its audit log meanwhile; run the command again") from None
        raise
    if "after" not in asked and not page["stored"]:
        warn("the server doesn't store its newest entries in a file now, so they are lost when it stops")
    if not page.get("complete", True):
        warn("the server can't read its audit log now, so only its newest entries are shown; see the server's log")
    if page["workers_silent"]:
        warn(
            f"{int(page['workers_silent'])} workers of the server haven't answered, so their newest entries may be missing"
        )
    return page


def _line(entry: Mapping[str, Any], paint: Paint) -> str:
    """Return one entry as a line: when, what became of it, what, who, from where, and why."""
    outcome = str(entry["outcome"])
    what = " ".join(filter(None, (entry["act"], entry["target"])))
    who = entry["who"] or entry["kind"]
    where = f" from {entry['from']}" if entry["from"] else ""
    why = f": {entry['reason']}" if entry["reason"] else ""
    details = "".join(f"  {name}={text}" for name, text in entry["details"].items())
    shown = printable(outcome.ljust(7))
    if outcome in _COLOURS:
        shown = paint(shown, _COLOURS[outcome])
    return f"{printable(entry['time'])}  {shown}  {printable(f'{what}  by {who}{where}{why}{details}')}"


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST}")
    return number
