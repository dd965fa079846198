"""`vortexctl agent`: from agent.toml to the agent's functions, and from their results to lines and a status."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from vortexd.agent import running
from vortexd.agent.commands import Failure
from vortexd.agent.following import Origin
from vortexd.agent.item import Outcome, Subject
from vortexd.agent.loop import Watch
from vortexd.agent.running import Results
from vortexd.agent.settings import Settings
from vortexd.core.errors import SettingsError, StartError
from vortexd.ctl import agent, cli

TOKENS = ("VORTEXCTL_TOKEN", "VORTEXD_TOKEN")
DONE = Outcome("v1")
# Without an item, the settings are refused.
HOOK = '[[hook]]\napplication = "shop"\nreload = ["true"]\n'


@attrs.define
class Agent:
    """Stands in for the agent's functions, and notes what they are called with.

    Attributes:
        results: What `once` or `preview` returns, or raises.
        called: The name of the function that was called.
    """

    file: Path
    results: Results[Any] | Exception = attrs.field(factory=lambda: Results((), ()))
    called: list[str] = attrs.field(factory=list)
    settings: Settings = attrs.field(factory=Settings)
    directory: Path = Path()
    environment: object = None
    origin: Origin = attrs.field(factory=lambda: Origin((), lambda: None))
    start_timeout: float | None = None
    logs: list[object] = attrs.field(factory=list)

    def watch_of(self, origin: Origin, start_timeout: float | None = None) -> Watch:
        self.origin, self.start_timeout = origin, start_timeout
        return _no_watch

    def function(self, name: str) -> Callable[..., Any]:
        async def call(settings: Settings, directory: Path, watch: Watch, environment: object = None) -> Any:
            assert watch is _no_watch
            self.called.append(name)
            self.settings, self.directory, self.environment = settings, directory, environment
            if isinstance(self.results, Exception):
                raise self.results
            return self.results

        return call

    def run(self, *arguments: str) -> int:
        return cli.main(["agent", "--config", str(self.file), *arguments])


def _no_watch(subject: Subject) -> Any:
    raise AssertionError(subject)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "agent.toml"
    file.write_text(f'{HOOK}[agent]\nstate_directory = "{tmp_path}/state"\n')
    file.chmod(0o600)
    made = Agent(file)
    for name in ("once", "preview", "run"):
        monkeypatch.setattr(running, name, made.function(name))
    monkeypatch.setattr(agent, "watch_of", made.watch_of)
    monkeypatch.setattr("vortexd.observe.logs.configure", lambda settings, stream: made.logs.append((settings, stream)))
    return made


def settle(fake: Agent, text: str) -> None:
    fake.file.write_text(fake.file.read_text() + text)


# Which function runs, and with what.


@pytest.mark.parametrize(
    ("arguments", "name", "start_timeout"),
    [((), "run", None), (("--once",), "once", 7.0), (("--dry-run",), "preview", 7.0)],
)
def test_the_command_line_chooses_what_the_agent_does(
    fake: Agent, arguments: tuple[str, ...], name: str, start_timeout: float | None
) -> None:
    settle(fake, "[server]\nstart_timeout = 7.0\n")

    assert (0, [name]) == (fake.run(*arguments), fake.called)
    # Without an end, the agent waits for its first state as long as it takes.
    assert start_timeout == fake.start_timeout
    assert fake.file.parent / "state" == fake.directory
    assert fake.settings == agent.read_settings(str(fake.file))
    assert [(fake.settings.log, sys.stderr)] == fake.logs


def test_the_agent_that_runs_on_has_the_environment(fake: Agent) -> None:
    fake.run()

    assert fake.environment is os.environ


def test_a_check_starts_nothing(fake: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, [], []) == (fake.run("--check"), fake.called, fake.logs)
    assert ("", "") == capsys.readouterr()


def test_only_one_way_may_be_asked_for(fake: Agent) -> None:
    for pair in (("--once", "--check"), ("--once", "--dry-run"), ("--check", "--dry-run")):
        with pytest.raises(SystemExit) as caught:
            fake.run(*pair)
        assert 2 == caught.value.code


def test_the_state_directory_may_be_systemds(fake: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.file.write_text(HOOK)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/vortexctl")
    fake.run("--once")

    assert Path("/var/lib/vortexctl") == fake.directory


def test_the_settings_name_the_server(fake: Agent) -> None:
    settle(fake, '[server]\nurl = ["http://a:1", "http://b:2"]\nca_file = "ca.pem"\ninstance = "web-1"\n')
    fake.run("--once")

    ca_file = str(fake.file.parent / "ca.pem")
    assert (("http://a:1", "http://b:2"), ca_file, "web-1") == (
        fake.origin.urls,
        fake.origin.ca_file,
        fake.origin.instance,
    )


@pytest.mark.parametrize(("arguments", "instance"), [((), None), (("--once",), None), (("--dry-run",), "")])
def test_a_dry_run_is_not_counted_among_the_instances(
    fake: Agent, arguments: tuple[str, ...], instance: str | None
) -> None:
    fake.run(*arguments)
    assert (instance, None) == (fake.origin.instance, fake.origin.ca_file)
    settle(fake, '[server]\ninstance = "web-1"\n')
    fake.run(*arguments)
    assert ("web-1" if instance is None else "") == fake.origin.instance


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize("arguments", [(), ("--once",), ("--dry-run",)])
def test_a_configuration_is_kept_if_the_settings_say_so_but_not_by_a_dry_run(
    fake: Agent, arguments: tuple[str, ...], setting: bool
) -> None:
    settle(fake, f"last_known_good = {str(setting).lower()}\n")
    fake.run(*arguments)

    kept = fake.origin.last_known_good
    assert (setting and arguments != ("--dry-run",)) == (kept is not None)
    if kept is not None:
        assert fake.directory == kept(Subject("shop", "prod", "")).parent


def test_the_token_is_in_the_file_or_in_the_environment(fake: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.run("--once")
    assert None is fake.origin.token()

    monkeypatch.setenv("VORTEXCTL_TOKEN", "vt_environment")
    fake.run("--once")
    assert "vt_environment" == fake.origin.token()

    token = fake.file.parent / "token"
    token.write_text("vt_file\n")
    token.chmod(0o600)
    settle(fake, '[server]\ntoken_file = "token"\n')
    fake.run("--once")
    assert "vt_file" == fake.origin.token()
    # A renewed token counts from the next connection on.
    token.write_text("vt_renewed\n")
    assert "vt_renewed" == fake.origin.token()


# What the user reads.


def test_an_error_of_the_settings_is_2_with_every_problem(fake: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    settle(fake, 'report_stderr = 7\nnothing = 1\n[server]\nurl = ["ftp://x"]\n')

    for arguments in ((), ("--check",), ("--once",), ("--dry-run",)):
        assert 2 == fake.run(*arguments)
        told = capsys.readouterr().err
        assert all(key in told for key in ("agent.report_stderr", "agent.nothing", "server.url"))
        assert told.startswith(f"vortexctl: error: {fake.file}: ")
    assert [] == fake.called


def test_a_missing_file_is_2(fake: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    fake.file.unlink()

    assert 2 == fake.run("--check")
    assert f"{fake.file}: can't be read" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "status"), [(0o644, 0), (0o600, 0), (0o620, 2), (0o602, 2)])
def test_settings_that_another_user_can_write_are_refused(
    fake: Agent, mode: int, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.file.chmod(mode)

    assert status == fake.run("--check")
    assert bool(status) == (str(fake.file) in capsys.readouterr().err)


def test_a_token_file_that_other_users_can_read_is_2(fake: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    token = fake.file.parent / "token"
    token.write_text("vt_file\n")
    token.chmod(0o644)
    settle(fake, '[server]\ntoken_file = "token"\n')

    assert (2, []) == (fake.run("--once"), fake.called)
    assert "is open to other users; run chmod 600 on it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (StartError("another agent writes x"), 1, "another agent writes x"),
        (SettingsError([("", "x: can't be read")], "file"), 2, "file: x: can't be read"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--once",), ("--dry-run",)])
def test_an_agent_that_can_not_start_is_one_line(
    fake: Agent,
    error: Exception,
    status: int,
    text: str,
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.results = error

    assert status == fake.run(*arguments)
    assert ("", f"vortexctl: error: {text}\n") == capsys.readouterr()


FAILED = Failure("the check failed", "line 1\x1b[2J\nline 2")


@pytest.mark.parametrize(
    ("items", "errors", "status", "told"),
    [
        ((), (), 0, []),
        ((("a", DONE), ("b", DONE)), (), 0, []),
        (
            (("a", DONE), ("b", Outcome("v1", FAILED)), ("c", Outcome("v1", Failure("no\x07")))),
            (),
            1,
            ["b: rejected: the check failed", "line 1\\x1b[2J", "line 2", "c: rejected: no\\x07"],
        ),
        ((("a", DONE),), ("shop:prod: refused",), 3, ["shop:prod: refused"]),
        (
            (("b", Outcome("v1", Failure("no"))),),
            ("shop:prod: refused", "other: away"),
            3,
            ["b: rejected: no", "shop:prod: refused", "other: away"],
        ),
    ],
)
def test_each_rejected_item_and_each_error_is_reported(
    fake: Agent,
    items: tuple[tuple[str, Outcome], ...],
    errors: tuple[str, ...],
    status: int,
    told: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.results = Results(items, errors)

    assert status == fake.run("--once")
    assert ("", "".join(f"vortexctl: error: {line}\n" for line in told)) == capsys.readouterr()


def test_the_output_of_a_command_is_left_out_if_the_settings_say_so(
    fake: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(fake, "report_stderr = false\n")
    fake.results = Results((("b", Outcome("v1", FAILED)),), ())

    assert 1 == fake.run("--once")
    assert "vortexctl: error: b: rejected: the check failed\n" == capsys.readouterr().err


DIFF = "--- a\n+++ a\n@@ -1 +1 @@\n-x\t1\x1b[2J\n+x\t2\n"


@pytest.mark.parametrize(
    ("items", "errors", "status", "output", "told"),
    [
        ((), (), 0, "", []),
        ((("a", ""),), (), 0, "", []),
        ((("a", DIFF), ("b", "")), (), 1, DIFF, []),
        ((("a", ""), ("b", DIFF), ("c", DIFF)), (), 1, DIFF * 2, []),
        ((("a", FAILED), ("b", "")), (), 1, "", ["a: would be rejected: the check failed"]),
        ((("a", DIFF),), ("shop:prod: refused",), 3, DIFF, ["shop:prod: refused"]),
    ],
)
def test_a_dry_run_prints_each_change_and_its_status_says_whether_there_is_one(
    fake: Agent,
    items: tuple[tuple[str, str | Failure], ...],
    errors: tuple[str, ...],
    status: int,
    output: str,
    told: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.results = Results(items, errors)

    assert status == fake.run("--dry-run")
    assert (output, "".join(f"vortexctl: error: {line}\n" for line in told)) == capsys.readouterr()


def test_a_change_does_not_control_a_terminal(
    fake: Agent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    fake.results = Results((("a", DIFF + "+\r\n"),), ())
    fake.run("--dry-run")

    assert DIFF.replace("\x1b", "\\x1b") + "+\\r\n" == capsys.readouterr().out
