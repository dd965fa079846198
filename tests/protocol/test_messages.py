"""The JSON messages of the protocol, in both directions."""

import json

import attrs
import pytest

from tests.fakes import KEY, TIMESTAMP, config
from vortexd.core.model import Change, Origin
from vortexd.core.term import PinnedConfig, Term
from vortexd.protocol import messages
from vortexd.protocol.messages import InvalidMessage, parse

OLD, NEW = config(KEY, {"a": 1}), config(KEY, {"a": 2})
NAMES = {"app": "orders", "profile": "dev", "label": "main"}


@pytest.mark.parametrize(
    ("message", "kind", "members"),
    [
        (
            messages.config_snapshot(OLD, TIMESTAMP),
            "config_snapshot",
            NAMES | {"version": OLD.version, "config": {"a": 1}},
        ),
        (
            messages.config_change(Change(KEY, OLD, NEW, b'[{"op":"replace","path":"/a","value":2}]'), TIMESTAMP),
            "config_change",
            NAMES
            | {
                "old_version": OLD.version,
                "new_version": NEW.version,
                "diff": [{"op": "replace", "path": "/a", "value": 2}],
            },
        ),
        (
            messages.config_change(Change(KEY, OLD, NEW), TIMESTAMP),
            "config_snapshot",
            NAMES | {"version": NEW.version, "config": {"a": 2}},
        ),
        (
            messages.config_change(Change(KEY, OLD, None), TIMESTAMP),
            "config_removed",
            NAMES | {"old_version": OLD.version},
        ),
        (
            messages.config_snapshot(attrs.evolve(OLD, origin=Origin("abc", "Ada", TIMESTAMP)), TIMESTAMP),
            "config_snapshot",
            NAMES
            | {
                "version": OLD.version,
                "config": {"a": 1},
                "origin": {"commit": "abc", "author": "Ada", "time": TIMESTAMP},
            },
        ),
        (messages.in_sync(OLD, TIMESTAMP), "in_sync", NAMES | {"version": OLD.version}),
        (messages.ping(KEY, "v", TIMESTAMP), "ping", {"versions": {"orders:dev:main": "v"}}),
        (messages.lagged(3, TIMESTAMP), "lagged", {"dropped": 3}),
        (
            messages.connection_closing("why", 250, TIMESTAMP),
            "connection_closing",
            {"reason": "why", "reconnect_after_ms": 250},
        ),
        (messages.error("CODE", "text", TIMESTAMP), "error", {"code": "CODE", "message": "text"}),
    ],
)
def test_a_server_message_has_its_members_and_no_others(message: bytes, kind: str, members: dict[str, object]) -> None:
    assert {"type": kind, "schema": 1, "timestamp": TIMESTAMP} | members == json.loads(message)


@pytest.mark.parametrize(
    ("first", "resume"),
    [
        ("config_snapshot", "snapshot"),
        ("config_change", "diff"),
        ("in_sync", "in_sync"),
        ("config_removed", "removed"),
    ],
)
def test_hello_announces_the_first_state(first: str, resume: str) -> None:
    assert resume == json.loads(messages.hello("id", "vortexd", 30, 10, first, TIMESTAMP))["resume"]


