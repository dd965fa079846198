"""`vortexctl exec`: from the command line to the child's plan, and to its exit status."""

import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import pytest

from tests import certificates
from tests.agent.fakes import FakeWatched
from vortexd.agent.child import Plan
from vortexd.agent.following import Origin
from vortexd.agent.item import Subject
from vortexd.agent.loop import AgentError, Watch, Watched
from vortexd.ctl import cli
from vortexd.settings.log import LogSettings

NAMES = "names are letters, digits, dots, hyphens and underscores; profiles and labels may hold + and @"


@attrs.define
class Run:
    """Stands in for the client and the child, and notes what they are called with.

    Attributes:
        outcome: The child's exit status, or an error that it raises.
    """

    outcome: int | Exception = 0
    plans: list[Plan] = attrs.field(factory=list)
    subjects: list[Subject] = attrs.field(factory=list)
    origins: list[Origin] = attrs.field(factory=list)
    start_timeouts: list[float | None] = attrs.field(factory=list)
    logs: list[object] = attrs.field(factory=list)
    watched: FakeWatched = attrs.field(init=False)

    def watch_of(self, origin: Origin, start_timeout: float | None = None) -> Watch:
        self.origins.append(origin)
        self.start_timeouts.append(start_timeout)
        self.watched = FakeWatched({})
        return self.watched.watch

    def child(self, plan: Plan, subject: Subject, environment: Mapping[str, str], chance: Callable[[], float]) -> "Run":
        assert environment is os.environ
        assert chance == random.random
        self.plans.append(plan)
        self.subjects.append(subject)
        return self

    async def run(self, watched: Watched) -> int:
        assert watched is self.watched
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("VORTEXCTL_TOKEN", "VORTEXD_TOKEN", "VORTEXCTL_SERVER"):
        monkeypatch.delenv(name, raising=False)
    made = Run()
    monkeypatch.setattr("vortexd.ctl.exec.watch_of", made.watch_of)
    monkeypatch.setattr("vortexd.ctl.exec.Child", made.child)
    monkeypatch.setattr("vortexd.observe.logs.configure", lambda settings, stream: made.logs.append((settings, stream)))
    return made


def execute(*arguments: str, command: tuple[str, ...] = ("--", "app", "--port", "1")) -> int:
    return cli.main(["exec", "--app", "shop", *arguments, *command])


def test_the_defaults_are_those_of_the_help(fake: Run) -> None:
    assert 0 == execute()

    [plan], [origin] = fake.plans, fake.origins
    assert ["app", "--port", "1"] == list(plan.command)
    assert ("", None, 10.0, 3.0) == (plan.prefix, plan.reload_signal, plan.stop_timeout, plan.settle)
    assert (1.0, 10.0, 0.0) == (plan.pace.quiet_period, plan.pace.max_wait, plan.pace.splay)
    assert (("http://127.0.0.1:8888",), None, None, None) == (
        origin.urls,
        origin.instance,
        origin.ca_file,
        origin.last_known_good,
    )
    assert ([30.0], [Subject("shop", "default", "")]) == (fake.start_timeouts, fake.subjects)
    assert None is origin.token()
    assert [(LogSettings(), sys.stderr)] == fake.logs


