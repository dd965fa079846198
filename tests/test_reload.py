"""SIGHUP: the settings in force after a reload, the parts and connections that use them, and the number of reloads."""

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd import reload as reload_module
from vortexd.aio import threads
from vortexd.audit import Actor, Audit, Outcome
from vortexd.auth import ALL_RIGHTS, Authority
from vortexd.auth.credential_files import NamedFiles
from vortexd.composition import Process, build
from vortexd.core.errors import SettingsError
from vortexd.core.model import PropertySource
from vortexd.core.patterns import parse_pattern
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.encryption.files import Encryption, Keyring
from vortexd.gate.gate import Rules
from vortexd.net.inherited import Inherited
from vortexd.observe import logs
from vortexd.observe.metrics import Metrics
from vortexd.pipeline.publisher import Publisher
from vortexd.process.peers import Peers
from vortexd.process.systemd import Notifier
from vortexd.realtime.server import WebSocketServer
from vortexd.reload import Gating, InForce, Logging, NewSettings, Parsing, Part, Realtime, Reload, Resolution, Taken
from vortexd.settings.auth import AuthSettings
from vortexd.settings.cluster import ClusterSettings
from vortexd.settings.file import own_files
from vortexd.settings.formats import FormatSettings
from vortexd.settings.gate import GateSettings
from vortexd.settings.http import HttpSettings
from vortexd.settings.rollout import RolloutSettings
from vortexd.settings.root import RESTART, Settings, reloaded
from vortexd.source.composite import Sources
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings
from vortexd.source.published.history import PublishedHistory

from .audit.noted import NotedAudit

OPEN = Authority(anonymous=ALL_RIGHTS)
SOURCES = (FilesSettings(path="/nowhere"), GitSettings(uri="https://git.example/a.git"))
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
        elif isinstance(value, str):
            changed[field.name] = value + "x"
        elif isinstance(value, tuple):
            changed[field.name] = (*value, "x")
        elif field.name != "kind":
            changed[field.name] = value + 1
    return attrs.evolve(section, **changed)


