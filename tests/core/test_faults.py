"""Faults are reported once as long as they persist."""

from vortexd.core.faults import Faults


def test_a_fault_is_reported_once_while_it_lasts() -> None:
    faults = Faults(memory=10)

    assert faults.is_new("broken", "/a", 0)
    assert not faults.is_new("broken", "/a", 1)
    assert not faults.is_new("broken", "/b", 11)
    assert not faults.is_new("broken", "/a", 21)
    assert faults.is_new("other", "/a", 21)


def test_a_fault_that_nobody_meets_for_a_while_is_over() -> None:
    faults = Faults(memory=10)
    faults.is_new("broken", "/a", 0)

    assert not faults.is_new("broken", "/a", 10)
    assert faults.is_new("broken", "/a", 20.1)


def test_a_fault_is_over_once_the_place_where_it_was_first_met_works() -> None:
    faults = Faults()
    faults.is_new("broken", "/a", 0)
    faults.is_new("broken", "/b", 0)
    faults.is_new("other", "/b", 0)
    faults.works("/c")
    assert not faults.is_new("broken", "/a", 1)

    faults.works("/b")
    assert not faults.is_new("broken", "/b", 1)
    assert faults.is_new("other", "/b", 1)

    faults.works("/a")
    assert faults.is_new("broken", "/b", 1)
    faults.works("/a")
    assert not faults.is_new("broken", "/b", 1)


def test_a_fault_that_comes_again_is_told_of_its_new_place() -> None:
    faults = Faults(memory=10)
    faults.is_new("broken", "/a", 0)
    faults.is_new("broken", "/b", 20)
    faults.works("/a")

    assert not faults.is_new("broken", "/a", 21)


def test_beyond_the_bound_the_one_met_least_recently_is_forgotten() -> None:
    faults = Faults(most=2)
    for fault in ("first", "second", "first", "third"):
        faults.is_new(fault, fault, 0)

    assert not faults.is_new("first", "first", 0)
    assert not faults.is_new("third", "third", 0)
    assert faults.is_new("second", "second", 0)


def test_lasting_faults_are_counted() -> None:
    faults = Faults()
    assert not faults
    faults.is_new("broken", "/a", 0)
    faults.is_new("broken", "/b", 0)

    assert 1 == len(faults)
    faults.works("/a")
    assert not faults
