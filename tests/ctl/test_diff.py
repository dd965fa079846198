"""`vortexctl diff`: the changes as lines, JSON or a patch, with the exit status of diff(1)."""

import json
from typing import Any

import pytest

from vortexd.ctl import cli

from .answering import Said, answering

ROWS: list[dict[str, Any]] = [
    {"op": "replace", "path": "/pool/size", "old": 10, "new": 20},
    {"op": "add", "path": "/hosts/0", "new": "a\x1b[2J"},
    {"op": "remove", "path": "/old", "old": {"a": None}},
    {"op": "move", "from": "/a", "path": "/b", "old": True},
    {"op": "replace", "path": "", "old": {}, "new": "x" * 500},
]


def said(*rows: dict[str, Any]) -> Said:
    patch = [{"op": row["op"], "path": row["path"]} for row in rows]
    sides = {"from": {"label": "main", "version": "0" * 16}, "to": {"label": "next", "version": "1" * 16}}
    return 200, {"app": "shop", "profile": "prod", **sides, "patch": patch, "changes": list(rows)}


def diff(capsys: pytest.CaptureFixture[str], answer: Said, *arguments: str) -> tuple[int, list[str], list[str]]:
    with answering(answer) as server:
        status = cli.main(["diff", "--server", server.url, "shop", "prod", *arguments])
    return status, capsys.readouterr().out.splitlines(), server.asked


def test_differences_are_lines_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, asked = diff(capsys, said(*ROWS), "--from", "main", "--to", "label:next")

    assert (1, ["/api/v1/diff/shop/prod?from=main&to=label%3Anext"]) == (status, asked)
    assert lines == [
        f"shop:prod  main@{'0' * 16} -> next@{'1' * 16}",
        "- /pool/size: 10",
        "+ /pool/size: 20",
        '+ /hosts/0: "a\\u001b[2J"',
        '- /old: {"a": null}',
        "- /a: true",
        "+ /b: true",
        "- (all): {}",
        '+ (all): "' + "x" * 196 + "...",
    ]


def test_no_difference_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, asked = diff(capsys, said())

    assert (0, ["/api/v1/diff/shop/prod"], "no difference") == (status, asked, lines[1])


def test_programs_get_json_or_the_patch(capsys: pytest.CaptureFixture[str]) -> None:
    status, (line,), _ = diff(capsys, said(*ROWS), "--output", "json")
    assert (1, ROWS) == (status, json.loads(line)["changes"])
    status, (line,), _ = diff(capsys, said(*ROWS), "--output", "patch")
    assert (1, {"op": "replace", "path": "/pool/size"}) == (status, json.loads(line)[0])


def test_what_was_there_is_red_and_what_is_there_now_green(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = diff(capsys, said(ROWS[0]), "--color", "always")

    assert ["\x1b[31m- /pool/size: 10\x1b[0m", "\x1b[32m+ /pool/size: 20\x1b[0m"] == lines[1:]


@pytest.mark.parametrize("answer", [{}, [], {"patch": [], "changes": [{}]}])
def test_what_no_vortexd_says_is_3(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, _ = diff(capsys, (200, answer))

    assert (3, []) == (status, lines)


def test_a_label_that_there_is_not_is_3_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((404, {"message": "no such label"})) as server:
        status = cli.main(["diff", "--server", server.url, "shop", "prod", "--from", "label:nope"])

    told = capsys.readouterr().err
    assert (3, f"vortexctl: error: {server.url} answered 404: no such label; name another with --label\n") == (
        status,
        told,
    )


def test_an_application_that_no_file_is_named_after_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    status, body = said()[:2]
    with answering((status, body, {"X-Vortex-Without-Files": "shop"})) as server:
        assert 0 == cli.main(["diff", "--server", server.url, "shop", "prod"])

    warning = "no file is named after shop; only the files for all applications apply"
    assert f"vortexctl: warning: {warning}\n" == capsys.readouterr().err


def test_a_commit_that_stands_in_for_a_version_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, body = said()[:2]
    body["from"]["commit"] = "c0ffee" * 6

    _, lines, _ = diff(capsys, (status, body))
    assert f"shop:prod  main@{'0' * 16} (commit c0ffeec0ffee) -> next@{'1' * 16}" == lines[0]


def test_a_pinned_configuration_has_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    status, body = said()[:2]
    with answering((status, body, {"Vortexd-Pinned": "true"})) as server:
        cli.main(["diff", "--server", server.url, "shop", "prod"])
    err = capsys.readouterr().err

    why = "this configuration is pinned until somebody lifts the pin, so it doesn't follow its source"
    assert f"vortexctl: warning: {why}; see vortexctl pins\n" == err


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["--from", "24778b02"], "; if you mean a commit, write commit:24778b02"),
        (["--from", "24778b02", "--to", "beef"], "; if you mean a commit, write commit:24778b02 and commit:beef"),
        (["--from", "commit:24778b02"], ""),
        (["--from", "main"], ""),
        ([], ""),
    ],
)
def test_digits_that_are_no_label_may_be_a_commit(
    given: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering((404, {"message": "it is unknown"})) as server:
        assert 3 == cli.main(["diff", "--server", server.url, "shop", "prod", *given])

    assert f"vortexctl: error: {server.url} answered 404: it is unknown{hint}\n" == capsys.readouterr().err


def test_another_refusal_has_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((403, {"message": "no"})) as server:
        assert 3 == cli.main(["diff", "--server", server.url, "shop", "prod", "--from", "24778b02"])

    assert "commit:" not in capsys.readouterr().err
