"""Random conversations, in any order and at any time: invariants of a session and of a connection, whatever a client does."""

import contextlib
import json
from typing import Any

import jsonpatch
import trio
import trio.testing
import wsproto.events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wsproto.utilities import LocalProtocolError

from tests.examples import examples
from tests.fakes import KEY, Client
from vortexd.core.model import Key
from vortexd.protocol.close import CloseReason
from vortexd.realtime.session import Answer, Close, Resync, Session, Subscribe, Unsubscribe
from vortexd.settings.realtime import RealtimeSettings

from .wire import Wire

NOW = "2030-01-01T00:00:00.000Z"
LIMITS = RealtimeSettings(messages_per_second=5, errors_per_minute=3, resync_burst=2, patterns=3)
PATTERNS = st.sampled_from(["orders", "orders:dev", "*:dev:main", "b*", "..", "a:b:c:d", "", "*" * 200, 7, None])
MESSAGES = st.one_of(
    st.builds(
        lambda kind, patterns: {"type": kind, "patterns": patterns},
        st.sampled_from(["subscribe", "unsubscribe"]),
        st.lists(PATTERNS, max_size=4),
    ),
    st.builds(
        lambda version, app, mode: {"type": "resync", "last_version": version, "app": app} | mode,
        st.sampled_from([None, "", "x", 7, "f" * 16]),
        st.sampled_from(["orders", "billing", "..", 1, None]),
        st.sampled_from([{}, {"mode": "full"}, {"mode": "diff"}, {"mode": "x"}]),
    ),
    st.builds(
        lambda version, status: {"type": "ack", "version": version, "status": status},
        st.sampled_from(["v", "", None]),
        st.sampled_from(["applied", "rejected", "maybe"]),
    ),
    st.sampled_from([{"type": "ping"}, {"type": "pong"}, {"type": "dance"}, {}, [], None, {"type": ["ping"]}]),
)
TEXTS = st.one_of(
    MESSAGES.map(json.dumps),
    st.text(max_size=20),
    st.sampled_from(["[" * 10_000, '{"type":"ping","type":"pong"}', '{"a":NaN}', '"\\ud800"', "1e999"]),
)


