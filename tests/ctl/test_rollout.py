"""`vortexctl rollout`: its requests, its output and its errors."""

import json
from typing import Any

import pytest

from vortexd.ctl import cli
from vortexd.ctl.acts import MISSING, NO_RIGHT

from .answering import Said, answering

NOW = 1_796_000_000.0  # 2026-11-30T00:53:20Z
OLD, NEW = "0" * 16, "1" * 16
COUNTS = {"named": 8, "reached": 3, "applied": 2, "rejected": 0, "silent": 1, "gone": 1, "unanswered": 0}
KEY = ("billing:prod:main",)
ONE = "/api/v1/rollouts?application=billing&profile=prod&label=main"
POST = "POST /api/v1/rollouts"
AT_KEY = "it needs the right admin, and the right read for this configuration"


def rollout(key: str = "billing:prod:main", **more: Any) -> dict[str, Any]:
    application, profile, label = key.split(":")
    return {
        "application": application,
        "profile": profile,
        "label": label,
        "id": "r1",
        "status": "running",
        "stable": OLD,
        "target": NEW,
        "commit": "c0ffee" * 7,
        "author": "ada\x1b",
        "steps": [5, 25, 100],
        "step": 2,
        "share": 25,
        "applied": 90,
        "within": 300.0,
        "counts": COUNTS,
        "reason": "",
        "by": "",
        "began": "2026-11-30T00:00:00.000Z",
        "stepped": "2026-11-30T00:50:00.000Z",
        "deadline": "2026-11-30T00:55:20.000Z",
        "problem": None,
        **more,
    }


HALTED: dict[str, Any] = {"status": "halted", "counts": None, "deadline": None, "reason": "too \x1b slow", "by": "bob"}
WAITING: dict[str, Any] = {
    "id": None,
    "status": "waiting",
    "counts": None,
    "commit": None,
    "began": None,
    "stepped": None,
    "deadline": None,
    "problem": "the disk is full",
}


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.ctl.rollout.time.time", lambda: NOW)


def called(
    capsys: pytest.CaptureFixture[str], given: tuple[str, ...], *answers: Said
) -> tuple[int, str, str, list[str], list[Any]]:
    with answering(*answers) as server:
        status = cli.main(["rollout", given[0], "--server", server.url, *given[1:]])
        printed = capsys.readouterr()
        return status, printed.out, printed.err.replace(server.url, "URL"), server.asked, server.bodies


def said(*rollouts: dict[str, Any]) -> Said:
    return 200, {"rollouts": list(rollouts)}


def test_roll_outs_are_a_table_in_the_order_of_their_keys(capsys: pytest.CaptureFixture[str]) -> None:
    answer = said(rollout(), rollout("b:prod:main", **WAITING), rollout("a:prod:main", **HALTED))
    status, out, err, asked, _ = called(capsys, ("list",), answer)

    assert (0, "", ["/api/v1/rollouts"]) == (status, err, asked)
    assert [line.split() for line in out.splitlines()] == [
        ["KEY", "STATUS", "STEP", "SHARE", "APPLIED", "TARGET", "COMMIT", "SINCE", "REASON"],
        ["a:prod:main", "halted", "2/3", "25", "%", "-", NEW, "c0ffeec0ffee", "3", "m", "too", "\\x1b", "slow"],
        ["b:prod:main", "waiting", "2/3", "25", "%", "-", NEW, "-", "-", "the", "disk", "is", "full"],
        ["billing:prod:main", "running", "2/3", "25", "%", "2/3", NEW, "c0ffeec0ffee", "3", "m", "-"],
    ]


def test_no_roll_out_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    text = "there is no roll-out of a configuration that the token may read"
    assert f"{text}; --all also lists those that are done\n" == called(capsys, ("list",), said())[1]
    assert f"{text}\n" == called(capsys, ("list", "--all"), said())[1]


def test_all_asks_for_those_that_are_done_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert ["/api/v1/rollouts?all=true"] == called(capsys, ("list", "--all"), said())[3]


@pytest.mark.parametrize("given", [("list", "--json"), ("show", *KEY, "--json")])
def test_json_is_the_answer_in_the_order_of_the_keys(
    given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"rollouts": [rollout("b:prod:main"), rollout("a:prod:main")], "more": 1}
    out = called(capsys, given, (200, answer))[1]
    assert {"rollouts": [rollout("a:prod:main"), rollout("b:prod:main")], "more": 1} == json.loads(out)


