"""[realtime]: its defaults, the ranges of its limits, and connections that are never parked."""

import math

import pytest

from vortexd.settings.realtime import RealtimeSettings

from .sections import assert_number, assert_seconds, assert_whole, problems, read, waiting

LARGEST = 1_099_511_627_776


def test_the_default_limits() -> None:
    expected = RealtimeSettings(
        heartbeat_interval=30.0,
        heartbeat_timeout=10.0,
        queue_messages=64,
        queue_bytes=1_048_576,
        write_timeout=10.0,
        close_timeout=5.0,
        message_bytes=65_536,
        message_fragments=64,
        message_timeout=10.0,
        message_depth=32,
        messages_per_second=100,
        errors_per_minute=10,
        resyncs_per_second=1.0,
        resync_burst=10,
        patterns=64,
        distinct_patterns=16_384,
        distinct_patterns_per_owner=1_024,
        keys=10_000,
        compression=True,
        park_after=0.5,
    )

    assert expected == read(RealtimeSettings)


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("queue_messages", 1, 1_000_000),
        ("queue_bytes", 1_024, LARGEST),
        ("message_bytes", 125, 268_435_456),
        ("message_fragments", 1, 1_000_000),
        ("message_depth", 2, 500),
        ("messages_per_second", 1, 1_000_000),
        ("errors_per_minute", 1, 1_000_000),
        ("resync_burst", 1, 1_000_000),
        ("patterns", 0, 100_000),
        ("distinct_patterns", 0, 1_000_000),
        ("distinct_patterns_per_owner", 0, 1_000_000),
        ("keys", 0, 1_000_000),
    ],
)
def test_a_count_has_a_range(key: str, low: int, high: int) -> None:
    assert_whole(RealtimeSettings, key, low, high)


@pytest.mark.parametrize(
    ("key", "low"),
    [
        ("heartbeat_interval", 0.1),
        ("heartbeat_timeout", 0.1),
        ("write_timeout", 0.001),
        ("close_timeout", 0.001),
        ("message_timeout", 0.001),
    ],
)
def test_a_duration_has_a_range(key: str, low: float) -> None:
    assert_seconds(RealtimeSettings, key, low, 86_400)


def test_the_rate_of_resyncs_has_a_range() -> None:
    assert_number(RealtimeSettings, "resyncs_per_second", 0.01, 1_000_000)


@pytest.mark.parametrize(
    ("value", "seconds", "parks"),
    [("0", 0.0, True), ("2", 2.0, True), ("86400", 86_400.0, True), ('"never"', math.inf, False)],
)
def test_connections_are_parked_after_a_time_or_never(value: str, seconds: float, parks: bool) -> None:
    settings = read(RealtimeSettings, f"park_after = {value}")

    assert (seconds, parks) == (settings.park_after, settings.parks)
    assert isinstance(settings.park_after, float)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("-0.001", ""),
        ("86400.1", ""),
        ("inf", ""),
        ("nan", ""),
        ('"Never"', ", not text"),
        ('""', ", not text"),
        ("false", ", not true or false"),
    ],
)
def test_another_time_for_parking_is_refused(value: str, kind: str) -> None:
    expected = {"park_after": f'must be a number of seconds from 0 to 86400, or "never"{kind}'}

    assert expected == problems(RealtimeSettings, f"park_after = {value}")


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(RealtimeSettings)
