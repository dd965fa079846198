"""Tests that run side by side are told apart by their ids. So two tests with the same id would run as one, without a word."""

from collections import Counter
from collections.abc import Iterable

import pytest


def require_different_ids(ids: Iterable[str]) -> None:
    """Check that no two tests have the same id.

    Raises:
        pytest.UsageError: They have.
    """
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"mark these tests as alone, because several have the same id: {', '.join(twice[:3])}")
