"""Lift the pin of a configuration, so that the server follows its source again.

One request lifts the pin of exactly this key.
"""

import argparse

from ..core.text import printable
from .acts import AT_KEY, endpoint, unknown_outcome
from .key import add_whole_key_arguments, key_path, whole_key
from .pins import PATH
from .server import add_server_arguments, server_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_whole_key_arguments(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; the audit log shows it")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Lift the pin."""
    server = server_of(arguments)
    key = whole_key(arguments)
    path = PATH + key_path(*key)
    with endpoint(server, PATH, AT_KEY), unknown_outcome(server, "the server has lifted the pin", "vortexctl pins"):
        server.delete(path, {"reason": arguments.reason} if arguments.reason else {})
    print(printable(f"{':'.join(filter(None, key))} is no longer pinned"))
    return 0
