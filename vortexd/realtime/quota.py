"""Limits the number of different patterns, in the process and for each owner. Pure.

Each pattern costs memory, and work for every new key, however many clients share it. So a pattern counts once for the process
and once for each owner. An owner is a token. If the server requires no token, an owner is an address.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from ..auth import Admission
from ..core.errors import RemoteError
from ..core.patterns import Pattern

# The identity of a credential, and a name: the name of a token, the subject of a JWT, or an address. All subjects of one JWT
# key share its identity.
PatternOwner: TypeAlias = tuple[str, str]


def owner_of(admission: Admission, host: str) -> PatternOwner:
    """Find the owner whose quota the patterns of a connection count for.

    Args:
        host: The address of the client, which a trusted proxy may have named; "" for a Unix socket.
    """
    return (admission.identity, admission.name) if admission.identity else ("", host)


class TooManyPatterns(RemoteError):
    """A subscription would exceed a limit of different patterns.

    Attributes:
        setting: The name of the setting, for the operator.
        limit: The value of the setting.
    """

    def __init__(self, reason: str, setting: str, limit: int) -> None:
        super().__init__(reason)
        self.setting = setting
        self.limit = limit


class PatternQuota:
    """Counts patterns, and refuses those above the limits.

    Args:
        distinct_patterns: The most different patterns in the process.
        per_owner: The most different patterns of one owner.
        report: Called with each refusal.
    """

    def __init__(
        self, distinct_patterns: int, per_owner: int, report: Callable[[TooManyPatterns], None] = lambda _: None
    ) -> None:
        self._report = report
        self.replace(distinct_patterns, per_owner)
        # For each owner and pattern, the number of connections. For each pattern, the number of owners.
        self._owners: dict[PatternOwner, Counter[Pattern]] = {}
        self._patterns: Counter[Pattern] = Counter()

    def replace(self, distinct_patterns: int, per_owner: int) -> None:
        """Apply new limits to subscriptions from now on."""
        self._distinct_patterns = distinct_patterns
        self._per_owner = per_owner

    def __len__(self) -> int:
        """The number of different patterns."""
        return len(self._patterns)

    def take(self, owner: PatternOwner, patterns: Sequence[Pattern]) -> None:
        """Add the patterns of one connection to the counts, each once.

        Raises:
            TooManyPatterns: A limit would be exceeded. No pattern is counted then.
        """
        error = self._excess(owner, patterns)
        if error is not None:
            self._report(error)
            raise error
        own = self._owners.setdefault(owner, Counter())
        self._patterns.update([pattern for pattern in patterns if pattern not in own])
        own.update(patterns)

    def has_room(self, owner: PatternOwner, patterns: Sequence[Pattern]) -> bool:
        """Whether `take` would count these patterns. A refusal isn't reported."""
        return self._excess(owner, patterns) is None

    def _excess(self, owner: PatternOwner, patterns: Sequence[Pattern]) -> TooManyPatterns | None:
        """Return the error, if a limit would be exceeded."""
        own = self._owners.get(owner, Counter())
        new = [pattern for pattern in patterns if pattern not in own]
        if new and len(own) + len(new) > self._per_owner:
            whose = "this token" if owner[0] else "this address"
            reason = f"at most {self._per_owner} different patterns for all connections of {whose}"
            return TooManyPatterns(reason, _PER_OWNER, self._per_owner)
        unknown = sum(pattern not in self._patterns for pattern in new)
        if unknown and len(self._patterns) + unknown > self._distinct_patterns:
            reason = f"at most {self._distinct_patterns} different patterns for all clients together"
            return TooManyPatterns(reason, _DISTINCT, self._distinct_patterns)
        return None

    def give_back(self, owner: PatternOwner, patterns: Iterable[Pattern]) -> None:
        """Subtract the patterns of one connection from the counts, each once."""
        own = self._owners.get(owner, Counter())
        for pattern in patterns:
            _count_out(own, pattern)
            if pattern not in own:
                _count_out(self._patterns, pattern)
        if not own:
            self._owners.pop(owner, None)


_DISTINCT = "realtime.distinct_patterns"
_PER_OWNER = "realtime.distinct_patterns_per_owner"


def _count_out(counts: "Counter[Pattern]", pattern: Pattern) -> None:
    counts[pattern] -= 1
    if not counts[pattern]:
        del counts[pattern]
