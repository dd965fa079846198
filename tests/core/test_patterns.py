"""Patterns: matching, covering other patterns, and the effort of both."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import InvalidName
from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern

PARTS = st.text("ab*", min_size=1, max_size=8)
NAMES = st.text("ab", min_size=1, max_size=8)


def matches(pattern: str, application: str = "shop", profile: str = "dev", label: str = "main") -> bool:
    return parse_pattern(pattern).matches(Key(application, profile, label))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop", Pattern("shop", "*", "*")),
        ("shop:*", Pattern("shop", "*", "*")),
        ("shop:dev", Pattern("shop", "dev", "*")),
        ("shop:dev:main", Pattern("shop", "dev", "main")),
        ("*", Pattern("*", "*", "*")),
        ("s**p:***:*", Pattern("s*p", "*", "*")),
        ("team(_)shop:dev:release(_)*", Pattern("team/shop", "dev", "release/*")),
        ("shop:us-east+1@a:*", Pattern("shop", "us-east+1@a", "*")),
    ],
)
def test_a_pattern_has_three_parts_and_missing_ones_mean_any(text: str, expected: Pattern) -> None:
    assert expected == parse_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "shop:",
        "shop::main",
        ":dev:main",
        "a:b:c:d",
        "shop,cart:dev",
        "shop:dev,prod",
        "(a+)+$",
        "{a,b}{a,b}",
        "[ab]*",
        "sh?p",
        "../*",
        "..",
        "shop:dev:../main",
        "shop *",
        "shop*\n",
        "sh\u00f6p*",
        "*\uff0e",
        "shop:dev:%2e*",
        "a" * 129,
        "*" + "a" * 128,
        "*" * 10_000,
        "shop:*:" + "\ud800*",
    ],
)
def test_M10_what_is_no_name_and_no_glob_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        parse_pattern(text)

    assert len(text) < 4 or text not in str(caught.value)


def test_patterns_are_hashable_equal_by_value_and_written_as_they_are_read() -> None:
    pattern = parse_pattern("a**:dev")

    assert {pattern: 1} == {parse_pattern("a*:dev:*"): 1}
    assert pattern == parse_pattern(str(pattern))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("s*", "shop"), ("*p", "shop"), ("s*p", "shop"), ("*h*", "shop"), ("shop*", "shop"), ("*", "shop"), ("t*", "t/a")],
)
def test_a_star_stands_for_any_characters(pattern: str, name: str) -> None:
    assert matches(pattern, application=name)


@pytest.mark.parametrize("pattern", ["Shop", "sho", "shop-*", "*-shop", "s*x*p", "sh*hop", "shop*shop"])
def test_P14_what_differs_in_case_or_in_any_character_is_another(pattern: str) -> None:
    assert not matches(pattern)


def test_pieces_between_stars_do_not_overlap() -> None:
    assert not matches("aba*aba", application="aba")
    assert not matches("a*ab*b", application="aab")
    assert matches("a*ab*b", application="aabb")


@pytest.mark.parametrize("profile", ["dev,prod", "prod,dev"])
def test_T09_a_pattern_for_one_profile_does_not_match_a_list_with_another(profile: str) -> None:
    assert not matches("shop:dev", profile=profile)
    assert matches("shop:*", profile=profile)


def test_T09_every_application_of_a_list_must_match() -> None:
    assert not matches("shop:*", application="shop,cart")
    assert matches("team-*", application="team-a,team-b")


def test_T09_every_label_of_a_list_must_match() -> None:
    assert not matches("shop:dev:release-*", label="release-1,main")
    assert matches("shop:dev:release-*", label="release-1,release-2")


@pytest.mark.parametrize("pattern", ["shop:dev:v1.2.3+build.5", "shop:dev:v1*+build.*", "shop:dev:*+build.5"])
def test_a_pattern_of_labels_may_hold_a_plus(pattern: str) -> None:
    assert matches(pattern, label="v1.2.3+build.5")
    assert not matches(pattern, label="v1.2.3")


def test_a_pattern_of_labels_may_hold_an_at() -> None:
    assert matches("shop:dev:dependabot(_)*(_)@types(_)*", label="dependabot/npm/@types/node")


@pytest.mark.parametrize("pattern", ["v1+*:dev:main", "@*:dev:main", "v1+b:dev:main"])
def test_a_pattern_of_applications_holds_neither(pattern: str) -> None:
    with pytest.raises(InvalidName):
        parse_pattern(pattern)


def test_a_label_outside_is_not_matched() -> None:
    assert not matches("shop:dev:release-*", label="main")
    assert matches("shop:dev:release-*", label="release-1")


@given(PARTS, NAMES)
def test_a_glob_matches_as_the_regular_expression_with_dots_and_stars_would(glob: str, name: str) -> None:
    expected = re.fullmatch(glob.replace("*", ".*"), name) is not None

    assert expected == matches(glob if "*" in glob else glob + ":*", application=name)


@given(PARTS, PARTS, NAMES)
def test_what_covers_a_pattern_matches_whatever_that_matches(wide: str, narrow: str, name: str) -> None:
    key = Key(name, "dev", "main")
    covering, covered = parse_pattern(wide), parse_pattern(narrow)
    if covering.covers(covered) and covered.matches(key):
        assert covering.matches(key)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("*", "a*:b", True),
        ("a*", "ab*", True),
        ("a*", "a", True),
        ("a*c", "ab*bc", True),
        ("a", "a*", False),
        ("ab*", "a*", False),
        ("a*a", "a", False),
        ("a:dev", "a", False),
        ("a:*:main", "a:dev:*", False),
        ("a:*:main", "a:dev:main", True),
    ],
)
def test_M11_a_narrow_right_does_not_cover_a_wide_pattern(wide: str, narrow: str, expected: bool) -> None:
    assert expected == parse_pattern(wide).covers(parse_pattern(narrow))


def test_M10_the_worst_glob_costs_no_more_than_microseconds() -> None:
    key = Key("a" * 128, "dev", "main")
    patterns = [parse_pattern(text) for text in ("*a" * 63 + "b", "*a*a*a*a*b", "a*" * 64, "*" + "ab*" * 42)]

    began = time.perf_counter()
    for _ in range(100):
        for pattern in patterns:
            pattern.matches(key)

    # 400 matches took 2 ms; backtracking would take years.
    assert time.perf_counter() - began < 2
