"""The commands that don't serve: tokens, and the installation of units."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from vortexd.auth.tokens import digest_of, load_tokens
from vortexd.cli import commands, main
from vortexd.cli.commands import COMMANDS, new_token_lines
from vortexd.core.errors import SettingsError, StartError
from vortexd.process.installation import PREFIX, Outcome, Place, Result


def test_the_command_line_knows_every_command() -> None:
    assert main.COMMANDS == tuple(COMMANDS)


def run(command: str, *arguments: str) -> int:
    return COMMANDS[command](arguments)


class FakeInstallation:
    """Replaces the installation, so that a test can name the real root.

    Attributes:
        calls: Each call: its name, the place, and whether it was a dry run.
        outcomes: The outcomes to report.
        error: Raised after the outcomes.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Place, bool]] = []
        self.files: Mapping[str, bytes] = {}
        self.outcomes: list[Outcome] = []
        self.error: StartError | None = None

    def install(self, place: Place, files: Mapping[str, bytes], *, is_dry: bool) -> Iterator[Outcome]:
        self.files = files
        yield from self._outcomes("install", place, is_dry)

    def uninstall(self, place: Place, *, is_dry: bool) -> Iterator[Outcome]:
        yield from self._outcomes("uninstall", place, is_dry)

    def _outcomes(self, name: str, place: Place, is_dry: bool) -> Iterator[Outcome]:
        self.calls.append((name, place, is_dry))
        yield from self.outcomes
        if self.error is not None:
            raise self.error


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> FakeInstallation:
    installation = FakeInstallation()
    monkeypatch.setattr(commands, "install", installation.install)
    monkeypatch.setattr(commands, "uninstall", installation.uninstall)
    monkeypatch.setattr(commands, "program", lambda: ["/opt/x/bin/vortexd"])
    monkeypatch.setattr(commands, "is_hidden", lambda _: False)
    return installation


# token new


def test_a_new_token_comes_with_its_entry_for_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    status = run("token", "new", "billing")
    printed = capsys.readouterr().out
    token = printed.splitlines()[0]
    entry = printed[printed.index("[[token]]") :]
    tokens = load_tokens(entry, "tokens.toml")

    assert 0 == status
    assert token not in entry
    assert ["billing"] == [each.principal.name for each in tokens]
    assert digest_of(token) in entry


def test_the_entry_gets_the_members_that_the_caller_names() -> None:
    token, *lines = new_token_lines("billing", rights=("read",), patterns=("billing:prod",))
    (made,) = load_tokens("\n".join(lines[lines.index("[[token]]") :]), "tokens.toml")

    assert 'rights = ["read"]' in lines
    assert 'patterns = ["billing:prod"]' in lines
    assert "billing" == made.principal.name
    assert token != new_token_lines("billing")[0]


def test_an_explanation_stands_between_the_token_and_its_entry() -> None:
    _, *lines = new_token_lines("billing")

    assert [
        "",
        "The first line is the token; it is shown only once. Put this entry, with the token's patterns, "
        "into the file that [auth] tokens names:",
        "",
        "[[token]]",
    ] == lines[:4]


def test_an_entry_that_would_be_invalid_is_refused() -> None:
    with pytest.raises(SettingsError, match="name"):
        new_token_lines("")


def test_a_token_without_a_usable_name_is_one_error_and_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run("token", "new", "a\nb")
    out, err = capsys.readouterr()

    assert "" == out
    assert err.startswith("vortexd: error: the new token: ")
    assert 1 == err.count("\n")


@pytest.mark.parametrize(
    ("arguments", "beginning", "command"),
    [
        ([], "the following arguments are required: new", "token"),
        (["old"], "argument new: invalid choice: 'old' ", "token"),
        (["new"], "the following arguments are required: NAME", "token new"),
    ],
)
def test_an_incomplete_command_is_one_line_and_status_2(
    arguments: list[str], beginning: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("token", *arguments)
    out, err = capsys.readouterr()

    assert (2, "", 1) == (ended.value.code, out, err.count("\n"))
    assert err.startswith(f"vortexd: error: {beginning}")
    assert err.endswith(f"; see vortexd {command} --help\n")


# install-units and uninstall-units


def test_units_are_installed_and_removed_below_a_root_with_a_word_for_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--root", str(tmp_path), "--prefix", "/usr"]
    unit = tmp_path / "usr/lib/systemd/system/vortexd.service"

    assert 0 == run("install-units", *where, "--dry-run")
    assert f"{unit}: would be installed" in capsys.readouterr().out.splitlines()
    assert [] == list(tmp_path.iterdir())

    assert 0 == run("install-units", *where)
    assert f"{unit}: installed" in capsys.readouterr().out.splitlines()
    assert unit.is_file()

    assert 0 == run("uninstall-units", *where)
    assert f"{unit}: removed" in capsys.readouterr().out.splitlines()
    assert not unit.exists()


def test_what_can_not_be_installed_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "usr").write_text("in the way")

    assert 1 == run("install-units", "--root", str(tmp_path))
    assert f"vortexd: error: {tmp_path}/usr" in capsys.readouterr().err


