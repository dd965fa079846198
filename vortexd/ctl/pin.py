"""Pin a configuration: the server serves it unchanged, whatever its source says, until the pin ends.

One request puts the pin; this command then says until when it lasts.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.text import printable
from .acts import AT_KEY, LONG_TIMEOUT, post
from .configuration import warn_of_unknown
from .key import add_whole_key_arguments, checked_key
from .pins import PATH, name_of, remarks
from .server import add_server_arguments, server_of
from .times import local_and_utc, whole_seconds

# The limit of the server, in seconds.
_MOST = 90 * 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_whole_key_arguments(parser)
    parser.add_argument(
        "--to",
        metavar="VERSION|COMMIT",
        default="",
        help="a version or a commit of this configuration (default: what the server serves now)",
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; the pins and the audit log show it")
    parser.add_argument(
        "--for",
        dest="seconds",
        type=_term,
        metavar="TIME",
        help="such as 90m, 2h or 3d, and at most 90d (default: until vortexctl unpin lifts the pin)",
    )
    parser.add_argument("--json", action="store_true", help="print the pin as one JSON object")
    add_server_arguments(parser)


def _term(text: str) -> int:
    seconds = whole_seconds(text)
    if seconds > _MOST:
        raise argparse.ArgumentTypeError("must be at most 90d; without --for, the pin stays until you lift it")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Put the pin."""
    server = server_of(arguments, LONG_TIMEOUT)
    application, profile, label = checked_key(arguments)
    wanted = {"application": application, "profile": profile, "label": label}
    more = {"to": arguments.to, "reason": arguments.reason, "seconds": arguments.seconds}
    act, look = "the server has put the pin", "vortexctl pins"
    pin, lines = post(
        server,
        PATH,
        wanted | more,
        lambda pin: (pin, list(_lines(pin))),
        act=act,
        look=look,
        rights=AT_KEY,
        notice=warn_of_unknown,
    )
    print(json.dumps(pin) if arguments.json else "\n".join(lines))
    return 0


def _lines(pin: Mapping[str, Any]) -> Iterator[str]:
    key = name_of(pin)
    commit = f" (commit {pin['commit'][:12]})" if pin["commit"] else ""
    yield printable(f"{key} is pinned to version {pin['version']}{commit}")
    if pin["until"] is None:
        yield printable(f"it stays pinned until you lift the pin: vortexctl unpin {key}")
    else:
        yield f"the pin ends at {local_and_utc(pin['until'])}"
    yield from remarks([pin])
