"""Errors of the command line: each is one line on stderr, in a form that can't control a terminal."""

import pytest

from vortexd.cli.terminal import Parser, complain, complain_of
from vortexd.core.errors import SettingsError


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr; stdout is empty."""
    out, err = capsys.readouterr()
    assert "" == out
    assert err.endswith("\n")
    return err.splitlines()


def test_an_error_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    complain("can't listen")

    assert ["vortexd: error: can't listen"] == printed(capsys)


def test_an_error_stays_one_line_and_keeps_letters_of_any_language(capsys: pytest.CaptureFixture[str]) -> None:
    complain("größe\n\x1b[31m")

    assert ["vortexd: error: größe\\n\\x1b[31m"] == printed(capsys)


def test_each_problem_is_a_line_with_its_file_and_its_key_and_the_status_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = SettingsError([("server.bind", "must be text"), ("", "isn't valid TOML")], "vortexd.toml")

    assert 2 == complain_of(error)
    assert [
        "vortexd: error: vortexd.toml: server.bind: must be text",
        "vortexd: error: vortexd.toml: isn't valid TOML",
    ] == printed(capsys)


def test_a_wrong_command_line_is_one_line_that_names_the_help_and_the_status_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        Parser(prog="vortexd token").parse_args(["--loud"])

    assert 2 == ended.value.code
    assert ["vortexd: error: unrecognized arguments: --loud; see vortexd token --help"] == printed(capsys)
