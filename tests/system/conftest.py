"""Fixtures for tests of real processes."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def counting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the processes of files that are marked as uncounted run without coverage."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("uncounted"):
            patch.setenv("COVERAGE_PROCESS_CONFIG", "")
        yield
