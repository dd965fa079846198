"""Show the commits that changed a configuration, the newest first.

The server reads them from its mirrors of the repositories; this command prints each commit with the old and the new values.
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterator
from typing import Any

from ..core.text import printable
from .changes import lines_of
from .configuration import warn, warn_of_conditions, warn_of_unknown
from .errors import CtlError
from .key import add_key_arguments, key_path
from .printing import Paint, add_colour_argument, paint_of
from .server import Server, add_server_arguments, server_of

_DEFAULT = 20
_MOST = 1_000
# The most commits that one request asks for, and the most requests. A server may answer with fewer commits.
_PER_PAGE = 100
_MOST_PAGES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_key_arguments(parser)
    parser.add_argument(
        "key", metavar="KEY", nargs="?", default="", help="show only commits that changed this key, or a key below it"
    )
    parser.add_argument(
        "--limit", type=_count, metavar="N", default=_DEFAULT, help=f"the most commits (default: {_DEFAULT})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each commit")
    add_colour_argument(parser)
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the commits. Return 1 if there is none."""
    server = server_of(arguments)
    paint = paint_of(arguments.color, sys.stdout.isatty())
    path = "/api/v1/history" + key_path(arguments.app, arguments.profile, arguments.label)
    count = 0
    for commit, has_place in _commits(server, path, arguments.key, arguments.limit):
        try:
            lines = [json.dumps(commit)] if arguments.json else list(_lines(commit, paint, has_place=has_place))
        except (KeyError, TypeError, AttributeError):
            raise _other(server) from None
        print("\n".join(lines if arguments.json or not count else ["", *lines]))
        count += 1
    if not count and not arguments.json:
        print("no commit changed this")
    return 0 if count else 1


def _commits(server: Server, path: str, key: str, limit: int) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield each commit, and whether there are commits of several sources or labels.

    Request further pages until there are as many as wanted.
    """
    after, searched = "", 0
    for number in range(_MOST_PAGES):
        query = {"limit": str(min(limit, _PER_PAGE)), "key": key, "after": after}
        answer = server.get(path, {name: value for name, value in query.items() if value})
        page = answer.json()
        if not number:
            warn_of_unknown(answer)
            warn_of_conditions(answer)
        try:
            commits, after, is_complete = list(page["commits"])[:limit], page["next"], page["complete"]
            searched += page["searched"]
            layers = {(each["source"], each["label"]): each["kind"] for each in page["layers"]}
        except (KeyError, TypeError):
            raise _other(server) from None
        if not number:
            for source in dict.fromkeys(source for (source, _), kind in layers.items() if kind == "none"):
                warn(f"the server knows no history of {printable(source)}; its files count as they are now")
        yield from ((commit, len(layers) > 1) for commit in commits)
        limit -= len(commits)
        if limit <= 0 or after is None:
            if after is None and not is_complete:
                warn(
                    f"the server knows only the newest {searched} {_named(layers.values())}; older ones may have changed this, too"
                )
            return
    warn(f"only the newest {searched} commits were searched")


def _lines(commit: dict[str, Any], paint: Paint, *, has_place: bool) -> Iterator[str]:
    place = f"{commit['source']} ({commit['label']})" if has_place else ""
    # A version of a directory has no author and no message.
    title = [commit["commit"][:12], commit["time"], commit["author"], place]
    yield paint(printable("  ".join(each for each in title if each)), "bold")
    if commit["message"]:
        yield printable(f"    {commit['message']}")
    for row in commit["changes"]:
        yield from lines_of(row, paint)
    if commit["left_out"]:
        yield f"and {int(commit['left_out'])} more changes"


def _named(kinds: Collection[str]) -> str:
    """Return the word for commits, for versions of directories, or for both."""
    named = [each for each in ("commits", "versions") if each in kinds]
    return " and ".join(named) or "commits"


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST}")
    return number


def _other(server: Server) -> CtlError:
    return CtlError(f"{server.url} doesn't answer as a vortexd of this version does; see --server")
