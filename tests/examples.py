"""How many examples a property is tried with."""

import os

IS_RANDOM = bool(os.environ.get("VORTEXD_RANDOM"))


def examples(count: int) -> int:
    """Return the number of examples for this run.

    .ci/extended looks for new examples and tries all of them. .ci/run tries the same ones each time, and half as many.
    """
    return count if IS_RANDOM else count // 2
