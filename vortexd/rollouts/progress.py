"""Decides what a roll-out does next. Pure.

A roll-out and the counts of its instances arrive. The same roll-out in its next state leaves, or None if it waits.
"""

from typing import Any

import attrs

from .counts import Counts
from .rollout import Rollout, Status, reach_of

# The clocks of two nodes may differ by so many seconds.
CLOCK = 60.0


def next_state(rollout: Rollout, counts: Counts, now: float) -> Rollout | None:
    """Return the next state of a running roll-out, or None if it waits.

    Args:
        now: The seconds since the epoch.
    """
    if rollout.status is not Status.RUNNING:
        return None
    if now < rollout.stepped - CLOCK:
        # The clock was set back. Without this, the step would wait much longer, and no acknowledgement would count.
        return changed(rollout, now, counted=min(rollout.counted, now))
    is_late = now >= rollout.stepped + rollout.plan.within
    if rollout.reach is None:
        return _begun(rollout, counts, now, is_late=is_late)
    if counts.refusal is not None:
        name, reason = counts.refusal
        return halted(rollout, f"{name} has rejected {rollout.target}: {reason}", now)
    if counts.unanswered:
        return None
    if counts.reached and counts.applied * 100 >= rollout.plan.applied * counts.reached:
        return _advanced(rollout, counts, now)
    if not is_late:
        return None
    if not counts.reached:
        return halted(rollout, f"no instance of step {rollout.step + 1} is connected; see the page of roll-outs", now)
    names = ", ".join(counts.silent) + (", ..." if counts.waiting > len(counts.silent) else "")
    return halted(
        rollout,
        f"only {counts.applied} of {counts.reached} instances have applied {rollout.target} within "
        f"{rollout.plan.within:g} s, and {rollout.plan.applied} % must; silent: {names}",
        now,
    )


def halted(rollout: Rollout, reason: str, now: float, by: str = "") -> Rollout:
    """Return a roll-out that is halted: all instances have the stable version."""
    return changed(rollout, now, status=Status.HALTED, reach=None, reason=reason, by=by)


def resumed(rollout: Rollout, reason: str, now: float, by: str) -> Rollout:
    """Return a roll-out that goes on with the step at which it was halted. Its instances must acknowledge once more."""
    return changed(rollout, now, status=Status.RUNNING, reach=None, reason=reason, by=by, counted=now)


def aborted(rollout: Rollout, reason: str, now: float, by: str) -> Rollout:
    """Return a roll-out that is over: all instances have the stable version until the next change."""
    return changed(rollout, now, status=Status.ABORTED, reach=None, reason=reason, by=by)


def changed(rollout: Rollout, now: float, **members: Any) -> Rollout:
    """Return a roll-out in another state, from now on."""
    return attrs.evolve(rollout, stepped=now, revision=rollout.revision + 1, **members)


def _begun(rollout: Rollout, counts: Counts, now: float, *, is_late: bool) -> Rollout | None:
    """Begin the step of a roll-out: choose its instances."""
    if counts.unanswered:
        return None
    if not counts.named:
        if not is_late:
            return None
        reason = (
            f"no named instance is connected after {rollout.plan.within:g} s; give the instances names "
            "(?instance=) and the right report, or promote the roll-out"
        )
        return halted(rollout, reason, now)
    reach = reach_of(counts.places, rollout.plan.steps[rollout.step], None)
    return changed(rollout, now, reach=reach)


def _advanced(rollout: Rollout, counts: Counts, now: float) -> Rollout:
    """Begin the next step, or end the roll-out."""
    step = rollout.step + 1
    if step >= len(rollout.plan.steps):
        return changed(rollout, now, status=Status.DONE, reach=None)
    reach = reach_of(counts.places, rollout.plan.steps[step], rollout.reach)
    return changed(rollout, now, step=step, reach=reach)
