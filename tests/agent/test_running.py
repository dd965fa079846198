"""The agent as a process: signals, systemd's notifications, and several configurations at once."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from vortexd.agent import running
from vortexd.agent.commands import Failure
from vortexd.agent.item import Subject
from vortexd.agent.loop import AgentError
from vortexd.agent.settings import Settings, TemplateSettings
from vortexd.core.errors import StartError

from .fakes import FakeWatched, comes_true


class Configurations:
    """Several configurations, by application; any other application is an error."""

    def __init__(self, **documents: dict[str, object]) -> None:
        self.by_name = {name: FakeWatched(document) for name, document in documents.items()}

    @asynccontextmanager
    async def watch(self, subject: Subject) -> AsyncIterator[FakeWatched]:
        if subject.application not in self.by_name:
            raise AgentError(f"{subject}: refused with 403")
        yield self.by_name[subject.application]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def template(directory: Path, application: str, text: str = "{{ config.size }}") -> TemplateSettings:
    source = directory / f"{application}.j2"
    source.write_text(text)
    return TemplateSettings(
        application=application, source=str(source), target=str(directory / f"{application}.conf"), quiet_period=0.0
    )


def files(directory: Path) -> list[Path]:
    return list(directory.glob("*.conf"))


def heard(supervisor: socket.socket) -> list[str]:
    said = []
    try:
        while True:
            said += supervisor.recv(4_096).decode().splitlines()
    except BlockingIOError:
        return said


async def test_a_broken_template_and_a_refused_configuration_stop_nobody_else(tmp_path: Path) -> None:
    names = ("good", "broken", "refused", "other")
    templates = tuple(
        template(tmp_path, name, "{{ nothing }}" if name == "broken" else "{{ config.size }}") for name in names
    )
    configurations = Configurations(good={"size": 1}, broken={"size": 2}, other={"size": 3})
    results = await running.once(Settings(template=templates), tmp_path / "state", configurations.watch)

    assert [True, False, True] == [outcome.failure is None for _, outcome in results.items]
    assert ("refused:default: refused with 403",) == results.errors
    assert ("1", "3") == ((tmp_path / "good.conf").read_text(), (tmp_path / "other.conf").read_text())
    assert "rejected" == configurations.by_name["broken"].acks[0][1]


async def test_a_preview_takes_no_lock_and_writes_nothing(tmp_path: Path) -> None:
    settings = Settings(template=(template(tmp_path, "good"), template(tmp_path, "broken", "{{ nothing }}")))
    configurations = Configurations(good={"size": 1}, broken={})
    with running.reconcilers(settings, tmp_path / "state", configurations.watch, lambda name, outcome: None):
        results = await running.preview(settings, tmp_path / "state", configurations.watch)

    assert "+1" in str(results.items[0][1])
    assert isinstance(results.items[1][1], Failure)
    assert not (tmp_path / "good.conf").exists()


async def test_a_target_that_cannot_be_had_ends_it_before_anything_is_written(tmp_path: Path) -> None:
    settings = Settings(template=(template(tmp_path, "good"), template(tmp_path, "other")))
    lost = TemplateSettings(application="x", source="x", target=str(tmp_path / "nowhere/x.conf"))
    configurations = Configurations(good={"size": 1}, other={"size": 1}, x={})
    with pytest.raises(StartError, match="no such file"):
        await running.once(Settings(template=(*settings.template, lost)), tmp_path / "state", configurations.watch)

    assert [] == files(tmp_path)


async def test_the_supervisor_hears_how_it_goes_and_signals_are_obeyed(
    tmp_path: Path, supervisor: socket.socket
) -> None:
    settings = Settings(template=(template(tmp_path, "good"),))
    environment = {
        "NOTIFY_SOCKET": supervisor.getsockname(),
        "WATCHDOG_USEC": "300000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    target = tmp_path / "good.conf"
    said: list[str] = []

    def has_said(beginning: str) -> bool:
        said.extend(heard(supervisor))
        return any(line.startswith(beginning) for line in said)

    configurations = Configurations(good={"size": 1})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, settings, tmp_path / "state", configurations.watch, environment)
        assert await comes_true(lambda: has_said("READY=1") and has_said("WATCHDOG=1"))
        assert await comes_true(lambda: target.exists() and has_said("STATUS=everything is as configured"))
        (tmp_path / "good.j2").write_text("{{ config.missing }}")
        os.kill(os.getpid(), signal.SIGHUP)
        assert await comes_true(lambda: has_said(f"STATUS=rejected: {target}: "))
        os.kill(os.getpid(), signal.SIGTERM)
        assert await comes_true(lambda: has_said("STOPPING=1"))

    assert "1" == target.read_text()
