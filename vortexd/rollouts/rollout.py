"""A roll-out: which instances of one key have which of two versions. Pure.

The *stable* version is the one that all instances had before. The *candidate* has the *target* version. An instance has the
candidate if its place is at most the roll-out's `reach`. The place is a hash of the roll-out and of the instance's name. So
all servers choose the same instances, also after restarts and reconnects.
"""

import enum
import hashlib
from collections.abc import Sequence

import attrs

from ..core.model import Files, Key

Labels = tuple[tuple[Files, ...], ...]
# The steps of a roll-out whose trailer can't be read, or that has no settings.
USUAL_STEPS = (5, 25, 100)
# The places of instances lie below this number.
PLACES = 1 << 64


class Status(enum.Enum):
    """What a roll-out does.

    Attributes:
        RUNNING: A step waits for acknowledgements.
        HALTED: All instances have the stable version. A person may resume it, end it or promote it.
        ABORTED: As HALTED, but it can't be resumed. It ends with the next change of the document.
        DONE: All clients have the target version, which is the stable one from now on.
    """

    RUNNING = "running"
    HALTED = "halted"
    ABORTED = "aborted"
    DONE = "done"


@attrs.frozen(slots=True)
class Plan:
    """The pace of a roll-out.

    Attributes:
        steps: The share of the named instances in each step, in percent, rising. The last one is 100.
        applied: The percentage of a step's instances that must apply the target version.
        within: The seconds in which they must do so.
    """

    steps: tuple[int, ...] = USUAL_STEPS
    applied: int = 100
    within: float = 300.0


@attrs.frozen(slots=True, eq=False)
class Beginning:
    """A change of a key that must not reach all clients at once, before its roll-out is recorded.

    Attributes:
        stable: The version that all instances have now.
        target: The new version. If it is `stable`, the last roll-out of the key is over.
        commit, author: As in `Rollout`.
        labels: The files of the stable version, as in `pins.pin.Pin`.
    """

    key: Key
    stable: str
    target: str
    commit: str | None
    author: str | None
    plan: Plan
    labels: Labels


@attrs.frozen(slots=True, eq=False)
class Rollout:
    """A roll-out, or the stable version of a key whose last one is done.

    Attributes:
        id: Tells it apart from other roll-outs of the same key.
        stable: The stable version.
        target: The version of the candidate. It is `stable` if the status is DONE.
        commit, author: The commit of the target and its author, or None.
        step: The index of the step, from 0.
        reach: The highest place of an instance that has the candidate, or None if no instance has.
        reason: Why it was halted, ended or promoted, or "".
        by: The person who did so, or "" if the server did.
        began: When it began, in seconds since the epoch.
        counted: From when on acknowledgements count: when it began, or when it was last resumed.
        stepped: When its step began, or when its status changed.
        revision: Rises with each change of the same roll-out.
        labels: The files of the stable version, as in `pins.pin.Pin`.
    """

    id: str
    key: Key
    stable: str
    target: str
    commit: str | None
    author: str | None
    plan: Plan
    step: int
    reach: int | None
    status: Status
    reason: str
    by: str
    began: float
    counted: float
    stepped: float
    revision: int
    labels: Labels

    @property
    def phase(self) -> str:
        """The status, as the fleet shows it."""
        return self.status.value

    def has(self, instance: str) -> bool:
        """Return whether an instance has the candidate, given its name."""
        return self.reach is not None and place_of(self.id, instance) <= self.reach


def place_of(rollout: str, instance: str) -> int:
    """Return the place of an instance in a roll-out: a number below `PLACES`."""
    return int.from_bytes(hashlib.sha256(f"{rollout}\0{instance}".encode()).digest()[:8], "big")


def reach_of(places: Sequence[int], share: int, before: int | None) -> int | None:
    """Return the reach of a step. It is never less than before.

    Args:
        places: The places of all named instances.
        share: The share of instances that get the candidate, in percent. It is rounded up to at least one instance.
        before: The reach of the step before, or None.
    """
    if share >= 100:
        return PLACES - 1
    if not places:
        return before
    count = max(1, -(-len(places) * share // 100))
    reach = sorted(places)[count - 1]
    return reach if before is None else max(before, reach)
