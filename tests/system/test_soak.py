"""A minute of everything that may happen; an hour by `python -m tests.soak`."""

import os
import random

import pytest

from tests.soak import allowed_growth, soak

SECONDS = float(os.environ.get("VORTEXD_SOAK") or 60)
SEED = int(os.environ.get("VORTEXD_SEED") or random.SystemRandom().randrange(2**32))


@pytest.mark.slow
def test_L06_nothing_stays_behind_of_what_comes_and_goes() -> None:
    print(f"VORTEXD_SEED={SEED}")
    result = soak(SECONDS, SEED)
    first, last = result.idle[0], result.idle[-1]

    assert 0 == result.status
    assert [] == result.errors
    # Each thing has happened, or the seed proves nothing of it.
    assert 9 == len(result.events)
    assert first.tasks == last.tasks
    # The file that a scan has open in this moment may be there.
    assert last.descriptors <= first.descriptors + 1
    assert result.growth < allowed_growth(SECONDS), result.idle
