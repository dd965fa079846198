"""`vortexctl gate`: the labels that are held back, and the exception for one of them."""

import json
from typing import Any

import pytest

from vortexd.ctl import cli
from vortexd.ctl.acts import MISSING, NO_RIGHT

from .answering import Said, answering

FINDING = {
    "key": "billing:prod:main",
    "pointer": "/port",
    "keyword": "type",
    "rule": "s.json",
    "file": "billing.yml",
    "line": 2,
}
HELD: dict[str, Any] = {
    "label": "main",
    "state": "c0ffee" * 7,
    "since": "2026-11-30T00:00:00.000Z",
    "failure": None,
    "findings_count": 1,
    "findings": [FINDING],
}
STANDING = {"label": "next", "failure": None, "findings_count": 1, "findings": [FINDING]}
EXCEPTION = ["--let-through", "main", "--state", "c0ffee", "--reason", "incident 7"]


def gate(capsys: pytest.CaptureFixture[str], answer: Said, *given: str) -> tuple[int, str, str, list[str], list[Any]]:
    with answering(answer) as server:
        status = cli.main(["gate", "--server", server.url, *given])
        printed = capsys.readouterr()
        return status, printed.out, printed.err.replace(server.url, "URL"), server.asked, server.bodies


def said(*held: dict[str, Any], standing: Any = ()) -> Said:
    return 200, {"held_back": list(held), "standing": list(standing)}


def test_a_label_that_is_held_back_is_status_1_and_names_the_place_and_the_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err, asked, _ = gate(capsys, said(HELD))

    assert (1, "", ["/api/v1/gate"]) == (status, err, asked)
    assert out.splitlines() == [
        f"main: the gate holds back {HELD['state']} since 2026-11-30T00:00:00.000Z",
        "    billing:prod:main: type of s.json at /port (billing.yml:2)",
        f"    Correct the file; or let this state through: vortexctl gate --let-through main --state {HELD['state']} --reason TEXT",
    ]


def test_the_applications_that_are_held_back_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _, _, _ = gate(capsys, said(HELD | {"scope": "application", "applications": ["billing", "a\x1b"]}))

    assert 1 == status
    first = f"main: the gate holds back {HELD['state']} for billing, a\\x1b since 2026-11-30T00:00:00.000Z"
    assert first == out.splitlines()[0]


def test_each_form_of_a_finding_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [{**FINDING, "line": None}, {**FINDING, "file": None, "line": None, "pointer": ""}]
    held = {**HELD, "findings": findings, "findings_count": 5, "failure": "can't judge: it is slow"}
    _, out, _, _, _ = gate(capsys, said(held))

    assert out.splitlines()[1:-1] == [
        "    billing:prod:main: type of s.json at /port (billing.yml)",
        "    billing:prod:main: type of s.json at the top of the document",
        "    and 3 more findings",
        "    the gate can't judge: it is slow",
    ]


def test_a_schema_that_cannot_be_used_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    finding = FINDING | {"pointer": "", "keyword": "schema", "rule": "s.json", "file": "s.json", "line": 2}
    refusal = HELD | {"findings": [finding | {"problem": "not JSON: the text ends too soon"}], "findings_count": 1}
    _, out, *_ = gate(capsys, said(refusal))

    assert (
        f"    {FINDING['key']}: s.json can't be used: not JSON: the text ends too soon (s.json:2)" in out.splitlines()
    )


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        ("can't start the command judge: no such file", "Repair the command (vortexd judges again in 5 to 60 s)"),
        ("can't validate: it hangs", "Repair the gate, or raise its limits (vortexd judges again in 5 to 60 s)"),
    ],
)
def test_if_the_gate_could_not_judge_the_advice_is_to_repair_it(
    failure: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, *_ = gate(capsys, said(HELD | {"findings": [], "findings_count": 0, "failure": failure}))

    assert f"    {remedy}; or let this state through: vortexctl" in out
    assert f"    the gate {failure}" in out.splitlines()
    assert "Correct" not in out


def test_a_rule_of_the_served_state_is_named_so_and_the_schema_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, *_ = gate(capsys, said(HELD | {"findings": [FINDING | {"rule_state": "served"}]}))

    assert "    billing:prod:main: type of s.json of the served state at /port (billing.yml:2)" in out.splitlines()
    assert "    Correct the file, or first publish the new schema in a commit of its own; or let this" in out


def test_what_is_served_against_the_rules_is_listed_without_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _, _, _ = gate(capsys, said(standing=[STANDING]))

    assert 0 == status
    assert out.splitlines() == [
        "next: the server serves what the gate would refuse",
        "    billing:prod:main: type of s.json at /port (billing.yml:2)",
    ]


def test_what_was_not_judged_is_not_said_to_be_refused(capsys: pytest.CaptureFixture[str]) -> None:
    failed = STANDING | {"failure": "can't start the command judge: no such file or directory"}
    status, out, *_ = gate(capsys, said(standing=[failed | {"findings": [], "findings_count": 0}]))

    assert 0 == status
    assert out.splitlines() == [
        "next: the gate couldn't judge what the server serves (it judges it again in 5 to 60 s)",
        "    the gate can't start the command judge: no such file or directory",
    ]
    # With findings, something was judged.
    _, out, *_ = gate(capsys, said(standing=[failed]))
    assert "next: the server serves what the gate would refuse" == out.splitlines()[0]


def test_nothing_held_back_is_a_sentence_and_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, "the gate holds nothing back\n", "") == gate(capsys, said())[:3]


