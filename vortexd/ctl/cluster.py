"""Remove a node that is away from its cluster.

It asks any other node of the cluster. A node that runs is never removed: it leaves by itself when it is stopped.
"""

import argparse
from urllib.parse import quote

from ..core.text import printable
from .server import add_server_arguments, server_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument("action", choices=("forget",), help="remove a node that is away, and its last counts")
    parser.add_argument("node", metavar="NODE", help="the name of the node, as vortexctl fleet shows it")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Remove the node."""
    server_of(arguments).delete(f"/api/v1/cluster/members/{quote(arguments.node, safe='')}")
    print(f"forgotten: {printable(arguments.node)}")
    return 0
