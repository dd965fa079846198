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


def add_whole_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name one configuration, also in the form APP:PROFILE:LABEL; see `whole_key`."""
    parser.add_argument(
        "app", metavar="APP", help="the application, or the whole key as APP:PROFILE or APP:PROFILE:LABEL"
    )
    parser.add_argument(
        "profile", metavar="PROFILE", nargs="?", help="the profile, or PROFILE:LABEL (default: default)"
    )
    parser.add_argument("--label", metavar="LABEL", help="a branch, a tag or a label directory (default: the server's)")


def whole_key(arguments: argparse.Namespace) -> tuple[str, str, str | None]:
    """Return the application, the profile and the label that a command line names. Without a label, it is None.

    Raises:
        CtlError: A part is named twice, or is empty.
    """
    parts = arguments.app.split(":")
    is_clear = len(parts) == 1 or arguments.profile is None
    parts += arguments.profile.split(":") if arguments.profile is not None else ["default"][len(parts) - 1 :]
    if arguments.label is not None:
        is_clear &= len(parts) == 2
        parts.append(arguments.label)
    if not is_clear or len(parts) > 3 or not all(parts):
        raise CtlError("name one configuration as APP:PROFILE:LABEL, or as APP PROFILE --label LABEL", 2)
    application, profile, *label = parts
    return application, profile, label[0] if label else None


def checked_key(arguments: argparse.Namespace) -> tuple[str, str, str]:
    """Return the same as `whole_key`, but "" without a label.

    Raises:
        CtlError: As `whole_key`; or a name is invalid.
    """
    application, profile, label = whole_key(arguments)
    key_path(application, profile, label)
    return application, profile, label or ""


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
