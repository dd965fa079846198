"""Completion: each script has all commands and options of the parser, and the installed shells accept it."""

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vortexd.ctl import cli
from vortexd.ctl.completion import SHELLS


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Path:
    assert 0 == cli.main(["completion", request.param])
    file = tmp_path / "_vortexctl"
    file.write_text(capsys.readouterr().out)
    return file


def shell(name: str, *arguments: str, cwd: Path | None = None) -> list[str]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} isn't installed")
    done = subprocess.run([name, *arguments], capture_output=True, text=True, timeout=30, cwd=cwd)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def known(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each command with its options and sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield path, name
                yield from known(each, f"{path} {name}")
        for option in action.option_strings:
            yield path, option


@pytest.mark.parametrize("name", SHELLS)
def test_every_command_and_option_is_in_every_script(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["completion", name])
    lines = capsys.readouterr().out.splitlines()

    entries = list(known(cli.parser()))
    assert {"get", "token", "--version"} <= {word for path, word in entries if not path}
    for path, word in entries:
        written = (
            {"fish": f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"}.get(name, word)
            if word[0] == "-"
            else word
        )
        places = {"fish": f'is_at "{path}"'}.get(name, f"'{path}')")
        # In zsh's script, the lines after a command's head belong to the command.
        found = "\n".join("\n".join(lines[at : at + 4]) for at, line in enumerate(lines) if places in line)
        assert re.search(re.escape(written) + r"(?![\w-])", found), (path, word)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vortexctl ge", ["get"]),
        ("vortexctl get --ou", ["--output"]),
        ("vortexctl get billing prod --output y", ["yaml"]),
        ("vortexctl get --output = j", ["json"]),
        ("vortexctl get billing --label ", []),
        ("vortexctl get wait --o", ["--output"]),
        ("vortexctl token ", ["new", "list", "check"]),
        ("vortexctl token new a --right ad", ["admin"]),
        ("vortexctl completion f", ["fish"]),
        ("vortexctl get --token-file a", ["a file"]),
        ("vortexctl token list a", ["a file"]),
        ("vortexctl token list -", ["-h", "--help"]),
    ],
)
@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes(script: Path, typed: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    words = typed.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    code = (
        f'. {script}; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _vortexctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )

    assert offered == [line for line in shell("bash", "--norc", "-c", code, cwd=tmp_path) if line]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vortexctl ge", ["get"]),
        ("vortexctl get --ou", ["--output"]),
        ("vortexctl get billing prod --output y", ["yaml"]),
        ("vortexctl token ", ["check", "list", "new"]),
        ("vortexctl token new a --right ad", ["admin"]),
        ("vortexctl get --token-file a", ["a file"]),
    ],
)
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: Path, typed: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    lines = shell("fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'", cwd=tmp_path)

    assert offered == [line.partition("\t")[0].replace("\\ ", " ") for line in lines]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("vortexctl get --ou", "*--output["),
        ("vortexctl token new a --right ad", ":RIGHT:(read subscribe report admin)"),
        ("vortexctl token ", "check:check token files as the server does"),
        ("vortexctl completion ", "*:SHELL:(bash zsh fish)"),
        ("vortexctl get --token-file a", "]:FILE:_files"),
    ],
)
@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_asks_for_what_belongs_to_the_command(script: Path, typed: str, asked: str) -> None:
    words = typed.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    stand_ins = '_arguments() { print -rl -- "$@"; return 1 }; _describe() { print -rl -- "${(@P)2}" }; compdef() { }'
    code = f"{stand_ins}; . {script}; words=({array}); CURRENT={len(words)}; _vortexctl; true"

    assert any(asked in line for line in shell("zsh", "-f", "-c", code))
