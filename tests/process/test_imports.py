"""Imports without garbage collection."""

import gc
from collections.abc import Iterator

import pytest

from vortexd.process.imports import uncollected


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    """Give the other tests the collector back."""
    yield
    gc.enable()


def test_nothing_is_collected_meanwhile() -> None:
    with uncollected():
        assert not gc.isenabled()

    assert gc.isenabled()


def test_after_an_import_that_fails_garbage_is_collected_again() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with uncollected():
        pass

    assert not gc.isenabled()
