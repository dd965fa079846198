"""A decision of the gate about one label."""

import attrs

from vortexd.gate.decision import Decision, Kind


def test_a_decision_that_accepts_has_no_findings_and_no_person() -> None:
    decision = Decision(Kind.ACCEPTED, "main", "c1")

    assert ((), 0, None, None, "", ()) == attrs.astuple(decision, recurse=False)[3:]
    assert decision == Decision(Kind.ACCEPTED, "main", "c1")


def test_each_kind_has_a_text_of_its_own() -> None:
    assert ["accepted", "refused", "unjudged", "released", "overridden", "standing"] == [each.value for each in Kind]
