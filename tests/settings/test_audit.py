"""[audit]: the limits of the audit log, and their ranges."""

import pytest

from vortexd.audit import file
from vortexd.settings.audit import AuditSettings

from .sections import assert_whole, read, waiting


def test_the_default_limits_are_those_of_the_file() -> None:
    assert AuditSettings(entries=10_000, bytes=4_194_304) == read(AuditSettings)
    assert (file.MOST_ENTRIES, file.MAX_BYTES) == (AuditSettings().entries, AuditSettings().bytes)


@pytest.mark.parametrize(("key", "low", "high"), [("entries", 1, 100_000), ("bytes", 65_536, 67_108_864)])
def test_a_limit_has_a_range(key: str, low: int, high: int) -> None:
    assert_whole(AuditSettings, key, low, high)


def test_the_largest_limit_is_that_of_the_file() -> None:
    assert 67_108_864 == file.LARGEST_BYTES


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(AuditSettings)
