"""Findings and refusals: their texts, and their members."""

import attrs
import pytest

from vortexd.core.model import Key
from vortexd.gate.finding import Finding, Refusal, pointer_of, refused_headers

KEY = Key("billing", "prod", "main")


@pytest.mark.parametrize(
    ("steps", "pointer"), [([], ""), (["a", 0, "b"], "/a/0/b"), (["a/b", "c~d"], "/a~1b/c~0d"), ([""], "/")]
)
def test_a_pointer_is_that_of_rfc_6901(steps: list[str | int], pointer: str) -> None:
    assert pointer == pointer_of(steps)


@pytest.mark.parametrize(
    ("file", "line", "place"), [("a.yml", 3, "a.yml:3"), ("a.yml", None, "a.yml"), (None, None, "")]
)
def test_a_finding_names_its_place(file: str | None, line: int | None, place: str) -> None:
    found = Finding(KEY, "/port", "type", "billing.schema.json", file, line)

    assert place == found.place
    assert str(found) == "billing:prod:main: type of billing.schema.json at /port" + (f" ({place})" if place else "")


def test_a_finding_about_the_whole_document_says_so() -> None:
    assert "command of judge at the top of the document" == Finding(KEY, "", "command", "judge").reason


def test_a_refusal_has_members_for_programs() -> None:
    found = Finding(KEY, "/port", "type", "billing.schema.json", "billing.yml", 3)
    finding = {
        "key": "billing:prod:main",
        "pointer": "/port",
        "keyword": "type",
        "rule": "billing.schema.json",
        "file": "billing.yml",
        "line": 3,
    }

    assert {
        "label": "main",
        "state": "abc",
        "failure": None,
        "findings_count": 7,
        "findings": [finding],
    } == Refusal("main", "abc", (found,), 7).members


def test_a_refusal_since_another_time_is_the_same() -> None:
    assert Refusal("main", "abc", (), 1, since=1.0) == Refusal("main", "abc", (), 1, since=2.0)


def test_the_header_names_the_key_the_rule_the_file_and_the_line() -> None:
    found = Finding(KEY, "/a;b", "type", "s.json", 'x"y.yml', 3)

    assert {
        "X-Vortex-Held-Back": '"main";state="c1";key="billing:prod:main";pointer="/a;b";keyword="type";rule="s.json";file="x%22y.yml";line=3'
    } == refused_headers([Refusal("main", "c1", (found,), 1)])


def test_without_a_refusal_there_is_no_header_and_a_refusal_without_a_place_has_none() -> None:
    assert {} == refused_headers([])
    assert {"X-Vortex-Held-Back": '"main";state="c1"'} == refused_headers([Refusal("main", "c1", (), 1)])
    found = Finding(KEY, "", "command", "judge")
    header = (
        '"main";state="c1";key="billing:prod:main";pointer="";keyword="command";rule="judge", "main";state="c1";failed'
    )
    assert {"X-Vortex-Held-Back": header} == refused_headers([Refusal("main", "c1", (found,), 1, "hangs")])


def test_the_header_has_a_bounded_number_of_findings() -> None:
    found = tuple(Finding(KEY, f"/{number}", "type", "s.json") for number in range(9))

    assert 8 == refused_headers([Refusal("main", "c1", found, 9)])["X-Vortex-Held-Back"].count("keyword=")


def test_a_refusal_of_applications_says_so_as_members_and_in_the_header() -> None:
    refusal = Refusal("main", "c1", (), 1, applications=("a", 'b"c'))

    assert ("application", ["a", 'b"c']) == (refusal.members["scope"], refusal.members["applications"])
    header = '"main";state="c1";scope="application";applications="a b%22c"'
    assert {"X-Vortex-Held-Back": header} == refused_headers([refusal])


def test_the_header_has_a_bounded_number_of_applications() -> None:
    refusal = Refusal("main", "c1", (), 1, applications=tuple(map(str, range(9))))

    assert refused_headers([refusal])["X-Vortex-Held-Back"].endswith(';applications="0 1 2 3 4 5 6 7"')
    assert 9 == len(refusal.members["applications"])


def test_a_schema_that_cannot_be_used_says_why_everywhere() -> None:
    found = Finding(KEY, "", "schema", "s.json", "s.json", 2, "not JSON: the text ends too soon")

    assert str(found).endswith(": s.json can't be used: not JSON: the text ends too soon (s.json:2)")
    assert "not JSON: the text ends too soon" == found.members["problem"]
    assert "problem" not in attrs.evolve(found, problem=None).members
    [header] = refused_headers([Refusal("main", "c2", (found,), 1)]).values()
    assert ';file="s.json";problem="not JSON: the text ends too soon";line=2' in header


def test_a_rule_of_the_served_state_is_named_so_everywhere() -> None:
    found = Finding(KEY, "/port", "type", "s.json", is_former=True)

    assert "type of s.json of the served state at /port" == found.reason
    assert "served" == found.members["rule_state"]
    assert "rule_state" not in attrs.evolve(found, is_former=False).members
    [header] = refused_headers([Refusal("main", "c2", (found,), 1)]).values()
    assert header.endswith(';rule="s.json";rule_state="served"')
