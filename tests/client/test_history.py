"""The client as one property. Messages may be lost, wrong or cut off: the client shows only states of the server, in order, and ends at the newest."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vortexd.client.change import Change
from vortexd.client.client_state import ClientState
from vortexd.client.protocol import Conversation, Current, Over
from vortexd.client.replica import version_of
from vortexd.core.diff import diff

from .said import change, in_sync, ping, snapshot

_documents = st.dictionaries(
    st.sampled_from("abc"), st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=3), max_size=3
)
_steps = st.lists(
    st.tuples(st.just("publish"), _documents) | st.tuples(st.sampled_from(["lose", "break", "cut", "ping"]), st.none()),
    max_size=25,
)


class World:
    """A server with a history, and a client over a connection that may fail."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = [{}]
        self.held = ClientState()
        self.shown: list[Change] = []
        self.now = 0.0
        self.is_current = False
        self.connect()

    def connect(self) -> None:
        self.now += 100.0
        self.talk = Conversation(self.held, [], self.now)
        self.deliver(self.answer(self.held.main.version))

    def answer(self, last_version: str | None) -> str:
        newest = self.history[-1]
        if version_of(newest) == last_version:
            return in_sync(newest)
        for known in self.history:
            if version_of(known) == last_version:
                return change(known, newest, diff(known, newest))
        return snapshot(newest)

    def deliver(self, text: str) -> None:
        """Pass messages in both directions until none is left."""
        texts = [text]
        while texts:
            self.now += 2.0
            for event in [*self.talk.receive(texts.pop(0), self.now), *self.talk.tick(self.now)]:
                if isinstance(event, Change):
                    self.shown.append(event)
                elif isinstance(event, Current):
                    self.is_current = True
                elif isinstance(event, Over):
                    self.connect()
                    return
            texts += [self.answer(json.loads(asked)["last_version"]) for asked in self.talk.take_outgoing(self.now)]

    def publish(self, document: dict[str, Any], *, arrives: bool = True, is_whole: bool = True) -> None:
        old = self.history[-1]
        if old == document:
            return
        self.history.append(document)
        if arrives:
            patch = diff(old, document)
            self.deliver(
                change(old, document, patch if is_whole else [*patch, {"op": "add", "path": "/z", "value": 1}])
            )


@given(_steps)
def test_what_is_shown_was_the_servers_in_order_and_ends_at_the_newest(steps: list[tuple[str, Any]]) -> None:
    world, fate = World(), "arrive"
    for step, document in steps:
        match step:
            case "publish":
                world.publish(document, arrives=fate != "lose", is_whole=fate != "break")
                fate = "arrive"
            case "cut":
                world.connect()
            case "ping":
                world.deliver(ping(world.history[-1]))
            case _:
                fate = step
    world.deliver(ping(world.history[-1]))

    assert world.is_current
    assert world.history[-1] == world.held.main.document
    position, former = 0, None
    for shown in world.shown:
        assert former == shown.old_version
        former = shown.version
        assert shown.document is not None
        # The client may skip states, but never returns to an earlier state.
        position = world.history.index(shown.document, position)
    assert version_of(world.history[-1]) == former
