"""Durations with days, moments before now, and times in the local zone and in UTC."""

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from vortexd.ctl.times import local_and_utc, long_duration, moment, whole_seconds

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5_400.0), ("2h", 7_200.0), ("3d", 259_200.0), ("1d12h", 129_600.0), ("1d30s", 86_430.0), ("90", 90.0)],
)
def test_a_duration_may_have_days(text: str, seconds: float) -> None:
    assert seconds == long_duration(text)


@pytest.mark.parametrize("text", ["", "d", "1.5d", "-1d", "1d30", "1d1h30", "2h3d", "1d1d", "1234567d", "x", "²d"])
def test_other_durations_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="like 90m, 2h, 3d or 1d12h"):
        long_duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("1000ms", 1), ("90d", 7_776_000)])
def test_whole_seconds_are_an_integer(text: str, seconds: int) -> None:
    found = whole_seconds(text)

    assert (seconds, int) == (found, type(found))


@pytest.mark.parametrize("text", ["0", "999ms", "1.5s", "9" * 400])
def test_less_than_a_second_and_fractions_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number of seconds, and at least 1s"):
        whole_seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-30T10:00:00+00:00"),
        ("3d", "2026-11-27T12:00:00+00:00"),
        ("2026-11-29", "2026-11-29T00:00:00+00:00"),
        ("2026-11-29T12:00", "2026-11-29T12:00:00+00:00"),
        ("2026-11-29T12:00:00Z", "2026-11-29T12:00:00+00:00"),
        ("2026-11-29T12:00:00+02:00", "2026-11-29T10:00:00+00:00"),
    ],
)
def test_a_moment_is_a_duration_before_now_or_a_date_or_a_time(text: str, expected: str) -> None:
    assert expected == moment(text, lambda: NOW).astimezone(UTC).isoformat()


def test_now_is_the_time_of_the_call() -> None:
    assert abs(datetime.now(UTC) - moment("0s")).total_seconds() < 60


@pytest.mark.parametrize("text", ["", "yesterday", "2026", "20261129", "7200", "2026-13-01", "999999d"])
def test_other_moments_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a duration such as 2h or 3d, a date such as 2026-11-29"):
        moment(text, lambda: NOW)


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC0", "2026-11-30 03:35:07 UTC"),
        ("CET-1", "2026-11-30 04:35:07 CET (2026-11-30 03:35:07 UTC)"),
        ("EST5", "2026-11-29 22:35:07 EST (2026-11-30 03:35:07 UTC)"),
    ],
    indirect=["zone"],
)
@pytest.mark.usefixtures("zone")
def test_a_time_is_shown_in_the_local_zone_and_in_utc(text: str) -> None:
    assert text == local_and_utc("2026-11-30T03:35:07.123Z")


def test_a_text_that_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        local_and_utc("soon")
