"""The requests that follow from a client's messages, and the limits of their rate."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import KEY, TIMESTAMP
from vortexd.core.candidate import candidate_of
from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.protocol.close import CloseReason
from vortexd.realtime.session import (
    Acknowledge,
    Answer,
    Close,
    Request,
    Resync,
    Session,
    Subscribe,
    Unsubscribe,
)
from vortexd.settings.realtime import RealtimeSettings

SETTINGS = RealtimeSettings()


class Talking:
    """A session, and messages to it."""

    def __init__(self, **limits: Any) -> None:
        self.session = Session(KEY, attrs.evolve(SETTINGS, **limits))
        self.now = 0.0

    def say(self, message: object) -> list[Request]:
        return list(self.session.receive(json.dumps(message), self.now, TIMESTAMP))

    def codes(self, message: object) -> list[object]:
        """The answers as their codes or types, what is to be done as it is."""
        return [
            (json.loads(each.message).get("code") or json.loads(each.message)["type"])
            if isinstance(each, Answer)
            else each
            for each in self.say(message)
        ]


def test_a_pong_asks_for_nothing_and_a_ping_for_a_pong() -> None:
    assert [] == Talking().codes({"type": "pong", "timestamp": TIMESTAMP})
    assert ["pong"] == Talking().codes({"type": "ping"})


@pytest.mark.parametrize("version", [None, "", "05ec81479bdc7281", "unknown"])
def test_M08_a_resync_is_from_any_version_that_is_text(version: str | None) -> None:
    assert [Resync(KEY, version)] == Talking().say({"type": "resync", "last_version": version})


def test_a_resync_is_for_the_whole_document_unless_it_asks_for_a_diff() -> None:
    asked = {"type": "resync", "last_version": "v"}

    assert [Resync(KEY, "v", wants_diff=False)] == Talking().say(asked) == Talking().say(asked | {"mode": "full"})
    assert [Resync(KEY, "v", wants_diff=True)] == Talking().say(asked | {"mode": "diff"})


@pytest.mark.parametrize("mode", ["", "patch", "Diff", None, True, 1, ["diff"], {"diff": 1}])
def test_another_mode_of_a_resync_is_no_message(mode: object) -> None:
    assert ["INVALID_MESSAGE"] == Talking().codes({"type": "resync", "last_version": "v", "mode": mode})


def test_members_that_the_server_does_not_know_are_ignored() -> None:
    assert [Resync(KEY, "v")] == Talking().say({"type": "resync", "last_version": "v", "since": 7, "modes": ["x"]})


def test_a_resync_is_of_the_main_subscription_or_of_the_one_it_names() -> None:
    named = {"type": "resync", "app": "billing", "profile": "prod", "label": "next", "last_version": "v"}

    assert [Resync(Key("billing", "prod", "next"), "v")] == Talking().say(named)
    assert [Resync(Key("orders", "prod", "main"), None)] == Talking().say({"type": "resync", "profile": "prod"})
    assert [Resync(Key("orders", "dev", "next,main"), None)] == Talking().say({"type": "resync", "label": "next,main"})


def test_patterns_are_subscribed_to_once_and_told_each_time() -> None:
    talking = Talking()
    one, two = Pattern("a"), Pattern("b", "*", "main")

    assert [Subscribe((one, two), (one, two))] == talking.say({"type": "subscribe", "patterns": ["a", "b:*:main", "a"]})
    assert [Subscribe((two,), ())] == talking.say({"type": "subscribe", "patterns": ["b:*:main"]})
    assert [one, two] == list(talking.session.patterns)
    assert [Unsubscribe((one,), (one,))] == talking.say({"type": "unsubscribe", "patterns": ["a:*"]})
    assert [Unsubscribe((one,), ())] == talking.say({"type": "unsubscribe", "patterns": ["a"]})
    assert [two] == list(talking.session.patterns)
    assert [Unsubscribe((one, two), (two,))] == talking.say({"type": "unsubscribe", "patterns": ["a", "b:*:main"]})
    assert () == talking.session.patterns


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_M16_more_texts_than_patterns_are_allowed_are_refused_unread(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    read: list[str] = []

    def reading(text: str) -> Pattern:
        read.append(text)
        return parse_pattern(text)

    monkeypatch.setattr("vortexd.realtime.session.parse_pattern", reading)
    talking = Talking(patterns=3)
    # One text that stands there many times is read once.
    talking.say({"type": kind, "patterns": ["a", "b", "c"] * 100})
    assert ["a", "b", "c"] == read
    (refused,) = talking.say({"type": kind, "patterns": ["a", "b", "c", "d"]})

    assert isinstance(refused, Answer)
    error = json.loads(refused.message)
    assert ("SUBSCRIPTION_FAILED", "at most 3 patterns") == (error["code"], error["message"])
    assert ["a", "b", "c"] == read


def test_a_session_is_fresh_when_all_that_was_said_is_forgotten() -> None:
    talking = Talking(messages_per_second=100, resyncs_per_second=0.5, resync_burst=10, errors_per_minute=6)
    assert 0.0 == talking.session.fresh_in(5.0)
    talking.say({"type": "pong"})
    assert pytest.approx(0.01) == talking.session.fresh_in(0.0)
    talking.say({"type": "resync"})
    assert pytest.approx((2.0, 0.5)) == (talking.session.fresh_in(0.0), talking.session.fresh_in(1.5))
    talking.say({"type": "dance"})
    assert pytest.approx(10.0) == talking.session.fresh_in(0.0)

    assert not talking.session.is_fresh(9.99)
    assert talking.session.is_fresh(10.01)
    assert 0.0 == talking.session.fresh_in(10.01)


@pytest.mark.parametrize(
    "patterns",
    [
        pytest.param(None, id="none"),
        pytest.param([], id="empty"),
        pytest.param("a", id="text"),
        pytest.param(["a", 1], id="M16 a number"),
        pytest.param(["("], id="M10 a bracket"),
        pytest.param(["(a+)+$"], id="M10 a regular expression"),
        pytest.param(["{a,b}"], id="M10 braces"),
        pytest.param(["a:b:c:d"], id="four parts"),
        pytest.param(["../x"], id="P02"),
        pytest.param(["x" * 1_000], id="M16 long"),
    ],
)
def test_what_is_no_pattern_fails_and_changes_nothing(patterns: object) -> None:
    talking = Talking()

    assert ["SUBSCRIPTION_FAILED"] == talking.codes({"type": "subscribe", "patterns": patterns})
    assert () == talking.session.patterns


def test_M09_patterns_are_counted_together() -> None:
    talking = Talking(patterns=3)
    talking.say({"type": "subscribe", "patterns": ["a", "b"]})

    assert ["SUBSCRIPTION_FAILED"] == talking.codes({"type": "subscribe", "patterns": ["c", "d"]})
    assert [Subscribe((Pattern("a"), Pattern("c")), (Pattern("c"),))] == talking.say(
        {"type": "subscribe", "patterns": ["a", "c"]}
    )


def test_M14_churn_leaves_nothing_behind() -> None:
    talking = Talking(messages_per_second=1_000_000)
    for number in range(10_000):
        talking.say({"type": "subscribe", "patterns": [f"a{number}"]})
        talking.say({"type": "unsubscribe", "patterns": [f"a{number}"]})

    assert () == talking.session.patterns


def test_an_ack_says_what_became_of_a_version() -> None:
    assert [Acknowledge(KEY, "v", "applied", None)] == Talking().say(
        {"type": "ack", "version": "v", "status": "applied"}
    )
    assert [Acknowledge(KEY, "v", "rejected", "no")] == Talking().say(
        {"type": "ack", "version": "v", "status": "rejected", "error": "no"}
    )


@pytest.mark.parametrize(
    "message",
    [
        {"type": "resync", "last_version": -1},
        {"type": "resync", "last_version": 2**64},
        {"type": "resync", "last_version": 1.5},
        {"type": "resync", "label": ["main"]},
        {"type": "resync", "label": {"$ne": 1}},
        {"type": "ack", "version": "v", "status": "maybe"},
        {"type": "ack", "status": "applied"},
        {"type": "ack", "version": "v" * 100, "status": "applied"},
        {"type": "unheard of"},
        {},
        [],
    ],
)
def test_M16_what_is_wrong_is_answered_and_nothing_else_happens(message: object) -> None:
    assert ["INVALID_MESSAGE"] == Talking().codes(message)


def test_M01_errors_without_end_end_the_connection() -> None:
    talking = Talking(errors_per_minute=10)

    assert [["INVALID_MESSAGE"]] * 10 == [talking.codes({}) for _ in range(10)]
    assert ["INVALID_MESSAGE", Close(CloseReason.POLICY)] == talking.codes({})
    talking.now += 6.1
    assert ["INVALID_MESSAGE"] == talking.codes({})


def test_messages_over_the_limit_are_answered_once_and_then_end_the_connection() -> None:
    talking = Talking(messages_per_second=5)
    answers = [talking.codes({"type": "pong"}) for _ in range(12)]

    assert [[]] * 5 + [["RATE_LIMITED"]] + [[]] * 4 + [[Close(CloseReason.POLICY)]] * 2 == answers


def test_who_waits_may_go_on() -> None:
    talking = Talking(messages_per_second=5)
    for _ in range(8):
        talking.say({"type": "pong"})
    talking.now += 1.0

    assert ["pong"] == talking.codes({"type": "ping"})
    assert [["pong"]] * 4 + [["RATE_LIMITED"]] == [talking.codes({"type": "ping"}) for _ in range(5)]


def test_W08_control_frames_count_as_messages() -> None:
    session = Talking(messages_per_second=5).session
    answers = [session.receive_control(0.0) for _ in range(11)]

    assert [()] * 10 + [(Close(CloseReason.POLICY),)] == answers


def test_M07_resyncs_have_a_limit_of_their_own() -> None:
    talking = Talking(resync_burst=2, resyncs_per_second=0.5)
    resync = {"type": "resync", "last_version": "v"}

    assert [[Resync(KEY, "v")]] * 2 + [["RATE_LIMITED"]] == [talking.codes(resync) for _ in range(3)]
    talking.now += 2.0
    assert [Resync(KEY, "v")] == talking.codes(resync)


WORDS = st.sampled_from(["subscribe", "unsubscribe", "resync", "ack", "ping", "pong", "type", "a", "*", "a*:b", "v"])
MESSAGES = st.fixed_dictionaries(
    {"type": WORDS},
    optional={
        "patterns": st.lists(WORDS | st.text() | st.integers(), max_size=5),
        "last_version": WORDS | st.none() | st.integers(),
        "version": WORDS,
        "status": st.sampled_from(["applied", "rejected", ""]),
        "app": WORDS | st.text(),
    },
)


@given(st.lists(st.tuples(MESSAGES.map(json.dumps) | st.text(), st.floats(0, 100)), max_size=50))
def test_any_conversation_keeps_the_limits_and_never_raises(conversation: list[tuple[str, float]]) -> None:
    session = Session(KEY, attrs.evolve(SETTINGS, messages_per_second=3, patterns=4, errors_per_minute=2))
    now = 0.0
    for text, pause in conversation:
        now += pause
        for request in session.receive(text, now, TIMESTAMP):
            assert isinstance(request, Request)
        assert len(session.patterns) <= 4


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ('{"type":"ping"}', ["ping"]),
        ('{"type":"pong"}', []),
        ('{"type":"resync"}', ["resync"]),
        ('{"type":"subscribe","patterns":["a:*"]}', ["subscribe"]),
        ('{"type":"unsubscribe","patterns":["a:*"]}', ["unsubscribe"]),
        ('{"type":"ack","version":"v","status":"applied"}', ["ack"]),
        ('{"type":"nonsense"}', ["refused"]),
        ('{"type":"subscribe","patterns":[""]}', ["refused"]),
        ("[", ["refused"]),
    ],
)
def test_each_message_has_a_name_for_metrics(text: str, kinds: list[str]) -> None:
    requests = Session(KEY, RealtimeSettings()).receive(text, 0.0, TIMESTAMP)

    assert kinds == [each.kind for each in requests]


def test_the_end_of_a_connection_counts_as_no_message() -> None:
    session = Session(KEY, RealtimeSettings(errors_per_minute=1))
    session.receive("[", 0.0, TIMESTAMP)

    assert ["refused", None] == [each.kind for each in session.receive("[", 0.0, TIMESTAMP)]


@pytest.mark.parametrize("members", [{}, {"app": "orders", "profile": "dev", "label": "main"}])
def test_messages_that_name_the_main_key_mean_the_track_that_it_is_on(members: dict[str, str]) -> None:
    key = Key("orders", "dev", "main")
    session = Session(key, RealtimeSettings())
    for track in (candidate_of(key), key):
        session.move(track)
        (resync,) = session.receive(json.dumps({"type": "resync"} | members), 0.0, "")
        (ack,) = session.receive(json.dumps({"type": "ack", "version": "1", "status": "applied"} | members), 0.0, "")
        assert isinstance(resync, Resync)
        assert isinstance(ack, Acknowledge)
        assert track == resync.key == ack.key
