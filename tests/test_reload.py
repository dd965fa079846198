"""SIGHUP: what is in force after it, for whom, and how often it is done."""

import gc
import os
import signal
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd import reload as reload_module
from vortexd.auth import ALL_RIGHTS, Authority, Gate
from vortexd.auth.credential_files import NamedFiles
from vortexd.core.errors import SettingsError
from vortexd.encryption.files import Encryption, Keyring
from vortexd.fleet import Fleet
from vortexd.http.app import create_app
from vortexd.http.hypercorn import Bridge
from vortexd.http.monitor import Monitor
from vortexd.http.routes import standard_routes
from vortexd.net.listener import Listener
from vortexd.net.tls import Tls
from vortexd.observe.metrics import Metrics
from vortexd.process.systemd import Notifier
from vortexd.realtime.server import WebSocketServer
from vortexd.reload import Parts, Reload
from vortexd.settings.file import own_files
from vortexd.settings.sections import RESTART, GitSettings, Settings, SourceSettings, reloaded
from vortexd.source.composite import Sources, open_sources

from .fakes import timestamp
from .wiring import Wired

OPEN = Authority(anonymous=ALL_RIGHTS)
SOURCES = (SourceSettings(path="/nowhere"), GitSettings(uri="https://git.example/a.git"))
# Where one more character would be nothing that can be set.
_OTHERS = {
    "trusted_proxies": ("192.0.2.1",),
    "uri": "https://git.example/b.git",
    "applications": ("b",),
    "prefix": "/b",
    "hosts": ("b.example",),
    "origins": ("https://b.example",),
}


def other(section: Any) -> Any:
    """A section in which every key differs."""
    changed: dict[str, Any] = {}
    for field in attrs.fields(type(section)):
        value = getattr(section, field.name)
        if field.name in _OTHERS:
            changed[field.name] = _OTHERS[field.name]
        elif isinstance(value, bool):
            changed[field.name] = not value
        elif isinstance(value, str | tuple):
            changed[field.name] = value + type(value)("x")
        elif field.name != "kind":
            changed[field.name] = value + 1
    return attrs.evolve(section, **changed)