def test_a_prefix_is_absolute(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("install-units", "--prefix", "usr")

    assert (2, "vortexd: error: --prefix must be an absolute path; see vortexd install-units --help\n") == (
        ended.value.code,
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_place_is_the_root_of_this_system_unless_options_name_another(
    command: str, installation: FakeInstallation
) -> None:
    assert 0 == run(f"{command}-units")
    assert 0 == run(f"{command}-units", "--root", "/mnt", "--prefix", "/usr", "--dry-run")

    assert [(command, Place(Path("/"), PREFIX), False), (command, Place(Path("/mnt"), "/usr"), True)] == (
        installation.calls
    )


@pytest.mark.parametrize(
    ("arguments", "result", "word"),
    [
        ([], Result.INSTALLED, "installed"),
        (["--dry-run"], Result.INSTALLED, "would be installed"),
        (["--dry-run"], Result.UPDATED, "would be updated"),
        (["--dry-run"], Result.REMOVED, "would be removed"),
        (["--dry-run"], Result.UNCHANGED, "unchanged"),
        (["--dry-run"], Result.KEPT, "not removed, because it was changed"),
    ],
)
@pytest.mark.parametrize("command", ["install-units", "uninstall-units"])
def test_each_file_is_a_line_and_a_dry_run_says_what_would_change(
    command: str,
    arguments: list[str],
    result: Result,
    word: str,
    installation: FakeInstallation,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installation.outcomes = [Outcome(Path("/mnt/a\nb"), result), Outcome(Path("/mnt/c"), Result.UNCHANGED)]

    assert 0 == run(command, "--root", "/mnt", *arguments)
    assert [f"/mnt/a\\nb: {word}", "/mnt/c: unchanged"] == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "is_named"),
    [([], True), (["--dry-run"], False), (["--root", "/mnt"], False), (["--root", "/"], True)],
)
def test_the_next_commands_are_named_if_the_units_are_on_this_system(
    arguments: list[str], is_named: bool, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    run("install-units", *arguments)
    after = "Next: systemctl daemon-reload && systemctl enable --now vortexd.service\n"

    assert (after if is_named else "") == capsys.readouterr().out


def test_removed_units_need_no_next_command(installation: FakeInstallation, capsys: pytest.CaptureFixture[str]) -> None:
    run("uninstall-units")

    assert ("", "") == capsys.readouterr()


def test_the_units_start_the_running_program(installation: FakeInstallation) -> None:
    run("install-units")

    assert b"ExecStart=/opt/x/bin/vortexd" in installation.files["lib/systemd/system/vortexd.service"]


def test_a_program_in_a_home_directory_is_installed_with_a_warning_that_names_a_remedy(
    installation: FakeInstallation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def is_hidden(paths: list[str]) -> bool:
        asked.extend(paths)
        return True

    monkeypatch.setattr(commands, "is_hidden", is_hidden)
    monkeypatch.setattr(commands, "program", lambda: ["/home/a\nb/python", "-m", "vortexd"])

    assert 0 == run("install-units", "--root", "/mnt")
    assert ["/home/a\nb/python", "-m", "vortexd", str(Path(sys.executable).resolve()), sys.base_prefix] == asked
    assert (
        "vortexd: warning: /home/a\\nb/python is in a home directory or needs files there, which the service can't see "
        "(ProtectHome=); install vortexd into /opt with a system-wide Python, or allow the home directory in a drop-in\n"
    ) == capsys.readouterr().err
    assert 1 == len(installation.calls)


def test_a_program_outside_of_home_directories_gets_no_warning(
    installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    run("install-units")

    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("command", ["install-units", "uninstall-units"])
def test_an_error_comes_after_the_files_that_are_done_and_the_status_is_1(
    command: str, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.outcomes = [Outcome(Path("/a"), Result.UNCHANGED)]
    installation.error = StartError("/b: no space")

    assert 1 == run(command)
    assert ("/a: unchanged\n", "vortexd: error: /b: no space\n") == capsys.readouterr()


@pytest.mark.parametrize("command", ["install-units", "uninstall-units"])
def test_an_abbreviated_option_is_refused(
    command: str, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command, "--dry")

    assert (2, []) == (ended.value.code, installation.calls)
    assert f"vortexd: error: unrecognized arguments: --dry; see vortexd {command} --help\n" == capsys.readouterr().err