def sections(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every section, and every source by its number; [overrides] has no keys of its own. [[gate]] and [[rollout]] have tests of their own."""
    for field in attrs.fields(Settings):
        section = getattr(settings, field.name)
        if field.name in ("overrides", "gate", "rollout"):
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
    """A daemon that nobody runs, and the settings that its reload reads."""

    def __init__(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
        self.file: Settings | SettingsError = settings
        files = NamedFiles(OPEN, None, Encryption())
        process = Process(Inherited(), Notifier({}, os.getpid()), Peers(), ["/etc/vortexd/vortexd.toml"])
        self.parts = build(settings, files, self.read, process)
        self.reload, self.metrics = self.parts.reload, self.parts.metrics

    @property
    def settings(self) -> Settings:
        return self.parts.in_force.settings

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
    monkeypatch.setattr(logs, "configure", lambda settings, stream: found.append(settings))
    return found


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> NamedFiles:
    """What the files that settings name hold, whatever these are."""
    files = NamedFiles(OPEN, None, Encryption())
    monkeypatch.setattr(reload_module, "load_named_files", lambda *_: files)
    return files


async def test_every_key_is_in_force_but_those_that_wait_and_nobody_goes_by_the_old_ones(
    tmp_path: Path, no_files: NamedFiles, configured: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(source=tuple(map(attrs.evolve, SOURCES)))
    read = all_other(settings)
    former = {title: weakref.ref(section) for title, section in sections(settings)}
    daemon = Daemon(settings, tmp_path, monkeypatch)
    daemon.file = read
    expected, waiting = reloaded(settings, read)
    with capture_logs() as logs:
        await daemon.reload.reload()
    del settings
    gc.collect()

    assert expected == daemon.settings
    assert sorted(RESTART) == waiting
    assert [sorted(RESTART)] == [each["keys"] for each in logs if each["event"] == "restart needed"]
    assert [] == [title for title, section in former.items() if section() is not None]
    assert [read.log] == configured
    assert (1, 0) == (daemon.count("done"), daemon.count("refused"))
    assert f"restart needed for {', '.join(sorted(RESTART))}" == daemon.reload.outcome


async def test_a_node_of_a_cluster_goes_by_the_new_settings(
    tmp_path: Path, no_files: NamedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ClusterSettings(name="shop", endpoints=("http://127.0.0.1:9",))
    settings = Settings(source=SOURCES, cluster=cluster)
    daemon = Daemon(settings, tmp_path, monkeypatch)
    node = daemon.parts.cluster
    assert node is not None
    new = attrs.evolve(cluster, endpoints=("http://127.0.0.1:8",), advertise="http://a", name="other")
    daemon.file = attrs.evolve(settings, cluster=new)
    await daemon.reload.reload()

    # The name waits for a restart.
    assert attrs.evolve(new, name="shop") == node._settings == daemon.settings.cluster


async def test_former_states_are_read_as_the_new_settings_say(
    tmp_path: Path, no_files: NamedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ClusterSettings(name="shop", endpoints=("http://127.0.0.1:9",))
    settings = Settings(source=SOURCES, cluster=cluster)
    daemon = Daemon(settings, tmp_path, monkeypatch)
    sources = daemon.parts.stages.sources
    found: list[object] = [sources._common]
    new = attrs.evolve(cluster, endpoints=("http://127.0.0.1:8",), publish=True)
    for each in (new, cluster):
        daemon.file = attrs.evolve(settings, cluster=each)
        await daemon.reload.reload()
        common = sources._common
        found.append(common._settings.endpoints if isinstance(common, PublishedHistory) else common)

    assert [None, new.endpoints, None] == found


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


async def test_R14_what_is_refused_changes_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(source=SOURCES)
    daemon = Daemon(settings, tmp_path, monkeypatch)
    missing = attrs.evolve(settings, auth=attrs.evolve(settings.auth, tokens=(str(tmp_path / "none.toml"),)))
    wrong: list[Settings | SettingsError] = [SettingsError([("server.bind", "must be there")], "vortexd.toml"), missing]
    for number, daemon.file in enumerate(wrong, 1):
        with capture_logs() as logs:
            await daemon.reload.reload()
        assert (0, number) == (daemon.count("done"), daemon.count("refused"))
        assert ["reload refused", "audit"] == [each["event"] for each in logs]

    assert settings is daemon.settings
    assert OPEN is daemon.parts.gate.authority
    assert "reload refused" in daemon.reload.outcome
    daemon.file = settings
    await daemon.reload.reload()
    assert "" == daemon.reload.outcome


async def test_R14_a_thousand_signals_in_a_second_are_a_few_reloads(
    autojump_clock: MockClock, tmp_path: Path, no_files: NamedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(function: Callable[..., Any], *arguments: Any, abandon_on_cancel: bool = False) -> Any:
        await trio.sleep(0.01)
        return function(*arguments)

    # A clock that jumps doesn't wait for threads.
    monkeypatch.setattr(threads, "run_sync", at_once)
    daemon = Daemon(Settings(source=SOURCES), tmp_path, monkeypatch)
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.reload.run, signals)
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
    daemon = Daemon(settings, tmp_path, monkeypatch)
    opened: list[Settings] = []
    served: list[list[str]] = []

    def open_again(settings: Settings, environ: object, random: object, own: list[str], *_: object) -> Sources:
        opened.append(settings)
        served.append(own)
        return Sources([], [])

    monkeypatch.setattr(reload_module, "open_sources", open_again)
    daemon.file = change(settings)
    await daemon.reload.reload()

    assert [daemon.file] * is_replaced == opened
    # Neither the settings file nor what the settings name is ever served.
    assert [[*own_files(daemon.file), "/etc/vortexd/vortexd.toml"]] * is_replaced == served


# Parts.


class Noted(Part[str]):
    """A part that notes what is done with it, in order with the others.

    Attributes:
        problem: What preparing it raises, or None.
        is_publishing: What applying it returns.
    """

    def __init__(self, name: str, done: list[str], problem: str | None = None, *, is_publishing: bool = False) -> None:
        self.name = name
        self.done = done
        self.problem = problem
        self.is_publishing = is_publishing

    def prepare(self, new: NewSettings) -> str:
        self.done.append(f"prepare {self.name}")
        if self.problem is not None:
            raise SettingsError([(self.name, self.problem)], f"{self.name}.toml")
        return f"{self.name} from {new.before.http.prefix} to {new.settings.http.prefix}"

    def apply(self, prepared: str) -> bool:
        self.done.append(f"apply {prepared}")
        return self.is_publishing

    async def publish(self, prepared: str) -> None:
        await trio.lowlevel.checkpoint()
        self.done.append(f"publish {prepared}")


BEFORE, AFTER = (Settings(http=HttpSettings(prefix=prefix)) for prefix in ("/old", "/new"))


def reload_of(*parts: Part[Any], audit: Audit | None = None) -> tuple[Reload, InForce, Metrics]:
    in_force, metrics = InForce(BEFORE), Metrics()
    notifier = Notifier({}, os.getpid())
    reload = Reload(in_force, parts, lambda: AFTER, [], metrics, notifier, audit or NotedAudit())
    return reload, in_force, metrics


async def test_a_reload_is_in_the_audit_log_with_the_sections_that_differ(no_files: NamedFiles) -> None:
    audit = NotedAudit()
    reload, _, _ = reload_of(Noted("a", []), audit=audit)
    await reload.reload()
    await reload.reload()

    done = (Actor("SIGHUP"), "", Outcome.DONE, "")
    assert [("reload", *done, {"changed": "http"}), ("reload", *done, {"changed": ""})] == audit.noted


async def test_a_reload_that_waits_for_a_restart_says_so_in_the_audit_log(
    no_files: NamedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = NotedAudit()
    reload, _, _ = reload_of(audit=audit)
    monkeypatch.setattr(reload_module, "reloaded", lambda before, read: (read, ["server.bind"]))
    await reload.reload()

    assert ["restart needed for server.bind"] == [noted[4] for noted in audit.noted]


async def test_a_reload_that_is_refused_is_in_the_audit_log_with_each_problem(no_files: NamedFiles) -> None:
    audit = NotedAudit()
    reload, _, _ = reload_of(Noted("a", [], "is wrong"), Noted("", [], "is odd"), audit=audit)
    await reload.reload()

    [noted] = audit.noted
    assert ("reload", Actor("SIGHUP"), "a.toml", Outcome.REFUSED, "a: is wrong; is odd", {}) == noted


async def test_a_file_system_that_hangs_does_not_hold_up_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    has_begun, is_over = threading.Event(), threading.Event()

    def load(*_: object) -> None:
        has_begun.set()
        is_over.wait(20)

    monkeypatch.setattr(reload_module, "load_named_files", load)
    reload, in_force, _ = reload_of()
    began = trio.current_time()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload.reload)
            while not has_begun.is_set():  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert trio.current_time() < began + 10
    finally:
        is_over.set()
    assert in_force.settings is BEFORE


async def test_all_parts_are_prepared_before_the_first_applies_and_all_apply_before_the_first_publishes(
    no_files: NamedFiles,
) -> None:
    done: list[str] = []
    parts = Noted("a", done, is_publishing=True), Noted("b", done), Noted("c", done, is_publishing=True)
    reload, in_force, _ = reload_of(*parts)
    await reload.reload()

    change = "from /old to /new"
    assert done == [
        *(f"prepare {each}" for each in "abc"),
        *(f"apply {each} {change}" for each in "abc"),
        *(f"publish {each} {change}" for each in "ac"),
    ]
    assert AFTER is in_force.settings


@pytest.mark.parametrize("failing", [("a",), ("b",), ("c",), ("a", "c")])
async def test_a_part_that_fails_in_preparation_leaves_everything_as_it_was(
    no_files: NamedFiles, failing: tuple[str, ...]
) -> None:
    done: list[str] = []
    parts = [Noted(each, done, "is wrong" if each in failing else None, is_publishing=True) for each in "abc"]
    reload, in_force, metrics = reload_of(*parts)
    with capture_logs() as logs:
        await reload.reload()

    assert ["prepare a", "prepare b", "prepare c"] == done
    assert BEFORE is in_force.settings
    assert [(each, "is wrong") for each in failing] == [(each["key"], each["problem"]) for each in logs]
    assert {"reload refused"} == {each["event"] for each in logs}
    assert f"{failing[0]}.toml" == logs[0]["file"]
    assert "nothing has changed" in reload.outcome
    assert b'vortexd_reloads_total{outcome="refused"} 1.0' in metrics.render()
    assert b'vortexd_reloads_total{outcome="done"} 1.0' not in metrics.render()


async def test_nothing_else_runs_while_parts_apply(no_files: NamedFiles) -> None:
    """A task that runs at every step of the loop never sees one part with the new settings and another with the old ones."""
    values = {"a": "", "b": ""}
    reload, in_force, _ = reload_of(
        Taken(lambda new: new.settings.http.prefix, partial(values.__setitem__, "a")),
        Taken(lambda new: new.settings.http.prefix, partial(values.__setitem__, "b")),
        Noted("c", [], is_publishing=True),
    )
    seen: set[tuple[str, str, str]] = set()

    async def watch() -> None:
        while True:
            seen.add((values["a"], values["b"], in_force.settings.http.prefix))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await reload.reload()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert {("", "", "/old"), ("/new", "/new", "/new")} == seen


class Published:
    """Notes what is published again."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    async def resolve_by(self, decryptor: object, overrides: PropertySource | None) -> None:
        self.done.append(("resolve", decryptor, overrides and dict(overrides.values)))

    async def parse_by(self, formats: object) -> None:
        self.done.append(("parse", formats))


async def run_part(part: Part[Any], new: NewSettings) -> None:
    prepared = part.prepare(new)
    if part.apply(prepared):
        await part.publish(prepared)


async def test_documents_are_resolved_again_where_keys_or_overrides_are_others() -> None:
    published, keyring = Published(), Keyring()
    part = Resolution(keyring, cast(Publisher, published))
    same, other = (
        Encryption(),
        Encryption(fingerprint=b"other", decryptor=Decryptor(OneKey(AesEncryptor("other", "deadbeef")))),
    )
    overridden = Settings(overrides={"a": "b"})

    await run_part(part, NewSettings(Settings(), Settings(), NamedFiles(OPEN, None, same)))
    assert [] == published.done
    await run_part(part, NewSettings(Settings(), overridden, NamedFiles(OPEN, None, same)))
    assert [("resolve", None, {"a": "b"})] == published.done
    await run_part(part, NewSettings(overridden, overridden, NamedFiles(OPEN, None, other)))
    assert ("resolve", other.decryptor, {"a": "b"}) == published.done[-1]
    assert other is keyring.current
    await run_part(part, NewSettings(overridden, Settings(), NamedFiles(OPEN, None, other)))
    [done] = published.done[2:]
    assert ("resolve", other.decryptor, None) == done


async def test_files_are_parsed_again_where_the_bounds_are_others() -> None:
    published, files = Published(), NamedFiles(OPEN, None, Encryption())
    settings = Settings(formats=FormatSettings(nodes=5))
    part = Parsing(cast(Publisher, published))
    await run_part(part, NewSettings(settings, settings, files))
    assert [] == published.done
    await run_part(part, NewSettings(Settings(), settings, files))
    assert [("parse", settings.formats)] == published.done


@pytest.mark.parametrize("is_other", [True, False])
async def test_the_log_is_configured_where_its_settings_are_others(configured: list[object], is_other: bool) -> None:
    settings = Settings(log=other(Settings().log)) if is_other else Settings()
    await run_part(Logging(), NewSettings(Settings(), settings, NamedFiles(OPEN, None, Encryption())))

    assert [settings.log] * is_other == configured


async def test_open_connections_are_checked_once_their_limits_are_in_force() -> None:
    done: list[object] = []

    class WebSockets:
        def replace(self, *settings: object) -> None:
            done.append(settings)

        def recheck(self) -> None:
            done.append("recheck")

    settings = Settings(auth=AuthSettings(connections_per_token=7))
    part = Realtime(cast(WebSocketServer, WebSockets()))
    await run_part(part, NewSettings(Settings(), settings, NamedFiles(OPEN, None, Encryption())))

    assert [(settings.realtime, 7), "recheck"] == done


async def test_open_connections_are_checked_against_the_new_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(Settings(source=SOURCES), tmp_path, monkeypatch)
    nobody = NamedFiles(Authority(), None, Encryption())
    monkeypatch.setattr(reload_module, "load_named_files", lambda *_: nobody)
    seen: list[object] = []
    monkeypatch.setattr(type(daemon.parts.websockets), "recheck", lambda _: seen.append(daemon.parts.gate.authority))
    await daemon.reload.reload()

    assert [nobody.authority] == seen


async def test_other_rules_of_the_gate_are_in_force_and_the_same_rules_change_nothing(tmp_path: Path) -> None:
    judged: list[object] = []

    class FakePublisher:
        async def judge_by(self, rules: object) -> None:
            judged.append(rules)

    one, other = (Rules((parse_pattern("a"),), command=("x",)),), (Rules((parse_pattern("a"),), command=("y",)),)
    part = Gating(FakePublisher(), one)  # type: ignore[arg-type]  # the part that it uses
    for rules in (one, other, other, ()):
        files = NamedFiles(OPEN, None, Encryption())
        await run_part(part, NewSettings(Settings(), Settings(), files, rules))

    assert [other, ()] == judged


async def test_other_rules_of_roll_outs_are_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(Settings(), tmp_path, monkeypatch)
    before = daemon.parts.rollouts.is_on
    daemon.file = attrs.evolve(Settings(), rollout=(RolloutSettings(),))
    await daemon.reload.reload()

    assert (before, daemon.parts.rollouts.is_on) == (False, True)


async def test_a_schema_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(Settings(), tmp_path, monkeypatch)
    schema = tmp_path / "s.json"
    schema.write_text("{\n!")
    daemon.file = attrs.evolve(Settings(), gate=(GateSettings(schemas=(str(schema),)),))
    with capture_logs() as logs:
        await daemon.reload.reload()

    assert [("gate[0].schemas[0]", f"{schema}:2: not JSON: unexpected character")] == [
        (each["key"], each["problem"]) for each in logs if each["event"] == "reload refused"
    ]
    assert () == daemon.settings.gate
    schema.write_text("{}")
    await daemon.reload.reload()
    assert daemon.parts.stages.publisher.gated.is_on
