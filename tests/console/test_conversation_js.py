"""The sans-IO client in JavaScript, step by step: its events, its messages, and when it gives up."""

import json
from collections.abc import Sequence
from typing import Any

import orjson

from tests.fakes import KEY, timestamp
from vortexd.client.replica import version_of
from vortexd.core.model import Change, Config, Key
from vortexd.protocol import messages

from .node import needs_node, run_js

pytestmark = needs_node

NAME = str(KEY)
OTHER = Key("billing", "dev", "main")
OLD, NEW, THIRD = {"a": 1}, {"a": 2}, {"a": 3}
PATCH = [{"op": "replace", "path": "/a", "value": 2}]


# Server messages, made by the server's own code where it has some.


def config(key: Key, document: dict[str, Any]) -> Config:
    return Config(key, version_of(document), orjson.dumps(document, option=orjson.OPT_SORT_KEYS), ())


def snapshot(document: dict[str, Any], key: Key = KEY) -> str:
    return messages.config_snapshot(config(key, document), timestamp()).decode()


def change(old: dict[str, Any], new: dict[str, Any], patch: list[dict[str, Any]]) -> str:
    made = Change(KEY, config(KEY, old), config(KEY, new), json.dumps(patch).encode())
    return messages.config_change(made, timestamp()).decode()


def in_sync(document: dict[str, Any]) -> str:
    return messages.in_sync(config(KEY, document), timestamp()).decode()


def ping(document: dict[str, Any] | None) -> str:
    return messages.ping(KEY, None if document is None else version_of(document), timestamp()).decode()


def message(kind: str, **members: Any) -> str:
    return json.dumps({"type": kind, "schema": 1, "timestamp": timestamp(), **members})


RUN = """
const held = new vortex.Held();
let conversation;
return given.map(([kind, at, text]) => {
  let events = [];
  if (kind === "connect") conversation = new vortex.Conversation(held, text, at);
  if (kind === "hear") events = conversation.receive(text, at);
  if (kind === "tick") events = conversation.tick(at);
  return [events, conversation.takeOutgoing().map((each) => JSON.parse(each)), conversation.wakeAt, conversation.reconnectAfterMs];
});
"""
Step = tuple[str, float, Any]


def connect(*patterns: str, at: float = 0.0) -> Step:
    return "connect", at, patterns


def hear(text: str, at: float = 0.0) -> Step:
    return "hear", at, text


def tick(at: float) -> Step:
    return "tick", at, None


def talked(*steps: Step) -> list[dict[str, Any]]:
    """Return the results of each step: its events, shortened, and its messages."""
    answers: Sequence[Any] = run_js(RUN, steps)
    return [
        {"events": list(map(short, events)), "said": said, "wake": wake, "after": after}
        for events, said, wake, after in answers
    ]


def short(event: dict[str, Any]) -> tuple[Any, ...]:
    match event["type"]:
        case "changed":
            return "changed", event["key"], event["document"]
        case "over":
            return "over", event["mayReturn"]
        case "refused":
            return "refused", event["code"]
        case other:
            return (other,)


def events(*steps: Step) -> list[tuple[Any, ...]]:
    """Return the events of the last step."""
    found: list[tuple[Any, ...]] = talked(*steps)[-1]["events"]
    return found


def resyncs(answers: list[dict[str, Any]]) -> list[str | None]:
    return [each["last_version"] for answer in answers for each in answer["said"] if each["type"] == "resync"]


BEGUN = (connect(), hear(snapshot(OLD)))


def test_the_first_state_is_a_change_and_makes_it_current() -> None:
    assert [("changed", NAME, OLD), ("current",)] == events(*BEGUN)
    assert [("current",)] == events(*BEGUN, connect(at=9.0), hear(in_sync(OLD), 9.0))


def test_a_change_is_applied_and_the_same_state_twice_is_none() -> None:
    assert [("changed", NAME, NEW)] == events(*BEGUN, hear(change(OLD, NEW, PATCH)))
    assert [] == events(*BEGUN, hear(change(OLD, NEW, PATCH)), hear(change(OLD, NEW, PATCH)))
    assert [] == events(*BEGUN, hear(snapshot(OLD)))


