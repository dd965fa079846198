"""Fixtures for tests of real processes."""

from collections.abc import AsyncIterator, Iterator

import pytest

from .browser import Page, close_browsers, open_page


@pytest.fixture(autouse=True, scope="module")
def counting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let processes run without coverage, which doubles their time, except those of files that are marked as counted."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("counted"):
            patch.setenv("COVERAGE_PROCESS_CONFIG", "")
        yield


@pytest.fixture(autouse=True, scope="session")
def browsers() -> Iterator[None]:
    """Leave no browser behind."""
    yield
    close_browsers()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with open_page() as page:
        yield page
