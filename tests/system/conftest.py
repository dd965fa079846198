"""Fixtures for tests of real processes."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def counting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let processes run without coverage, which doubles their time, except those of files that are marked as counted."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("counted"):
            patch.setenv("COVERAGE_PROCESS_CONFIG", "")
        yield
