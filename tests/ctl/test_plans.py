"""The plan of a roll-back as lines."""

from typing import Any

import pytest

from vortexd.ctl.plans import key_of, lines_of_plan, target_of
from vortexd.ctl.printing import Paint

TITLE = f"billing:prod:main  {'1' * 16} -> {'0' * 16} (commit c0ffeec0ffee)"


def other(number: int) -> dict[str, str]:
    return {"application": f"a{number}", "profile": "prod", "label": "main"}


def plan(**more: Any) -> dict[str, Any]:
    return {
        "application": "billing",
        "profile": "prod",
        "label": "main",
        "head": "beef" * 10,
        "target": {"commit": "c0ffee" * 7, "version": "0" * 16},
        "version": "1" * 16,
        "files": [
            {"path": "billing.yml", "act": "change"},
            {"path": "billing-eu.yml", "act": "create"},
            {"path": "billing-prod.yml", "act": "delete"},
        ],
        "changes": [{"op": "replace", "path": "/port", "old": 2, "new": 1}],
        "others": [],
        "others_count": 0,
        "pushable": True,
        "commit": None,
        **more,
    }


def lines(**more: Any) -> list[str]:
    return list(lines_of_plan(plan(**more), Paint()))


def test_a_plan_is_the_versions_the_files_and_the_changes() -> None:
    assert lines() == [
        TITLE,
        "files:",
        "    change  billing.yml",
        "    create  billing-eu.yml",
        "    delete  billing-prod.yml",
        "changes:",
        "- /port: 2",
        "+ /port: 1",
        "no other configuration changes",
    ]


def test_a_target_without_a_commit_is_its_version() -> None:
    assert "0" * 16 == target_of(plan(target={"commit": None, "version": "0" * 16}))
    assert "billing:prod:main" == key_of(plan())


def test_a_newest_commit_that_cannot_be_read_has_no_version() -> None:
    assert f"billing:prod:main  (unreadable) -> {'0' * 16} (commit c0ffeec0ffee)" == lines(version=None)[0]


def test_the_reasons_of_the_gate_come_last() -> None:
    finding: dict[str, Any] = {
        "key": "billing:prod:main",
        "pointer": "/port",
        "keyword": "minimum",
        "rule": "billing.schema.json",
    }
    finding |= {"file": "billing\x1b.yml", "line": 3}
    refused = {"failure": "took too long", "findings_count": 2, "findings": [finding]}

    assert lines(refused=refused)[9:] == [
        "the gate would hold the commit back, so the server doesn't push it:",
        "    billing:prod:main: minimum of billing.schema.json at /port (billing\\x1b.yml:3)",
        "    and 1 more findings",
        "    the gate took too long",
    ]
    assert lines() == lines(refused=None)


def test_a_plan_without_files_has_nothing_to_push() -> None:
    assert lines(files=[]) == [
        TITLE,
        "the newest commit, beefbeefbeef, already has this version; there is nothing to push",
    ]


def test_other_configurations_that_change_are_named() -> None:
    assert ["1 other configuration changes, too:", "    a0:prod:main"] == lines(others=[other(0)], others_count=1)[-2:]
    assert ["2 other configurations change, too:", "    a0:prod:main", "    a1:prod:main"] == lines(
        others=[other(0), other(1)], others_count=2
    )[-3:]


def test_of_many_only_the_first_twenty_are_named_and_the_rest_is_counted() -> None:
    named = [other(number) for number in range(30)]
    found = lines(others=named[:20], others_count=20)[8:]
    assert ["20 other configurations change, too:", *(f"    a{number}:prod:main" for number in range(20))] == found
    found = lines(others=named, others_count=31)[8:]
    assert ("31 other configurations change, too:", 22) == (found[0], len(found))
    assert ["    a19:prod:main", "    and 11 more"] == found[-2:]
    assert ["    a1:prod:main", "    and 1 more"] == lines(others=named[:2], others_count=3)[-2:]


def test_colours_mark_the_key_the_files_and_the_other_configurations() -> None:
    found = list(lines_of_plan(plan(others=[other(0)], others_count=1), Paint(True)))

    assert [f"\x1b[1m{TITLE}\x1b[0m", "files:", "    change  billing.yml"] == found[:3]
    assert ["\x1b[32m    create  billing-eu.yml\x1b[0m", "\x1b[31m    delete  billing-prod.yml\x1b[0m"] == found[3:5]
    assert ["\x1b[31m- /port: 2\x1b[0m", "\x1b[32m+ /port: 1\x1b[0m"] == found[6:8]
    assert "\x1b[33m1 other configuration changes, too:\x1b[0m" == found[8]


def test_a_plan_controls_no_terminal() -> None:
    bad = "\x1b[2J\n"
    named = {"application": bad, "profile": bad, "label": bad}
    texts = {"version": bad, "head": bad, "target": {"commit": bad, "version": bad}}
    files = [{"path": bad, "act": bad}]
    changes = [{"op": "replace", "path": bad, "old": bad, "new": bad}]
    found = lines(**named, **texts, files=files, changes=changes, others=[named], others_count=1)
    found += lines(**named, **texts, files=[])

    assert all(line.isprintable() for line in found)


@pytest.mark.parametrize("name", ["application", "version", "target", "files", "changes", "others", "others_count"])
def test_a_plan_that_lacks_a_member_is_none(name: str) -> None:
    made = plan()
    del made[name]

    with pytest.raises(KeyError):
        list(lines_of_plan(made, Paint()))
