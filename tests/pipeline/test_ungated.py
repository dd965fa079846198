"""A server without a gate: its answers are those of a gate without rules."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.gate.decision import Person
from vortexd.gate.gate import PublicationGate
from vortexd.pipeline.gated import GatedPublications, NothingAccepted
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Store
from vortexd.pipeline.ungated import UngatedPublications
from vortexd.resolve.alterations import Alterations
from vortexd.settings.history import HistorySettings

from ..wiring import served_state

SERVED = served_state(State({}, "main"))


async def nothing(*_: Any) -> Any:
    raise AssertionError("nothing is done")


def without_rules() -> GatedPublications:
    store = Store(HistorySettings())
    return GatedPublications(PublicationGate(), store, nothing, time.time, NothingAccepted(), nothing, print)


@pytest.mark.parametrize("make", [without_rules, UngatedPublications])
async def test_every_state_is_admitted_and_nothing_is_judged(
    make: Callable[[], GatedPublications | UngatedPublications], capsys: pytest.CaptureFixture[str]
) -> None:
    gated, altered = make(), Alterations({"main": None})
    for before in (None, SERVED):
        admitted = await gated.admitted(SERVED, altered, before)
        assert (SERVED, altered, None, frozenset(), frozenset()) == (
            admitted.served,
            admitted.altered,
            admitted.ready,
            admitted.recalled,
            admitted.judged,
        )
        gated.committed(admitted, before, SERVED)
    await gated.examine(SERVED)
    gated.remember(SERVED)

    assert frozenset() == gated.unexamined
    assert (False, False, False, {}) == (gated.is_on, gated.has_failed, gated.has_exceptions, gated.standing)
    assert not gated.judges_at_first_read(Key("shop", "dev", "main"), SERVED)
    with pytest.raises(RemoteError, match="^this label is not held back$") as caught:
        gated.let_through("main", "c1", Person("ada", "token", ""), "why")
    assert 404 == caught.value.status
    # No decision was printed.
    assert "" == capsys.readouterr().out


async def test_nothing_is_examined() -> None:
    await UngatedPublications().examine_labels(SERVED, ["main"])
    assert frozenset() == UngatedPublications().outdated(SERVED, SERVED)
