import json
from typing import Any

import pytest

from vortexd.client import protocol
from vortexd.client.change import Change
from vortexd.client.client_state import Ack, ClientState
from vortexd.client.disconnect import closed
from vortexd.client.protocol import Conversation, Current, Event, Heartbeat, Over, Refused
from vortexd.client.replica import version_of
from vortexd.core.generation import Generation
from vortexd.core.model import Key
from vortexd.core.patterns import parse_pattern

from .said import KEY, change, in_sync, message, ping, snapshot

OLD, NEW, THIRD = {"a": 1}, {"a": 2}, {"a": 3}
PATCH = [{"op": "replace", "path": "/a", "value": 2}]
OTHER = Key("billing", "dev", "main")


def begun(*patterns: str, held: ClientState | None = None) -> Conversation:
    """Return a conversation whose first state is OLD, at time 0. Its messages until then are removed."""
    talk = Conversation(held or ClientState(), [parse_pattern(text) for text in patterns], 0.0)
    talk.receive(snapshot(OLD), 0.0)
    talk.take_outgoing(0.0)
    return talk


def said(talk: Conversation, now: float = 0.0) -> list[dict[str, Any]]:
    return [json.loads(text) for text in talk.take_outgoing(now)]


def resyncs(talk: Conversation) -> list[str | None]:
    return [each["last_version"] for each in said(talk) if each["type"] == "resync"]


def ends(events: list[Event]) -> list[bool]:
    return [event.end.may_return for event in events if isinstance(event, Over)]


def test_the_first_state_makes_it_current_and_names_the_key() -> None:
    held = ClientState()
    events = Conversation(held, [], 0.0).receive(snapshot(OLD), 0.0)

    assert [Change(KEY, None, version_of(OLD), OLD), Current()] == events
    assert KEY == held.key


def test_a_change_comes_with_its_patch_and_its_origin() -> None:
    origin = {"commit": "c", "author": "Ann", "time": "t"}
    text = message(
        "config_change", KEY, old_version=version_of(OLD), new_version=version_of(NEW), diff=PATCH, origin=origin
    )

    assert [Change(KEY, version_of(OLD), version_of(NEW), NEW, origin)] == begun().receive(text, 1.0)


def test_what_is_held_outlives_a_connection() -> None:
    held = ClientState()
    begun(held=held)
    again = Conversation(held, [], 10.0)

    assert [Current()] == again.receive(in_sync(OLD), 10.0)


def test_another_default_label_is_another_key_and_the_same_subscription() -> None:
    held = ClientState()
    begun(held=held)
    renamed = Key("orders", "dev", "trunk")
    again = Conversation(held, [], 10.0)

    assert [Current()] == again.receive(in_sync(OLD, renamed), 10.0)
    assert renamed == held.key


# Resync.


def test_what_does_not_fit_is_asked_for_once() -> None:
    talk = begun()
    for _ in range(3):
        assert [] == talk.receive(change(NEW, THIRD, PATCH), 0.5)

    assert [version_of(OLD)] == resyncs(talk)


def test_the_second_time_everything_is_asked_for_and_then_it_is_over() -> None:
    talk = begun()
    asked, over = [], []
    for second in range(0, 10, 2):
        over = talk.receive(message("in_sync", KEY, version="0" * 16), float(second))
        asked += resyncs(talk)
        if over:
            break

    assert [version_of(OLD), None, None] == asked
    assert [True] == ends(over)


def test_an_answer_that_fails_within_the_pause_is_asked_for_again_after_it() -> None:
    talk = begun()
    talk.receive(change(NEW, THIRD, PATCH), 0.0)
    talk.receive(message("in_sync", KEY, version="0" * 16), 0.1)
    assert 1.0 == talk.wake_at(0.0)
    talk.tick(1.0)

    assert [version_of(OLD), None] == resyncs(talk)


def test_an_answer_that_does_not_come_is_asked_for_again() -> None:
    talk = begun()
    talk.receive(change(NEW, THIRD, PATCH), 0.0)
    assert 10.0 == talk.wake_at(0.0)
    talk.tick(10.0)

    assert [version_of(OLD), None] == resyncs(talk)


