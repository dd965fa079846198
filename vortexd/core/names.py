"""Validates applications, profiles and labels from every sender.

HTTP paths (including paths of plain files), the WebSocket path and its query, and messages are all checked here. The rule
(ATTACKS P01-P17 in the tests) has three steps. Percent-decoding happens exactly once, then `(_)` becomes `/` exactly
once, and then the final string must match an allow-list. Nothing is normalised, so no later step can produce `.` or `/`.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from .errors import InvalidName
from .model import Key

MAX_NAME_LENGTH = 128
MAX_LIST_LENGTH = 16
MAX_PATH_LENGTH = 1_024

# One segment of an application. It isn't empty, `.` or `..`, isn't hidden, and doesn't look like an option.
_SEGMENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
# One segment of a label, which is a branch or tag: `v1.2.3+build.5`, `dependabot/npm/@types/node`.
_LABEL_SEGMENT = re.compile(r"[A-Za-z0-9_+@](?:[A-Za-z0-9._+@-]*[A-Za-z0-9_+@-])?")
# Spring's rule for profiles (PathUtils.isInvalidProfiles): a profile begins and ends with a letter or digit.
_PROFILE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+@-]*[A-Za-z0-9])?")

# These characters begin a fragment, a query, a second encoding, a URL or a path of another system.
_NOT_IN_PATHS = re.compile(r"[#?%:\\]")
_NOT_SERVED = ("", "WEB-INF", "META-INF")


def decode_segment(raw: str) -> str:
    """Percent-decode one path segment or query value, exactly once.

    Raises:
        InvalidName: The decoded bytes aren't UTF-8. (The allow-lists refuse a `%` that remains.)
    """
    if "%" not in raw and raw.isascii():
        return raw
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeError:
        raise InvalidName("a name isn't valid UTF-8") from None


def application(text: str) -> str:
    """Validate an application, or several separated by commas. As in Spring, `(_)` means `/`."""
    return _names(text, "application", _is_path)


def profile(text: str) -> str:
    """Validate a profile, or several separated by commas."""
    return _names(text, "profile", lambda name: _PROFILE.fullmatch(name) is not None and ".." not in name)


def label(text: str) -> str:
    """Validate a label. As in Spring, `(_)` means `/`."""
    name = text.replace("(_)", "/")
    if len(name) > MAX_NAME_LENGTH or text.startswith("(_)") or not _is_path(name, _LABEL_SEGMENT):
        raise InvalidName("invalid label")
    return name


def labels(text: str) -> str:
    """Validate a label, or several separated by commas, as a client requests them."""
    found = text.split(",")
    if len(found) > MAX_LIST_LENGTH:
        raise InvalidName(f"more than {MAX_LIST_LENGTH} labels")
    return ",".join(map(label, found))


def file_path(text: str) -> str | None:
    """Validate the path of a file that a client requests by name. As in Spring, `(_)` means `/`.

    Returns:
        None if the server never serves such a path: it is hidden, or it has an empty segment.

    Raises:
        InvalidName: The path leads out of the tree, or isn't in its only valid form.
    """
    path = text.replace("(_)", "/")
    if (
        len(path) > MAX_PATH_LENGTH
        or text.startswith("(_)")
        or not path.isprintable()
        or _NOT_IN_PATHS.search(path)
        or ".." in path
    ):
        raise InvalidName("invalid path")
    segments = path.split("/")
    return None if any(each in _NOT_SERVED or each.startswith(".") for each in segments) else path


def parse_key(application_text: str, profile_text: str, label_text: str) -> Key:
    """Make a Key of three decoded strings.

    Raises:
        InvalidName: The text names the invalid part, but never repeats it. The part could be an attack on readers of the log.
    """
    return Key(application(application_text), profile(profile_text), labels(label_text))


def _names(text: str, kind: str, is_valid: Callable[[str], bool]) -> str:
    if text.startswith("(_)"):
        raise InvalidName(f"invalid {kind}")
    names = text.replace("(_)", "/").split(",")
    if len(names) > MAX_LIST_LENGTH:
        raise InvalidName(f"more than {MAX_LIST_LENGTH} {kind}s")
    if not all(len(name) <= MAX_NAME_LENGTH and is_valid(name) for name in names):
        raise InvalidName(f"invalid {kind}")
    return ",".join(names)


def _is_path(name: str, segment: re.Pattern[str] = _SEGMENT) -> bool:
    return all(segment.fullmatch(each) and ".." not in each for each in name.split("/"))


MAX_INSTANCE_LENGTH = 128
"""The longest name that a client may give itself."""


def is_instance_name(text: str) -> bool:
    """Return whether a client may give itself this name, or none ("")."""
    # People read this name. Invisible characters could make it look like another name.
    return len(text) <= MAX_INSTANCE_LENGTH and text.isprintable() and text == text.strip()
