"""[[rollout]]: its patterns, its steps, and what contradicts itself."""

from pathlib import Path

import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings.file import load
from vortexd.settings.rollout import MOST_STEPS, RolloutSettings, rollout_conflicts
from vortexd.settings.root import Settings
from vortexd.source.kinds import KINDS

SOURCE = '[[source]]\npath = "/c"\n'


def loaded(text: str) -> Settings:
    return load(f"{SOURCE}[[rollout]]\n{text}", "vortexd.toml", Path("/etc/vortexd"), KINDS)


def refused(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(text)
    return dict(caught.value.problems)


def test_by_default_there_is_no_roll_out() -> None:
    assert Settings().rollout == ()


def test_a_roll_out_has_defaults_for_all_of_its_settings() -> None:
    assert loaded("").rollout == (RolloutSettings(("*",), (5, 25, 100), 100, 300.0),)


def test_there_may_be_several() -> None:
    text = 'applications = ["a", "b:prod"]\nsteps = [1, 100]\napplied = 90\nwithin = 60\n[[rollout]]\nsteps = [100]\n'

    assert loaded(text).rollout == (RolloutSettings(("a", "b:prod"), (1, 100), 90, 60.0), RolloutSettings(steps=(100,)))


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("steps = []", "steps", "must end with 100"),
        ("steps = [5, 50]", "steps", "must end with 100"),
        ("steps = [50, 50, 100]", "steps", "must rise from share to share"),
        ("steps = [50, 5, 100]", "steps", "must rise from share to share"),
        (f"steps = {[*range(1, MOST_STEPS + 1), 100]}", "steps", "must have at most 20 shares"),
        ("steps = [0, 100]", "steps[0]", "must be a percentage from 1 to 100"),
        ("steps = [true, 100]", "steps[0]", "must be a percentage from 1 to 100, not true or false"),
        ("steps = [0.5, 100]", "steps[0]", "must be a percentage from 1 to 100, not a number with a fraction"),
        ("steps = [5, 100.0]", "steps[1]", "must be a percentage from 1 to 100, not a number with a fraction"),
        ('steps = ["5%", 100]', "steps[0]", "must be a percentage from 1 to 100, not text"),
        ("steps = [[5], 100]", "steps[0]", "must be a percentage from 1 to 100, not a list"),
        ('steps = "5,25,100"', "steps", "must be a list of whole numbers, not text"),
        ("steps = 100", "steps", "must be a list of whole numbers, not a whole number"),
        ("steps = [5, 101]", "steps[1]", "must be a percentage from 1 to 100"),
        ("applied = 0", "applied", "must be a whole number from 1 to 100"),
        ("applied = 101", "applied", "must be a whole number from 1 to 100"),
        ("within = 0.5", "within", "must be a number of seconds from 1 to "),
        ("applications = []", "applications", "must name at least one pattern"),
        ('applications = ["a b"]', "applications[0]", "must be a pattern"),
    ],
)
def test_a_contradiction_is_refused(text: str, key: str, problem: str) -> None:
    found = refused(text)

    assert list(found) == [f"rollout[0].{key}"]
    assert problem.removeprefix("must be a pattern") in found[f"rollout[0].{key}"]


def test_the_most_steps_are_possible() -> None:
    steps = (*range(1, MOST_STEPS), 100)

    assert loaded(f"steps = {list(steps)}").rollout[0].steps == steps


def test_what_is_no_list_of_shares_is_no_conflict_because_it_is_refused_anyway() -> None:
    for steps in (7, ["a"], [0], [True], [50.5], [101]):
        assert list(rollout_conflicts({"steps": steps})) == []
