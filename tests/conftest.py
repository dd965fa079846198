"""Fixtures and settings for all tests."""

import gc
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from .collecting import in_order, require_different_ids
from .examples import IS_RANDOM, examples

# These machines are shared: how long an example takes says nothing about the code.
# Each run tries the same examples, so that a run says something about the change. .ci/extended looks for new ones.
settings.register_profile(
    "vortexd",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not IS_RANDOM,
    max_examples=examples(100),
)
settings.load_profile("vortexd")

# A shell that runs the tests in the background lets them ignore SIGINT, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Events that no test looks at are printed, and where Rich is installed that is with all values on the way, however large.
for each in structlog.get_config()["processors"]:
    if isinstance(each, structlog.dev.ConsoleRenderer):
        each.exception_formatter = structlog.dev.plain_traceback


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Don't import files in which the selection by marks leaves no test. Some of them generate their tests, which takes seconds."""
    if "not alone" == config.option.markexpr and collection_path.suffix == ".py":
        return "\npytestmark = pytest.mark.alone\n" in collection_path.read_text() or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected: all of them stay. Later collections don't examine them, either."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# The tests that are left after the selection by marks.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the test files for processes that run side by side."""
    if hasattr(config, "workerinput"):
        require_different_ids(each.nodeid for each in items)
    slow = {each.path for each in items if each.get_closest_marker("slow")}
    places = {path: place for place, path in enumerate(in_order((each.path for each in items), slow))}
    items.sort(key=lambda each: places[each.path])
