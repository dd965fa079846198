"""The client as one property. Messages may be lost, wrong or cut off: the client shows only states of the server, in order, and ends at the newest."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vortexd.client.change import Change
from vortexd.client.client_state import ClientState
from vortexd.client.disconnect import closed
from vortexd.client.protocol import Conversation, Current, Over
from vortexd.client.replica import version_of
from vortexd.core.diff import diff
from vortexd.core.generation import Generation
from vortexd.core.model import Key
from vortexd.core.patterns import Pattern

from .said import KEY, change, in_sync, message, ping, snapshot

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


# A cluster. Each node reads the same publications, at its own pace.

OTHER = Key("billing", "dev", "main")
_NODES = 3
_moves = st.lists(
    st.tuples(st.just("publish"), st.just(0))
    | st.tuples(st.sampled_from(["advance", "catch up", "move"]), st.integers(0, _NODES - 1)),
    max_size=40,
)


class Cluster:
    """Nodes that are at different publications of one label, and a client that moves between them.

    Attributes:
        shown: The numbers of the publications that the client showed, for each key.
        returned: The numbers of the main key that a stale snapshot led back to.
    """

    def __init__(self) -> None:
        self.newest = 1
        self.at = [1] * _NODES
        self.held = ClientState()
        self.shown: dict[Key, list[int]] = {KEY: [], OTHER: []}
        self.returned: list[int] = []
        self.now = 0.0
        self.connect(0)

    def connect(self, node: int) -> None:
        """Connect to a node. If it is behind and the client wasn't sent on yet, it sends the client on to the next node."""
        for _ in range(2):
            self.now += 100.0
            self.node = node
            main = self.held.main
            self.talk = Conversation(self.held, [Pattern("billing")], self.now)
            is_behind = main.generation is not None and main.generation.is_ahead_of(self.generation())
            if not is_behind or self.held.is_sent_on:
                self.deliver(self.answer(KEY, main.version, is_stale=is_behind))
                self.deliver(self.answer(OTHER, None))
                return
            self.deliver(message("connection_closing", reason="behind", reconnect_after_ms=300))
            assert closed(4421, None, 300) == self.talk.close(4421)
            node = (node + 1) % _NODES
        raise AssertionError("the client was sent on twice")

    def generation(self) -> Generation:
        return Generation("5f3a", self.at[self.node])

    def answer(self, key: Key, last_version: str | None, *, is_stale: bool = False) -> str:
        number = self.at[self.node]
        members: dict[str, Any] = {"generation": str(self.generation())}
        if is_stale:
            self.returned.append(number)
            return snapshot({"n": number}, key, **members, stale=True)
        if last_version == version_of({"n": number}):
            return in_sync({"n": number}, key, **members)
        for known in range(1, number):
            if last_version == version_of({"n": known}):
                return change({"n": known}, {"n": number}, diff({"n": known}, {"n": number}), key, **members)
        return snapshot({"n": number}, key, **members)

    def deliver(self, *texts: str) -> None:
        """Pass messages in both directions until none is left."""
        waiting = list(texts)
        while waiting:
            self.now += 2.0
            for event in [*self.talk.receive(waiting.pop(0), self.now), *self.talk.tick(self.now)]:
                assert not isinstance(event, Over)
                if isinstance(event, Change):
                    assert event.document is not None
                    self.shown[event.key].append(event.document["n"])
            asked = [json.loads(text) for text in self.talk.take_outgoing(self.now)]
            waiting += [
                self.answer(KEY if each["app"] == "orders" else OTHER, each["last_version"])
                for each in asked
                if each["type"] == "resync"
            ]

    def advance(self, node: int, number: int) -> None:
        """Let a node reach a publication, which may skip others. Its client gets one change of each key."""
        old, self.at[node] = self.at[node], number
        if node == self.node and old != number:
            members: dict[str, Any] = {"generation": str(self.generation())}
            before: dict[str, Any] = {"n": old}
            after: dict[str, Any] = {"n": number}
            patch = diff(before, after)
            self.deliver(*(change(before, after, patch, key, **members) for key in (KEY, OTHER)))


@given(_moves)
def test_a_client_of_a_cluster_goes_back_only_if_the_next_node_is_behind_too(moves: list[tuple[str, int]]) -> None:
    world = Cluster()
    for kind, node in moves:
        match kind:
            case "publish":
                world.newest += 1
            case "advance":
                world.advance(node, min(world.at[node] + 1, world.newest))
            case "catch up":
                world.advance(node, world.newest)
            case _:
                world.connect(node)
    world.advance(world.node, world.newest)

    assert not world.held.is_sent_on
    assert {"n": world.newest} == world.held.main.document == world.held.others[OTHER].document
    assert world.shown[OTHER] == sorted(set(world.shown[OTHER]))
    backwards = [new for old, new in pairwise(world.shown[KEY]) if new < old]
    assert backwards == world.returned
