"""`vortexctl get`: the document with its types, one key of it, and answers that aren't from a vortexd."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vortexd.core.model import PropertySource
from vortexd.core.version import encode, version_of
from vortexd.ctl import cli
from vortexd.resolve.nest import effective_document

from .answering import Said, answering

VALUES: dict[str, Any] = {
    "pool.size": 10,
    "pool.ratio": 1.0,
    "debug": False,
    "hosts[0]": "a",
    "zip": "01234",
    "bad": "\x1b[2J",
}


def environment(*sources: dict[str, Any], version: str | None = None, **headers: str) -> Said:
    """Return a vortexd's answer for property sources with these values, the strongest first."""
    named = [PropertySource(f"file:/{number}.yml", values, {}) for number, values in enumerate(sources)]
    made = version or version_of(encode(effective_document(named)))
    body = {"name": "billing", "propertySources": [{"name": each.name, "source": each.values} for each in named]}
    return 200, body, {"X-Vortex-Version": made, **{name.replace("_", "-"): value for name, value in headers.items()}}


def get(said: Said, *arguments: str) -> tuple[int, list[str]]:
    with answering(said) as server:
        return cli.main(["get", "--server", server.url, *arguments]), server.asked


def test_the_document_is_merged_and_keeps_its_types(capsys: pytest.CaptureFixture[str]) -> None:
    status, asked = get(environment({"pool.size": 20}, VALUES), "billing", "prod")

    assert (0, ["/billing/prod"]) == (status, asked)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "pool:",
        "  size: 20",
        "  ratio: 1.0",
        "debug: false",
        "zip: '01234'",
        'bad: "\\e[2J"',
        "hosts:",
        "  - a",
    ]
    assert "" == printed.err


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["pool.size"], "10\n"),
        (["debug"], "false\n"),
        (["zip"], "01234\n"),
        (["zip", "--output", "json"], '"01234"\n'),
        (["zip", "--output", "yaml"], "'01234'\n"),
        (["zip", "--output", "properties"], "zip=01234\n"),
        (["pool", "--output", "properties"], "pool.size=10\npool.ratio=1.0\n"),
        (["pool"], "size: 10\nratio: 1.0\n"),
        (["hosts", "--output", "json"], '[\n  "a"\n]\n'),
    ],
)
def test_a_key_is_text_or_in_the_form_that_is_asked_for(
    arguments: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = get(environment(VALUES), "billing", "prod", *arguments)

    assert (0, printed) == (status, capsys.readouterr().out)


def test_variables_are_what_a_shell_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"a": 'it\'s $(touch x) `id` \\ "q"', "two": "lines\nB='c", "tail": "\\", "empty": "", "yes": True}
    status, _ = get(
        environment({"app.max-size": 3, **{f"x.{name}": text for name, text in hostile.items()}}),
        "a",
        "b",
        "--output",
        "env",
    )
    file = tmp_path / "env"
    file.write_text(capsys.readouterr().out)

    program = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n[:2] in ('X_', 'AP')}))"
    command = ["/bin/sh", "-c", f'set -a; . "{file}"; exec "{sys.executable}" -c "$0"', program]
    read = json.loads(subprocess.run(command, capture_output=True, check=True, env={}, cwd=tmp_path).stdout)
    assert (
        0,
        {
            "APP_MAXSIZE": "3",
            **{f"X_{name.upper()}": str(text).replace("True", "true") for name, text in hostile.items()},
        },
    ) == (status, read)
    assert [file] == list(tmp_path.iterdir())


def test_a_part_has_the_names_that_it_has_in_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    get(environment(VALUES), "a", "b", "pool", "--output", "env")
    get(environment(VALUES), "a", "b", "hosts[0]", "--output", "env")

    assert "POOL_SIZE='10'\nPOOL_RATIO='1.0'\nHOSTS_0='a'\n" == capsys.readouterr().out


def test_what_would_choose_what_programs_load_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = get(environment({"path": "/x", "ld.preload": "y", "1st": "z", "a": 1}), "a", "b", "--output", "env")

    printed = capsys.readouterr()
    assert (0, "A='1'\n") == (status, printed.out)
    assert "must not become variables: path, ld.preload, 1ST\n" in printed.err


