"""`vortexctl audit`: the entries as a log, page after page, the newest last."""

import json
from typing import Any

import pytest

from tests.settings.sections import assert_whole
from vortexd.audit import Actor, Entry, Outcome
from vortexd.ctl import audit, cli
from vortexd.ctl.acts import MISSING, NO_RIGHT
from vortexd.http.audit import MOST
from vortexd.settings.audit import AuditSettings

from .answering import Said, answering

PATH = "/api/v1/audit"


def entry(day: int, **more: Any) -> dict[str, Any]:
    """An entry of a day of November, as the server makes it."""
    made = Entry(
        id=f"id{day}",
        time=f"2026-11-{day:02}T12:00:00.000Z",
        actor=Actor("ada", "token", "10.0.0.1"),
        act="pin",
        target="billing:prod:main",
        reason=f"incident {day}",
    )
    return made.members | more


def page(*entries: dict[str, Any], after: str | None = None, stored: bool = True, silent: int = 0, **more: Any) -> Said:
    return 200, {"entries": list(entries), "next": after, "stored": stored, "workers_silent": silent} | more


def listed(
    capsys: pytest.CaptureFixture[str], answers: list[Said], *given: str
) -> tuple[int, list[str], str, list[str]]:
    with answering(*answers) as server:
        status = cli.main(["audit", "--server", server.url, *given])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.replace(server.url, "URL"), server.asked


def test_the_newest_entry_is_last_like_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    refused = entry(30, outcome=Outcome.REFUSED.value, details={"old": "a", "new": "b"})
    system = entry(28, who="SIGHUP", kind="system", act="reload", target="", reason="", **{"from": ""})
    status, lines, err, asked = listed(capsys, [page(refused, entry(29), system)])

    assert (0, "", [f"{PATH}?limit=100"]) == (status, err, asked)
    assert lines == [
        "2026-11-28T12:00:00.000Z  done     reload  by SIGHUP",
        "2026-11-29T12:00:00.000Z  done     pin billing:prod:main  by ada from 10.0.0.1: incident 29",
        "2026-11-30T12:00:00.000Z  refused  pin billing:prod:main  by ada from 10.0.0.1: incident 30  old=a  new=b",
    ]


def test_a_log_that_the_server_cannot_read_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    warned = listed(capsys, [page(entry(9), complete=False)])[2]
    silent = listed(capsys, [page(entry(9), complete=True)])[2]

    assert "warning: the server can't read its audit log now, so only its newest entries are shown" in warned
    assert "" == silent


def test_an_actor_without_a_name_is_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    _, [line], _, _ = listed(capsys, [page(entry(1, who="", kind="anonymous", reason=""))])

    assert line.endswith("by anonymous from 10.0.0.1")


def test_refusals_are_yellow_and_failures_red(capsys: pytest.CaptureFixture[str]) -> None:
    entries = [entry(3, outcome="failed"), entry(2, outcome="refused"), entry(1)]
    _, lines, _, _ = listed(capsys, [page(*entries)], "--color", "always")

    assert ["  done     pin", "  \x1b[33mrefused\x1b[0m  pin", "  \x1b[31mfailed \x1b[0m  pin"] == [
        line[24:].partition(" billing")[0] for line in lines
    ]


