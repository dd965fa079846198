"""[history]: the limits of former versions, and their ranges."""

import pytest

from vortexd.settings.history import HistorySettings

from .sections import assert_whole, read, waiting

LARGEST = 1_099_511_627_776


def test_the_default_limits() -> None:
    expected = HistorySettings(versions=64, bytes=1_048_576, idle_keys=1_024, frames_bytes=67_108_864)

    assert expected == read(HistorySettings)


@pytest.mark.parametrize(
    ("key", "high"),
    [("versions", 1_000_000), ("bytes", LARGEST), ("idle_keys", LARGEST), ("frames_bytes", LARGEST)],
)
def test_a_limit_may_be_zero_and_has_a_range(key: str, high: int) -> None:
    assert_whole(HistorySettings, key, 0, high)


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(HistorySettings)
