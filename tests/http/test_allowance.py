"""Token buckets that limit useless frames."""

import pytest

from vortexd.http.allowance import AllowanceExceeded, Allowances, Bucket


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: Bucket) -> int:
    """How many tokens there are."""
    count = 0
    with pytest.raises(AllowanceExceeded):
        while count < 100_000:
            bucket.take()
            count += 1
    return count


def test_a_bucket_holds_its_burst_and_refills_up_to_it() -> None:
    clock = Clock()
    bucket = Bucket(2.0, 3, clock)

    assert 3 == taken(bucket)
    # The token that there wasn't is owed.
    clock.now = 1.5
    assert 2 == taken(bucket)
    clock.now = 1_000.0
    assert 3 == taken(bucket)


@pytest.mark.parametrize(("name", "count"), [("resets", 100), ("control", 200), ("window_updates", 10_000)])
def test_each_kind_of_frame_has_its_own(name: str, count: int) -> None:
    allowances = Allowances(Clock())

    assert count == taken(getattr(allowances, name))
