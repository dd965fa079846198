"""Patterns: which keys are meant, by name or by glob. Pure.

In comes the text of a client, a token or an operator, out goes a `Pattern`, which a key either matches or doesn't. Rights and
subscriptions share this one rule, so that what may be read and what is delivered can't differ.

A `*` stands for any characters, none included, and for `/` as well; nothing else is special. No text from outside becomes a regular
expression: each piece between two stars is searched for once, from left to right, and never tried again elsewhere.
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
    """Which keys are meant. Make one with `parse_pattern`, which validates.

    Attributes:
        application: A name or a glob; never a list.
        profile: A name or a glob; never a list.
        label: A name or a glob.
    """

    application: str = "*"
    profile: str = "*"
    label: str = "*"

    def matches(self, key: Key) -> bool:
        """Whether the key is meant. Of a key with several applications, profiles or labels *every* one must match (T09)."""
        return (
            all(_matches(self.label, label) for label in key.labels)
            and all(_matches(self.application, name) for name in key.applications)
            and all(_matches(self.profile, name) for name in key.profiles)
        )

    def matched(self, key: Key) -> tuple[list[str], list[str], list[str]]:
        """Which of a key's applications, profiles and labels are meant."""
        return (
            [name for name in key.applications if _matches(self.application, name)],
            [name for name in key.profiles if _matches(self.profile, name)],
            [name for name in key.labels if _matches(self.label, name)],
        )

    def covers(self, other: "Pattern") -> bool:
        """Whether each key that matches `other` matches this one too. In doubt False."""
        # A glob taken as text: its stars are in no piece of ours, so only our stars can take them in.
        return (
            _matches(self.application, other.application)
            and _matches(self.profile, other.profile)
            and _matches(self.label, other.label)
        )

    def __str__(self) -> str:
        return f"{self.application}:{self.profile}:{self.label}"


def parse_pattern(text: str) -> Pattern:
    """Parse `application:profile:label`; parts missing at the end mean `*`.

    As in names, `(_)` stands for `/`. Several stars in a row are one, so that equal patterns compare equal.

    Raises:
        InvalidName: Says which part, and never repeats it.
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
    # Dots in a row are in no name; a glob with them would match nothing, which nobody means.
    if len(text) > names.MAX_NAME_LENGTH or not allowed.issuperset(text) or ".." in text:
        raise InvalidName(f"a pattern has an invalid {kind}")
    while "**" in text:
        text = text.replace("**", "*")
    return text


def _single(text: str, kind: str) -> str:
    """One name, by the gate that keys come through."""
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
        # The leftmost place is as good as any: what follows has the most room behind it.
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
