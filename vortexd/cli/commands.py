"""The commands of vortexd that don't serve. Each takes its arguments, prints, and returns an exit status."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import SettingsError, StartError
from ..core.text import printable
from ..process.installation import PREFIX, Place, Result, contents, install, is_hidden, program, uninstall
from .terminal import Parser, complain, complain_of


def _token(arguments: Sequence[str]) -> int:
    """`vortexd token new NAME`: print a new token, and its entry for a token file."""
    parser = Parser(prog="vortexd token", description="Make a token. The token file gets only its digest.")
    actions = parser.add_subparsers(required=True, metavar="new")
    new = actions.add_parser("new", help="print a new token and its entry")
    new.add_argument("name", metavar="NAME", help="the owner's name in logs")
    name = parser.parse_args(arguments).name
    try:
        for line in new_token_lines(name):
            print(line)
    except SettingsError as error:
        return complain_of(error)
    return 0


def new_token_lines(name: str, **members: Any) -> list[str]:
    """Return a new token and its entry, with an explanation for people.

    Args:
        members: See `auth.tokens.entry_of`.

    Raises:
        SettingsError: The entry would be invalid.
    """
    from ..auth.tokens import entry_of, new_token

    token = new_token()
    entry = entry_of(name, token, **members)
    return [
        token,
        "",
        "The first line is the token; it is shown only once. Put this entry, with the token's patterns, into the file that [auth] tokens names:",
        "",
        *entry.splitlines(),
    ]


def _install(arguments: Sequence[str]) -> int:
    """`vortexd install-units`: install units, man pages and settings, and report on each file."""
    parser = Parser(
        prog="vortexd install-units",
        description="Install the systemd units, the man pages and /etc/vortexd/vortexd.toml. "
        "If a file was changed, it stays as it is, and a new version is installed beside it as NAME.new.",
        allow_abbrev=False,
    )
    place, is_dry = _place(parser, arguments)
    command = program()
    if is_hidden([*command, os.path.realpath(sys.executable), sys.base_prefix]):
        text = "is in a home directory or needs files there, which the service can't see (ProtectHome=)"
        remedy = "install vortexd into /opt with a system-wide Python, or allow the home directory in a drop-in"
        print(f"vortexd: warning: {printable(command[0])} {text}; {remedy}", file=sys.stderr)
    try:
        for outcome in install(place, contents(command), is_dry=is_dry):
            _print_outcome(outcome.path, outcome.result, is_dry=is_dry)
    except StartError as error:
        complain(str(error))
        return 1
    if not is_dry and place.root == Path("/"):
        print("Next: systemctl daemon-reload && systemctl enable --now vortexd.service")
    return 0


def _uninstall(arguments: Sequence[str]) -> int:
    """`vortexd uninstall-units`: remove the files that `install-units` installed."""
    parser = Parser(
        prog="vortexd uninstall-units",
        description="Remove the files that install-units has installed. A file that was changed stays. "
        "Stop and disable the units first.",
        allow_abbrev=False,
    )
    place, is_dry = _place(parser, arguments)
    try:
        for outcome in uninstall(place, is_dry=is_dry):
            _print_outcome(outcome.path, outcome.result, is_dry=is_dry)
    except StartError as error:
        complain(str(error))
        return 1
    return 0


def _place(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[Place, bool]:
    """Add the options, and return where to install and whether this is a dry run."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="the root of the system to install into (default: /)",
    )
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        default=PREFIX,
        help=f"the directory in it for units and man pages, such as /usr (default: {PREFIX})",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the actions, but don't perform them")
    options = parser.parse_args(arguments)
    if not os.path.isabs(options.prefix):
        parser.error("--prefix must be an absolute path")
    return Place(options.root, options.prefix), options.dry_run


def _print_outcome(path: Path, result: Result, *, is_dry: bool) -> None:
    print(f"{printable(str(path))}: {'would be ' if is_dry and result in _CHANGES else ''}{result.value}")


_CHANGES = (Result.INSTALLED, Result.UPDATED, Result.REMOVED)
COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "token": _token,
    "install-units": _install,
    "uninstall-units": _uninstall,
}