def test_an_entry_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b[2J\n"
    each = entry(1, time=bad, who=bad, act=bad, target=bad, reason=bad, outcome=bad, details={bad: bad})
    _, lines, _, _ = listed(capsys, [page(each)])

    assert 1 == len(lines)
    assert "\x1b" not in lines[0]


def test_filters_and_the_limit_are_the_servers(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--act", "lift pin", "--who", "ada", "--limit", "7")
    _, _, _, asked = listed(capsys, [page(entry(1))], *given)

    assert [f"{PATH}?act=lift+pin&who=ada&limit=7"] == asked


def test_programs_get_json_lines_in_the_same_order(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _, _ = listed(capsys, [page(entry(2), entry(1))], "--json")

    assert [entry(1), entry(2)] == [json.loads(line) for line in lines]


def test_no_entry_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert (1, ["the audit log has no entries"], "") == listed(capsys, [page()])[:3]
    for given in (["--act", "x"], ["--who", "x"], ["--since", "2h"]):
        assert (1, ["no entry of the audit log matches"], "") == listed(capsys, [page()], *given)[:3]
    assert (1, [], "") == listed(capsys, [page()], "--json")[:3]


def test_further_pages_are_asked_for_until_there_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [page(entry(9), after="x"), page(after="y"), page(entry(8), entry(7), after="z")]
    status, lines, err, asked = listed(capsys, answers, "--limit", "2")

    assert (0, "", ["2026-11-08", "2026-11-09"]) == (status, err, [line[:10] for line in lines])
    assert [f"{PATH}?limit=2", f"{PATH}?limit=1&after=x", f"{PATH}?limit=1&after=y"] == asked


def test_many_are_asked_for_in_pages_of_a_thousand(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, _, asked = listed(capsys, [page(entry(1))], "--limit", "100000")

    assert [f"{PATH}?limit=1000"] == asked


def test_entries_before_a_time_end_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [page(entry(9), entry(8), after="x"), page(entry(7), entry(6), after="y"), page(entry(5))]
    status, lines, err, asked = listed(capsys, answers, "--since", "2026-11-07T12:00:00Z")

    assert (0, "", 2) == (status, err, len(asked))
    assert ["2026-11-07", "2026-11-08", "2026-11-09"] == [line[:10] for line in lines]


def test_a_duration_ends_the_list_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == listed(capsys, [page(entry(9, time="2020-01-01T00:00:00Z"), after="x")], "--since", "3d")[0]


def test_more_entries_since_a_time_than_the_limit_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    text = "vortexctl: warning: only the newest 1 entries are shown, and there are older ones since then; see --limit\n"
    given = ("--limit", "1", "--since", "2026-11-01")

    assert text == listed(capsys, [page(entry(9), after="x")], *given)[2]
    assert "" == listed(capsys, [page(entry(9))], *given)[2]
    assert "" == listed(capsys, [page(entry(9), after="x")], "--limit", "1")[2]


def test_a_log_that_never_ends_is_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.ctl.audit._MOST_PAGES", 3)
    status, lines, _, asked = listed(capsys, [page(entry(9), after="x")])

    assert (0, 3, 3) == (status, len(lines), len(asked))


def test_entries_that_may_be_missing_are_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [page(entry(9), after="x", stored=False), page(entry(8), stored=False)]
    err = listed(capsys, answers)[2]
    assert err == (
        "vortexctl: warning: the server doesn't store its newest entries in a file now, so they are lost when it stops\n"
    )
    err = listed(capsys, [page(entry(9), silent=2)])[2]
    assert err == (
        "vortexctl: warning: 2 workers of the server haven't answered, so their newest entries may be missing\n"
    )


def test_a_log_that_is_shortened_meanwhile_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    gone = (404, {"message": "there is no such entry any more; begin again without after"})
    status, lines, err, _ = listed(capsys, [page(entry(9), after="x"), gone])

    assert (3, []) == (status, lines)
    assert "vortexctl: error: the server has shortened its audit log meanwhile; run the command again\n" == err


@pytest.mark.parametrize("given", [["--limit", "0"], ["--limit", "100001"], ["--limit", "x"], ["--since", "yesterday"]])
def test_a_wrong_option_is_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["audit", *given])

    assert 2 == caught.value.code
    assert given[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {**page()[1], "entries": 7},
        {**page()[1], "entries": [{}]},
        {**page()[1], "entries": [7]},
        {**page()[1], "entries": [entry(1, time=7)]},
        {**page()[1], "entries": [entry(1, details=7)]},
        {**page()[1], "workers_silent": "x"},
    ],
)
@pytest.mark.parametrize("given", [[], ["--since", "2026-11-01"]])
def test_other_answers_are_3(answer: Any, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = "vortexctl: error: URL doesn't answer as a vortexd of this version does; see --server\n"

    assert (3, [], text) == listed(capsys, [(200, answer)], *given)[:3]


@pytest.mark.parametrize("time", ["soon", "2026-11-09T00:00:00"])
def test_a_time_that_cannot_be_compared_is_3(time: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == listed(capsys, [page(entry(9, time=time))], "--since", "2026-11-01")[0]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((401, {"message": "no"}), "URL re"),
        ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: it needs the right admin; see --token-file"),
        ((404, {"message": MISSING}), "URL has no /api/v1/audit: this vortexd is older than this vortexctl"),
        ((0, ""), "URL ended the connection early"),
    ],
)
def test_a_refusal_is_explained(answer: Said, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, err, _ = listed(capsys, [answer])

    assert (3, [], 1) == (status, lines, err.count("\n"))
    assert err.startswith(f"vortexctl: error: {text}")


def test_a_server_that_stops_in_the_middle_prints_no_half_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, _, asked = listed(capsys, [page(entry(9), after="x"), (0, "")])

    assert (3, [], 2) == (status, lines, len(asked))


def test_the_limits_are_those_of_the_server() -> None:
    assert MOST == audit._PER_PAGE
    assert_whole(AuditSettings, "entries", 1, audit._MOST)
    assert audit._MOST < audit._PER_PAGE * audit._MOST_PAGES
