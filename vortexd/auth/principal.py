"""Clients and their rights over patterns. Pure.

A `Principal` is immutable and doesn't depend on how it was authenticated. The `Authority` judges by it. No right implies
another, and a right holds only for the listed patterns.
"""

import enum
from collections.abc import Iterable, Iterator
from itertools import product

import attrs

from ..core.errors import InvalidName, RemoteError
from ..core.model import Key, Names
from ..core.patterns import Pattern, parse_pattern

MAX_PATTERNS = 1_024
# The WWW-Authenticate header for clients without a valid token (RFC 9110 section 11.6.1). It is the same for all errors.
CHALLENGE = 'Bearer realm="vortexd", Basic realm="vortexd", charset="UTF-8"'


class Unauthorized(RemoteError):
    """The client isn't known, or not any more. All reasons have the same text, so that it reveals nothing about a token."""

    status = 401

    def __init__(self) -> None:
        super().__init__("a valid token is required", headers={"WWW-Authenticate": CHALLENGE})


class Forbidden(RemoteError):
    """A known client may not do this. The text doesn't reveal whether the requested thing exists.

    Args:
        reason: A constant. It never contains text of the request.
    """

    status = 403

    def __init__(self, reason: str = "the token doesn't allow this") -> None:
        super().__init__(reason)


class Right(enum.Enum):
    """An action that a client may be allowed.

    Attributes:
        READ: Fetch configuration over HTTP.
        SUBSCRIBE: Open a WebSocket for configuration, subscribe, resync, and receive changes.
        REPORT: Report over a WebSocket whether a configuration was applied.
        ADMIN: Query the daemon and its connections, and make it read its sources again. It holds for the whole
            daemon, whatever the patterns, and doesn't allow reading configuration.
    """

    READ = "read"
    SUBSCRIBE = "subscribe"
    REPORT = "report"
    ADMIN = "admin"


ALL_RIGHTS = frozenset(Right)


class Kind(enum.Enum):
    """How a client was authenticated."""

    TOKEN = "token"
    JWT = "jwt"
    CERTIFICATE = "certificate"
    ANONYMOUS = "anonymous"


@attrs.frozen(slots=True)
class Grant:
    """Rights, and the keys for which they hold."""

    rights: frozenset[Right]
    patterns: tuple[Pattern, ...]


@attrs.frozen(slots=True)
class Principal:
    """A known client.

    Attributes:
        name: The name for logs: the operator's name of a token or a certificate, or the subject of a JWT.
        expires_at: When the principal expires, in seconds since the epoch, or None.
        identity: The proof of identity, for `Authority.renew`: the digest of a token, the fingerprint of a key, or the
            name in a certificate. "" for anonymous clients.
        authorities: The fingerprints of the authorities that a certificate was verified against.
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
        """Return whether the client has the right for any key."""
        return any(right in grant.rights for grant in self.grants)

    def may(self, right: Right, where: Key | Pattern) -> bool:
        """Return whether the right holds for a key, or for every key that a pattern may ever match.

        Each combination of a key's applications, profiles and labels must match some pattern. A pattern must be covered
        by a single pattern.
        """
        patterns = [pattern for grant in self.grants if right in grant.rights for pattern in grant.patterns]
        if isinstance(where, Pattern):
            return any(pattern.covers(where) for pattern in patterns)
        return any(pattern.matches(where) for pattern in patterns) or _meet_each_pairing(patterns, where)


def _meet_each_pairing(patterns: Iterable[Pattern], key: Key) -> bool:
    """Return whether each combination matches some pattern.

    There may be thousands of combinations, but each name is matched only once.
    """
    labels = (1 << len(key.labels)) - 1
    missing = dict.fromkeys(product(key.applications, key.profiles), labels)
    if len(missing) == len(key.labels) == 1:
        # A single combination matches one pattern, or none. The caller has already tested this.
        return False
    for pattern in patterns:
        applications, profiles, matched = pattern.matched(key)
        found = sum(1 << number for number, label in enumerate(key.labels) if label in matched)
        for pair in product(applications, profiles) if found else ():
            missing[pair] &= ~found
    return not any(missing.values())


def names_of(grants: Iterable[Grant]) -> Names:
    """Return the applications and profiles that patterns name in full."""
    patterns = [pattern for grant in grants for pattern in grant.patterns]
    return Names(
        frozenset(each.application for each in patterns if "*" not in each.application),
        frozenset(each.profile for each in patterns if "*" not in each.profile),
    )


def grant_problems(rights: object, patterns: object) -> Iterator[tuple[str, str]]:
    """Yield the problems of the two lists of a grant from outside: pairs of a path such as `rights[0]` and what is allowed."""
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
    """Make a grant from two lists that have no `grant_problems`."""
    return Grant(frozenset(map(Right, rights)), tuple(dict.fromkeys(map(parse_pattern, patterns))))


def _is_pattern(text: object) -> bool:
    try:
        return isinstance(text, str) and parse_pattern(text) is not None
    except InvalidName:
        return False
