"""Patterns select keys by name or by glob. Pure.

`parse_pattern` takes text from a client, a token or an operator, and returns a `Pattern`. Access rights and
subscriptions share this rule. So a client receives exactly the keys that it may read.

A `*` matches any characters, including `/`, and also no characters. No other character is special. Text from outside
never becomes a regular expression. Each piece between two stars is searched for once, from left to right, without
backtracking.
"""

import attrs

from . import names
from .errors import InvalidName
from .model import Key

_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_PATH_CHARACTERS = _NAME_CHARACTERS | {"/", "*"}
_LABEL_CHARACTERS = _PATH_CHARACTERS | {"+", "@"}
_PROFILE_CHARACTERS = _NAME_CHARACTERS | {"+", "@", "*"}
_MAX_LENGTH = 3 * names.MAX_NAME_LENGTH + 2


@attrs.frozen(slots=True, order=True)
class Pattern:
    """Selects keys. `parse_pattern` makes and validates it.

    Attributes:
        application: A name or a glob, never a list.
        profile: A name or a glob, never a list.
        label: A name or a glob.
    """

    application: str = "*"
    profile: str = "*"
    label: str = "*"

    def matches(self, key: Key) -> bool:
        """Return whether the key matches. If it has several applications, profiles or labels, *each* must match (T09)."""
        return (
            all(_matches(self.label, label) for label in key.labels)
            and all(_matches(self.application, name) for name in key.applications)
            and all(_matches(self.profile, name) for name in key.profiles)
        )

    def matched(self, key: Key) -> tuple[list[str], list[str], list[str]]:
        """Return the key's applications, profiles and labels that match."""
        return (
            [name for name in key.applications if _matches(self.application, name)],
            [name for name in key.profiles if _matches(self.profile, name)],
            [name for name in key.labels if _matches(self.label, name)],
        )

    def covers(self, other: "Pattern") -> bool:
        """Return whether this pattern matches each key that `other` matches. If that isn't certain, returns False."""
        # Take the other glob as text. Its stars are in none of our pieces, so only our own stars can match them.
        return (
            _matches(self.application, other.application)
            and _matches(self.profile, other.profile)
            and _matches(self.label, other.label)
        )

    def __str__(self) -> str:
        return f"{self.application}:{self.profile}:{self.label}"


def parse_pattern(text: str) -> Pattern:
    """Parse `application:profile:label`. Missing parts at the end mean `*`.

    As in names, `(_)` means `/`. Several stars in a row become a single star, so that equal patterns compare equal.

    Raises:
        InvalidName: The text says which part is invalid, and never repeats it.
    """
    if len(text) > _MAX_LENGTH:
        raise InvalidName(f"a pattern is longer than {_MAX_LENGTH} characters")
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidName("a pattern has more than three parts")
    application, profile, label = parts + ["*"] * (3 - len(parts))
    return Pattern(
        _path(application, "application", _PATH_CHARACTERS),
        _part(profile, "profile", _PROFILE_CHARACTERS) if "*" in profile else _single(profile, "profile"),
        _path(label, "label", _LABEL_CHARACTERS),
    )


def _path(text: str, kind: str, allowed: frozenset[str]) -> str:
    return _part(text.replace("(_)", "/"), kind, allowed) if "*" in text else _single(text, kind)


def _part(text: str, kind: str, allowed: frozenset[str]) -> str:
    # No name contains two dots in a row. A glob that contains them would match nothing, so it is a mistake.
    if len(text) > names.MAX_NAME_LENGTH or not allowed.issuperset(text) or ".." in text:
        raise InvalidName(f"a pattern has an invalid {kind}")
    while "**" in text:
        text = text.replace("**", "*")
    return text


def _single(text: str, kind: str) -> str:
    """Validate one name by the rules for keys."""
    gate = {"application": names.application, "profile": names.profile, "label": names.label}[kind]
    try:
        if "," not in text:
            return gate(text)
    except InvalidName:
        pass
    raise InvalidName(f"a pattern has an invalid {kind}")


def _matches(glob: str, text: str) -> bool:
    if glob == "*":
        return True
    first, *pieces = glob.split("*")
    if not pieces:
        return glob == text
    last = pieces.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in pieces:
        # The leftmost match leaves the most room for the following pieces, so no other match needs to be tried.
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
