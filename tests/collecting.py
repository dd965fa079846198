"""The order of test files that run side by side, and a check of the ids by which their tests are distinguished."""

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

SYSTEM = Path(__file__).parent / "system"
# By this share of the other files, the last file of tests/system has begun. The rest fills the gaps at the end.
SYSTEM_UNTIL = 0.7


def in_order(paths: Iterable[Path], slow: Collection[Path]) -> list[Path]:
    """Return test files in the order in which they should begin.

    Slow files come first, so that none of them is left at the end while the other processes have nothing to do. Tests of
    tests/system mostly wait for servers, and the others mostly compute. So the two kinds alternate.
    """
    files = [*dict.fromkeys(paths)]
    first = [path for path in files if path in slow]
    waiting = [path for path in files if path not in slow and path.is_relative_to(SYSTEM)]
    computing = [path for path in files if path not in slow and not path.is_relative_to(SYSTEM)]
    places = {path: SYSTEM_UNTIL * number / len(waiting) for number, path in enumerate(waiting)}
    places |= {path: number / len(computing) for number, path in enumerate(computing)}
    return [*first, *sorted([*waiting, *computing], key=places.__getitem__)]


def require_different_ids(ids: Iterable[str]) -> None:
    """Check that no two tests have the same id. They would run as one, without a word.

    Raises:
        pytest.UsageError: They have.
    """
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"mark these tests as alone, because several have the same id: {', '.join(twice[:3])}")
