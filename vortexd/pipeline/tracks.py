"""Decides which of two configurations of a key a client gets while a roll-out is in force. Pure.

Roll-outs arrive from `pacing`. The key that is served to a client leaves: its own one, or its candidate. All parts that
serve clients ask here, so the answer is the same over HTTP and over WebSockets. Only the event loop's thread may use it.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from ..core.candidate import candidate_of
from ..core.model import Key

if TYPE_CHECKING:
    from ..rollouts.rollout import Rollout

# The phase of a change whose roll-out isn't recorded yet, or whose step hasn't begun.
WAITING = "waiting"
_NONE: "Mapping[Key, Rollout]" = MappingProxyType({})


@attrs.frozen(slots=True)
class Held:
    """A change of a key that no instance may have now.

    Attributes:
        target: The version that it would bring.
        phase: "waiting" until its roll-out is recorded and its step begins, or the status of a roll-out that has stopped.
        stepped: When its step began. It has none.
    """

    target: str
    phase: str
    stepped: float = 0.0

    def has(self, instance: str) -> bool:
        """Return whether an instance gets the target version: none does."""
        return False


_NOTHING: "Mapping[Key, Held]" = MappingProxyType({})


class Tracks:
    """The roll-outs in force at this worker; see the module.

    Attributes:
        rollouts: The roll-outs whose target version this worker has.
        held: The keys whose candidate nobody may have now: a roll-out isn't recorded yet, is halted, or waits for a
            publication of this worker.
    """

    __slots__ = ("held", "rollouts")

    def __init__(self) -> None:
        self.rollouts = _NONE
        self.held = _NOTHING

    def rollout(self, key: Key) -> "Rollout | None":
        """Return the roll-out of a key whose candidate instances may have now, or None."""
        return self.rollouts.get(key)

    def change(self, key: Key) -> "Rollout | Held | None":
        """Return the change of a key that not all clients have: its roll-out in force, or what is held back, or None."""
        return self.rollouts.get(key) or self.held.get(key)

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

    def put(self, rollouts: "Mapping[Key, Rollout]", held: Mapping[Key, Held] = _NOTHING) -> Collection[Key]:
        """Put other roll-outs in force. Return the keys of which another track may be right for a client now."""
        before, self.rollouts = self.rollouts, dict(rollouts) or _NONE
        self.held = dict(held) or _NOTHING
        return [
            key for key in before.keys() | self.rollouts.keys() if not _is_alike(before.get(key), rollouts.get(key))
        ]


def _is_alike(one: "Rollout | None", other: "Rollout | None") -> bool:
    """Return whether two roll-outs choose the same instances."""
    return one is not None and other is not None and (one.id, one.reach) == (other.id, other.reach)
