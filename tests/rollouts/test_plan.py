import pytest

from vortexd.core.model import Key
from vortexd.rollouts.plan import Rules, UnusableSteps, parse_steps, slowest, with_trailers
from vortexd.rollouts.rollout import USUAL_STEPS, Plan
from vortexd.settings.rollout import MOST_STEPS, RolloutSettings

KEY = Key("billing", "prod", "main")
PLAN = Plan((10, 50, 100), 90, 60.0)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("5,25,100", (5, 25, 100)),
        (" 5 , 25 ,100 ", (5, 25, 100)),
        ("5%,25 %,100%", (5, 25, 100)),
        ("100", (100,)),
        (",".join(map(str, [*range(1, MOST_STEPS), 100])), (*range(1, MOST_STEPS), 100)),
    ],
)
def test_the_value_of_a_trailer_is_a_list_of_shares(text: str, steps: tuple[int, ...]) -> None:
    assert parse_steps(text) == steps


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "shares from 1 to 100"),
        ("5,,100", "shares from 1 to 100"),
        ("0,100", "shares from 1 to 100"),
        ("5,101", "shares from 1 to 100"),
        ("5.5,100", "shares from 1 to 100"),
        ("-5,100", "shares from 1 to 100"),
        ("٥,100", "shares from 1 to 100"),
        ("1e1,100", "shares from 1 to 100"),
        ("5,25", "the last share must be 100"),
        ("5,5,100", "must rise"),
        ("25,5,100", "must rise"),
        (",".join(map(str, [*range(1, MOST_STEPS + 1), 100])), "more than 20 shares"),
    ],
)
def test_any_other_value_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UnusableSteps, match=reason):
        parse_steps(text)


@pytest.mark.parametrize(
    ("paces", "steps"),
    [
        ([(5, 25, 100)], (5, 25, 100)),
        ([(5, 25, 100), (50, 100)], (5, 25, 100)),
        ([(5, 25, 100), (1, 10, 50, 100)], (1, 10, 50, 100)),
        ([(5, 100), (1, 50, 100)], (1, 50, 100)),
        ([(10, 20, 100), (5, 30, 100)], (5, 20, 100)),
        ([(100,), (100,)], (100,)),
    ],
)
def test_the_slowest_share_of_each_step_counts(paces: list[tuple[int, ...]], steps: tuple[int, ...]) -> None:
    assert slowest(paces) == steps
    assert slowest(paces[::-1]) == steps


def test_a_key_that_no_rule_names_has_no_plan() -> None:
    assert Rules().plan(KEY) is None
    assert Rules([RolloutSettings(("orders", "billing:dev"))]).plan(KEY) is None
    assert not Rules()
    assert Rules([RolloutSettings()])


def test_the_rule_that_names_a_key_gives_its_plan() -> None:
    rules = Rules([RolloutSettings(("orders",), (1, 100)), RolloutSettings(("bill*:prod",), (10, 50, 100), 90, 60.0)])

    assert rules.plan(KEY) == PLAN


def test_of_several_rules_the_slowest_settings_count() -> None:
    rules = Rules(
        [RolloutSettings(("*",), (5, 100), 80, 600.0), RolloutSettings(("billing",), (10, 50, 100), 90, 60.0)]
    )

    assert rules.plan(KEY) == Plan((5, 50, 100), 90, 600.0)


def test_without_a_trailer_the_plan_of_the_settings_counts() -> None:
    assert with_trailers(PLAN, []) == (PLAN, [])
    assert with_trailers(None, []) == (None, [])


def test_a_trailer_makes_a_roll_out_slower_and_never_faster() -> None:
    assert with_trailers(PLAN, ["1,100"])[0] == Plan((1, 50, 100), 90, 60.0)
    assert with_trailers(PLAN, ["100"])[0] == PLAN
    assert with_trailers(PLAN, ["90,100", "20,30,40,100"])[0] == Plan((10, 30, 40, 100), 90, 60.0)


def test_without_a_rule_the_slowest_trailer_decides() -> None:
    assert with_trailers(None, ["5,100", "1,50,100"])[0] == Plan((1, 50, 100))


def test_a_trailer_that_can_not_be_read_counts_as_the_usual_steps_and_is_reported() -> None:
    plan, unusable = with_trailers(None, ["5,100", "fast"])

    assert plan == Plan((5, 25, 100))
    assert unusable == ["'fast': it must have shares from 1 to 100, separated by commas"]
    assert with_trailers(None, ["fast"])[0] == Plan(USUAL_STEPS)
