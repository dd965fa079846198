"""`vortexctl history`: commits as lines or JSON, page after page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from vortexd.ctl import cli

from .answering import Said, answering

PATH = "/api/v1/history/shop/prod"


def commit(number: int, **more: Any) -> dict[str, Any]:
    return {
        "commit": f"{number:040x}",
        "author": "Ada\x1b[2J",
        "time": "2026-01-01T00:00:00Z",
        "message": f"Change {number}\x1b[2J",
        "old_version": "0" * 16,
        "version": "1" * 16,
        "source": "git:/a/\x1b[2J",
        "label": "main",
        "changes": [{"op": "replace", "path": "/a", "old": number, "new": number + 1}],
        "left_out": 0,
        **more,
    }


ONE = {"source": "git:/a/", "label": "main", "kind": "commits", "count": 7}


def page(
    *commits: dict[str, Any],
    after: str | None = None,
    complete: bool = True,
    searched: int = 3,
    layers: Sequence[Mapping[str, object]] = (ONE,),
) -> Said:
    return 200, {
        "app": "shop",
        "profile": "prod",
        "label": "main",
        "commits": list(commits),
        "searched": searched,
        "next": after,
        "complete": complete,
        "layers": [*layers],
    }


def history(capsys: pytest.CaptureFixture[str], answers: list[Said], *given: str) -> tuple[int, str, str, list[str]]:
    with answering(*answers) as server:
        status = cli.main(["history", "--server", server.url, "shop", "prod", *given])
    said = capsys.readouterr()
    return status, said.out, said.err, server.asked


def test_each_commit_is_a_title_a_message_and_the_changes(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err, asked = history(capsys, [page(commit(5), commit(4, left_out=7))])

    assert (0, "", [f"{PATH}?limit=20"]) == (status, err, asked)
    assert out.splitlines() == [
        f"{5:012x}  2026-01-01T00:00:00Z  Ada\\x1b[2J".replace(f"{5:012x}", "0" * 12),
        "    Change 5\\x1b[2J",
        "- /a: 5",
        "+ /a: 6",
        "",
        f"{'0' * 12}  2026-01-01T00:00:00Z  Ada\\x1b[2J",
        "    Change 4\\x1b[2J",
        "- /a: 4",
        "+ /a: 5",
        "and 7 more changes",
    ]


def test_a_key_narrows_and_programs_get_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _, asked = history(capsys, [page(commit(5), commit(4))], "a.b[0]", "--json", "--limit", "2")

    assert (0, [f"{PATH}?limit=2&key=a.b%5B0%5D"]) == (status, asked)
    assert [commit(5), commit(4)] == [json.loads(line) for line in out.splitlines()]


def test_no_commit_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _, _ = history(capsys, [page()])
    assert (1, "no commit changed this\n") == (status, out)
    status, out, _, _ = history(capsys, [page()], "--json")
    assert (1, "") == (status, out)


def test_further_pages_are_asked_for_until_there_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [page(commit(9), after="x", complete=False), page(after="y", complete=False), page(commit(8), commit(7))]
    status, out, _, asked = history(capsys, answers, "--limit", "2")

    assert (0, 2) == (status, out.count("Change"))
    assert [f"{PATH}?limit=2", f"{PATH}?limit=1&after=x", f"{PATH}?limit=1&after=y"] == asked


def test_after_enough_commits_no_page_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err, asked = history(capsys, [page(commit(9), after="x", complete=False)], "--limit", "1")

    assert (1, "") == (len(asked), err)


def test_many_are_asked_for_in_pages_of_a_hundred(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, _, asked = history(capsys, [page(commit(9))], "--limit", "1000")

    assert [f"{PATH}?limit=100"] == asked


def test_the_end_of_what_the_server_knows_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [page(commit(9), after="x", complete=False, searched=400), page(complete=False, searched=600)]
    status, _, err, _ = history(capsys, answers)

    warning = "the server knows only the newest 1000 commits; older ones may have changed this, too"
    assert (0, f"vortexctl: warning: {warning}\n") == (status, err)


def test_a_server_that_never_ends_is_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.ctl.history._MOST_PAGES", 2)
    status, _, err, asked = history(capsys, [page(after="x"), page(after="x")])

    assert (1, 2, "vortexctl: warning: only the newest 6 commits were searched\n") == (status, len(asked), err)


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_limit_that_is_none_is_2(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["history", "shop", "prod", "--limit", limit])

    assert 2 == caught.value.code
    assert "--limit" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [{}, [], {**page()[1], "commits": [{}]}, {**page()[1], "commits": 1}])
def test_what_no_vortexd_says_is_3(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _, _ = history(capsys, [(200, answer)])

    assert (3, "") == (status, out)


def test_an_application_without_files_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    status, body = page(commit(1))[:2]
    _, _, err, _ = history(capsys, [(status, body, {"X-Vortex-Without-Files": "shop"})])

    assert "no file is named after shop" in err


def test_what_was_there_is_red_and_what_is_there_now_green(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _, _ = history(capsys, [page(commit(5))], "--color", "always")

    assert ["\x1b[31m- /a: 5\x1b[0m", "\x1b[32m+ /a: 6\x1b[0m"] == out.splitlines()[2:]


def test_commits_of_several_sources_or_labels_say_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    other = {**ONE, "label": "dev"}
    status, out, err, _ = history(capsys, [page(commit(5, label="main,dev"), layers=[ONE, other])])

    title = f"{'0' * 12}  2026-01-01T00:00:00Z  Ada\\x1b[2J  git:/a/\\x1b[2J (main,dev)"
    assert (0, title, "") == (status, out.splitlines()[0], err)


def test_sources_without_a_history_are_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    layers: list[Mapping[str, object]] = [
        ONE,
        *({"source": "file:/d/\x1b[2J", "label": label, "kind": "none", "count": 0} for label in ("main", "dev")),
    ]
    answers = [page(commit(9), after="x", layers=layers), page(commit(8), layers=layers)]
    _, _, err, _ = history(capsys, answers)

    warning = "the server knows no history of file:/d/\\x1b[2J; its files count as they are now"
    assert f"vortexctl: warning: {warning}\n" == err


def test_a_version_of_a_directory_has_no_author_and_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [{**ONE, "kind": "versions"}]
    answers = [page(commit(5, author="", message=""), layers=layers, complete=False)]
    _, out, err, _ = history(capsys, answers)

    assert ["0" * 12 + "  2026-01-01T00:00:00Z", "- /a: 5", "+ /a: 6"] == out.splitlines()
    assert "the server knows only the newest 3 versions;" in err


def test_with_commits_and_versions_the_warning_names_both(capsys: pytest.CaptureFixture[str]) -> None:
    other = {**ONE, "source": "file:/d/", "kind": "versions"}
    _, _, err, _ = history(capsys, [page(commit(5), layers=[other, ONE], complete=False)])

    assert "the server knows only the newest 3 commits and versions;" in err


def test_a_pinned_configuration_has_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    status, body = page(commit(5))[:2]
    _, _, err, _ = history(capsys, [(status, body, {"Vortexd-Pinned": "true"})])

    why = "this configuration is pinned until somebody lifts the pin, so it doesn't follow its source"
    assert f"vortexctl: warning: {why}; see vortexctl pins\n" in err