def test_an_answer_that_fits_ends_the_trouble() -> None:
    talk = begun()
    talk.receive(change(NEW, THIRD, PATCH), 0.0)
    assert [Change(KEY, version_of(OLD), version_of(NEW), NEW)] == talk.receive(change(OLD, NEW, PATCH), 0.1)
    assert 40.1 == talk.wake_at(0.0)


def test_a_heartbeat_that_names_another_version_asks_for_it() -> None:
    talk = begun()
    assert [] == talk.receive(ping(NEW), 1.0)
    assert [version_of(OLD)] == resyncs(talk)


def test_a_heartbeat_that_names_ours_says_so() -> None:
    assert [Heartbeat()] == begun().receive(ping(OLD), 1.0)


def test_resyncs_of_many_keys_stay_below_what_a_server_lets_pass() -> None:
    talk = begun("*")
    keys = [Key(f"app{number}", "dev", "main") for number in range(20)]
    for key in keys:
        talk.receive(change(OLD, NEW, PATCH, key), 0.0)
    assert 8 == len(resyncs(talk))
    count = 0
    for second in range(1, 6):
        talk.tick(float(second))
        count += len(resyncs(talk))
    assert 4 == count


# Patterns.


def test_patterns_are_subscribed_to_on_each_connection() -> None:
    talk = Conversation(ClientState(), [parse_pattern("billing:*"), parse_pattern("*:prod")], 0.0)

    assert [{"type": "subscribe", "patterns": ["billing:*:*", "*:prod:*"]}] == said(talk)


def test_keys_of_patterns_come_begin_and_end() -> None:
    talk = begun("billing")
    removed = message("config_removed", OTHER, old_version=version_of(NEW))

    assert [Change(OTHER, None, version_of(NEW), NEW)] == talk.receive(snapshot(NEW, OTHER), 1.0)
    assert [Change(OTHER, version_of(NEW), None, None)] == talk.receive(removed, 2.0)
    assert [Change(OTHER, None, version_of(OLD), OLD)] == talk.receive(snapshot(OLD, OTHER), 3.0)


def test_a_key_that_no_pattern_matches_is_none_of_ours() -> None:
    assert [] == begun("shop").receive(snapshot(NEW, OTHER), 1.0)


def test_a_key_that_ended_while_nobody_was_connected_is_gone_at_the_second_heartbeat() -> None:
    held = ClientState()
    begun("billing", held=held).receive(snapshot(NEW, OTHER), 1.0)
    again = Conversation(held, [parse_pattern("billing")], 10.0)
    again.receive(in_sync(OLD), 10.0)
    assert [Heartbeat()] == again.receive(ping(OLD), 10.0)
    again.receive(message("subscribed", patterns=["billing:*:*"]), 10.0)

    assert [Heartbeat()] == again.receive(ping(OLD), 40.0)
    assert [Heartbeat(), Change(OTHER, version_of(NEW), None, None)] == again.receive(ping(OLD), 70.0)
    assert {} == held.others


def test_a_key_that_is_still_there_stays() -> None:
    held = ClientState()
    begun("billing", held=held).receive(snapshot(NEW, OTHER), 1.0)
    again = Conversation(held, [parse_pattern("billing")], 10.0)
    for text in (in_sync(OLD), message("subscribed", patterns=["billing:*:*"]), snapshot(NEW, OTHER), ping(OLD)):
        again.receive(text, 10.0)

    assert [Heartbeat()] == again.receive(ping(OLD), 40.0)
    assert [OTHER] == list(held.others)


def test_a_right_that_was_withdrawn_takes_its_keys_along() -> None:
    talk = begun("billing", "shop")
    talk.receive(snapshot(NEW, OTHER), 1.0)
    events = talk.receive(message("unsubscribed", patterns=["billing:*:*"]), 2.0)

    assert [Refused("UNSUBSCRIBED", "billing:*:*"), Change(OTHER, version_of(NEW), None, None)] == events


# Liveness.