def test_numbers_are_verified_as_they_are_written() -> None:
    """JavaScript has only one kind of number. A version distinguishes 1 from 1.0, and includes every digit of a large number."""
    numbers = {"one": 1, "float": 1.0, "large": 2**60 + 1, "small": 1e-7, "huge": 1e22}

    # The application receives a JavaScript number, with the precision that it has.
    assert ("changed", NAME, numbers | {"large": 1_152_921_504_606_847_000}) == events(
        connect(), hear(snapshot(numbers))
    )[0]
    wrong = json.loads(snapshot({"one": 1})) | {"config": {"one": 1.0}}
    assert [] == events(connect(), hear(json.dumps(wrong)))


def test_what_leads_nowhere_is_asked_for_from_what_is_held_then_from_nothing_and_then_given_up() -> None:
    gap = hear(change(NEW, THIRD, PATCH), 1.0)
    answers = talked(
        *BEGUN,
        gap,
        hear(change(NEW, THIRD, PATCH), 1.5),
        hear(change(NEW, THIRD, PATCH), 3.0),
        hear(change(NEW, THIRD, PATCH), 5.0),
        hear(change(NEW, THIRD, PATCH), 7.0),
    )

    assert [version_of(OLD), None, None] == resyncs(answers)
    assert ("over", True) == answers[-1]["events"][-1]


def test_a_version_that_is_wrong_changes_nothing_until_the_right_one_comes() -> None:
    wrong = json.loads(change(OLD, NEW, PATCH)) | {"new_version": version_of(THIRD)}
    answers = talked(*BEGUN, hear(json.dumps(wrong), 1.0), hear(snapshot(THIRD), 1.1), hear(ping(THIRD), 2.0))

    assert [version_of(OLD)] == resyncs(answers)
    assert [[], [("changed", NAME, THIRD)], [("beat",)]] == [each["events"] for each in answers[-3:]]


def test_a_resync_that_is_not_answered_is_sent_again() -> None:
    answers = talked(*BEGUN, hear(change(NEW, THIRD, PATCH), 1.0), tick(5.0), tick(11.0))

    assert [[version_of(OLD)], [], [None]] == [resyncs([each]) for each in answers[-3:]]


def test_a_heartbeat_with_another_version_calls_for_a_resync() -> None:
    assert [version_of(OLD)] == resyncs(talked(*BEGUN, hear(ping(NEW), 1.0)))


def test_who_is_silent_for_two_heartbeats_is_dead() -> None:
    hello = message("hello", heartbeat_interval_ms=3_000, heartbeat_timeout_ms=1_000)

    assert [("over", True)] == events(*BEGUN, tick(40.0))
    assert [] == events(*BEGUN, tick(39.0))
    assert 4.0 == talked(connect(), hear(hello))[-1]["wake"]
    assert [("over", True)] == events(connect(), hear(hello), hear(ping(None), 2.0), tick(6.0))


def test_patterns_are_asked_for_and_what_ended_meanwhile_is_told() -> None:
    other = hear(snapshot({"b": 1}, OTHER))
    first = talked(
        connect("billing:*"), hear(snapshot(OLD)), hear(message("subscribed", patterns=["billing:*"])), other
    )
    assert [{"type": "subscribe", "patterns": ["billing:*"]}] == first[0]["said"]
    assert [("changed", str(OTHER), {"b": 1})] == first[-1]["events"]

    again = talked(
        connect("billing:*"),
        hear(snapshot(OLD)),
        other,
        connect("billing:*", at=9.0),
        hear(in_sync(OLD), 9.0),
        hear(message("subscribed", patterns=["billing:*"]), 9.0),
        hear(ping(OLD), 10.0),
        hear(ping(OLD), 11.0),
    )
    assert ("changed", str(OTHER), None) not in again[-2]["events"]
    assert ("changed", str(OTHER), None) in again[-1]["events"]


def test_what_no_pattern_matches_is_passed_over() -> None:
    assert [] == events(*BEGUN, hear(snapshot({"b": 1}, OTHER)))


def test_patterns_that_are_withdrawn_take_their_keys_along() -> None:
    answers = events(
        connect("billing:*"),
        hear(snapshot(OLD)),
        hear(snapshot({"b": 1}, OTHER)),
        hear(message("unsubscribed", patterns=["billing:*"])),
    )

    assert [("refused", "UNSUBSCRIBED"), ("changed", str(OTHER), None)] == answers


