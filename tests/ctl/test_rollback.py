"""`vortexctl rollback`: the plan, the confirmation, the push, and the wait."""

import io
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from vortexd.ctl import cli
from vortexd.ctl.acts import MISSING, NO_RIGHT
from vortexd.ctl.server import Server

from .answering import Said, answering
from .test_plans import other, plan

COMMIT = "deadbeef" * 5
POST = "POST /api/v1/rollback"
READ = "/billing/prod/main"
PLAN: Said = (200, plan())
PUSHED: Said = (200, plan(commit=COMMIT))
NEW: Said = (200, {}, {"X-Vortex-Version": "0" * 16})
OLD: Said = (200, {}, {"X-Vortex-Version": "1" * 16})
UNKNOWN = (
    "It isn't known whether the push has arrived at the remote repository. To find out, run: "
    "vortexctl history billing prod --label main --limit 1\n"
)
KEY = "billing:prod:main"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Run:
    """One run of the command.

    Args:
        typed: What a person types on the terminal. None: there is no terminal.
    """

    def __init__(
        self,
        capsys: pytest.CaptureFixture[str],
        answers: list[Said],
        *given: str,
        typed: str | None = None,
        reason: str = "incident 7",
    ) -> None:
        with pytest.MonkeyPatch.context() as patch, answering(*answers) as server:
            patch.setattr("sys.stdin", io.StringIO("y\n") if typed is None else Terminal(typed))
            self.status = cli.main(["rollback", "--server", server.url, *given, "--to", "c0ffee0", "--reason", reason])
            printed = capsys.readouterr()
            self.out, self.err = printed.out, printed.err.replace(server.url, "URL")
            self.asked, self.bodies = server.asked, server.bodies


def test_the_plan_is_shown_and_pushed_after_a_yes_and_the_version_is_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(capsys, [PLAN, PUSHED, OLD, NEW], KEY, typed="y\n")

    assert (0, [POST, POST, READ, READ]) == (run.status, run.asked)
    wanted: dict[str, Any] = {"application": "billing", "profile": "prod", "label": "main", "to": "c0ffee0"}
    wanted |= {"reason": "incident 7", "shared": False}
    assert [
        wanted | {"dry_run": True, "expected": None},
        wanted | {"dry_run": False, "expected": "beef" * 10},
    ] == run.bodies
    lines = run.out.splitlines()
    assert ["files:", "    change  billing.yml"] == lines[1:3]
    assert f"pushed commit {COMMIT}" == lines[-2]
    assert lines[-1].startswith(f"the server serves version {'0' * 16} after 0.")
    assert "Push this? [y/N] " == run.err


@pytest.mark.parametrize("typed", ["y\n", "Y\n", "yes\n", " YES \n", "y"])
def test_yes_pushes(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == Run(capsys, [PLAN, PUSHED, NEW], KEY, typed=typed).status


@pytest.mark.parametrize("typed", ["\n", "n\n", "no\n", "", "yy\n", "ye\n"])
def test_everything_else_pushes_nothing(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN], KEY, typed=typed)

    assert (1, [POST], "nothing was pushed") == (run.status, run.asked, run.out.splitlines()[-1])


REFUSED: dict[str, Any] = {"refused": {"failure": None, "findings_count": 0, "findings": []}}


@pytest.mark.parametrize("given", [(), ("--yes",)])
def test_a_plan_that_the_gate_refuses_is_not_pushed(given: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [(200, plan(**REFUSED))], KEY, *given, typed="y\n")

    assert (3, [POST]) == (run.status, run.asked)
    assert "the gate would hold the commit back, so the server doesn't push it:" == run.out.splitlines()[-1]
    assert run.err.startswith("vortexctl: error: the gate would hold the commit back, so nothing was pushed; ")


def test_a_plan_that_the_gate_refuses_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, "") == ((run := Run(capsys, [(200, plan(**REFUSED))], KEY, "--dry-run")).status, run.err)


@pytest.mark.parametrize("typed", ["", None])
def test_with_yes_nothing_is_asked(typed: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN, PUSHED, NEW], KEY, "--yes", typed=typed)

    assert (0, "", 3) == (run.status, run.err, len(run.asked))


def test_without_a_terminal_nothing_is_sent_and_the_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN], KEY)

    assert (2, "", []) == (run.status, run.out, run.asked)
    assert run.err == (
        "vortexctl: error: without a terminal, vortexctl can't ask whether to push, so it requires --yes to push, "
        "or --dry-run to show only the plan\n"
    )


def test_with_a_closed_input_nothing_is_sent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)

    assert 2 == cli.main(["rollback", KEY, "--to", "x", "--reason", "x", "--server", "http://127.0.0.1:1"])
    assert "requires --yes to push" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--yes"], ["--yes", "--json"], []])
def test_a_push_without_a_reason_is_2_and_not_planned(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN], KEY, *given, typed="y\n", reason="")

    assert (2, "", []) == (run.status, run.out, run.asked)
    assert "vortexctl: error: a push requires --reason TEXT, which the commit and the audit log show\n" == run.err