def test_one_roll_out_is_shown_with_all_that_matters(capsys: pytest.CaptureFixture[str]) -> None:
    counts = COUNTS | {"unanswered": 2}
    status, out, err, asked, _ = called(capsys, ("show", *KEY), said(rollout(counts=counts)))

    assert (0, "", [ONE]) == (status, err, asked)
    assert out.splitlines() == [
        "billing:prod:main  running",
        f"  stable   {OLD}",
        f"  target   {NEW} (commit c0ffeec0ffee, ada\\x1b)",
        "  step     2 of 3 (5 %, 25 %, 100 %)",
        "  needs    90 % applied within 300 s",
        "  counts   8 named, 3 reached, 2 applied, 0 rejected, 1 silent (1 of them gone)",
        "  unknown  2 workers or nodes haven't answered",
        "  halts in 2 m, unless the step is done by then",
    ]


def test_a_halted_roll_out_says_why_and_by_whom(capsys: pytest.CaptureFixture[str]) -> None:
    for more, line in (({}, "  reason   too \\x1b slow (bob)"), ({"by": ""}, "  reason   too \\x1b slow")):
        out = called(capsys, ("show", *KEY), said(rollout(**HALTED | more)))[1].splitlines()
        assert ("billing:prod:main  halted", line) == (out[0], out[-1])
        assert not any(each.startswith(("  counts", "  halts in", "  unknown")) for each in out)


def test_a_change_that_waits_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = called(capsys, ("show", *KEY), said(rollout(**WAITING)))[1].splitlines()
    assert f"  target   {NEW}" == out[2]
    assert "  problem  the disk is full: no instance gets the new version until it is recorded" == out[-1]


def test_a_commit_without_an_author_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = called(capsys, ("show", *KEY), said(rollout(author=None)))[1]
    assert "(commit c0ffeec0ffee, unknown author)" in out


