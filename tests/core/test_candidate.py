import pytest

from vortexd.core.candidate import CandidateKey, candidate_of, plain
from vortexd.core.model import Key

KEY = Key("billing", "prod", "main")


def test_a_key_and_its_candidate_are_two_keys() -> None:
    candidate = candidate_of(KEY)

    assert isinstance(candidate, CandidateKey)
    assert candidate != KEY
    assert KEY != candidate
    assert {KEY: 1, candidate: 2} == {candidate_of(KEY): 2, Key("billing", "prod", "main"): 1}


def test_a_candidate_has_the_names_and_the_text_of_its_key() -> None:
    candidate = candidate_of(KEY)

    assert str(candidate) == str(KEY) == "billing:prod:main"
    assert (candidate.application, candidate.profile, candidate.label) == ("billing", "prod", "main")


def test_plain_leads_back_to_the_key() -> None:
    assert plain(candidate_of(KEY)) == KEY
    assert plain(KEY) is KEY


@pytest.mark.parametrize("other", [Key("orders", "prod", "main"), Key("billing", "dev", "main")])
def test_candidates_of_two_keys_differ(other: Key) -> None:
    assert candidate_of(other) != candidate_of(KEY)
