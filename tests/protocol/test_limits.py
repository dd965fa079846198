"""The token bucket."""

from vortexd.protocol.limits import Bucket


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


def test_a_bucket_says_when_it_is_full_again() -> None:
    bucket = Bucket(rate=2, burst=3)
    assert (True, 0.0) == (bucket.is_full(7.0), bucket.full_in(7.0))
    bucket.take(10.0)
    bucket.take(10.0)

    assert [1.0, 0.25, 0.0, 0.0] == [bucket.full_in(now) for now in (10.0, 10.75, 11.0, 20.0)]
    assert [False, False, True] == [bucket.is_full(now) for now in (10.0, 10.75, 11.0)]
