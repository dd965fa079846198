"""A start without garbage collection."""

import gc
from collections.abc import Iterator

import pytest

from vortexd.process.imports import freeze, uncollected


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    """Give the other tests the collector back."""
    yield
    gc.unfreeze()
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


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of frozen objects at each whole collection."""
    found: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: found.append(gc.get_freeze_count()))
    return found


def test_the_end_of_a_start_freezes_all_objects_without_a_collection_and_collects_from_then_on(
    collections: list[int],
) -> None:
    with uncollected():
        freeze()
        assert gc.get_freeze_count() > 10_000
        assert gc.isenabled()

    assert [] == collections
    assert gc.isenabled()


def test_a_start_with_the_collector_collects_before_it_freezes(collections: list[int]) -> None:
    freeze()

    assert [0] == collections
    assert gc.get_freeze_count() > 10_000
    assert gc.isenabled()


def test_imports_after_the_start_are_uncollected_too(collections: list[int]) -> None:
    with uncollected():
        freeze()
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()


def test_an_inner_block_leaves_the_collector_off_for_the_outer_one(collections: list[int]) -> None:
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
        freeze()
        assert gc.isenabled()


def test_the_end_of_a_start_leaves_a_collector_off_that_was_off_before(collections: list[int]) -> None:
    gc.disable()
    with uncollected():
        freeze()
        assert not gc.isenabled()

    assert [] == collections


def test_a_later_end_of_a_start_leaves_a_collector_off_that_was_turned_off_since(collections: list[int]) -> None:
    with uncollected():
        freeze()
    gc.disable()
    freeze()

    assert not gc.isenabled()