def test_a_server_that_says_nothing_is_dead_after_both_times() -> None:
    talk = begun()
    assert 40.0 == talk.wake_at(0.0)
    assert [] == talk.tick(39.9)
    assert [True] == ends(talk.tick(40.0))


def test_any_byte_is_a_sign_of_life() -> None:
    talk = begun()
    talk.hear(30.0)
    assert [] == talk.tick(40.0)
    assert 70.0 == talk.wake_at(0.0)


def test_the_times_are_those_of_the_server() -> None:
    talk = Conversation(ClientState(), [], 0.0)
    talk.receive(message("hello", heartbeat_interval_ms=3_000, heartbeat_timeout_ms=2_000), 1.0)
    assert 6.0 == talk.wake_at(0.0)


@pytest.mark.parametrize("interval", [-1, 10**30, "x", None, True, 1.5])
def test_times_that_can_not_be_do_not_switch_it_off(interval: object) -> None:
    talk = Conversation(ClientState(), [], 0.0)
    talk.receive(message("hello", heartbeat_interval_ms=interval, heartbeat_timeout_ms=0), 0.0)
    assert 1.0 <= talk.wake_at(0.0) <= 3_600.0


# Everything else.


def test_an_ack_names_its_key() -> None:
    talk = begun()
    talk.acknowledge(KEY, Ack("v", "rejected", "e" * 5_000))

    assert [
        {
            "type": "ack",
            "version": "v",
            "status": "rejected",
            "error": "e" * 4_096,
            "app": "orders",
            "profile": "dev",
            "label": "main",
        }
    ] == said(talk)


def test_the_time_to_come_back_is_remembered() -> None:
    talk = begun()
    talk.receive(message("connection_closing", reason="x", reconnect_after_ms=250), 1.0)
    assert 250 == talk.reconnect_after_ms


def test_a_refusal_is_told_on_one_printable_line() -> None:
    text = message("error", code="FORBIDDEN", message="no\n")
    assert [Refused("FORBIDDEN", "no\\n")] == begun().receive(text, 1.0)


@pytest.mark.parametrize("text", [message("new"), message("lagged", dropped=3), message("pong")])
def test_what_is_not_known_is_ignored(text: str) -> None:
    assert [] == begun().receive(text, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"type": 1}',
        b"\xff",
        "[" * 100_000,
        message("config_snapshot"),
        message("unsubscribed", patterns=[1]),
    ],
)
def test_what_no_server_may_say_ends_the_connection(text: str | bytes) -> None:
    assert [True] == ends(begun().receive(text, 1.0))


def test_another_schema_is_for_a_person() -> None:
    assert [False] == ends(begun().receive(json.dumps({"type": "config_snapshot", "schema": 2}), 1.0))


# Acknowledgements.


def acknowledged(talk: Conversation, now: float = 0.0) -> list[str]:
    return [each["version"] for each in said(talk, now) if each["type"] == "ack"]


def test_what_was_acknowledged_is_said_again_to_a_server_in_sync() -> None:
    held = ClientState()
    begun(held=held)
    held.acks[KEY] = Ack(version_of(OLD), "applied")
    again = Conversation(held, [], 10.0)
    again.receive(in_sync(OLD), 10.0)

    assert [version_of(OLD)] == acknowledged(again)


def test_another_version_is_not_acknowledged_by_itself() -> None:
    held = ClientState()
    begun(held=held)
    held.acks[KEY] = Ack(version_of(OLD), "applied")
    again = Conversation(held, [], 10.0)
    again.receive(change(OLD, NEW, PATCH), 10.0)

    assert [] == acknowledged(again)


def test_of_acks_of_one_key_the_last_one_is_said() -> None:
    talk = begun()
    for version in ("1", "2", "3"):
        talk.acknowledge(KEY, Ack(version, "applied"))

    assert ["3"] == acknowledged(talk)


def test_acks_of_many_keys_stay_below_what_a_server_lets_pass() -> None:
    talk = begun()
    for number in range(200):
        talk.acknowledge(Key(f"app{number}", "dev", "main"), Ack("1", "applied"))

    assert 50 == len(acknowledged(talk, 0.0))
    assert 0.02 == talk.wake_at(0.0)
    assert 50 == len(acknowledged(talk, 1.0))


