"""Who asks, and what they may do: rights over patterns. Pure.

A `Principal` is immutable and says nothing about how it proved itself; the `Authority` judges with it. Nothing implies anything: a right that
isn't listed isn't there, and a pattern that isn't listed isn't meant.
"""

import enum
from collections.abc import Iterable, Iterator
from itertools import product

import attrs

from ..core.errors import InvalidName, RemoteError
from ..core.model import Key, Names
from ..core.patterns import Pattern, parse_pattern

MAX_PATTERNS = 1_024
# What a client without a token is told to send (RFC 9110 section 11.6.1); the same for whatever was wrong.
CHALLENGE = 'Bearer realm="vortexd", Basic realm="vortexd", charset="UTF-8"'


class Unauthorized(RemoteError):
    """Nobody we know, or no longer. One text for every reason: what was wrong with a token is for its owner to know."""

    status = 401

    def __init__(self) -> None:
        super().__init__("a valid token is required", headers={"WWW-Authenticate": CHALLENGE})


class Forbidden(RemoteError):
    """Somebody we know may not do this. The text doesn't say whether what was asked for exists.

    Args:
        reason: A constant, and never taken from the request.
    """

    status = 403

    def __init__(self, reason: str = "the token doesn't allow this") -> None:
        super().__init__(reason)


class Right(enum.Enum):
    """What may be done.

    Attributes:
        READ: Fetch configuration over HTTP.
        SUBSCRIBE: Open a WebSocket for configuration, subscribe, resync, and be sent what changes.
        REPORT: Say over a WebSocket whether a configuration was applied.
        ADMIN: Ask about the daemon and its connections, and tell it to look at its sources again. It holds for the whole daemon,
            whatever the patterns, and gives no configuration.
    """

    READ = "read"
    SUBSCRIBE = "subscribe"
    REPORT = "report"
    ADMIN = "admin"


ALL_RIGHTS = frozenset(Right)


class Kind(enum.Enum):
    """How somebody proved who they are."""

    TOKEN = "token"
    JWT = "jwt"
    CERTIFICATE = "certificate"
    ANONYMOUS = "anonymous"


@attrs.frozen(slots=True)
class Grant:
    """Rights, and the keys they hold for."""

    rights: frozenset[Right]
    patterns: tuple[Pattern, ...]


@attrs.frozen(slots=True)
class Principal:
    """Somebody we know.

    Attributes:
        name: For logs; the operator's name of a token or a certificate, or the subject of a JWT.
        expires_at: Seconds since the epoch from which on this is nobody, or None.
        identity: What proved it (the digest of a token, the fingerprint of a key, the name in a certificate), for `Authority.renew`; "" for nobody in particular.
        authorities: The fingerprints of what a certificate was checked against.
    """

    name: str
    kind: Kind
    grants: tuple[Grant, ...]
    expires_at: float | None = None
    identity: str = attrs.field(default="", repr=False)
    authorities: frozenset[str] = attrs.field(default=frozenset(), repr=False)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def has(self, right: Right) -> bool:
        """Whether the right is held at all, for any key."""
        return any(right in grant.rights for grant in self.grants)

    def may(self, right: Right, where: Key | Pattern) -> bool:
        """Whether the right holds for a key, or for every key that a pattern may ever match.

        Each pairing of a key's applications, profiles and labels must be allowed, by one pattern or another; a pattern by one pattern alone.
        """
        patterns = [pattern for grant in self.grants if right in grant.rights for pattern in grant.patterns]
        if isinstance(where, Pattern):
            return any(pattern.covers(where) for pattern in patterns)
        return any(pattern.matches(where) for pattern in patterns) or _meet_each_pairing(patterns, where)


def _meet_each_pairing(patterns: Iterable[Pattern], key: Key) -> bool:
    """Whether each pairing is matched by one pattern or another. There may be thousands of pairings, but each name is matched once."""
    labels = (1 << len(key.labels)) - 1
    missing = dict.fromkeys(product(key.applications, key.profiles), labels)
    if len(missing) == len(key.labels) == 1:
        # It is matched by one alone, or not at all.
        return False
    for pattern in patterns:
        applications, profiles, matched = pattern.matched(key)
        found = sum(1 << number for number, label in enumerate(key.labels) if label in matched)
        for pair in product(applications, profiles) if found else ():
            missing[pair] &= ~found
    return not any(missing.values())


def names_of(grants: Iterable[Grant]) -> Names:
    """The applications and profiles that patterns name in full."""
    patterns = [pattern for grant in grants for pattern in grant.patterns]
    return Names(
        frozenset(each.application for each in patterns if "*" not in each.application),
        frozenset(each.profile for each in patterns if "*" not in each.profile),
    )


def grant_problems(rights: object, patterns: object) -> Iterator[tuple[str, str]]:
    """What is wrong with the two lists of a grant from outside: pairs of `rights[0]` or the like and what is allowed."""
    allowed = ", ".join(right.value for right in Right)
    if not isinstance(rights, list) or not rights:
        yield "rights", f"must be a list with at least one of {allowed}"
    else:
        known = {right.value for right in Right}
        for index, right in enumerate(rights):
            if not isinstance(right, str) or right not in known:
                yield f"rights[{index}]", f"must be one of {allowed}"
    if patterns == [] and rights == [Right.ADMIN.value]:
        return
    if not isinstance(patterns, list) or not patterns:
        yield "patterns", 'must be a list with at least one pattern such as "myapp:*", or "*" for everything'
    elif len(patterns) > MAX_PATTERNS:
        yield "patterns", f"must have at most {MAX_PATTERNS} patterns"
    else:
        for index, pattern in enumerate(patterns):
            if not _is_pattern(pattern):
                yield f"patterns[{index}]", "must be application:profile:label, each a name or a glob with *"


def make_grant(rights: list[str], patterns: list[str]) -> Grant:
    """Make a grant of two lists without `grant_problems`."""
    return Grant(frozenset(map(Right, rights)), tuple(dict.fromkeys(map(parse_pattern, patterns))))


def _is_pattern(text: object) -> bool:
    try:
        return isinstance(text, str) and parse_pattern(text) is not None
    except InvalidName:
        return False
