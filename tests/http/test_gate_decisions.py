"""The gate's decisions as entries of the audit log: which worker records them, and what they say."""

from typing import Any

import attrs
import pytest

from tests.audit.noted import NotedAudit
from vortexd.audit import Actor, Outcome
from vortexd.core.model import Key
from vortexd.gate.decision import Decision, Kind, Person
from vortexd.gate.finding import Finding
from vortexd.http.gate_decisions import record_decision

FINDING = Finding(Key("billing", "prod", "main"), "/port", "type", "s.json", "billing.yml", 3)
SAID = "billing:prod:main: type of s.json at /port (billing.yml:3)"
GATE, ADA = Actor("gate"), Person("ada", "token", "192.0.2.1")


def recorded(decision: Decision, worker: int = 0) -> list[Any]:
    audit = NotedAudit()
    record_decision(audit, decision, worker)
    return audit.noted


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Decision(Kind.ACCEPTED, "main", "c2"), ("judge", Outcome.DONE, "", {"state": "c2"})),
        (
            Decision(Kind.REFUSED, "main", "c2", (FINDING,), 7),
            ("judge", Outcome.REFUSED, SAID, {"state": "c2", "findings": "7"}),
        ),
        (
            Decision(Kind.UNJUDGED, "main", "c2", (FINDING,), 1, "can't judge: it hangs"),
            (
                "judge",
                Outcome.FAILED,
                f"the gate can't judge: it hangs; {SAID}",
                {"state": "c2", "findings": "1"},
            ),
        ),
        (Decision(Kind.RELEASED, "main", "c3"), ("release label", Outcome.DONE, "", {"state": "c3"})),
        (
            Decision(Kind.RELEASED, "main", "c3", applications=("a", "b", "c", "d", "e", "f")),
            ("release label", Outcome.DONE, "", {"state": "c3", "applications": "a b c d e"}),
        ),
        (
            Decision(Kind.STANDING, "main", "c2", (FINDING,), 7),
            ("examine", Outcome.REFUSED, SAID, {"state": "c2", "findings": "7"}),
        ),
        (
            Decision(Kind.STANDING, "main", "c2", failure="can't judge: it hangs"),
            ("examine", Outcome.FAILED, "the gate can't judge: it hangs", {"state": "c2"}),
        ),
        (Decision(Kind.RELEASED, "main", None), ("release label", Outcome.DONE, "", {})),
    ],
)
def test_what_the_gate_decides_is_an_act_of_the_gate(decision: Decision, expected: tuple[Any, ...]) -> None:
    act, outcome, reason, details = expected

    assert [(act, GATE, "main", outcome, reason, details)] == recorded(decision)


def test_the_first_five_findings_are_named() -> None:
    findings = tuple(attrs.evolve(FINDING, line=line) for line in range(1, 7))
    [(*_, reason, _)] = recorded(Decision(Kind.REFUSED, "main", "c2", findings, 6))

    assert "; ".join(map(str, findings[:5])) == reason


def test_an_exception_names_the_person_and_the_address() -> None:
    decision = Decision(Kind.OVERRIDDEN, "main", "c2", (FINDING,), 7, None, ADA, "incident 7")
    for worker in (0, 1):
        assert [
            (
                "let through",
                Actor("ada", "token", "192.0.2.1"),
                "main",
                Outcome.DONE,
                "incident 7",
                {"state": "c2", "findings": "7"},
            )
        ] == recorded(decision, worker)


def test_a_worker_that_follows_another_one_does_not_record_the_exception_again() -> None:
    decision = Decision(Kind.OVERRIDDEN, "main", "c2", (FINDING,), 7, None, None, "incident 7")

    assert [[], []] == [recorded(decision, worker) for worker in (0, 1)]


@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.REFUSED, Kind.UNJUDGED, Kind.RELEASED, Kind.STANDING])
def test_other_workers_than_the_first_record_only_what_they_could_not_judge(kind: Kind) -> None:
    assert (1, int(kind is Kind.UNJUDGED)) == tuple(
        len(recorded(Decision(kind, "main", "c2"), worker)) for worker in (0, 1)
    )