@pytest.mark.parametrize(
    ("act", "before", "outlook", "outcome"),
    [
        ("resume", HALTED, "", "runs again"),
        ("abort", {}, f"up to 3 instances with version {NEW} will return to version {OLD}\n", "is aborted"),
        (
            "abort",
            {"counts": COUNTS | {"reached": 1}},
            f"up to 1 instance with version {NEW} will return to version {OLD}\n",
            "is aborted",
        ),
        (
            "abort",
            {"counts": None},
            f"all instances that have version {NEW} will return to version {OLD}\n",
            "is aborted",
        ),
        (
            "abort",
            HALTED,
            f"all instances have version {OLD} already, until the configuration changes again\n",
            "is aborted",
        ),
        (
            "promote",
            {},
            f"6 instances with version {OLD}, and all clients without a name, will get version {NEW} at once\n",
            "is promoted",
        ),
        ("promote", HALTED, f"all clients will get version {NEW} at once\n", "is promoted"),
    ],
)
def test_an_act_says_what_it_does_and_names_the_version(
    act: str, before: dict[str, Any], outlook: str, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (act, *KEY, "--reason", "incident 7")
    status, out, err, asked, bodies = called(capsys, given, said(rollout(**before)), (200, rollout()))

    assert (0, outlook, [ONE, POST]) == (status, err, asked)
    lines = out.splitlines()
    assert f"the roll-out of billing:prod:main to version {NEW} {outcome}" == lines[0]
    advice = [
        "revert the change now: git revert c0ffeec0ffee",
        "a server without the state of this roll-out serves the newest commit",
    ]
    assert (advice if act == "abort" else []) == lines[1:]
    wanted = {"act": act, "application": "billing", "profile": "prod", "label": "main"}
    assert [wanted | {"target": NEW, "reason": "incident 7"}] == bodies


def test_an_abort_without_a_commit_recommends_to_undo_the_change(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("abort", *KEY, "--reason", "x")
    out = called(capsys, given, said(rollout()), (200, rollout(commit=None)))[1]
    assert out.splitlines()[1:] == [
        "undo the change in the source now",
        "a server without the state of this roll-out serves the newest state of the source",
    ]


def test_a_roll_out_that_was_promoted_is_at_100_percent(capsys: pytest.CaptureFixture[str]) -> None:
    done = said(rollout(status="done", stable=NEW, counts=None, deadline=None, reason="fine"))
    row = called(capsys, ("list", "--all"), done)[1].splitlines()[1]
    assert ["billing:prod:main", "done", "-", "100", "%", "-", NEW, "c0ffeec0ffee", "3", "m", "fine"] == row.split()

    assert called(capsys, ("show", *KEY), done)[1].splitlines() == [
        "billing:prod:main  done",
        f"  target   {NEW} (commit c0ffeec0ffee, ada\\x1b)",
        "  step     2 of 3 (5 %, 25 %, 100 %); all clients have the target",
        "  needs    90 % applied within 300 s",
        "  reason   fine",
    ]


def test_the_counts_name_only_instances_that_have_gone(capsys: pytest.CaptureFixture[str]) -> None:
    out = called(capsys, ("show", *KEY), said(rollout(counts=COUNTS | {"gone": 0})))[1]
    assert "  counts   8 named, 3 reached, 2 applied, 0 rejected, 1 silent\n" in out


@pytest.mark.parametrize("status", ["waiting", "done"])
def test_an_act_that_the_server_refuses_promises_nothing(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    for act in ("abort", "promote"):
        given = (act, *KEY, "--reason", "x")
        answers = said(rollout(**WAITING | {"status": status})), (409, {"message": "not now"})
        assert (3, "", "vortexctl: error: URL answered 409: not now\n") == called(capsys, given, *answers)[:3]


def test_an_act_prints_the_roll_out_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("promote", "billing", "prod", "--reason", "x", "--json")
    _, out, _, asked, bodies = called(capsys, given, said(rollout()), (200, rollout(status="done")))
    assert rollout(status="done") == json.loads(out)
    assert ["/api/v1/rollouts?application=billing&profile=prod", POST] == asked
    assert "" == bodies[0]["label"]


def test_another_target_is_refused_before_the_act(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("abort", *KEY, "--reason", "x", "--target", OLD)
    status, out, err, asked, _ = called(capsys, given, said(rollout()))
    text = f"the roll-out is to version {NEW}, and not to {OLD}; nothing has changed"
    assert (3, "", f"vortexctl: error: {text}\n", [ONE]) == (status, out, err, asked)
    assert 0 == called(capsys, (*given[:-1], NEW), said(rollout()), (200, rollout()))[0]


@pytest.mark.parametrize("given", [("abort", *KEY), ("abort", "--reason", "x"), ("halt", *KEY), ("show",)])
def test_a_wrong_command_line_is_2_and_not_sent(given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rollout", *given])
    assert 2 == ended.value.code


@pytest.mark.parametrize("key", ["billing:prod:main:x", "billing:-:main"])
def test_a_wrong_key_is_2_and_not_sent(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (("show", key), ("abort", key, "--reason", "x")):
        status, out, _, asked, _ = called(capsys, given, said())
        assert (2, "", []) == (status, out, asked)


@pytest.mark.parametrize("answer", [[], {}, {"rollouts": 1}, {"rollouts": [{}]}, {"rollouts": [rollout(steps=7)]}])
@pytest.mark.parametrize("given", [("list",), ("show", *KEY)])
def test_other_answers_are_3(given: tuple[str, ...], answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = "vortexctl: error: URL doesn't answer as a vortexd of this version does; see --server\n"
    assert (3, "", text) == called(capsys, given, (200, answer))[:3]


def test_an_act_without_a_roll_out_in_the_answer_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err, asked, _ = called(capsys, ("resume", *KEY, "--reason", "x"), said())
    assert (3, "", [ONE]) == (status, out, asked)
    assert "doesn't answer as a vortexd" in err


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: {AT_KEY}; see --token-file"),
        ((404, {"message": MISSING}), "URL has no /api/v1/rollouts: this vortexd is older than this vortexctl"),
        ((404, {"message": "this key has no roll-out"}), "URL answered 404: this key has no roll-out"),
        ((503, {"message": "starting"}), "URL answered 503: starting"),
    ],
)
def test_a_refusal_is_the_servers_sentence(answer: Said, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (("show", *KEY), ("abort", *KEY, "--reason", "x")):
        status, out, err, asked, _ = called(capsys, given, answer)
        assert (3, "", [ONE]) == (status, out, asked)
        assert err.startswith(f"vortexctl: error: {text}")
    after = called(capsys, ("resume", *KEY, "--reason", "x"), said(rollout(**HALTED)), answer)
    assert (3, True) == (after[0], after[2].startswith(f"vortexctl: error: {text}"))


def test_the_list_needs_only_the_right_admin(capsys: pytest.CaptureFixture[str]) -> None:
    err = called(capsys, ("list",), (403, {"message": NO_RIGHT}))[2]
    assert f"{NO_RIGHT}: it needs the right admin; see" in err


@pytest.mark.parametrize("answer", [(0, ""), (502, "<html>"), (200, {}), (200, "7")])
def test_a_server_that_stops_in_the_middle_may_have_acted(answer: Said, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("resume", *KEY, "--reason", "x")
    status, out, err, asked, _ = called(capsys, given, said(rollout(**HALTED)), answer)
    assert (3, "", 2) == (status, out, len(asked))
    look = "It isn't known whether the server has done this. To find out, run: vortexctl rollout list\n"
    assert err.endswith(look)
