"""Findings and refusals: their texts, and their members."""

import pytest

from vortexd.core.model import Key
from vortexd.gate.finding import Finding, Refusal, grouped, pointer_of

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


def test_findings_of_a_key_with_several_labels_belong_to_each_of_them() -> None:
    one, two = Finding(KEY, "", "type", "s"), Finding(Key("a", "b", "main,dev,main"), "", "type", "s")

    assert {"main": [one, two], "dev": [two]} == grouped([one, two])
