"""What a client's messages mean."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import KEY, TIMESTAMP
from vortexd.realtime.session import Answer, Resync, Session


def receive(message: object) -> list[object]:
    return list(Session(KEY).receive(json.dumps(message), TIMESTAMP))


def test_a_pong_asks_for_nothing() -> None:
    assert [] == receive({"type": "pong", "timestamp": TIMESTAMP})


@pytest.mark.parametrize("version", [None, "", "05ec81479bdc7281", "unknown"])
def test_M08_a_resync_is_from_any_version_that_is_text(version: str | None) -> None:
    assert [Resync(KEY, version)] == receive({"type": "resync", "last_version": version})


def test_a_resync_may_name_the_subscription() -> None:
    named = {"app": "orders", "profile": "dev", "label": "main"}

    assert [Resync(KEY, "v")] == receive({"type": "resync", "last_version": "v"} | named)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "resync", "last_version": -1},
        {"type": "resync", "last_version": 2**64},
        {"type": "resync", "last_version": 1.5},
        {"type": "resync", "last_version": "v", "app": "other"},
        {"type": "resync", "last_version": "v", "label": ["main"]},
        {"type": "resync", "last_version": "v", "label": {"$ne": 1}},
        {"type": "unheard of"},
        {},
        [],
    ],
)
def test_M16_what_is_wrong_is_answered_and_nothing_else_happens(message: object) -> None:
    (answer,) = receive(message)

    assert isinstance(answer, Answer)
    assert ("error", "INVALID_MESSAGE") == tuple(json.loads(answer.message)[name] for name in ("type", "code"))


@given(st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_any_text_is_answered_in_the_protocol(text: str) -> None:
    for request in Session(KEY).receive(text, TIMESTAMP):
        assert isinstance(request, Answer | Resync)
