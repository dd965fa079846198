"""The quota of patterns: each pattern counts once for each owner, and the limits are exact."""

import pytest

from tests.fakes import open_gate
from vortexd.auth import Admission, Kind, Principal
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.realtime.quota import PatternOwner, PatternQuota, TooManyPatterns, owner_of

ONE, OTHER = ("", "192.0.2.1"), ("", "192.0.2.2")
TOKEN = ("a digest", "ci")


class Quota(PatternQuota):
    """One that keeps what it reports."""

    def __init__(self, distinct: int, per_owner: int) -> None:
        self.reports: list[TooManyPatterns] = []
        super().__init__(distinct, per_owner, self.reports.append)


def patterns(*texts: str) -> list[Pattern]:
    return [parse_pattern(text) for text in texts]


def refusal(quota: PatternQuota, owner: PatternOwner, *texts: str) -> TooManyPatterns:
    with pytest.raises(TooManyPatterns) as caught:
        quota.take(owner, patterns(*texts))
    return caught.value


@pytest.mark.parametrize(("owner", "whose"), [(ONE, "this address"), (TOKEN, "this token")])
def test_an_owner_has_as_many_as_it_may_and_not_one_more(owner: PatternOwner, whose: str) -> None:
    quota = Quota(100, 3)
    quota.take(owner, patterns("a", "b"))
    error = refusal(quota, owner, "c", "d")

    assert f"at most 3 different patterns for all connections of {whose}" == error.reason
    assert ("realtime.distinct_patterns_per_owner", 3) == (error.setting, error.limit)
    assert [error] == quota.reports
    # Nothing of the refused ones counts.
    assert 2 == len(quota)
    quota.take(owner, patterns("c"))
    refusal(quota, owner, "d")
    quota.take(OTHER, patterns("d", "e", "f"))


def test_all_owners_together_have_as_many_as_they_may_and_not_one_more() -> None:
    quota = Quota(3, 100)
    quota.take(ONE, patterns("a", "b"))
    error = refusal(quota, OTHER, "c", "d")

    assert "at most 3 different patterns for all clients together" == error.reason
    assert ("realtime.distinct_patterns", 3) == (error.setting, error.limit)
    assert [error] == quota.reports
    quota.take(OTHER, patterns("c"))
    refusal(quota, OTHER, "d")
    refusal(quota, TOKEN, "d")


def test_a_pattern_that_is_there_already_is_never_one_too_many() -> None:
    quota = Quota(2, 2)
    quota.take(ONE, patterns("a", "b"))
    quota.take(ONE, patterns("a", "b"))
    quota.take(OTHER, patterns("b", "a"))

    assert 2 == len(quota)
    mixed = Quota(3, 9)
    mixed.take(ONE, patterns("a", "b"))
    mixed.take(OTHER, patterns("b", "c"))
    assert 3 == len(mixed)
    # For another owner it is one more, and none for the process.
    assert "realtime.distinct_patterns_per_owner" == refusal(quota, OTHER, "c").setting
    assert "realtime.distinct_patterns" == refusal(quota, TOKEN, "c").setting


def test_a_pattern_counts_until_the_last_connection_of_the_last_owner_gives_it_back() -> None:
    quota = Quota(1, 1)
    quota.take(ONE, patterns("a"))
    quota.take(ONE, patterns("a"))
    quota.take(OTHER, patterns("a"))
    quota.give_back(ONE, patterns("a"))
    assert "realtime.distinct_patterns_per_owner" == refusal(quota, ONE, "b").setting
    quota.give_back(ONE, patterns("a"))
    assert "realtime.distinct_patterns" == refusal(quota, ONE, "b").setting
    quota.give_back(OTHER, patterns("a"))
    quota.take(ONE, patterns("b"))

    assert 1 == len(quota)
    quota.give_back(ONE, patterns("b"))
    assert (0, {}) == (len(quota), quota._owners)


def test_a_limit_of_nothing_refuses_everything() -> None:
    assert "realtime.distinct_patterns_per_owner" == refusal(Quota(1, 0), ONE, "a").setting
    assert "realtime.distinct_patterns" == refusal(Quota(0, 1), ONE, "a").setting
    Quota(0, 0).take(ONE, [])


def test_other_limits_hold_for_patterns_to_come() -> None:
    quota = Quota(3, 3)
    quota.take(ONE, patterns("a", "b", "c"))
    quota.replace(2, 4)
    quota.take(ONE, patterns("a"))
    assert "realtime.distinct_patterns" == refusal(quota, ONE, "d").setting
    quota.replace(5, 2)
    quota.take(ONE, patterns("a"))
    assert "realtime.distinct_patterns_per_owner" == refusal(quota, ONE, "d").setting
    quota.replace(4, 4)
    quota.take(ONE, patterns("d"))


def test_patterns_count_for_a_token_or_else_for_an_address() -> None:
    def admitted(kind: Kind, name: str, identity: str) -> Admission:
        return Admission(open_gate(), Principal(name, kind, (), identity=identity))

    anonymous = admitted(Kind.ANONYMOUS, "anonymous", "")
    assert ("", "192.0.2.1") == owner_of(anonymous, "192.0.2.1")
    assert ("", "") == owner_of(anonymous, "")
    assert ("digest", "ci") == owner_of(admitted(Kind.TOKEN, "ci", "digest"), "192.0.2.1")
    # One key signs for many subjects.
    one, other = (owner_of(admitted(Kind.JWT, name, "key"), "192.0.2.1") for name in ("one", "other"))
    assert one != other


def test_a_look_for_room_counts_and_reports_nothing() -> None:
    quota = Quota(3, 2)
    quota.take(ONE, patterns("a"))

    assert quota.has_room(ONE, patterns("a", "b"))
    assert not quota.has_room(ONE, patterns("b", "c"))
    assert quota.has_room(OTHER, patterns("b", "c"))
    quota.take(OTHER, patterns("b", "c"))
    assert not quota.has_room(TOKEN, patterns("d"))
    assert (3, []) == (len(quota), quota.reports)