def test_who_may_not_report_stops_before_it_is_closed_for_it() -> None:
    talk = begun()
    talk.receive(message("error", code="FORBIDDEN", message="no"), 1.0)
    talk.acknowledge(KEY, Ack("1", "applied"))

    assert [] == acknowledged(talk)


def test_patterns_that_are_forbidden_say_nothing_of_acks() -> None:
    talk = begun("billing")
    talk.receive(message("error", code="FORBIDDEN", message="no"), 1.0)
    talk.acknowledge(KEY, Ack("1", "applied"))

    assert ["1"] == acknowledged(talk)


# A hostile server.


def test_more_than_can_be_held_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MOST_BYTES", 100)
    talk = begun("*")
    talk.receive(snapshot({"a": "x" * 50}, OTHER), 0.0)
    assert [True] == ends(talk.receive(snapshot({"a": "x" * 50}, Key("shop", "dev", "main")), 0.0))


def test_more_keys_than_can_be_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MOST_KEYS", 1)
    talk = begun("*")
    talk.receive(snapshot(OLD, OTHER), 0.0)
    assert [True] == ends(talk.receive(snapshot(OLD, Key("shop", "dev", "main")), 0.0))


def test_what_a_key_had_is_not_counted_any_more() -> None:
    held = ClientState()
    talk = begun("*", held=held)
    before = held.size
    talk.receive(snapshot(NEW, OTHER), 0.0)
    talk.receive(message("config_removed", OTHER, old_version=version_of(NEW)), 0.0)
    assert before == held.size


def test_a_frame_that_is_no_text_ends_the_connection() -> None:
    assert [True] == ends(begun().receive(snapshot(OLD).encode(), 1.0))


# Generations.


def test_a_close_code_is_interpreted_with_the_delay_of_the_server() -> None:
    talk = begun()
    talk.receive(message("connection_closing", reason="the server is stopping", reconnect_after_ms=1_500), 0.0)

    assert closed(1001, "bye", 1_500) == talk.close(1001, "bye")
    assert closed(1006, None, 1_500) == talk.close(1006)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1013, 4408, 4420, 4422])
def test_only_a_server_that_is_behind_sends_the_client_on(code: int) -> None:
    held = ClientState()
    Conversation(held, [], 0.0).close(code)

    assert not held.is_sent_on


@pytest.mark.parametrize(
    "first",
    [
        in_sync(OLD),
        snapshot(NEW, stale=True),
        change(OLD, NEW, PATCH),
        message("config_removed", KEY, old_version=version_of(OLD)),
    ],
)
def test_the_client_is_sent_on_until_a_first_state_has_arrived(first: str) -> None:
    held = ClientState()
    begun(held=held).close(4421)
    assert held.is_sent_on
    talk = Conversation(held, [], 10.0)
    for other in (message("hello"), message("connection_closing"), in_sync(THIRD), ping(OLD), "no JSON"):
        talk.receive(other, 10.0)
        assert held.is_sent_on
    talk.receive(first, 10.0)

    assert not held.is_sent_on


def test_a_state_of_another_key_does_not_end_being_sent_on() -> None:
    held = ClientState()
    begun("billing:*", held=held).close(4421)
    talk = Conversation(held, [parse_pattern("billing:*")], 10.0)
    talk.receive(in_sync(NEW), 10.0)
    talk.receive(snapshot(NEW, OTHER), 10.0)

    assert held.is_sent_on


def test_a_sent_on_client_stays_so_within_a_connection_that_was_current() -> None:
    """The state of a connection that is current already says nothing about the next server."""
    held = ClientState()
    talk = begun(held=held)
    talk.close(4421)
    talk.receive(snapshot(NEW), 1.0)

    assert held.is_sent_on


def older(talk: Conversation) -> list[Event]:
    return talk.receive(snapshot(OLD, OTHER, generation="a.7"), 10.0)


def with_other() -> ClientState:
    """Return the state of a client that has NEW of another key, at the generation a.8."""
    held = ClientState()
    talk = begun("billing:*", held=held)
    talk.receive(snapshot(NEW, OTHER, generation="a.8"), 0.0)
    return held