class SessionMachine(RuleBasedStateMachine):
    """A session alone, beside the simplest model of what it allows."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(KEY, LIMITS)
        self.now = 0.0
        self.is_closed = False
        self.allowed = float(LIMITS.messages_per_second)
        self.in_force: set[str] = set()

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.allowed = min(self.allowed + seconds * LIMITS.messages_per_second, LIMITS.messages_per_second)

    @precondition(lambda self: not self.is_closed)
    @rule(text=TEXTS)
    def say(self, text: str) -> None:
        requests = self.session.receive(text, self.now, NOW)
        self.allowed -= 1
        for request in requests:
            match request:
                case Subscribe(patterns, new):
                    assert set(new) <= set(patterns)
                    self.in_force |= set(map(str, new))
                case Unsubscribe(patterns):
                    self.in_force -= set(map(str, patterns))
                case Resync(key):
                    assert isinstance(key, Key)
                case Answer(message):
                    assert {"type", "schema", "timestamp"} <= json.loads(message).keys()
                case Close(reason):
                    assert request is requests[-1]
                    assert CloseReason.POLICY is reason
                    self.is_closed = True
        if self.allowed < -1e-6:
            self.allowed = max(self.allowed, 0.0)
            assert not any(isinstance(each, Subscribe | Unsubscribe | Resync) for each in requests)

    @precondition(lambda self: not self.is_closed)
    @rule()
    def ping(self) -> None:
        self.allowed = max(self.allowed - 1, 0.0)
        self.is_closed = any(isinstance(each, Close) for each in self.session.receive_control(self.now))

    @invariant()
    def patterns_are_those_in_force_and_within_the_limit(self) -> None:
        assert self.in_force == set(map(str, self.session.patterns))
        assert len(self.in_force) <= LIMITS.patterns

    @invariant()
    def a_fresh_one_with_the_same_patterns_is_no_other(self) -> None:
        """What parking relies on."""
        if self.session.is_fresh(self.now):
            fresh = Session(KEY, LIMITS)
            fresh.restore(self.session.patterns)
            self.session = fresh


TestSession = SessionMachine.TestCase
TestSession.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), TEXTS),
        st.tuples(st.just("publish"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 1.0, 29.0, 31.0])),
        st.tuples(st.just("frame"), st.sampled_from(["ping", "pong", "binary", "part", "garbage"])),
        st.tuples(st.just("drain"), st.none()),
    ),
    max_size=15,
)


async def converse(wire: Wire, client: Client, steps: list[tuple[str, Any]]) -> None:
    for kind, what in steps:
        try:
            match kind, what:
                case "say", text:
                    await client.send_event(wsproto.events.TextMessage(text))
                case "publish", number:
                    wire.publish(number)
                case "wait", seconds:
                    await trio.sleep(seconds)
                case "frame", "ping":
                    await client.send_event(wsproto.events.Ping(b"x"))
                case "frame", "pong":
                    await client.send_event(wsproto.events.Pong(b"x"))
                case "frame", "binary":
                    await client.send_event(wsproto.events.BytesMessage(b"\0"))
                case "frame", "part":
                    await client.stream.send_all(b"\x81\xfe")
                case "frame", _:
                    await client.stream.send_all(b"\xff" * 50)
                case "drain", _:
                    await wire.server.drain(0.1)
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            return


async def listen(client: Client, said: list[dict[str, Any]], ends: list[int]) -> None:
    """Read to the end, and answer heartbeats as every client does."""
    parts: list[str] = []
    while True:
        try:
            event = await client.event()
        except trio.ClosedResourceError:
            return
        match event:
            case wsproto.events.TextMessage(data=data, message_finished=is_finished):
                parts.append(data)
                if is_finished:
                    said.append(json.loads("".join(parts)))
                    parts.clear()
            case wsproto.events.Ping() as ping:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
                    await client.send_event(ping.response())
            case wsproto.events.CloseConnection(code=code):
                ends.append(code)
                return


def check_chain(said: list[dict[str, Any]]) -> None:
    """Each state of the main key is what the one before it leads to."""
    version, document = None, None
    for message in said:
        if (message.get("app"), message.get("profile")) != (KEY.application, KEY.profile):
            continue
        match message["type"]:
            case "config_snapshot":
                version, document = message["version"], message["config"]
            case "config_change":
                assert version == message["old_version"]
                document = jsonpatch.apply_patch(document, message["diff"])
                version = message["new_version"]
            case "in_sync":
                # The answer to a resync with what the client has, and it may have said anything.
                pass


@given(steps=STEPS)
@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_one_client_does_its_chain_holds_and_the_witness_sees_all(steps: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            wire = Wire(nursery, errors_per_minute=3, messages_per_second=20, resync_burst=2)
            witness, client = wire.connect(), wire.connect()
            seen: list[dict[str, Any]] = []
            said: list[dict[str, Any]] = []
            ends: list[int] = []
            for each in (witness, client):
                await each.opened()
            nursery.start_soon(listen, witness, seen, [])
            nursery.start_soon(listen, client, said, ends)
            await converse(wire, client, steps)
            last = wire.publish(99)
            await trio.sleep(1)
            check_chain(said)
            check_chain(seen)
            if "drain" not in [kind for kind, _ in steps]:
                versions = [
                    message.get("new_version") or message.get("version")
                    for message in seen
                    if message["type"].startswith("config")
                ]
                assert last == versions[-1]
            await client.stream.aclose()
            await trio.sleep(60)
            assert len(wire.server) <= 1
            assert len(ends) <= 1
            await witness.stream.aclose()
            await trio.sleep(60)
            assert 0 == len(wire.server) == wire.line.held.total()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), strict_exception_groups=True)
