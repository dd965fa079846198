"""Decides the pace of a change: from the settings, and from the trailers of the commits that bring it. Pure.

The slowest pace counts. So a trailer may slow a roll-out down, and never speeds it up.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise, zip_longest

from ..core.errors import InvalidName
from ..core.model import Key
from ..core.patterns import Pattern, parse_pattern
from ..settings.rollout import MOST_STEPS, RolloutSettings
from .rollout import USUAL_STEPS, Plan


class UnusableSteps(Exception):
    """The value of a trailer can't be used. The text says why."""


def parse_steps(text: str) -> tuple[int, ...]:
    """Parse the value of a trailer: `5,25,100`.

    Raises:
        UnusableSteps: It has another form.
    """
    parts = [part.strip().removesuffix("%").rstrip() for part in text.split(",")]
    if len(parts) > MOST_STEPS:
        raise UnusableSteps(f"it has more than {MOST_STEPS} shares")
    if not all(part.isascii() and part.isdigit() and len(part) <= 3 and 1 <= int(part) <= 100 for part in parts):
        raise UnusableSteps("it must have shares from 1 to 100, separated by commas")
    steps = tuple(map(int, parts))
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise UnusableSteps("the shares must rise")
    if steps[-1] != 100:
        raise UnusableSteps("the last share must be 100")
    return steps


def slowest(paces: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the steps that are at least as slow as each of these: the smallest share of each step."""
    return tuple(map(min, zip_longest(*paces, fillvalue=100)))


class Rules:
    """The [[rollout]] in force, with their patterns parsed."""

    def __init__(self, settings: Iterable[RolloutSettings] = ()) -> None:
        self._rules = [(tuple(map(_parsed, each.applications)), each) for each in settings]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def plan(self, key: Key) -> Plan | None:
        """Return the plan of the settings for a key, or None if no [[rollout]] names it."""
        found = [each for patterns, each in self._rules if any(pattern.matches(key) for pattern in patterns)]
        if not found:
            return None
        return Plan(
            slowest([each.steps for each in found]),
            max(each.applied for each in found),
            max(each.within for each in found),
        )


def with_trailers(plan: Plan | None, trailers: Sequence[str]) -> tuple[Plan | None, list[str]]:
    """Return the plan for a change, and the reasons why trailers can't be used.

    A trailer that can't be used counts as `USUAL_STEPS`, because its author wanted steps.

    Args:
        plan: The plan of the settings, or None.
        trailers: The values of all trailers of the commits that bring the change.
    """
    paces, unusable = [plan.steps] if plan is not None else [], []
    for text in trailers:
        try:
            paces.append(parse_steps(text))
        except UnusableSteps as error:
            paces.append(USUAL_STEPS)
            unusable.append(f"{text!r}: {error}")
    if not paces:
        return None, unusable
    base = plan or Plan()
    return Plan(slowest(paces), base.applied, base.within), unusable


def _parsed(text: str) -> Pattern:
    try:
        return parse_pattern(text)
    except InvalidName as error:  # the settings were checked
        raise AssertionError(text) from error
