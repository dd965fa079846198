"""Counts the instances of a roll-out, from pages of the fleet. Pure."""

from collections.abc import Iterable

import attrs

from ..fleet import Seen
from .rollout import Rollout, place_of

# The most names of instances in a reason.
SHOWN = 3
# The clocks of two nodes may differ by so many seconds after a roll-out was resumed. Acknowledgements from before the resumption
# must not count, and a person needs more time than this to resume a roll-out.
RESUMED_SKEW = 2.0


@attrs.frozen(slots=True)
class Counts:
    """The named instances of a key at one moment.

    Attributes:
        named: The connected instances that have a name and can acknowledge.
        places: Their places in the roll-out.
        reached: The instances that have the candidate, or had it when they left.
        applied, rejected: How many of these have acknowledged the target version.
        gone: How many of these have left. They count as silent.
        unanswered: The workers and nodes that haven't answered.
        silent: The names of some of the instances that haven't acknowledged it.
        refusal: The first instance that has rejected it, and its reason, or None.
    """

    named: int = 0
    places: tuple[int, ...] = ()
    reached: int = 0
    applied: int = 0
    rejected: int = 0
    gone: int = 0
    unanswered: int = 0
    silent: tuple[str, ...] = ()
    refusal: tuple[str, str] | None = None

    @property
    def waiting(self) -> int:
        """The number of reached instances that haven't acknowledged the target version."""
        return self.reached - self.applied - self.rejected


def count(rollout: Rollout, instances: Iterable[Seen], unanswered: int = 0, skew: float = 0.0) -> Counts:
    """Count the instances of a roll-out.

    An acknowledgement from before the roll-out was begun or resumed, or of another version, doesn't count. An instance that
    left after the step began counts as silent. An instance that left earlier doesn't count, and neither does one that can't
    acknowledge.

    Args:
        instances: The instances of its key at all workers and nodes.
        skew: The seconds by which the clocks of nodes may differ. An acknowledgement at another node may seem to be so much
            older than the roll-out. After a resumption, this is at most `RESUMED_SKEW`.
    """
    named, places, reached, applied, rejected, gone = 0, list[int](), 0, 0, 0, 0
    silent, refusal = list[str](), None
    if rollout.counted > rollout.began:
        skew = min(skew, RESUMED_SKEW)
    for each in instances:
        if not each.name or each.name == each.connection or (each.is_mute and each.ack is None):
            continue
        has_left = each.state == "gone"
        if not has_left:
            named += 1
            places.append(place_of(rollout.id, each.name))
        if not rollout.has(each.name) or (has_left and each.since < rollout.stepped):
            continue
        reached += 1
        ack = each.ack
        is_counted = ack is not None and ack.version == rollout.target and ack.at >= rollout.counted - skew
        if is_counted and ack is not None and ack.status == "rejected":
            rejected += 1
            refusal = refusal or (each.name, ack.error or "it gave no reason")
        elif is_counted and not has_left:
            applied += 1
        else:
            gone += has_left
            if len(silent) < SHOWN:
                silent.append(each.name)
    return Counts(named, tuple(places), reached, applied, rejected, gone, unanswered, tuple(silent), refusal)