def test_a_key_may_end_and_begin_again() -> None:
    removed = hear(messages.config_removed(KEY, version_of(OLD), timestamp()).decode())

    assert [("changed", NAME, None)] == events(*BEGUN, removed)
    assert [("changed", NAME, NEW)] == events(*BEGUN, removed, hear(snapshot(NEW)))


def test_a_server_that_is_stopping_says_when_to_come_back() -> None:
    closing = message("connection_closing", reason="stopping", reconnect_after_ms=1_234)

    assert 1_234 == talked(*BEGUN, hear(closing))[-1]["after"]


# Generations. The transcripts cover the rules; these are the steps that they can't see.


def sent_on(*steps: tuple[str, Any]) -> list[bool]:
    """Return after each step whether the client was sent on. A step is a new connection, a close code, or a message."""
    found: list[bool] = run_js(
        """
        const held = new vortex.Held();
        let conversation;
        return given.map(([kind, value]) => {
          if (kind === "connect") conversation = new vortex.Conversation(held, value, 0);
          if (kind === "close") conversation.close(value);
          if (kind === "hear") conversation.receive(value, 0);
          return held.isSentOn;
        });
        """,
        steps,
    )
    return found


def test_only_a_server_that_is_behind_sends_the_client_on() -> None:
    codes = [1000, 1001, 1006, 1013, 4408, 4420, 4422, 4421, 1006, 1001]

    assert [False] * 8 + [True] * 3 == sent_on(("connect", []), *(("close", code) for code in codes))


def test_the_client_is_sent_on_until_a_first_state_of_the_main_key_has_arrived() -> None:
    begun = [("connect", ["billing:*"]), ("hear", snapshot(OLD)), ("close", 4421), ("connect", ["billing:*"])]
    others = [message("hello"), in_sync(NEW), snapshot(NEW, OTHER), ping(OLD), "no JSON"]
    found = sent_on(*begun, *(("hear", text) for text in others), ("hear", in_sync(OLD)))

    assert [True] * 7 + [False] == found[2:]


def test_a_close_code_is_interpreted_as_before() -> None:
    assert [
        {"reason": "4421 another server has a newer state", "mayReturn": True},
        {"reason": "1001 bye", "mayReturn": True},
    ] == run_js(
        """
        const conversation = new vortex.Conversation(new vortex.Held(), [], 0);
        return [conversation.close(4421), conversation.close(1001, "bye")];
        """,
        None,
    )


def test_an_older_document_of_a_patterns_key_repeats_no_acknowledgement() -> None:
    older, newer = (
        json.dumps(json.loads(snapshot(document, OTHER)) | {"generation": generation})
        for document, generation in ((OLD, "a.7"), (NEW, "a.8"))
    )
    said: list[Any] = run_js(
        """
        const held = new vortex.Held();
        const [main, older, newer] = given;
        const begin = () => {
          const conversation = new vortex.Conversation(held, ["billing:*"], 0);
          conversation.receive(main, 0);
          return conversation;
        };
        const first = begin();
        first.receive(newer, 0);
        first.acknowledge("billing:dev:main", held.others.get("billing:dev:main").version, "applied");
        const second = begin();
        second.takeOutgoing();
        second.receive(older, 0);
        const early = second.takeOutgoing();
        second.receive(newer, 0);
        return [early, second.takeOutgoing().map((text) => JSON.parse(text).version)];
        """,
        [snapshot(OLD), older, newer],
    )

    assert [[], [version_of(NEW)]] == said


def test_an_error_is_told_and_is_not_the_end() -> None:
    assert [("refused", "FORBIDDEN")] == events(*BEGUN, hear(message("error", code="FORBIDDEN", message="no")))


def test_what_no_server_says_is_the_end() -> None:
    assert [("over", True)] == events(*BEGUN, hear("{"))
    assert [("over", True)] == events(*BEGUN, hear("[]"))
    assert [("over", True)] == events(*BEGUN, hear('{"type":"config_snapshot"}'))
    assert [("over", False)] == events(*BEGUN, hear('{"type":"ping","schema":2}'))
    assert [] == events(*BEGUN, hear(message("something_new", colour="red")))