def test_programs_get_one_object_with_the_same_status(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _, _, _ = gate(capsys, said(HELD), "--json")
    assert (1, said(HELD)[1]) == (status, json.loads(out))
    status, out, _, _, _ = gate(capsys, said(), "--json")
    assert (0, said()[1]) == (status, json.loads(out))


def test_held_back_is_red_and_served_yellow(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _, _, _ = gate(capsys, said(HELD, standing=[STANDING]), "--color", "always")

    assert out.startswith("\x1b[31mmain: the gate holds back")
    assert "\x1b[33mnext: the server serves what the gate would refuse\x1b[0m" in out


def test_an_answer_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b[2J"
    finding = {**FINDING, "key": bad, "pointer": bad, "rule": bad, "file": bad}
    held = {**HELD, "label": bad, "state": bad, "failure": bad, "findings": [finding]}
    out = gate(capsys, said(held, standing=[{**STANDING, "label": bad}]))[1]

    assert "\x1b" not in out


@pytest.mark.parametrize(
    "answer",
    [{}, [], {"held_back": 7, "standing": []}, {"held_back": [{}], "standing": []}, {"held_back": [], "standing": [7]}],
)
def test_other_answers_are_3(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = "vortexctl: error: URL doesn't answer as a vortexd of this version does; see --server\n"

    assert (3, "", text) == gate(capsys, (200, answer))[:3]


def test_a_state_is_let_through_by_one_request(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err, asked, bodies = gate(capsys, (204, ""), *EXCEPTION)

    assert (0, "the server has published state c0ffee of main\n", "") == (status, out, err)
    assert ["POST /api/v1/gate"] == asked
    assert [{"label": "main", "state": "c0ffee", "reason": "incident 7"}] == bodies


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_a_part_of_an_exception_is_2_and_not_sent(missing: int, capsys: pytest.CaptureFixture[str]) -> None:
    given = EXCEPTION[:missing] + EXCEPTION[missing + 2 :]
    text = "vortexctl: error: --let-through LABEL, --state STATE and --reason TEXT must be given together\n"

    assert (2, "", text, [], []) == gate(capsys, (204, ""), *given)
    empty = [*EXCEPTION[: missing + 1], "", *EXCEPTION[missing + 2 :]]
    assert (2, "", text, [], []) == gate(capsys, (204, ""), *empty)


def test_an_exception_as_json_is_2_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err, asked, _ = gate(capsys, (204, ""), *EXCEPTION, "--json")

    assert (2, []) == (status, asked)
    assert "--json is only for the list" in err


@pytest.mark.parametrize("given", [[], EXCEPTION], ids=["list", "exception"])
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((401, {"message": "no"}), "URL re"),
        ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: it needs the right admin; see --token-file"),
        ((404, {"message": MISSING}), "URL has no /api/v1/gate: this vortexd is older than this vortexctl"),
        ((409, {"message": "the gate doesn't hold it back"}), "URL answered 409: the gate doesn't hold it back"),
    ],
)
def test_a_refusal_is_the_servers_sentence(
    given: list[str], answer: Said, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err, _, _ = gate(capsys, answer, *given)

    assert (3, "", 1) == (status, out, err.count("\n"))
    assert err.startswith(f"vortexctl: error: {text}")


def test_a_server_that_stops_in_the_middle_may_have_published_it(capsys: pytest.CaptureFixture[str]) -> None:
    end = ". It isn't known whether the server has let the state through. To find out, run: vortexctl gate\n"
    status, _, err, _, _ = gate(capsys, (0, ""), *EXCEPTION)
    assert (3, True) == (status, err.endswith(end))
    status, _, err, _, _ = gate(capsys, (0, ""))
    assert (3, False) == (status, "known whether" in err)


LET = ["--let-through", "main", "--reason", "incident 7", "--state"]


@pytest.mark.parametrize(
    ("state", "label", "sent"),
    [
        ("c0ffeec", "main", "c0ffee" * 7),
        ("c0ffee" * 7, "main", "c0ffee" * 7),
        ("c0ffeed", "main", "c0ffeed"),
        ("c0ffeec", "other", "c0ffeec"),
    ],
)
def test_a_state_may_be_abbreviated(state: str, label: str, sent: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(said({**HELD, "label": label}), (204, "")) as server:
        assert 0 == cli.main(["gate", "--server", server.url, *LET, state])
        assert ["/api/v1/gate", "POST /api/v1/gate"] == server.asked
        assert sent == server.bodies[0]["state"]
    assert f"the server has published state {sent} of main\n" == capsys.readouterr().out


def test_fewer_than_7_digits_are_sent_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((204, "")) as server:
        assert 0 == cli.main(["gate", "--server", server.url, *LET, "c0ffee"])
        assert ["POST /api/v1/gate"] == server.asked


def test_an_answer_that_is_no_list_lets_nothing_through(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((200, {"held_back": 7})) as server:
        assert 3 == cli.main(["gate", "--server", server.url, *LET, "c0ffeec"])
        assert [] == server.bodies
