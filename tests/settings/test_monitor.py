"""[monitor]: the secret of webhooks, and the size of their bodies."""

from vortexd.settings.monitor import MonitorSettings

from .sections import assert_whole, problems, read, waiting


def test_by_default_there_is_no_secret() -> None:
    assert MonitorSettings(secret="", body_bytes=5_242_880) == read(MonitorSettings)


def test_the_size_of_a_body_has_a_range() -> None:
    assert_whole(MonitorSettings, "body_bytes", 1_024, 1_099_511_627_776)


def test_T02_a_secret_of_the_wrong_type_is_refused_without_its_value() -> None:
    assert {"secret": "must be text, not a whole number"} == problems(MonitorSettings, "secret = 4711")


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(MonitorSettings)