def sections(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every section, and every source by its number; [overrides] has no keys of its own."""
    for field in attrs.fields(Settings):
        section = getattr(settings, field.name)
        if field.name == "overrides":
            continue
        if field.name == "source":
            yield from ((f"source {number}", each) for number, each in enumerate(section))
        else:
            yield field.name, section


def all_other(settings: Settings) -> Settings:
    """Settings in which every key differs."""
    changed = {title: other(section) for title, section in sections(settings)}
    source = tuple(changed.pop(f"source {number}") for number in range(len(settings.source)))
    return Settings(source=source, overrides={"a": "b"}, **changed)


class Daemon:
    """The parts of a daemon that nobody runs, put together as the real one does, and its reload."""

    def __init__(self, settings: Settings, tmp_path: Path) -> None:
        self.file: Settings | SettingsError = settings
        self.metrics = metrics = Metrics()
        gate = Gate(settings.auth, OPEN, [], lambda: 0.0, lambda: 0.0)
        wired = Wired(settings.history, metrics=metrics, formats=settings.formats)
        pipeline, reader = wired.pipeline, wired.reader
        sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))
        websockets = WebSocketServer(pipeline, wired.registry, settings.realtime, metrics, timestamp, Random(1), gate)
        fleet, routes = (
            Fleet(settings.fleet, wired.key_usage.version_of),
            standard_routes(reader, metrics, settings=settings.http),
        )
        app = create_app(routes, metrics, lambda: self.reload.settings.server.body_bytes, timestamp, gate)
        self.parts = Parts(
            gate,
            Tls(),
            Keyring(),
            sources,
            wired.publisher,
            wired.store,
            wired.key_usage,
            wired.encoder,
            fleet,
            Listener(settings.server),
            Bridge(app, settings.server),
            websockets,
            Monitor(sources, settings.monitor),
            routes,
            ["/etc/vortexd/vortexd.toml"],
        )
        self.reload = Reload(settings, self.read, [], metrics, Notifier({}, os.getpid()))

    def read(self) -> Settings:
        if isinstance(self.file, SettingsError):
            raise self.file
        return self.file

    def count(self, outcome: str) -> int:
        text = f'vortexd_reloads_total{{outcome="{outcome}"}} '
        lines = self.metrics.render().decode().splitlines()
        return int(float(next((line.removeprefix(text) for line in lines if line.startswith(text)), "0")))


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The settings of the log that were put in force; the test's own log stays."""
    found: list[object] = []
    monkeypatch.setattr(reload_module.logs, "configure", lambda settings, stream: found.append(settings))
    return found


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> NamedFiles:
    """What the files that settings name hold, whatever these are."""
    files = NamedFiles(OPEN, None, Encryption())
    monkeypatch.setattr(reload_module, "load_named_files", lambda *_: files)
    return files


async def test_every_key_is_in_force_but_those_that_wait_and_nobody_goes_by_the_old_ones(
    tmp_path: Path, no_files: NamedFiles, configured: list[object]
) -> None:
    settings = Settings(source=tuple(map(attrs.evolve, SOURCES)))
    read = all_other(settings)
    former = {title: weakref.ref(section) for title, section in sections(settings)}
    daemon = Daemon(settings, tmp_path)
    daemon.file = read
    expected, waiting = reloaded(settings, read)
    with capture_logs() as logs:
        await daemon.reload.reload(daemon.parts)
    del settings
    gc.collect()

    assert expected == daemon.reload.settings
    assert sorted(RESTART) == waiting
    assert [sorted(RESTART)] == [each["keys"] for each in logs if each["event"] == "restart needed"]
    assert [] == [title for title, section in former.items() if section() is not None]
    assert [read.log] == configured
    assert (1, 0) == (daemon.count("done"), daemon.count("refused"))
    assert f"restart needed for {', '.join(sorted(RESTART))}" == daemon.reload.outcome


def test_every_key_differs_in_the_test_above() -> None:
    settings = Settings(source=SOURCES)
    for (title, before), (_, after) in zip(sections(settings), sections(all_other(settings)), strict=True):
        same = [name for name in attrs.fields_dict(type(before)) if getattr(before, name) == getattr(after, name)]
        assert [] == same, title


def test_what_waits_for_a_restart_stays_as_it_was() -> None:
    before = Settings()
    read = all_other(before)
    settings, waiting = reloaded(before, read)

    assert sorted(RESTART) == waiting
    for key in RESTART:
        title, name = key.split(".")
        assert getattr(getattr(before, title), name) == getattr(getattr(settings, title), name)
    assert (before, []) == reloaded(before, before)


async def test_R14_what_is_refused_changes_nothing_and_says_so(tmp_path: Path) -> None:
    settings = Settings(source=SOURCES)
    daemon = Daemon(settings, tmp_path)
    missing = attrs.evolve(settings, auth=attrs.evolve(settings.auth, tokens=(str(tmp_path / "none.toml"),)))
    wrong: list[Settings | SettingsError] = [SettingsError([("server.bind", "must be there")], "vortexd.toml"), missing]
    for number, daemon.file in enumerate(wrong, 1):
        with capture_logs() as logs:
            await daemon.reload.reload(daemon.parts)
        assert (0, number) == (daemon.count("done"), daemon.count("refused"))
        assert ["reload refused"] == [each["event"] for each in logs]

    assert settings is daemon.reload.settings
    assert OPEN is daemon.parts.gate.authority
    assert "reload refused" in daemon.reload.outcome
    daemon.file = settings
    await daemon.reload.reload(daemon.parts)
    assert "" == daemon.reload.outcome


async def test_R14_a_thousand_signals_in_a_second_are_a_few_reloads(
    autojump_clock: MockClock, tmp_path: Path, no_files: NamedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.sleep(0.01)
        return function(*arguments)

    # A clock that jumps doesn't wait for threads.
    monkeypatch.setattr(reload_module.threads, "run_sync", at_once)
    daemon = Daemon(Settings(source=SOURCES), tmp_path)
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.reload.run, daemon.parts, signals)
            for _ in range(1_000):
                signal.raise_signal(signal.SIGHUP)
                await trio.sleep(0.001)
            await trio.sleep(1)
            done = daemon.count("done")
            signal.raise_signal(signal.SIGHUP)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    assert 2 <= done <= 6
    assert done + 1 == daemon.count("done")


@pytest.mark.parametrize(
    ("change", "is_replaced"),
    [
        (lambda settings: settings, False),
        (lambda settings: attrs.evolve(settings, realtime=other(settings.realtime)), False),
        (lambda settings: attrs.evolve(settings, source=SOURCES[:1]), True),
        (lambda settings: attrs.evolve(settings, server=attrs.evolve(settings.server, state_directory="/x")), True),
    ],
)
async def test_sources_begin_anew_only_where_they_differ(
    tmp_path: Path,
    no_files: NamedFiles,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Settings], Settings],
    is_replaced: bool,
) -> None:
    settings = Settings(source=SOURCES)
    daemon = Daemon(settings, tmp_path)
    opened: list[Settings] = []
    served: list[list[str]] = []

    def open_again(settings: Settings, environ: object, random: object, own: list[str], *_: object) -> Sources:
        opened.append(settings)
        served.append(own)
        return Sources([], [])

    monkeypatch.setattr(reload_module, "open_sources", open_again)
    daemon.file = change(settings)
    await daemon.reload.reload(daemon.parts)

    assert [daemon.file] * is_replaced == opened
    # Neither the settings file nor what the settings name is ever served.
    assert [[*own_files(daemon.file), "/etc/vortexd/vortexd.toml"]] * is_replaced == served
