"""The state between connections: which keys are followed, and what is forgotten with a key."""

import attrs
import pytest

from vortexd.client.client_state import Ack, ClientState
from vortexd.client.replica import Replica, version_of
from vortexd.core.model import Key

from .said import KEY

OTHER, UNKNOWN = Key("billing", "dev", "main"), Key("cart", "dev", "main")
VERSION = version_of({})


def test_at_first_nothing_is_known() -> None:
    state = ClientState()

    assert (None, None, {}, {}, 0) == (state.key, state.main.version, state.others, state.acks, state.size)
    assert state.replica(KEY) is None
    assert not state.is_sent_on


def test_the_main_key_and_the_keys_of_patterns_have_a_replica_each() -> None:
    state = ClientState(KEY, Replica(VERSION, {}), {OTHER: Replica()})

    assert state.replica(KEY) is state.main
    assert state.replica(OTHER) is state.others[OTHER]
    assert state.replica(UNKNOWN) is None


def test_a_key_that_patterns_match_too_has_the_replica_of_the_main_subscription() -> None:
    state = ClientState(KEY, Replica(), {KEY: Replica()})

    assert state.replica(KEY) is state.main


def test_a_forgotten_key_takes_its_acknowledgement_along_and_leaves_the_others() -> None:
    other, ack = Replica(VERSION, {}), Ack(VERSION, "applied")
    state = ClientState(KEY, others={OTHER: other}, acks={OTHER: ack, KEY: ack})

    assert state.forget(OTHER) is other
    assert ({}, {KEY: ack}) == (state.others, state.acks)
    assert state.forget(OTHER) is None


def test_a_forgotten_key_that_nothing_is_known_of_changes_nothing() -> None:
    state = ClientState(KEY, others={OTHER: Replica()}, acks={OTHER: Ack(VERSION, "applied")})

    assert state.forget(UNKNOWN) is None
    assert ([OTHER], [OTHER]) == (list(state.others), list(state.acks))


def test_each_client_has_a_state_of_its_own() -> None:
    first, second = ClientState(), ClientState()
    first.others[OTHER] = Replica()
    first.acks[OTHER] = Ack(VERSION, "applied")

    assert ({}, {}) == (second.others, second.acks)
    assert first.main is not second.main


def test_an_acknowledgement_is_a_value_and_has_no_error_unless_it_is_named() -> None:
    assert Ack(VERSION, "applied") == Ack(VERSION, "applied", None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Ack(VERSION, "applied").status = "rejected"  # type: ignore[misc]  # the assignment is what the test tries