def test_a_misspelt_application_has_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    header = {"X-Vortex-Without-Files": "biling"}
    text = "vortexctl: warning: no file is named after biling; only the files for all applications apply\n"
    for answer in (plan(), plan(files=[])):
        assert text == Run(capsys, [(200, answer, header)], "biling:prod:main", "--dry-run").err
    assert text == Run(capsys, [(200, plan(), header), (200, plan(commit=COMMIT), header), NEW], KEY, "--yes").err


def test_a_dry_run_needs_no_reason(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN], KEY, "--dry-run", reason="")

    assert (0, "") == (run.status, run.bodies[0]["reason"])


def test_json_never_asks(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN], KEY, "--json", typed="y\n")

    assert (2, "", []) == (run.status, run.out, run.asked)
    assert run.err.startswith("vortexctl: error: --json requires --yes to push, or --dry-run")


@pytest.mark.parametrize("typed", [None, "y\n"])
def test_a_dry_run_only_shows_the_plan(typed: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [(200, plan(others=[other(0)], others_count=4))], KEY, "--dry-run", typed=typed)

    assert (0, "", [POST], True) == (run.status, run.err, run.asked, run.bodies[0]["dry_run"])
    assert ["4 other configurations change, too:", "    a0:prod:main", "    and 3 more"] == run.out.splitlines()[-3:]


def test_a_dry_run_wins_over_yes(capsys: pytest.CaptureFixture[str]) -> None:
    assert [POST] == Run(capsys, [PLAN], KEY, "--dry-run", "--yes").asked


def test_programs_get_the_plan_of_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN], KEY, "--dry-run", "--json")

    assert (0, plan()) == (run.status, json.loads(run.out))


def test_programs_get_one_object_after_the_push(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN, PUSHED, NEW], KEY, "--yes", "--json")
    said = json.loads(run.out)

    assert 0 <= said.pop("seconds") < 30
    assert plan(commit=COMMIT) | {"served": True} == said
    run = Run(capsys, [PLAN, PUSHED], KEY, "--yes", "--json", "--wait", "0")
    assert plan(commit=COMMIT) | {"served": None, "seconds": None} == json.loads(run.out)
    run = Run(capsys, [PLAN, PUSHED, OLD], KEY, "--yes", "--json", "--wait", "10ms")
    assert (1, False) == (run.status, json.loads(run.out)["served"])


def test_the_key_may_be_several_words_and_lack_its_label(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN, PUSHED, NEW], "billing", "prod", "--yes", "--shared")

    # The plan names the label.
    assert [("billing", "prod", "", True), ("billing", "prod", "main", True)] == [
        tuple(body[name] for name in ("application", "profile", "label", "shared")) for body in run.bodies
    ]
    assert [POST, POST, READ] == run.asked
    assert Run(capsys, [PLAN, (0, "")], "billing", "prod", "--yes").err.endswith(UNKNOWN)


def test_a_plan_without_files_pushes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in ((["--yes"], "there is nothing to push"), (["--yes", "--json"], '"files": []')):
        run = Run(capsys, [(200, plan(files=[], pushable=False))], KEY, *given)
        assert (0, [POST], "") == (run.status, run.asked, run.err)
        assert said in run.out


NOT_PUSHABLE = (
    "the server may not push to this source: set push = true in its [[source]]; "
    "or keep the former version with a pin: vortexctl pin billing:prod:main --to c0ffee0 --reason TEXT\n"
)


@pytest.mark.parametrize("given", [["--yes"], ["--yes", "--json"]])
def test_a_source_without_push_is_3_and_names_the_setting_and_the_pin(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys, [(200, plan(pushable=False))], KEY, *given)

    assert (3, [POST], f"vortexctl: error: {NOT_PUSHABLE}") == (run.status, run.asked, run.err)


def test_a_source_without_push_is_not_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Push this" not in Run(capsys, [(200, plan(pushable=False))], KEY, typed="y\n").err


@pytest.mark.parametrize("given", [["--dry-run"], ["--dry-run", "--json"]])
def test_a_dry_run_warns_of_a_source_without_push(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [(200, plan(pushable=False))], KEY, *given)

    assert (0, f"vortexctl: warning: {NOT_PUSHABLE}") == (run.status, run.err)


def test_without_a_wait_nothing_is_requested_after_the_push(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [PLAN, PUSHED], KEY, "--yes", "--wait", "0")

    assert (0, [POST, POST]) == (run.status, run.asked)
    assert f"pushed commit {COMMIT}" == run.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OLD, f"the server serves version {'1' * 16}; to see the newest commit, run: vortexctl history billing prod"),
        ((*OLD[:2], {"X-Vortex-Held-Back": f'"main";state="{COMMIT}"'}), "the gate holds it back; to see why, run"),
        ((*OLD[:2], {"Vortexd-Pinned": "true"}), "billing:prod:main is pinned; to lift the pin, run: vortexctl unpin"),
        ((503, {"message": "not ready"}), "it isn't known whether the server serves it, because URL answered 503"),
        ((403, {"message": NO_RIGHT}), "it isn't known whether the server serves it, because URL answered 403"),
        ((0, ""), "it isn't known whether the server serves it, because URL ended the connection early"),
    ],
)
def test_a_version_that_is_not_served_is_1_and_the_reason_is_said(
    answer: Said, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys, [PLAN, PUSHED, answer], KEY, "--yes", "--wait", "10ms")

    assert (1, f"pushed commit {COMMIT}") == (run.status, run.out.splitlines()[-1])
    assert run.err.startswith("vortexctl: warning: commit deadbeefdead is pushed, but after 0.")
    assert f" s {reason}" in run.err


