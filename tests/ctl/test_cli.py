"""vortexctl as users type it: its output and its exit status."""

import argparse
import errno
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from vortexd import __version__
from vortexd.core.errors import SettingsError
from vortexd.ctl import cli, completion
from vortexd.ctl.completion import command_of
from vortexd.ctl.errors import CtlError

PAGE = Path(__file__).parents[2] / "man" / "vortexctl.1"


def test_the_version_is_vortexds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])

    assert (0, f"vortexctl {__version__}\n") == (caught.value.code, capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["bench", "--connections", "0"], ["bench", "--conn", "5"]])
def test_a_wrong_command_line_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    told = capsys.readouterr().err.splitlines()
    assert (2, 1) == (caught.value.code, len(told))
    assert told[0].startswith("vortexctl: error: ")


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("--server URL get shop", "get --server URL shop"),
        ("--server=URL get shop dev", "get --server=URL shop dev"),
        ("--server URL --token-file F get shop", "get --server URL --token-file F shop"),
        ("--color never --layers explain shop", "explain --color never --layers shop"),
        # The word after an option that takes a value is its value.
        ("--label diff get shop", "get --label diff shop"),
        ("--server get get shop", "get --server get shop"),
        ("--help get", "get --help"),
        ("--server URL exec shop -- get", "exec --server URL shop -- get"),
        ("get --server URL shop", "get --server URL shop"),
        ("get diff", "get diff"),
        # No command has these options.
        ("--server get", "--server get"),
        ("URL get shop", "URL get shop"),
        ("--server URL", "--server URL"),
        ("--version", "--version"),
        ("", ""),
    ],
)
def test_options_may_stand_before_the_command(given: str, means: str) -> None:
    assert means.split() == cli._command_first(given.split())


