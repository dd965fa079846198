"""The whole of the settings: its sections, the keys that wait for a restart, and the settings in force after a reload."""

import attrs
import pytest

from vortexd.core.constraints import text_of
from vortexd.settings.audit import AuditSettings
from vortexd.settings.auth import AuthSettings
from vortexd.settings.cluster import ClusterSettings
from vortexd.settings.console import ConsoleSettings
from vortexd.settings.encryption import EncryptionSettings
from vortexd.settings.fleet import FleetSettings
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings
from vortexd.settings.http import HttpSettings
from vortexd.settings.log import LogSettings
from vortexd.settings.monitor import MonitorSettings
from vortexd.settings.realtime import RealtimeSettings
from vortexd.settings.root import RESTART, SECTIONS, Settings, reloaded
from vortexd.settings.server import ServerSettings
from vortexd.settings.tls import TlsSettings
from vortexd.settings.tracing import TracingSettings


def test_each_section_has_its_class_and_defaults() -> None:
    expected = {
        "server": ServerSettings,
        "tls": TlsSettings,
        "auth": AuthSettings,
        "formats": FormatSettings,
        "history": HistorySettings,
        "realtime": RealtimeSettings,
        "fleet": FleetSettings,
        "cluster": ClusterSettings,
        "monitor": MonitorSettings,
        "console": ConsoleSettings,
        "encryption": EncryptionSettings,
        "audit": AuditSettings,
        "http": HttpSettings,
        "tracing": TracingSettings,
        "log": LogSettings,
    }

    assert expected == SECTIONS
    assert {title: section() for title, section in expected.items()} == {
        title: getattr(Settings(), title) for title in expected
    }


def test_by_default_there_are_no_sources_and_no_overrides() -> None:
    assert ((), {}) == (Settings().source, Settings().overrides)
    # One object must not share its overrides with the next one.
    assert Settings().overrides is not Settings().overrides


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Settings().log = LogSettings()  # type: ignore[misc]  # that is the test


def test_these_keys_wait_for_a_restart_and_no_others() -> None:
    expected = {
        "cluster.engine",
        "cluster.name",
        "cluster.node",
        "console.enabled",
        "server.bind",
        "server.drain_timeout",
        "server.workers",
        "tracing.endpoint",
    }

    assert expected == RESTART
    assert RESTART == {
        f"{title}.{field.name}"
        for title, section in SECTIONS.items()
        for field in attrs.fields(section)
        if text_of(field).restart
    }


def test_a_reload_without_a_change_leaves_everything() -> None:
    before = Settings(log=LogSettings(level="debug"))

    assert (before, []) == reloaded(before, Settings(log=LogSettings(level="debug")))


def test_a_reload_applies_the_new_values_of_all_other_keys() -> None:
    read = Settings(
        server=ServerSettings(head_bytes=2_048),
        log=LogSettings(level="debug"),
        overrides={"a": "b"},
        realtime=RealtimeSettings(keys=1),
    )

    assert (read, []) == reloaded(Settings(), read)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cluster.name", "c"),
        ("cluster.node", "n"),
        ("console.enabled", False),
        ("server.bind", ("127.0.0.1:1",)),
        ("server.drain_timeout", 1.0),
        ("server.workers", 2),
        ("tracing.endpoint", "http://127.0.0.1:4318"),
    ],
)
def test_a_key_that_waits_keeps_its_value_and_is_named(key: str, value: object) -> None:
    title, name = key.split(".")
    before = Settings()
    changed = attrs.evolve(before, **{title: attrs.evolve(getattr(before, title), **{name: value})})

    assert (before, [key]) == reloaded(before, changed)
    # The old value may be other than the default, and the new one may be the default.
    assert (changed, [key]) == reloaded(changed, before)


def test_the_other_keys_of_a_section_are_applied_beside_those_that_wait() -> None:
    before = Settings(server=ServerSettings(workers=2, head_bytes=1_024))
    read = Settings(
        server=ServerSettings(workers=3, bind=("127.0.0.1:1",), drain_timeout=2.0, head_bytes=4_096),
        tracing=TracingSettings(endpoint="http://127.0.0.1:4318"),
        console=ConsoleSettings(enabled=False),
    )

    settings, waiting = reloaded(before, read)

    assert Settings(server=ServerSettings(workers=2, head_bytes=4_096)) == settings
    assert [
        "console.enabled",
        "server.bind",
        "server.drain_timeout",
        "server.workers",
        "tracing.endpoint",
    ] == waiting
