"""The arguments that name one configuration, and the URL path of that configuration."""

import argparse
import difflib
from collections.abc import Sequence
from urllib.parse import quote

from ..core import names
from ..core.errors import InvalidName
from .errors import CtlError

_NEAR = 3


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name one configuration."""
    parser.add_argument("app", metavar="APP", help="the application")
    parser.add_argument(
        "profile", metavar="PROFILE", nargs="?", default="default", help="the profile (default: default)"
    )
    parser.add_argument("--label", metavar="LABEL", help="a branch, a tag or a label directory (default: the server's)")


def key_path(application: str, profile: str, label: str | None) -> str:
    """Return `/{application}/{profiles}[/{label}]`, escaped for a URL.

    Raises:
        CtlError: A name is invalid.
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
    # Spring writes a slash in a name as "(_)", because proxies treat %2F in different ways.
    return "".join("/" + quote(part.replace("/", "(_)"), safe="(_)@+,") for part in parts)


def near(wanted: Sequence[str], known: Sequence[str]) -> str:
    """Return the end of a sentence that names the known keys most similar to the missing ones, or ""."""
    found: list[str] = []
    for key in wanted:
        found += difflib.get_close_matches(key, known, _NEAR)
        found += [each for each in known if each.rpartition(".")[2] == key.rpartition(".")[2]]
    found = list(dict.fromkeys(found))[:_NEAR]
    return f"; similar {'keys' if len(found) > 1 else 'key'}: {', '.join(found)}" if found else ""
