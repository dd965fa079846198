"""Show the changes between two versions, labels, commits or times.

The server compares; this command prints the old and the new values. The exit status is that of diff(1): 0 if both sides are the same.
"""

import argparse
import json
import re
import sys

from ..core.text import printable
from .changes import lines_of
from .configuration import warn_of_conditions, warn_of_unknown
from .errors import CtlError
from .key import add_key_arguments, key_path
from .printing import add_colour_argument, paint_of
from .server import Refused, add_server_arguments, server_of

FORMS = ("text", "json", "patch")
# Without "commit:", such a side is a version of 16 digits, or else a label.
_COMMIT = re.compile(r"[0-9a-f]{4,64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_key_arguments(parser)
    side = "a version, a label, version:VERSION, label:LABEL, commit:ID or date:TIME"
    parser.add_argument("--from", dest="old", metavar="SIDE", help=f"{side} (default: the previous version)")
    parser.add_argument("--to", dest="new", metavar="SIDE", help=f"{side} (default: the current version)")
    parser.add_argument(
        "--output", choices=FORMS, metavar="FORM", default="text", help=f"{', '.join(FORMS)} (RFC 6902); default: text"
    )
    add_colour_argument(parser)
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the difference. Return 1 if there is one."""
    server = server_of(arguments)
    sides = {"from": arguments.old, "to": arguments.new}
    path = "/api/v1/diff" + key_path(arguments.app, arguments.profile, arguments.label)
    try:
        answer = server.get(path, {name: side for name, side in sides.items() if side is not None})
    except Refused as error:
        hexadecimal = [side for side in sides.values() if side and _COMMIT.fullmatch(side)]
        if error.code != 404 or not hexadecimal:
            raise
        named = " and ".join(f"commit:{side}" for side in hexadecimal)
        raise Refused(f"{error}; if you mean a commit, write {named}", 404, error.reason) from None
    comparison = answer.json()
    warn_of_unknown(answer)
    warn_of_conditions(answer)
    try:
        patch, rows = comparison["patch"], comparison["changes"]
        title = f"{comparison['app']}:{comparison['profile']}"
        old, new = (_named(comparison[side]) for side in ("from", "to"))
        paint = paint_of(arguments.color, sys.stdout.isatty())
        lines = [line for row in rows for line in lines_of(row, paint)]
    except (KeyError, TypeError, AttributeError):
        raise CtlError(f"{server.url} doesn't answer as a vortexd of this version does; see --server") from None
    if arguments.output != "text":
        print(json.dumps(comparison if arguments.output == "json" else patch))
    else:
        print(paint(printable(f"{title}  {old} -> {new}"), "bold"))
        print("\n".join(lines or ["no difference"]))
    return 1 if rows else 0


def _named(side: dict[str, str]) -> str:
    """Return the text of one side, as in the server's own table."""
    commit = f" (commit {side['commit'][:12]})" if "commit" in side else ""
    return f"{side['label']}@{side['version']}{commit}"
