"""The states of a connection: every transition of the table, and every illegal one."""

import itertools

import pytest

from vortexd.protocol.close import CloseReason
from vortexd.realtime.lifecycle import TRANSITIONS, IllegalTransition, Lifecycle, State

WAYS = {
    State.OPENING: [],
    State.SERVING: [State.SERVING],
    State.PARKING: [State.SERVING, State.PARKING],
    State.PARKED: [State.SERVING, State.PARKING, State.PARKED],
    State.CLOSING: [State.CLOSING],
    State.CLOSED: [State.CLOSING, State.CLOSED],
}
LEGAL = {
    (State.OPENING, State.SERVING),
    (State.OPENING, State.CLOSING),
    (State.SERVING, State.PARKING),
    (State.SERVING, State.CLOSING),
    (State.PARKING, State.SERVING),
    (State.PARKING, State.PARKED),
    (State.PARKING, State.CLOSING),
    (State.PARKED, State.SERVING),
    (State.PARKED, State.CLOSING),
    (State.CLOSING, State.CLOSED),
}


def in_state(state: State) -> Lifecycle:
    lifecycle = Lifecycle()
    for each in WAYS[state]:
        lifecycle.enter(each)
    assert state is lifecycle.state
    return lifecycle


def test_every_state_is_in_the_table() -> None:
    assert set(State) == set(TRANSITIONS) == set(WAYS)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_a_transition_is_in_the_table_or_raises(old: State, new: State) -> None:
    lifecycle = in_state(old)
    if (old, new) in LEGAL:
        lifecycle.enter(new)
        assert new is lifecycle.state
    else:
        with pytest.raises(IllegalTransition, match=f"from {old.name} to {new.name}"):
            lifecycle.enter(new)
        assert old is lifecycle.state


@pytest.mark.parametrize("state", [State.OPENING, State.SERVING, State.PARKING, State.PARKED])
def test_a_connection_can_be_closed_from_every_state_before_the_end(state: State) -> None:
    lifecycle = in_state(state)
    lifecycle.close(CloseReason.LOST)

    assert (State.CLOSING, CloseReason.LOST) == (lifecycle.state, lifecycle.reason)


def test_the_first_reason_counts_even_when_the_connection_is_closed() -> None:
    lifecycle = in_state(State.SERVING)
    for reason in (CloseReason.SLOW, CloseReason.LOST):
        lifecycle.close(reason)
    lifecycle.enter(State.CLOSED)
    lifecycle.close(CloseReason.INTERNAL)

    assert (State.CLOSED, CloseReason.SLOW) == (lifecycle.state, lifecycle.reason)


@pytest.mark.parametrize("state", State)
def test_only_a_connection_that_serves_begins_to_park(state: State) -> None:
    lifecycle = in_state(state)
    lifecycle.park()

    assert lifecycle.is_parking is (state in (State.SERVING, State.PARKING))
    assert lifecycle.state is (State.PARKING if state is State.SERVING else state)