def test_options_before_the_command_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VORTEXCTL_SERVER", "http://127.0.0.1:2")

    assert 3 == cli.main(["--server", "http://127.0.0.1:1", "get", "shop"])
    assert "http://127.0.0.1:1 can't be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--server URL check DIR", "check has no option --server; see vortexctl check --help"),
        ("--colour never get shop", "get has no option --colour; see vortexctl get --help"),
        ("--colour=never get shop", "get has no option --colour; see vortexctl get --help"),
        ("--json get shop diff", "get has no option --json; see vortexctl get --help"),
        ("--server URL more get shop", "get has no option more; see vortexctl get --help"),
    ],
)
def test_other_options_before_a_command_are_one_line_and_status_2(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == cli.main(given.split())
    assert f"vortexctl: error: {said}\n" == capsys.readouterr().err


def test_options_without_a_command_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--server", "URL"])

    assert 2 == caught.value.code
    assert 1 == capsys.readouterr().err.count("\n")


def test_every_command_and_option_is_on_the_page() -> None:
    page = PAGE.read_text()
    whole = command_of(cli.parser())

    assert {each.name for each in whole.commands} == set(re.findall(r"^\.It Cm (\w+)", page, re.MULTILINE))
    for command in whole.all():
        if not command.path or command.commands:
            continue
        words = command.path.split()
        head = "\n".join([f"\n.It Cm {words[0]}", *(f".Cm {word}" for word in words[1:])])
        assert head in page, command.path
        described = page.partition(head)[2].partition("\n.It Cm ")[0]
        for option in command.options:
            for name in option.names:
                if name.startswith("--") and name != "--help":
                    assert f"Fl -{name[2:]}" in described, (command.path, name)


def test_a_command_that_asks_once_does_without_what_the_others_need() -> None:
    names = ["completion", "diff", "explain", "fleet", "get", "token", "wait"]
    code = f"import sys; from vortexd.ctl.cli import parser; parser({names}); sys.exit('trio' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_a_command_is_the_first_line_of_its_docstring(command: str) -> None:
    module = import_module(f"vortexd.ctl.{command}")

    assert (module.__doc__ or "").partition("\n")[0] == cli.COMMANDS[command]


@pytest.mark.parametrize(
    "given",
    [
        "get shop",
        "get shop --label x dev key --output json",
        "get",
        "get shop --colour",
        "token new a",
        "token",
        "token dance",
        "wait shop",
        "--server URL",
        "--server get",
        "--server URL dance",
        "dance",
        "",
        "--version",
        "--help",
        "get --help",
        "token new --help",
        "--colour get shop",
    ],
)
def test_a_parser_that_imports_commands_late_parses_as_one_that_has_imported_them(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def parsed(*, is_filled: bool) -> tuple[object, ...]:
        status: object = None
        options: object = None
        try:
            options = cli.parser(is_filled=is_filled).parse_args(given.split())
        except SystemExit as end:
            status = end.code
        return options, status, capsys.readouterr()

    assert parsed(is_filled=True) == parsed(is_filled=False)


def test_a_command_is_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []

    def noted(name: str, package: str) -> object:
        imported.append(name)
        return import_module(name, package)

    monkeypatch.setattr(cli, "import_module", noted)
    parser = cli.parser(is_filled=False)
    assert [] == imported
    for _ in range(2):
        parser.parse_args(["get", "shop"])
    assert [".get"] == imported
    cli.parser(["get", "wait"])
    assert [".get", ".get", ".wait"] == imported


@pytest.mark.parametrize("arguments", [["completion", "bash"], ["token", "new", "a"]], ids=["long", "short"])
def test_where_nobody_reads_it_is_141_and_not_a_word(arguments: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as nobody:
        command = [str(Path(sys.executable).with_name("vortexctl")), *arguments]
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, env=environment)

    assert (141, b"") == (done.returncode, done.stderr)


GET = "import sys; from vortexd.ctl.cli import main; sys.exit(main(['completion', 'bash']))"


def test_a_full_disk_is_one_line_and_not_the_status_of_a_difference() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", GET], stdout=full, stderr=subprocess.PIPE, text=True)

    assert (3, "vortexctl: error: can't write the output: no space left on device\n") == (
        done.returncode,
        done.stderr,
    )


def test_a_closed_output_is_one_line() -> None:
    done = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, GET], stderr=subprocess.PIPE, text=True)

    assert (3, "vortexctl: error: can't write the output: bad file descriptor\n") == (
        done.returncode,
        done.stderr,
    )


def test_an_encoding_without_the_characters_is_one_line() -> None:
    code = "import sys; from vortexd.ctl import cli, completion; completion.run = lambda _: print('\\xfc') or 0; "
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code + "sys.exit(cli.main(['completion', 'bash']))"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)

    assert (2, "vortexctl: error: the output can't be encoded in ascii; set PYTHONUTF8=1\n") == (
        done.returncode,
        done.stderr,
    )


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make a command end with an error."""

    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(completion, "run", fail)


def test_each_problem_of_the_settings_is_a_line_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, SettingsError([("server.bind[0]", "must be\x1b text"), ("", "can't be read")], "a.toml"))

    assert 2 == cli.main(["completion", "bash"])
    assert [
        "vortexctl: error: a.toml: server.bind[0]: must be\\x1b text",
        "vortexctl: error: a.toml: can't be read",
    ] == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("status", [1, 2, 3])
def test_an_error_of_a_command_is_one_line_with_its_status(
    status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, CtlError("no\nserver", status))

    assert status == cli.main(["completion", "bash"])
    assert ("", "vortexctl: error: no\\nserver\n") == capsys.readouterr()


def test_ctrl_c_is_130_without_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())

    assert 130 == cli.main(["completion", "bash"])
    assert ("", "") == capsys.readouterr()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full", "state.json"), OSError(errno.EACCES, "denied"), ValueError("bug")]
)
def test_an_error_that_is_not_of_the_output_is_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, error)

    with pytest.raises(type(error)) as caught:
        cli.main(["completion", "bash"])
    assert error is caught.value