REFUSALS = [
    ((400, {"message": "to is no version"}), "URL answered 400: to is no version"),
    ((401, {"message": "no"}), "URL re"),
    ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: it needs the right admin, and the right read for"),
    ((403, {"message": "set push"}), "URL answered 403: set push\n"),
    ((404, {"message": MISSING}), "URL has no /api/v1/rollback: this vortexd is older than this vortexctl"),
    ((404, {"message": "no such commit"}), "URL answered 404: no such commit\n"),
    ((409, {"message": "the branch has moved"}), "URL answered 409: the branch has moved\n"),
    ((503, {"message": "the remote is away"}), "URL answered 503: the remote is away\n"),
]


@pytest.mark.parametrize(("answer", "text"), REFUSALS)
@pytest.mark.parametrize("before", [[], [PLAN]], ids=["plan", "push"])
def test_a_refusal_is_the_servers_sentence(
    before: list[Said], answer: Said, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys, [*before, answer], KEY, "--yes")

    assert (3, 1 + len(before), 1) == (run.status, len(run.asked), run.err.count("\n"))
    assert run.err.startswith(f"vortexctl: error: {text}")
    assert "pushed commit" not in run.out


@pytest.mark.parametrize(
    "answer",
    [
        (0, ""),
        (502, "<html>"),
        (500, {"message": "x"}),
        (200, "<html>"),
        (200, {}),
        (200, plan()),
        (200, plan(commit=COMMIT, target={})),
        (200, plan(commit=COMMIT, label=7)),
    ],
)
def test_a_server_that_stops_in_the_middle_of_the_push_may_have_pushed(
    answer: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys, [PLAN, answer], KEY, "--yes")

    assert (3, [POST, POST]) == (run.status, run.asked)
    assert run.err.endswith(f". {UNKNOWN}")


def test_a_server_that_stops_in_the_middle_of_the_plan_has_pushed_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, [(0, "")], KEY, "--yes")

    assert (3, "", [POST]) == (run.status, run.out, run.asked)
    assert "known whether" not in run.err


@pytest.mark.parametrize("name", ["head", "files", "pushable", "changes", "others_count"])
def test_a_plan_that_is_none_is_3_and_not_pushed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = plan()
    del lacking[name]
    run = Run(capsys, [(200, lacking)], KEY, "--yes")

    assert (3, "", [POST]) == (run.status, run.out, run.asked)
    assert "doesn't answer as a vortexd of this version does" in run.err
    answers: list[Any] = [[], 7, plan(files=7), plan(changes=[{}])]
    for answer in answers:
        assert 3 == Run(capsys, [(200, answer)], KEY, "--yes").status


def test_a_push_has_two_minutes_and_each_request_afterwards_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []

    def exchange(self: Server, *arguments: Any, **options: Any) -> Any:
        timeouts.append(self.timeout)
        return real(self, *arguments, **options)

    real = Server._exchange
    monkeypatch.setattr(Server, "_exchange", exchange)
    Run(capsys, [PLAN, PUSHED, NEW], KEY, "--yes")

    assert [120, 120, 10] == timeouts


@pytest.mark.parametrize("given", [[], ["--to", "x"], [KEY], [KEY, "--to", "x", "--wait", "soon"]])
def test_a_wrong_command_line_is_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["rollback", *given])
    assert 2 == caught.value.code


@pytest.mark.parametrize(("typed", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\x04", 1)])
def test_a_real_terminal_is_asked_after_the_plan(typed: bytes, status: int) -> None:
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb+", buffering=0) as person, answering(PLAN, PUSHED, NEW) as server:
        command = [sys.executable, "-m", "vortexd.ctl", "rollback", KEY, "--to", "c0ffee0", "--reason", "x"]
        command += ["--server", server.url, "--color", "never"]
        with subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=partial(os.login_tty, terminal)
        ) as running:
            os.close(terminal)
            try:
                shown = b""
                while b"[y/N] " not in shown:
                    shown += person.read(1_000)
                person.write(typed)
                with suppress(OSError):  # the terminal has been closed
                    while part := person.read(1_000):
                        shown += part
                assert status == running.wait(20)
            finally:
                running.kill()

    before, _, after = shown.decode().partition("Push this? [y/N] ")
    assert "    change  billing.yml\r\n" in before
    assert (status == 0) == (f"pushed commit {COMMIT}" in after)
    assert (3 if status == 0 else 1) == len(server.asked)


def test_a_wrong_key_is_2_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("billing:prod:main:x", "billing:-:main"):
        run = Run(capsys, [PLAN], key, "--yes")
        assert (2, []) == (run.status, run.asked)
