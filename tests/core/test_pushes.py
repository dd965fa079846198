"""Commits that the server pushes: what became of a push that failed."""

import pytest

from vortexd.core.errors import SourceError
from vortexd.core.pushes import PushError, PushFault


@pytest.mark.parametrize("fault", PushFault)
def test_a_failed_push_has_its_reason_and_its_cause(fault: PushFault) -> None:
    error = PushError("git push failed: x", fault)

    assert isinstance(error, SourceError)
    assert ("git push failed: x", fault) == (str(error), error.fault)


def test_each_cause_completes_a_sentence() -> None:
    assert all(each.value == each.value.strip() and each.value[0].islower() for each in PushFault)