@pytest.mark.parametrize("server", ["vortexd/1", "", 'a "quoted" "" name'])
def test_each_hello_has_its_own_id_and_time_and_the_settings_of_its_client(server: str) -> None:
    for connection_id, timestamp, interval in (("one", "t1", 30), ("two", "t2", 30), ("three", "t3", 12.5)):
        made = messages.hello(connection_id, server, interval, 10, "in_sync", timestamp)
        members = {"type": "hello", "schema": 1, "timestamp": timestamp, "connection_id": connection_id}
        intervals = {"heartbeat_interval_ms": interval * 1_000, "heartbeat_timeout_ms": 10_000}

        assert members | {"server": server, "protocol": 1, "resume": "in_sync"} | intervals == json.loads(made)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="M01 empty"),
        pytest.param("nonsense", id="M01 no JSON"),
        pytest.param("[]", id="M01 array"),
        pytest.param("null", id="M01 null"),
        pytest.param("{}", id="M01 no type"),
        pytest.param('{"type": 1}', id="M01 type of the type"),
        pytest.param('{"type":"pong"} x', id="M01 more behind"),
        pytest.param("[" * 100_000, id="M02 depth"),
        pytest.param('{"type":"pong","x":' + "[" * 40 + "]" * 40 + "}", id="M02 depth closed"),
        pytest.param('{"type":"pong","type":"subscribe"}', id="M03 twice"),
        pytest.param('{"type":"pong","x":{"a":1,"a":2}}', id="M03 twice below"),
        pytest.param('{"type":"pong","x":NaN}', id="M04 NaN"),
        pytest.param('{"type":"pong","x":-Infinity}', id="M04 Infinity"),
        pytest.param('{"type":"pong","x":1e999}', id="M04 too large"),
        pytest.param('{"type":"pong","x":' + "1" * 5_000 + "}", id="M05 digits"),
        pytest.param('{"type":"pong","x":"\\ud800"}', id="M06 surrogate"),
    ],
)
def test_what_is_no_message_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse(text)
    assert len(caught.value.reason) < 100


def test_a_message_is_an_object_with_a_type_and_whatever_else() -> None:
    assert {"type": "pong", "timestamp": "now", "x": [1, 1.5, None, "\N{GRINNING FACE}"]} == parse(
        '{"type":"pong","timestamp":"now","x":[1,1.5,null,"\\ud83d\\ude00"]}'
    )


# The order of a cluster.


def test_states_and_changes_have_the_generation_and_the_mark_of_a_stale_one_if_there_is_one() -> None:
    change = Change(KEY, OLD, NEW, b"[]")
    made = [
        messages.config_snapshot(NEW, TIMESTAMP, "ab.7"),
        messages.config_change(change, TIMESTAMP, "ab.7"),
        messages.in_sync(NEW, TIMESTAMP, "ab.7"),
        messages.config_change(Change(KEY, OLD, NEW), TIMESTAMP, "ab.7"),
    ]

    assert [("ab.7", None)] * 4 == [(each["generation"], each.get("stale")) for each in map(json.loads, made)]
    stale = json.loads(messages.config_snapshot(NEW, TIMESTAMP, "ab.7", is_stale=True))
    assert ("ab.7", True) == (stale["generation"], stale["stale"])


def test_the_messages_of_a_pinned_key_have_the_time_of_its_pin() -> None:
    members = KEY, NEW.version, NEW.body, ()
    pinned = PinnedConfig(*members, pinned=Term(1.0, 7.5))
    said = {"since": "1970-01-01T00:00:01.000Z", "until": "1970-01-01T00:00:07.500Z"}
    made = [
        messages.config_snapshot(pinned, TIMESTAMP),
        messages.config_change(Change(KEY, OLD, pinned, b"[]"), TIMESTAMP),
        messages.config_change(Change(KEY, OLD, pinned), TIMESTAMP),
        messages.in_sync(pinned, TIMESTAMP),
    ]

    assert [said] * 4 == [json.loads(each)["pinned"] for each in made]
    endless = messages.in_sync(PinnedConfig(*members, pinned=Term(1.0)), TIMESTAMP)
    assert said | {"until": None} == json.loads(endless)["pinned"]
    after = messages.config_change(Change(KEY, pinned, NEW, b"[]"), TIMESTAMP)
    assert "pinned" not in json.loads(after)


def test_the_type_of_a_message_is_read_from_its_beginning() -> None:
    assert "lagged" == messages.kind_of(messages.lagged(1, "2030-01-01T00:00:00.000Z"))
    assert "pong" == messages.kind_of(messages.pong(""))
