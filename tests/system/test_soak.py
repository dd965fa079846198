"""Two and a half minutes of random events; `python -m tests.soak` runs an hour."""

import os
import random

import pytest

from tests.soak import LONG_GROWTH, SHORT_GROWTH, SHORT_RUN, Idle, Result, allowed_growth, soak

# The former versions of files and the pools of the allocator are full after 75 seconds: a run grew by 62 KB/s until then, and not at all afterwards.
SECONDS = float(os.environ.get("VORTEXD_SOAK") or 150)
SEED = int(os.environ.get("VORTEXD_SEED") or random.SystemRandom().randrange(2**32))


@pytest.mark.slow
def test_L06_nothing_stays_behind_of_what_comes_and_goes() -> None:
    print(f"VORTEXD_SEED={SEED}")
    result = soak(SECONDS, SEED)
    first, last = result.idle[0], result.idle[-1]

    assert 0 == result.status
    assert [] == result.errors
    # Each kind of event must have happened, or the seed proves nothing about it.
    assert 9 == len(result.events)
    assert first.tasks == last.tasks
    assert result.more_descriptors <= 0, result.idle
    assert result.growth < allowed_growth(SECONDS), result.idle


@pytest.mark.parametrize(
    ("seconds", "leak"), [(60, SHORT_GROWTH), (SHORT_RUN - 1, SHORT_GROWTH), (SHORT_RUN, LONG_GROWTH)]
)
@pytest.mark.parametrize(("share", "is_found"), [(0.9, False), (1.1, True)])
def test_a_leak_is_found_by_the_slope_behind_the_warm_up(
    seconds: float, leak: float, share: float, is_found: bool
) -> None:
    moments = [seconds * number / 15 for number in range(1, 16)]
    # First fill the pools; a single round may differ.
    pools = [20_000_000 * min(1.0, moment / (seconds * 0.4)) for moment in moments]
    idle = [
        Idle(moment, round(pool + share * leak * moment), 10, 10) for moment, pool in zip(moments, pools, strict=True)
    ]
    idle[-3] = Idle(idle[-3].seconds, idle[-3].private + 5_000_000, 10, 10)

    assert is_found == (Result(idle).growth > allowed_growth(seconds))


def test_a_descriptor_that_stays_open_is_found_behind_the_warm_up() -> None:
    opened_once = [Idle(number, 0, 13 if number < 3 else 14, 10) for number in range(10)]
    leak = [Idle(number, 0, 13 + number, 10) for number in range(10)]

    assert 0 == Result(opened_once).more_descriptors
    assert 4 == Result(leak).more_descriptors
