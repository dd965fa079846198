"""Facts about the JSON of etcd's gateway. The answers are those of real members, 3.4.23 and 3.6.5."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from vortexd.cluster.engine import (
    Batch,
    Committed,
    Compacted,
    Condition,
    CreatedAt,
    Delete,
    Denied,
    EngineAway,
    EngineError,
    Entry,
    Event,
    Full,
    Put,
    Reading,
    TooLarge,
    Unmodified,
    Write,
)
from vortexd.cluster.etcd import wire

HEADER = {"cluster_id": "13805680747766176984", "member_id": "98", "revision": "21", "raft_term": "2"}
ONE = {"key": "L2EvMA==", "create_revision": "2", "mod_revision": "5", "version": "3", "value": "dg=="}


def coded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (16, "etcdserver: invalid auth token", wire.StaleToken),
        (3, "etcdserver: revision of auth store is old", wire.StaleToken),
        (9, "etcdserver: authentication is not enabled", wire.NoAuthentication),
        (3, "etcdserver: authentication failed, invalid user ID or password", Denied),
        (3, "etcdserver: user name is empty", Denied),
        (3, "etcdserver: user name not found", Denied),
        (7, "etcdserver: permission denied", Denied),
        (16, "anything", Denied),
        (8, "etcdserver: mvcc: database space exceeded", Full),
        (3, "etcdserver: request is too large", TooLarge),
        (3, "etcdserver: too many operations in txn request", TooLarge),
        (11, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (14, "etcdserver: no leader", EngineAway),
        (4, "context deadline exceeded", EngineAway),
        (3, "etcdserver: duplicate key given in txn request", EngineError),
    ],
)
def test_each_error_of_etcd_has_a_kind_and_keeps_its_text(code: int, message: str, kind: type[EngineError]) -> None:
    error = wire.error_of({"code": code, "message": message})
    assert type(error) is kind
    if kind is Denied:
        assert str(error).startswith(f"etcd refuses it: {message.removeprefix('etcdserver: ')}")
    elif kind is not Full:
        assert str(error) == message.removeprefix("etcdserver: ")
    else:
        assert "etcdctl alarm disarm" in str(error)


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        (3, "authentication failed, invalid user ID or password", "; check user, and the password in password_file"),
        (3, "user name is empty", "; its authentication is enabled; set user and password_file"),
        (7, "permission denied", "; grant a role of the user the right to these keys"),
        (16, "anything", ""),
    ],
)
def test_a_refusal_says_what_an_operator_can_do(code: int, message: str, remedy: str) -> None:
    error = wire.error_of({"code": code, "message": f"etcdserver: {message}"})
    assert str(error) == f"etcd refuses it: {message}{remedy}"


def test_the_older_form_of_an_error_is_read_too() -> None:
    stream = {"grpc_code": 14, "http_code": 503, "message": "etcdserver: no leader", "http_status": "x"}
    assert str(wire.error_of(stream)) == "no leader"
    assert type(wire.error_of({"error": "etcdserver: permission denied", "code": 7})) is Denied


def test_the_text_of_an_error_is_bounded() -> None:
    assert len(str(wire.error_of({"code": 3, "message": "x" * 10_000}))) == 200


@pytest.mark.parametrize(
    "answer", [[], "no", {}, {"code": "3", "message": "x"}, {"code": 3}, {"code": 3, "message": 1}]
)
def test_an_error_of_another_shape_is_malformed(answer: object) -> None:
    assert type(wire.error_of(answer)) is wire.Malformed


def test_a_range_names_only_what_is_asked_for() -> None:
    assert wire.range_of("/a") == {"key": coded("/a")}
    assert wire.range_of("/a", end="/b", revision=3, limit=4) == {
        "key": coded("/a"),
        "range_end": coded("/b"),
        "revision": "3",
        "limit": "4",
    }


def test_the_range_of_a_prefix_ends_after_its_last_character() -> None:
    assert wire.end_of("/a/") == "/a0"
    assert wire.after("/a") == "/a\0"


def test_a_transaction_has_its_conditions_writes_and_what_to_read_if_it_fails() -> None:
    writes: list[Write] = [Put("/a", b"\x01", "77"), Put("/b", b""), Delete("/c")]
    conditions: list[Condition] = [Unmodified("/a", 0), CreatedAt("/l", 9), Unmodified("/l", 12)]
    assert wire.transaction(writes, conditions) == {
        "compare": [
            {"key": coded("/a"), "result": "EQUAL", "target": "MOD", "mod_revision": "0"},
            {"key": coded("/l"), "result": "EQUAL", "target": "CREATE", "create_revision": "9"},
            {"key": coded("/l"), "result": "EQUAL", "target": "MOD", "mod_revision": "12"},
        ],
        "success": [
            {"request_put": {"key": coded("/a"), "value": "AQ==", "lease": "77"}},
            {"request_put": {"key": coded("/b"), "value": ""}},
            {"request_delete_range": {"key": coded("/c")}},
        ],
        "failure": [{"request_range": {"key": coded("/a")}}, {"request_range": {"key": coded("/l")}}],
    }


def test_several_keys_are_read_in_one_request() -> None:
    assert wire.several(["/a", "/b"]) == {
        "success": [{"request_range": {"key": coded("/a")}}, {"request_range": {"key": coded("/b")}}]
    }


def test_a_watch_begins_after_the_revision() -> None:
    assert wire.watch_of("/a/", 20) == {
        "create_request": {"key": coded("/a/"), "range_end": coded("/a0"), "start_revision": "21"}
    }


def test_a_page_has_entries_and_says_whether_there_are_more() -> None:
    page = wire.page({"header": HEADER, "kvs": [ONE | {"lease": "18"}], "more": True, "count": "20"})
    assert page == wire.Page(Reading((Entry("/a/0", b"v", 2, 5, "18"),), 21, HEADER["cluster_id"]), True)
    assert wire.page({"header": HEADER}) == wire.Page(Reading((), 21, HEADER["cluster_id"]), False)


def test_a_key_that_is_not_utf8_stays_what_it_is() -> None:
    page = wire.page({"header": HEADER, "kvs": [ONE | {"key": "/w=="}]})
    [entry] = page.reading.entries
    assert entry.key == "\udcff"
    assert wire.range_of(entry.key) == {"key": "/w=="}


def test_the_entries_that_exist_are_found() -> None:
    responses = [{"response_range": {"kvs": [ONE]}}, {"response_range": {"header": {"revision": "21"}}}]
    reading = wire.found({"header": HEADER, "succeeded": True, "responses": responses})
    assert reading == Reading((Entry("/a/0", b"v", 2, 5),), 21, HEADER["cluster_id"])


def test_a_commit_is_done_or_shows_what_stood_in_its_way() -> None:
    done = wire.committed({"header": HEADER, "succeeded": True, "responses": [{"response_put": {}}]})
    assert done == Committed(True, 21)
    failed = wire.committed({"header": HEADER, "responses": [{"response_range": {"kvs": [ONE]}}]})
    assert failed == Committed(False, 21, (Entry("/a/0", b"v", 2, 5),))


def test_the_first_line_of_a_watch_says_that_it_has_begun() -> None:
    line = wire.watch_line({"result": {"header": HEADER, "created": True}})
    assert line == wire.Created(21, HEADER["cluster_id"])


def test_a_line_of_a_watch_has_events_at_the_revision_of_the_last_one() -> None:
    deleted = {"type": "DELETE", "kv": {"key": coded("/a/x"), "mod_revision": "23"}}
    line = wire.watch_line({"result": {"header": HEADER | {"revision": "30"}, "events": [{"kv": ONE}, deleted]}})
    assert line == Batch((Event("/a/0", Entry("/a/0", b"v", 2, 5), 5), Event("/a/x", None, 23)), 23)


def test_a_line_without_events_is_an_empty_batch() -> None:
    assert wire.watch_line({"result": {"header": HEADER}}) == Batch((), 0)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"result": {"header": HEADER, "canceled": True, "compact_revision": "15"}}, Compacted),
        ({"result": {"header": HEADER, "canceled": True, "cancel_reason": "etcdserver: permission denied"}}, Denied),
        ({"result": {"header": HEADER, "canceled": True}}, EngineAway),
        ({"error": {"code": 14, "message": "etcdserver: no leader"}}, EngineAway),
        (
            {
                "result": {
                    "header": HEADER,
                    "created": True,
                    "canceled": True,
                    "cancel_reason": "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
                }
            },
            wire.StaleToken,
        ),
        (
            {
                "result": {
                    "header": HEADER,
                    "created": True,
                    "canceled": True,
                    "cancel_reason": "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
                }
            },
            Denied,
        ),
    ],
)
def test_a_watch_that_ends_says_why(line: Mapping[str, Any], kind: type[EngineError]) -> None:
    with pytest.raises(EngineError) as caught:
        wire.watch_line(line)
    assert type(caught.value) is kind
    if isinstance(caught.value, Compacted):
        assert caught.value.oldest == 15


def test_a_lease_has_an_identifier_and_its_seconds() -> None:
    assert wire.granted({"header": HEADER, "ID": "1879", "TTL": "5"}) == wire.Granted("1879", 5)


def test_a_lease_that_has_ended_has_no_seconds() -> None:
    assert wire.granted({"result": {"header": HEADER, "ID": "1879"}}) == wire.Granted("1879", 0)


def test_a_lease_that_etcd_refuses_is_an_error() -> None:
    with pytest.raises(EngineError, match="lease already exists"):
        wire.granted({"header": HEADER, "error": "etcdserver: lease already exists"})


def test_a_token_is_printable_text() -> None:
    assert wire.token({"header": HEADER, "token": "pVbZ.48"}) == "pVbZ.48"


BROKEN = [
    {},
    {"header": None},
    {"header": HEADER | {"revision": "x"}, "kvs": [ONE]},
    {"header": HEADER, "kvs": [ONE | {"key": "%"}]},
    {"header": HEADER, "kvs": [ONE | {"key": coded("a")[:-1]}]},
    {"header": HEADER, "kvs": [{"key": "L2EvMA=="}]},
    {"header": HEADER, "kvs": 3},
    {"header": HEADER, "kvs": [3]},
]


@pytest.mark.parametrize("answer", BROKEN)
def test_a_page_of_another_shape_is_malformed(answer: Mapping[str, Any]) -> None:
    with pytest.raises(wire.Malformed):
        wire.page(answer)


@pytest.mark.parametrize(
    ("parse", "answer"),
    [
        (wire.found, {"header": HEADER, "responses": [{}]}),
        (wire.found, {}),
        (wire.committed, {"succeeded": True}),
        (wire.committed, {"header": HEADER, "responses": [{"response_put": {}}]}),
        (wire.watch_line, {}),
        (wire.watch_line, {"result": {}}),
        (wire.watch_line, {"result": {"header": HEADER, "events": [{"kv": {}}]}}),
        (wire.watch_line, {"error": None}),
        (wire.granted, {}),
        (wire.granted, {"ID": "1", "TTL": "x"}),
        (wire.granted, {"result": 3}),
        (wire.token, {}),
        (wire.token, {"token": 3}),
        (wire.token, {"token": "a\r\nb"}),
        (wire.token, {"token": "\xe4"}),
        (wire.token, {"token": "a "}),
    ],
)
def test_an_answer_of_another_shape_is_malformed(parse: Callable[[Any], object], answer: Mapping[str, Any]) -> None:
    with pytest.raises(wire.Malformed):
        parse(answer)
