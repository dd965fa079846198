"""[log]: the formats and levels of the log."""

import pytest

from vortexd.settings.log import LogSettings

from .sections import problems, read, waiting


def test_by_default_the_log_chooses_its_format_and_begins_at_info() -> None:
    assert LogSettings(format="auto", level="info") == read(LogSettings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("format", value) for value in ("auto", "json", "console")),
        *(("level", value) for value in ("debug", "info", "warning", "error")),
    ],
)
def test_a_known_word_is_accepted(key: str, value: str) -> None:
    assert value == getattr(read(LogSettings, f'{key} = "{value}"'), key)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        *(("format", value, '"auto" or "json" or "console"') for value in ("", "JSON", "text")),
        *(("level", value, '"info" or "debug" or "warning" or "error"') for value in ("", "INFO", "critical")),
    ],
)
def test_another_word_is_refused_with_the_known_ones(key: str, value: str, allowed: str) -> None:
    assert {key: f"must be {allowed}"} == problems(LogSettings, f'{key} = "{value}"')


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(LogSettings)
