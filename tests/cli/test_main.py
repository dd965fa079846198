"""The command line: its output and its exit status."""

import re
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vortexd import __version__
from vortexd.cli import main as cli
from vortexd.cli.commands import COMMANDS
from vortexd.core.errors import SettingsError, StartError
from vortexd.process import imports
from vortexd.process.assignment import WorkerAssignment
from vortexd.process.peers import WorkerSlot
from vortexd.settings.root import Settings
from vortexd.settings.source import SourceSettings
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "man/vortexd.8").read_text()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Return the settings that the daemon would run with. Nothing is served."""
    found: list[Settings] = []

    def run(
        settings: Settings, started: Callable[[Sequence[str]], None], reload: object, file: object, memory: object
    ) -> None:
        found.append(settings)
        started(["http://127.0.0.1:8888"])

    daemon = types.SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "vortexd.daemon", daemon)
    monkeypatch.setattr("vortexd.daemon", daemon, raising=False)
    monkeypatch.setattr("vortexd.observe.logs.configure", lambda *_: None)
    return found


def test_without_anything_it_serves_the_example_and_says_what_to_try(
    runs: list[Settings], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert 0 == cli.main([], system_file=tmp_path / "none.toml")

    assert ("127.0.0.1:8888",) == runs[0].server.bind
    assert FilesSettings(path=str(ROOT / "conf/example")) == runs[0].source[0]
    told = capsys.readouterr().out
    assert "curl http://127.0.0.1:8888/billing/prod" in told
    assert "vortexctl watch billing prod --server http://127.0.0.1:8888" in told
    assert str(ROOT / "conf/example/billing-prod.yml") in told


def test_the_system_file_is_read_where_it_is(runs: list[Settings], tmp_path: Path) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(f'[server]\nbind = ["[::1]:9000"]\n[[source]]\npath = "{tmp_path}"\n')

    assert 0 == cli.main([], system_file=file)
    assert ("[::1]:9000",) == runs[0].server.bind


def test_the_command_line_wins_over_the_file(runs: list[Settings], tmp_path: Path) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text('[[source]]\npath = "/nowhere"\n')
    arguments = ["--config", str(file), "--source", str(tmp_path), "--bind", "[::1]:1", "--bind", "unix:/run/x"]

    assert 0 == cli.main([*arguments, "--log-format", "console"])
    assert FilesSettings(path=str(tmp_path)) == runs[0].source[0]
    assert (("[::1]:1", "unix:/run/x"), "console") == (runs[0].server.bind, runs[0].log.format)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--config", "."], "is a directory"),
        (["--source", "nowhere"], "there is no directory"),
        (["--source", ""], "--source"),
        (["--source", ".", "--bind", "x"], "--bind"),
        (["--source", ".", "--log-format", "loud"], "--log-format"),
        (["--frobnicate"], "--help"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    arguments: list[str], text: str, runs: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(arguments)
    except SystemExit as error:
        status = int(error.code or 0)

    told = capsys.readouterr().err.splitlines()
    assert (2, 1, []) == (status, len(told), runs)
    assert told[0].startswith("vortexd: error: ")
    assert text in told[0]


def test_check_only_checks(runs: list[Settings], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(f'[[source]]\npath = "{tmp_path}"\n')

    assert 0 == cli.main(["--check", "--config", str(file)])
    assert (f"vortexd: {file} is valid\n", []) == (capsys.readouterr().out, runs)


def test_a_daemon_that_cannot_start_is_one_line_and_status_1(
    runs: list[Settings], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(settings: Settings, started: object, reload: object, file: object, memory: object) -> None:
        raise ExceptionGroup("nursery", [StartError("can't listen on 127.0.0.1:80: in use")])

    monkeypatch.setattr("vortexd.daemon.run", run)

    assert 1 == cli.main(["--source", "."])
    assert "vortexd: error: can't listen on 127.0.0.1:80: in use\n" == capsys.readouterr().err


@pytest.mark.parametrize("is_worker", [False, True])
def test_a_reload_reports_all_problems_that_a_check_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, is_worker: bool
) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(f'[[source]]\npath = "{tmp_path}"\n')
    found: list[SettingsError | Settings] = []

    def run(
        _settings: Settings, _started: object, read: Callable[[], Settings], *_: object, **_options: object
    ) -> None:
        for text in (
            f'[server]\nhead_bytes = 1\n[[source]]\npath = "{tmp_path}/none"\n[monitor]\nsecret = "absent"\n',
            f'[server]\nhead_bytes = 2048\n[[source]]\npath = "{tmp_path}"\n',
        ):
            file.write_text(text)
            try:
                found.append(read())
            except SettingsError as error:
                found.append(error)

    monkeypatch.setattr("vortexd.daemon.run", run)
    if is_worker:
        settings = cli.read_settings(file, needs_source=True)
        slot = WorkerSlot(0, 1, socket.socket(), 30.0)
        with slot.link:
            cli.work(["--config", str(file)], WorkerAssignment(slot, (), settings))
    else:
        cli.main(["--config", str(file)])

    wrong, right = found
    assert isinstance(wrong, SettingsError)
    assert ["server.head_bytes", "source[0].path", "monitor.secret"] == [key for key, _ in wrong.problems]
    assert str(file) == wrong.origin
    assert isinstance(right, Settings)
    assert 2048 == right.server.head_bytes


def test_a_supervisor_has_ended_its_start_before_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(f'[server]\nworkers = 2\n[[source]]\npath = "{tmp_path}"\n')
    done: list[str] = []
    monkeypatch.setattr(imports, "freeze", lambda: done.append("frozen"))

    def run(*_: object) -> int:
        done.append("run")
        return 0

    monkeypatch.setattr("vortexd.process.supervisor.run", run)

    assert 0 == cli.main(["--config", str(file)])
    assert ["frozen", "run"] == done


def test_ctrl_c_is_no_traceback(
    runs: list[Settings], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(settings: Settings, started: object, reload: object, file: object, memory: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vortexd.daemon.run", run)

    assert 130 == cli.main(["--source", "."])
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_synopsis_of_each_command_has_the_options_of_its_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    helped = helped_options(command, capsys)
    synopsis = PAGE[PAGE.index(".Sh SYNOPSIS") : PAGE.index(".Sh DESCRIPTION")]
    forms = synopsis.split("\n.Nm\n")[1:]
    # The last form is for commands that end at once.
    ours = [form for form in forms[:-1] if (command in form if command else ".Cm" not in form)]

    assert 1 == len(ours)
    assert helped - {"help", "version"} == set(re.findall(r"Fl -([a-z-]+)", ours[0]))
    assert ".Fl -version | Fl -help\n" == forms[-1]


def test_the_page_describes_the_options_and_commands_of_the_help_and_no_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    helped = set().union(*(helped_options(command, capsys) for command in ("", *COMMANDS)))
    options = PAGE[PAGE.index(".Sh DESCRIPTION") : PAGE.index(".Sh SIGNALS")]

    assert helped == set(re.findall(r"^\.It .*?Fl -([a-z-]+)", options, re.MULTILINE))
    assert set(COMMANDS) == set(re.findall(r"^\.It Cm ([a-z-]+)", options, re.MULTILINE))


def helped_options(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    return set(re.findall(r"--([a-z-]+)", capsys.readouterr().out))


@pytest.mark.parametrize("sockets", ["python", "native"])
def test_the_version_is_printed_and_how_sockets_are_written_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sockets: str
) -> None:
    native = types.ModuleType("vortexd_native") if sockets == "native" else None
    monkeypatch.setattr(cli, "load_native", lambda: native)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert (0, f"vortexd {__version__} (sockets: {sockets})\n") == (ended.value.code, capsys.readouterr().out)


def test_a_token_without_a_usable_name_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == cli.main(["token", "new", ""])
    assert "name" in capsys.readouterr().err


def test_check_reads_the_token_files_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vortexd.toml").write_text(
        '[[source]]\npath = "."\n[auth]\ntokens = ["tokens.toml"]\n', encoding="utf-8"
    )

    assert 2 == cli.main(["--check", "--config", str(tmp_path / "vortexd.toml")])
    assert "tokens.toml" in capsys.readouterr().err


def told(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> list[str]:
    assert status == cli.main(arguments)
    return [line.removeprefix("vortexd: error: ") for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("check", [["--check"], []])
def test_everything_that_is_wrong_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[Settings], check: list[str]
) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(
        'colour = 1\n[server]\nbind = ["nowhere"]\n[tls]\ncertificate = "a.pem"\n[auth]\ntokens = ["tokens.toml"]\n'
        '[encryption]\nkey_file = "key"\n[monitor]\nsecret = "hook"\n[[source]]\npath = "nowhere"\n'
        '[[source]]\nkind = "git"\nuri = "https://git.example/a.git"\npassword_file = "password"\n'
    )

    said = told([*check, "--config", str(file), "--log-format", "loud"], capsys)
    assert [] == runs
    assert [
        f"{file}: server.bind[0]",
        f"{file}: colour",
        "command line: --log-format",
        f"{file}: source[0].path",
        "tls: tls.certificate",
        "tls: tls.key",
        f"encryption: {tmp_path}/key",
        f"auth: {tmp_path}/tokens.toml",
        "settings: monitor.secret",
        "settings: source[1].password_file",
    ] == [": ".join(line.split(": ")[:2]) for line in said]


def test_a_source_without_a_path_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[Settings]
) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text("[[source]]\nquiet = 1\n")

    assert [f"{file}: source[0].path"] == [
        ": ".join(line.split(": ")[:2]) for line in told(["--check", "--config", str(file)], capsys)
    ]


def test_what_follows_from_a_key_that_is_wrong_is_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[Settings]
) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(f'[server]\nbind = ["0.0.0.0:1"]\n[auth]\ntokens = [1]\n[[source]]\npath = "{tmp_path}"\n')

    assert [f"{file}: auth.tokens[0]: must be text, not a whole number"] == told(
        ["--check", "--config", str(file)], capsys
    )


def test_a_text_that_is_no_toml_leaves_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[Settings]
) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text("a = \n")

    said = told(["--check", "--config", str(file), "--source", str(tmp_path / "none"), "--bind", "x"], capsys)
    assert [f"{file}: isn't valid TOML", "command line: --bind x"] == [": ".join(each.split(": ")[:2]) for each in said]


def test_check_names_the_command_of_a_gate_that_cannot_be_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(
        f'[[source]]\npath = "{tmp_path}"\n'
        '[[gate]]\ncommand = ["true"]\n[[gate]]\ncommand = ["/nonexistent"]\n[[gate]]\ncommand = ["./judge", "hunter2"]\n'
    )

    said = told(["--check", "--config", str(file)], capsys)
    assert ["/nonexistent: no such file or directory", f"{tmp_path}/judge: no such file or directory"] == [
        line.partition(f"gate[{number}].command[0]: ")[2] for number, line in zip((1, 2), said, strict=True)
    ]


def test_check_says_of_a_daemon_without_a_file_that_the_command_line_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == cli.main(["--check", "--source", str(tmp_path)], system_file=tmp_path / "none")
    assert "vortexd: the command line is valid\n" == capsys.readouterr().out


def uri_of(runs: list[Settings], given: str, tmp_path: Path) -> str:
    source = source_of(runs, given, tmp_path)
    assert isinstance(source, GitSettings)
    return source.uri


def source_of(runs: list[Settings], given: str, tmp_path: Path) -> SourceSettings:
    assert 0 == cli.main(["--source", given], system_file=tmp_path / "none.toml")
    (source,) = runs[-1].source
    return source


def test_a_bare_repository_is_served_as_one_and_a_working_tree_as_a_directory(
    runs: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, tree = tmp_path / "a b%.git", tmp_path / "tree"
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    monkeypatch.chdir(tmp_path)

    as_git = GitSettings(uri=f"file://{tmp_path}/a%20b%25.git", schemes=("https", "ssh", "file"))
    assert as_git == source_of(runs, str(bare), tmp_path)
    assert as_git == source_of(runs, "a b%.git", tmp_path)
    assert FilesSettings(path=str(tree)) == source_of(runs, str(tree), tmp_path)
    assert f"file://{tree}/.git" == uri_of(runs, "tree/.git", tmp_path)


@pytest.mark.parametrize("missing", ["HEAD", "objects", "refs"])
def test_a_directory_with_half_of_a_repository_is_a_directory(
    runs: list[Settings], tmp_path: Path, missing: str
) -> None:
    for name in {"objects", "refs"} - {missing}:
        (tmp_path / name).mkdir()
    if missing != "HEAD":
        (tmp_path / "HEAD").write_text("")

    assert isinstance(source_of(runs, str(tmp_path), tmp_path), FilesSettings)


def test_an_address_is_served_unless_it_is_a_path_that_is_there(
    runs: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "host:there").mkdir()

    assert "https://git.example/a.git" == uri_of(runs, "https://git.example/a.git", tmp_path)
    assert "git@git.example:a.git" == uri_of(runs, "git@git.example:a.git", tmp_path)
    assert FilesSettings(path=str(tmp_path / "host:there")) == source_of(runs, "host:there", tmp_path)
