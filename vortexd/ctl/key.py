"""The arguments that name one configuration, and the path that they are."""

import argparse
import difflib
from collections.abc import Sequence
from urllib.parse import quote

from ..core import names
from ..core.errors import InvalidName
from .errors import CtlError

_NEAR = 3


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name one configuration."""
    parser.add_argument("app", metavar="APP", help="the application")
    parser.add_argument("profile", metavar="PROFILE", nargs="?", default="default", help="the profile; default")
    parser.add_argument(
        "--label", metavar="LABEL", help="a branch, a tag or a label directory; else the server's default"
    )


def key_path(application: str, profile: str, label: str | None) -> str:
    """`/{application}/{profiles}[/{label}]`, to stand in a path.

    Raises:
        CtlError: One of them can't be a name.
    """
    try:
        parts = [names.application(application), names.profile(profile)]
        if label is not None:
            parts.append(names.labels(label))
    except InvalidName as error:
        raise CtlError(
            f"{error}; names are letters, digits, dots, hyphens and underscores; profiles and labels may hold + and @",
            2,
        ) from None
    # A slash within a name is written as Spring has it: proxies are at odds about %2F.
    return "".join("/" + quote(part.replace("/", "(_)"), safe="(_)@+,") for part in parts)


def near(wanted: Sequence[str], known: Sequence[str]) -> str:
    """The end of a sentence that names those keys that are most like some that there aren't, or nothing."""
    found: list[str] = []
    for key in wanted:
        found += difflib.get_close_matches(key, known, _NEAR)
        found += [each for each in known if each.rpartition(".")[2] == key.rpartition(".")[2]]
    found = list(dict.fromkeys(found))[:_NEAR]
    return f"; near it {'are' if len(found) > 1 else 'is'} {', '.join(found)}" if found else ""
