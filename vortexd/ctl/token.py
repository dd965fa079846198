"""Make tokens for the server, and read token files as the server does.

It prints a new token with its entry, or the entries of token files. It doesn't contact a server. It prints neither an existing token nor a
digest.
"""

import argparse
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.commands import new_token_lines
from ..core.errors import SettingsError
from ..core.text import printable, rfc3339
from .printing import aligned
from .server import read_token

if TYPE_CHECKING:
    from ..auth.tokens import Token

_RIGHTS = ("read", "subscribe", "report", "admin")
_DEFAULT_RIGHTS = ("read", "subscribe", "report")
_DAYS = re.compile(r"([0-9]{1,5})d")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    new = actions.add_parser("new", help="print a new token and its entry for a token file", allow_abbrev=False)
    new.add_argument("name", metavar="NAME", help="the owner's name in logs")
    new.add_argument(
        "--right", action="append", choices=_RIGHTS, help=f"may be repeated (default: {', '.join(_DEFAULT_RIGHTS)})"
    )
    new.add_argument(
        "--pattern", action="append", metavar="PATTERN", help="such as billing:prod:*; may be repeated (default: *)"
    )
    new.add_argument(
        "--expires", metavar="TIME", help="such as 2027-01-01T00:00:00Z, or 90d for 90 days from now (default: never)"
    )
    for name, what in (("list", "print the entries of token files"), ("check", "check token files as the server does")):
        action = actions.add_parser(name, help=what, allow_abbrev=False)
        action.add_argument("files", nargs="+", metavar="FILE", help="a token file, or a directory of them")
    action.add_argument("--token-file", type=Path, metavar="FILE", help="print the entry of the token in FILE")


def run(arguments: argparse.Namespace) -> int:
    """Run the action. Return 1 if a file can't be used, or if no entry has the token or it has expired."""
    if arguments.action == "new":
        return _new(arguments)
    from ..auth.files import read_tokens

    try:
        tokens = read_tokens(arguments.files, Path(), os.environ)
    except SettingsError as error:
        for place, problem in error.problems:
            print(printable(f"{place}: {problem}"))
        return 1
    if arguments.action == "list":
        return _list(tokens)
    if arguments.token_file is not None:
        return _find(tokens, read_token(arguments.token_file) or "")
    print(f"{len(tokens)} {'token' if len(tokens) == 1 else 'tokens'}")
    return 0


def _new(arguments: argparse.Namespace) -> int:
    rights = arguments.right or _DEFAULT_RIGHTS
    # The right admin alone applies to the whole server and needs no pattern.
    patterns = arguments.pattern or ([] if rights == ["admin"] else ["*"])
    expires = _expiry(arguments.expires) if arguments.expires else None
    for line in new_token_lines(arguments.name, rights=rights, patterns=patterns, expires=expires):
        print(line)
    return 0


def _expiry(text: str) -> str:
    days = _DAYS.fullmatch(text)
    if days is None:
        return text
    return rfc3339(time.time() + 86_400 * int(days[1]), "seconds")


def _list(tokens: "tuple[Token, ...]") -> int:
    rows = [("NAME", "RIGHTS", "PATTERNS", "EXPIRES"), *map(_row, tokens)]
    print("\n".join(aligned(rows)))
    return 0


def _row(token: "Token") -> tuple[str, str, str, str]:
    principal = token.principal
    held = {right.value for grant in principal.grants for right in grant.rights}
    patterns = [str(pattern) for grant in principal.grants for pattern in grant.patterns]
    return principal.name, ",".join(each for each in _RIGHTS if each in held), ",".join(patterns) or "-", _end(token)


def _end(token: "Token") -> str:
    at = token.principal.expires_at
    if at is None:
        return "never"
    moment = rfc3339(at, "seconds")
    return f"{moment} (expired)" if token.principal.is_expired(time.time()) else moment


def _find(tokens: "tuple[Token, ...]", text: str) -> int:
    from ..auth.principal import Unauthorized
    from ..auth.tokens import Tokens

    try:
        principal = Tokens(tokens).find(text)
    except Unauthorized:
        print("no entry has this token")
        return 1
    found = next(each for each in tokens if each.principal is principal)
    print("\n".join(aligned([_row(found)])))
    return 1 if principal.is_expired(time.time()) else 0