def test_two_keys_of_one_name_are_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = get(environment({"pool-size": 1, "poolsize": 2}), "a", "b", "--output", "env")

    assert (
        1,
        "vortexctl: error: the variable POOLSIZE would stand for pool-size and poolsize; name a key, or use another --output\n",
    ) == (status, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("label", "path"),
    [("v1.2.3+build.5", "v1.2.3+build.5"), ("dependabot/npm/@types/node", "dependabot(_)npm(_)@types(_)node")],
)
def test_the_name_of_any_branch_or_tag_that_is_served_can_be_asked_for(label: str, path: str) -> None:
    _, asked = get(environment(VALUES), "billing", "prod", "--label", label)

    assert [f"/billing/prod/{path}"] == asked


def test_names_and_labels_are_written_as_spring_has_them() -> None:
    _, asked = get(environment(VALUES), "team/billing", "prod,eu+1", "--label", "feature/x")

    assert ["/team(_)billing/prod,eu+1/feature(_)x"] == asked


def test_a_key_that_is_missing_is_1_and_names_those_near_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = get(environment(VALUES), "billing", "prod", "pol.size")

    assert 1 == status
    assert (
        "vortexctl: error: there is no key pol.size in this configuration; similar key: pool.size\n"
        == capsys.readouterr().err
    )


def test_a_value_is_itself_in_a_pipe_and_printable_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    get(environment(VALUES), "billing", "prod", "bad")
    assert "\x1b[2J\n" == capsys.readouterr().out

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    get(environment({"bad": "\x1b[2J\n\tü\u202e"}), "billing", "prod", "bad")
    assert "\\x1b[2J\n\tü\\u202e\n" == capsys.readouterr().out


def test_an_old_or_empty_state_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = get(environment(X_Vortex_Stale="7"), "billing")

    printed = capsys.readouterr()
    assert (0, "{}\n") == (status, printed.out)
    assert (
        "this configuration may be old: the server hasn't been able to read one of its sources for 7 s" in printed.err
    )
    assert "no file is for billing" in printed.err


@pytest.mark.parametrize(
    "said",
    [
        (200, {}, {"X-Vortex-Version": "0" * 16}),
        (200, [], {"X-Vortex-Version": "0" * 16}),
        (200, {"propertySources": [{"name": "a", "source": {"a": [1]}}]}, {"X-Vortex-Version": "0" * 16}),
        (200, {"propertySources": [{"name": "a", "source": {"a[100000]": 1}}]}, {"X-Vortex-Version": "0" * 16}),
        (200, {"propertySources": []}),
        environment(VALUES, version="0" * 16),
    ],
    ids=["nothing", "a list", "no scalar", "no list", "no version", "another version"],
)
def test_what_no_vortexd_says_is_3(said: Said, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = get(said, "billing")

    printed = capsys.readouterr()
    assert (3, "") == (status, printed.out)
    assert "doesn't answer as a vortexd of this version does; see --server" in printed.err


@pytest.mark.parametrize("arguments", [["../x"], ["a", "b c"], ["a", "b", "--label", "-x"], ["a", "--output", "xml"]])
def test_what_is_no_name_or_form_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = cli.main(["get", *arguments])
    except SystemExit as caught:
        status = int(caught.code or 0)

    assert (2, 1) == (status, len(capsys.readouterr().err.splitlines()))


def test_broken_files_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    header = '"shop.yml";line=3;served=last_good'
    assert 0 == get(environment(VALUES, X_Vortex_Broken=header), "billing", "prod")[0]

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("vortexctl: warning: this configuration holds old content")
    assert line.endswith(header)


def test_an_application_that_no_file_is_named_after_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = get(environment(VALUES, X_Vortex_Without_Files="biling,shp"), "biling,shp", "prod", "zip")

    warning = "no file is named after biling, shp; only the files for all applications apply"
    assert (0, "01234\n", f"vortexctl: warning: {warning}\n") == (status, *capsys.readouterr())


def test_where_there_are_no_files_at_all_that_alone_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    get(environment(X_Vortex_Without_Files="biling"), "biling")

    warning = "no file is for biling or for all applications; its configuration is empty"
    assert f"vortexctl: warning: {warning}\n" == capsys.readouterr().err
