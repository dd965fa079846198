"""[[rollout]] of vortexd.toml.

A roll-out lets a change of a key reach its named instances in steps, which wait for their acknowledgements.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import attrs

from ..core.constraints import Rule, seconds, setting, texts, whole
from ..core.errors import InvalidName
from ..core.patterns import parse_pattern

MOST_STEPS = 20


def _is_pattern(value: object) -> bool:
    try:
        parse_pattern(str(value))
    except InvalidName:
        return False
    return True


def _is_share(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100


@attrs.frozen
class RolloutSettings:
    """[[rollout]]."""

    applications: tuple[str, ...] = texts(
        "a pattern such as billing, team-* or billing:prod",
        _is_pattern,
        "*",
        doc="The applications whose changes go out in steps, as patterns. A pattern may also have a profile and a label: "
        "`application:profile:label`.",
        more="Name only applications whose instances connect with a name. If only clients without a name use a key, its "
        "roll-out halts.",
    )
    steps: tuple[int, ...] = setting(
        (5, 25, 100),
        Rule("a percentage from 1 to 100", _is_share),
        doc="The share of the named instances that have the new version in each step, in percent. The shares rise, and "
        "the last one is 100.",
        more="A share is rounded up to whole instances. If several [[rollout]] name an application, the slowest shares "
        "count in each step, the highest `applied`, and the longest `within`.",
    )
    applied: int = whole(
        100,
        1,
        100,
        doc="The percentage of a step's instances that must apply the new version before the next step begins.",
        more="A single instance that rejects it halts the roll-out.",
    )
    within: float = seconds(
        300.0,
        1.0,
        doc="Seconds in which they must do so. Otherwise the roll-out halts, and all instances get the old version back.",
    )


def rollout_conflicts(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the conflicts between the keys of one [[rollout]], each with its key."""
    if table.get("applications") == []:
        yield "applications", "must name at least one pattern"
    steps = table.get("steps", [100])
    if not isinstance(steps, list) or not all(map(_is_share, steps)):
        return
    if len(steps) > MOST_STEPS:
        yield "steps", f"must have at most {MOST_STEPS} shares"
    elif not steps or steps[-1] != 100:
        yield "steps", "must end with 100"
    elif any(later <= earlier for earlier, later in pairwise(steps)):
        yield "steps", "must rise from share to share"
