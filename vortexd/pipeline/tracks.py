"""Decides which of two configurations of a key a client gets while a roll-out is in force. Pure.

Roll-outs arrive from `pacing`. The key that is served to a client leaves: its own one, or its candidate. All parts that
serve clients ask here, so the answer is the same over HTTP and over WebSockets. Only the event loop's thread may use it.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..core.candidate import candidate_of
from ..core.model import Key

if TYPE_CHECKING:
    from ..rollouts.rollout import Rollout

_NONE: "Mapping[Key, Rollout]" = MappingProxyType({})


class Tracks:
    """The roll-outs in force at this worker; see the module.

    Attributes:
        rollouts: The roll-outs whose target version this worker has.
        waiting: The keys whose candidate nobody may have now: a roll-out isn't recorded yet, is halted, or waits for a
            publication of this worker.
    """

    __slots__ = ("rollouts", "waiting")

    def __init__(self) -> None:
        self.rollouts = _NONE
        self.waiting: frozenset[Key] = frozenset()

    @property
    def is_on(self) -> bool:
        """Whether any key has a candidate."""
        return bool(self.rollouts or self.waiting)

    def rollout(self, key: Key) -> "Rollout | None":
        """Return the roll-out of a key whose candidate instances may have now, or None."""
        return self.rollouts.get(key)

    def track(self, key: Key, instance: str | None, *, wants_candidate: bool = False) -> Key:
        """Return the key that is served to a client: `key`, or its candidate.

        Args:
            key: The key that the client names.
            instance: The name that the client gave, or None.
            wants_candidate: Whether the client asks for the candidate, whatever its name.
        """
        if not self.rollouts:
            return key
        found = self.rollouts.get(key)
        if found is None:
            return key
        return candidate_of(key) if wants_candidate or (instance and found.has(instance)) else key

    def put(self, rollouts: "Mapping[Key, Rollout]", waiting: Collection[Key] = ()) -> Collection[Key]:
        """Put other roll-outs in force. Return the keys of which another track may be right for a client now."""
        before, self.rollouts = self.rollouts, dict(rollouts) or _NONE
        self.waiting = frozenset(waiting)
        return [
            key for key in before.keys() | self.rollouts.keys() if not _is_alike(before.get(key), rollouts.get(key))
        ]


def _is_alike(one: "Rollout | None", other: "Rollout | None") -> bool:
    """Return whether two roll-outs choose the same instances."""
    return one is not None and other is not None and (one.id, one.reach) == (other.id, other.reach)
