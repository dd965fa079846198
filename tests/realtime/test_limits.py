"""The token bucket."""

from vortexd.realtime.limits import Bucket


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = Bucket(rate=10, burst=3)

    assert [True, True, True, False] == [bucket.take(100.0) for _ in range(4)]
    assert [False, True, False] == [bucket.take(now) for now in (100.05, 100.15, 100.19)]


def test_a_long_rest_wins_no_more_than_a_burst() -> None:
    bucket = Bucket(rate=10, burst=3)
    bucket.take(0.0)

    assert [True, True, True, False] == [bucket.take(1_000.0) for _ in range(4)]


def test_several_are_taken_whole_or_not_at_all() -> None:
    bucket = Bucket(rate=1, burst=5)

    assert [False, True, False] == [bucket.take(0.0, 6), bucket.take(0.0, 5), bucket.take(0.0)]