def test_an_older_document_of_a_patterns_key_changes_nothing_and_is_not_reported() -> None:
    held = with_other()
    talk = Conversation(held, [parse_pattern("billing:*")], 10.0)
    talk.receive(in_sync(OLD), 10.0)
    said(talk)
    size = held.size

    assert [] == older(talk)
    assert [] == talk.receive(change(OLD, THIRD, PATCH, OTHER, generation="a.7"), 10.0)
    assert (version_of(NEW), NEW, Generation("a", 8)) == (
        held.others[OTHER].version,
        held.others[OTHER].document,
        held.others[OTHER].generation,
    )
    assert ([], size) == (said(talk), held.size)


def test_an_older_document_does_not_repeat_an_acknowledgement() -> None:
    held = with_other()
    held.acks[OTHER] = Ack(version_of(NEW), "applied")
    talk = Conversation(held, [parse_pattern("billing:*")], 10.0)
    talk.receive(in_sync(OLD), 10.0)
    said(talk)
    older(talk)
    assert [] == said(talk)
    talk.receive(change(OLD, NEW, PATCH, OTHER, generation="a.8"), 10.0)

    assert [version_of(NEW)] == [each["version"] for each in said(talk)]


def test_an_older_document_is_no_answer_to_a_resync() -> None:
    talk = Conversation(with_other(), [parse_pattern("billing:*")], 10.0)
    talk.receive(in_sync(OLD), 10.0)
    talk.receive(change(OLD, THIRD, PATCH, OTHER, generation="a.9"), 10.0)
    assert [version_of(NEW)] == resyncs(talk)
    older(talk)
    talk.tick(19.9)
    assert [] == resyncs(talk)
    talk.tick(20.0)

    assert [None] == resyncs(talk)


def test_a_key_with_an_older_document_exists() -> None:
    """It isn't dropped at the second heartbeat, unlike a key for which no message came."""
    held = with_other()
    talk = Conversation(held, [parse_pattern("billing:*")], 10.0)
    talk.receive(in_sync(OLD), 10.0)
    talk.receive(message("subscribed", patterns=["billing:*"]), 10.0)
    older(talk)
    events = [*talk.receive(ping(OLD), 11.0), *talk.receive(ping(OLD), 12.0), *talk.receive(ping(OLD), 13.0)]

    assert [Heartbeat()] * 3 == events
    assert [OTHER] == list(held.others)


def test_the_main_key_takes_an_older_snapshot() -> None:
    held = ClientState()
    talk = Conversation(held, [parse_pattern("*")], 0.0)
    talk.receive(snapshot(NEW, generation="a.8"), 0.0)

    assert [Change(KEY, version_of(NEW), version_of(OLD), OLD)] == talk.receive(snapshot(OLD, generation="a.7"), 1.0)
    assert Generation("a", 7) == held.main.generation


def test_the_main_key_takes_no_older_change_and_takes_the_snapshot_of_a_server_that_stays_behind() -> None:
    """Its content is that of a former publication here, too. So the handshake found nothing to wait for."""
    held = ClientState()
    begun(held=held)
    held.main.generation = Generation("a", 8)
    talk = Conversation(held, [], 10.0)
    talk.receive(in_sync(OLD, generation="a.6"), 10.0)

    assert [] == talk.receive(change(OLD, NEW, PATCH, generation="a.7"), 10.0)
    assert ([], OLD, Generation("a", 8)) == (said(talk), held.main.document, held.main.generation)

    # If the server stays there, its heartbeat says so. The second request is for the whole document.
    talk.receive(ping(NEW), 20.0)
    assert [version_of(OLD)] == resyncs(talk)
    assert [] == talk.receive(change(OLD, NEW, PATCH, generation="a.7"), 20.0)
    talk.tick(30.0)
    assert [None] == resyncs(talk)
    assert [Change(KEY, version_of(OLD), version_of(NEW), NEW)] == talk.receive(snapshot(NEW, generation="a.7"), 30.0)