def test_each_option_has_its_place(fake: Run, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("vt_secret\n")
    token.chmod(0o600)
    kept = tmp_path / "kept"
    assert 0 == execute(
        *("--profile", "prod,eu+1", "--label", "feature/x,main", "--prefix", "SHOP_", "--instance", "web-1"),
        *("--server", "http://config.example:1/x", "--token-file", str(token), "--last-known-good", str(kept)),
        *("--start-timeout", "1s", "--stop-timeout", "2s", "--settle", "3m"),
        *("--quiet-period", "4s", "--max-wait", "5s", "--splay", "6s"),
    )

    [plan], [origin], [subject] = fake.plans, fake.origins, fake.subjects
    assert Subject("shop", "prod,eu+1", "feature/x,main") == subject
    assert ("SHOP_", 2.0, 180.0) == (plan.prefix, plan.stop_timeout, plan.settle)
    assert (4.0, 5.0, 6.0) == (plan.pace.quiet_period, plan.pace.max_wait, plan.pace.splay)
    assert (("http://config.example:1/x",), "web-1", "vt_secret") == (origin.urls, origin.instance, origin.token())
    assert origin.last_known_good is not None
    assert ([1.0], kept) == (fake.start_timeouts, origin.last_known_good(subject))


def test_a_file_of_certificates_is_used(fake: Run, tmp_path: Path) -> None:
    certificate, _ = certificates.make(tmp_path)

    assert 0 == execute("--server", "https://config.example", "--ca-file", str(certificate))
    assert str(certificate) == fake.origins[0].ca_file


@pytest.mark.parametrize("text", ["HUP", "hup", "SIGHUP", "sighup"])
def test_a_signal_replaces_the_restart(fake: Run, text: str) -> None:
    assert 0 == execute("--signal", text)
    assert signal.SIGHUP == fake.plans[0].reload_signal


def test_a_restart_may_be_asked_for(fake: Run) -> None:
    assert 0 == execute("--restart")
    assert None is fake.plans[0].reload_signal


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("--", "app"), ["app"]),
        (("app", "--app", "other"), ["app", "--app", "other"]),
        (("--", "app", "--", "x"), ["app", "--", "x"]),
        (("--", "--", "app"), ["--", "app"]),
    ],
)
def test_only_the_first_pair_of_hyphens_is_left_out(fake: Run, command: tuple[str, ...], words: list[str]) -> None:
    assert 0 == execute(command=command)
    assert words == list(fake.plans[0].command)


@pytest.mark.parametrize("status", [0, 7, 143])
def test_the_status_is_that_of_the_command(fake: Run, status: int) -> None:
    fake.outcome = status

    assert status == execute()


@pytest.mark.parametrize(
    "error",
    [AgentError("shop: refused\x1b with 403"), ExceptionGroup("", [AgentError("shop: refused\x1b with 403")])],
    ids=["alone", "in a group"],
)
def test_an_agent_that_can_not_do_its_work_is_3(
    fake: Run, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.outcome = error

    assert 3 == execute()
    assert ("", "vortexctl: error: shop: refused\\x1b with 403\n") == capsys.readouterr()


def test_another_error_is_not_hidden(fake: Run) -> None:
    fake.outcome = KeyError("bug")

    with pytest.raises(KeyError):
        execute()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--profile", "a b"), f"invalid profile; {NAMES}"),
        (("--label", "-x"), "expected one argument"),
        (("--label", "a//b"), f"invalid label; {NAMES}"),
        (("--app", "../x"), f"invalid application; {NAMES}"),
        (("--quiet-period", "10001ms"), "--max-wait must not be less than --quiet-period"),
        (("--signal", "KILL"), "argument --signal: it must be the name of a signal, such as HUP or USR1"),
        (("--signal", "STOP"), "it must be the name of a signal"),
        (("--signal", "SIGSIGHUP"), "it must be the name of a signal"),
        (("--signal", ""), "it must be the name of a signal"),
        (("--signal", "HUP", "--restart"), "not allowed with argument"),
        (("--settle", "soon"), "argument --settle: a duration must be written like 90s, 2m or 1h30m"),
        (("--server", "ftp://x"), "the server must be http://HOST:PORT"),
        (("--token-file", "/nonexistent"), "can't be read"),
    ],
)
def test_a_wrong_command_line_is_2(
    fake: Run, arguments: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = execute(*arguments)
    except SystemExit as caught:
        status = int(caught.code or 0)

    told = capsys.readouterr().err
    assert (2, 1, []) == (status, len(told.splitlines()), fake.plans)
    assert text in told


@pytest.mark.parametrize("command", [(), ("--",)])
def test_a_command_is_required(fake: Run, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == execute(command=command)
    assert "vortexctl: error: the command is missing; put it after --\n" == capsys.readouterr().err


def test_an_application_is_required(fake: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["exec", "--", "app"])

    assert 2 == caught.value.code
    assert "--app" in capsys.readouterr().err


def test_the_quiet_period_may_be_as_long_as_the_longest_wait(fake: Run) -> None:
    assert 0 == execute("--quiet-period", "10s")
    assert 10.0 == fake.plans[0].pace.quiet_period == fake.plans[0].pace.max_wait
