"""Facts about the contract with the store: errors that callers tell apart, and values that compare."""

import pytest

from vortexd.cluster.engine import (
    Committed,
    Compacted,
    Denied,
    EngineAway,
    EngineError,
    Entry,
    Full,
    OutcomeUnknown,
    TooLarge,
)
from vortexd.core.errors import VortexdError


@pytest.mark.parametrize("kind", [EngineAway, OutcomeUnknown, Denied, Full, TooLarge, Compacted])
def test_every_error_of_a_store_is_an_engine_error(kind: type[EngineError]) -> None:
    assert issubclass(kind, EngineError)
    assert issubclass(EngineError, VortexdError)
    assert str(kind("why")) == "why"


def test_an_unknown_outcome_is_not_taken_for_a_store_that_is_away() -> None:
    assert not issubclass(OutcomeUnknown, EngineAway)
    assert not issubclass(EngineAway, OutcomeUnknown)


def test_a_compaction_names_the_oldest_revision_if_the_store_does() -> None:
    assert Compacted("gone").oldest == 0
    assert Compacted("gone", 7).oldest == 7


def test_an_entry_has_no_lease_and_a_commit_found_nothing_unless_said_otherwise() -> None:
    assert Entry("k", b"", 1, 2).lease == ""
    assert Committed(True, 3).found == ()
