"""Draft a JSON Schema for the gate from what the server serves of an application.

It reads the documents of all profiles of the application that have files or are in use, and prints a schema that all of them keep.
"""

import argparse
import json

from ..gate.inference import inferred
from .configuration import read_configuration
from .errors import CtlError
from .printing import put
from .server import Server, add_server_arguments, server_of

# At most this many documents are read, and this many keys are listed at a time.
_MOST, _PAGE = 1_000, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    parser.add_argument("action", choices=("infer",), help="print a draft, to be edited by hand")
    parser.add_argument("app", metavar="APP", help="the name of the application")
    parser.add_argument("--label", metavar="LABEL", help="a branch, a tag or a label directory (default: all labels)")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the schema. Return 1 if the server has no such application."""
    server = server_of(arguments)
    keys = _keys(server, arguments.app, arguments.label)
    if not keys:
        raise CtlError(
            f"the server has no configuration of {arguments.app} that the token may read; see vortexctl get {arguments.app}",
            1,
        )
    documents = [read_configuration(server, *key).document for key in keys]
    put(json.dumps(inferred(documents), indent=2, ensure_ascii=True) + "\n")
    return 0


def _keys(server: Server, application: str, label: str | None) -> list[tuple[str, str, str]]:
    """Return the application, profile and label of each key of an application.

    Raises:
        CtlError: As in `Server.get`; or there are too many keys; or the answer isn't that of a vortexd.
    """
    found: list[tuple[str, str, str]] = []
    asked = {"app": application, "limit": str(_PAGE)} | ({} if label is None else {"label": label})
    while True:
        page = server.get("/api/v1/keys", asked).json()
        try:
            found += [(each["app"], each["profile"], each["label"]) for each in page["keys"]]
            following = page["next"]
        except (KeyError, TypeError):
            raise CtlError(f"{server.url} doesn't answer as a vortexd of this version does; see --server") from None
        if len(found) > _MOST:
            raise CtlError(f"{application} has more than {_MOST} configurations; name a label with --label", 1)
        if following is None:
            return found
        asked["after"] = following
