"""The commands of vortexd that don't serve: each takes its arguments, prints, and returns an exit status."""

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
    """`vortexd token new NAME`: print a new token, and its line for a token file."""
    parser = Parser(prog="vortexd token", description="Make a token; only its digest is for the token file.")
    actions = parser.add_subparsers(required=True, metavar="new")
    new = actions.add_parser("new", help="print a new token and its entry")
    new.add_argument("name", metavar="NAME", help="what the logs call its owner")
    name = parser.parse_args(arguments).name
    try:
        for line in new_token_lines(name):
            print(line)
    except SettingsError as error:
        return complain_of(error)
    return 0


def new_token_lines(name: str, **members: Any) -> list[str]:
    """A new token and its entry, as people are told.

    Args:
        members: As of `auth.tokens.entry_of`.

    Raises:
        SettingsError: The entry would be none.
    """
    from ..auth.tokens import entry_of, new_token

    token = new_token()
    entry = entry_of(name, token, **members)
    return [
        token,
        "",
        "That was the token; it is shown this once. For the file that [auth] tokens names, with the patterns it is for:",
        "",
        *entry.splitlines(),
    ]


def _install(arguments: Sequence[str]) -> int:
    """`vortexd install-units`: put units, man pages and settings in place, and say what became of each."""
    parser = Parser(
        prog="vortexd install-units",
        description="Put the units of systemd, the man pages and /etc/vortexd/vortexd.toml in place. "
        "A file that was changed stays as it is; where there is a new one, it is put beside it as NAME.new.",
        allow_abbrev=False,
    )
    place, is_dry = _place(parser, arguments)
    command = program()
    if is_hidden([*command, os.path.realpath(sys.executable), sys.base_prefix]):
        text = "is, or needs, what is in a home directory, which the service doesn't see (ProtectHome=)"
        remedy = "install vortexd into /opt with an interpreter of the system, or allow it in a drop-in"
        print(f"vortexd: warning: {printable(command[0])} {text}; {remedy}", file=sys.stderr)
    try:
        for outcome in install(place, contents(command), is_dry=is_dry):
            _tell(outcome.path, outcome.result, is_dry=is_dry)
    except StartError as error:
        complain(str(error))
        return 1
    if not is_dry and place.root == Path("/"):
        print("Next: systemctl daemon-reload && systemctl enable --now vortexd.service")
    return 0


def _uninstall(arguments: Sequence[str]) -> int:
    """`vortexd uninstall-units`: take away what `install-units` put in place."""
    parser = Parser(
        prog="vortexd uninstall-units",
        description="Remove what install-units has put in place. A file that was changed stays. "
        "Stop and disable the units before it.",
        allow_abbrev=False,
    )
    place, is_dry = _place(parser, arguments)
    try:
        for outcome in uninstall(place, is_dry=is_dry):
            _tell(outcome.path, outcome.result, is_dry=is_dry)
    except StartError as error:
        complain(str(error))
        return 1
    return 0


def _place(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[Place, bool]:
    """Where to install, and whether only to say what would happen."""
    parser.add_argument("--root", metavar="DIR", type=Path, default=Path("/"), help="the system to install into; /")
    parser.add_argument(
        "--prefix", metavar="DIR", default=PREFIX, help=f"where units and man pages go in it; {PREFIX}, or /usr"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would happen")
    options = parser.parse_args(arguments)
    if not os.path.isabs(options.prefix):
        parser.error("--prefix must be an absolute path")
    return Place(options.root, options.prefix), options.dry_run


def _tell(path: Path, result: Result, *, is_dry: bool) -> None:
    print(f"{printable(str(path))}: {'would be ' if is_dry and result in _DEEDS else ''}{result.value}")


_DEEDS = (Result.INSTALLED, Result.UPDATED, Result.REMOVED)
COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "token": _token,
    "install-units": _install,
    "uninstall-units": _uninstall,
}
