"""The client in JavaScript over Server-Sent Events, and its choice between the two transports."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import KEY
from vortexd.client.replica import version_of

from .node import NODE, VORTEX, needs_node, run_js

pytestmark = needs_node

NETWORK = Path(__file__).parent / "streaming.mjs"
NAME = str(KEY)
MAIN = {"app": KEY.application, "profile": KEY.profile, "label": KEY.label}
OTHER = {"app": "billing", "profile": "dev", "label": "main"}


def snapshot(document: dict[str, Any], key: dict[str, str] = MAIN, **more: Any) -> dict[str, Any]:
    return {"type": "config_snapshot", "schema": 1, **key, "config": document, "version": version_of(document), **more}


A, B, C = ({"a": number} for number in (1, 2, 3))
ONE, TWO, THREE = map(version_of, (A, B, C))
# A change that starts from a version that the client doesn't have.
GAP = {"type": "config_change", "schema": 1, **MAIN, "old_version": TWO, "new_version": THREE, "diff": []}
GIVEN = {
    "a": snapshot(A),
    "b": snapshot(B),
    "gap": GAP,
    "other": snapshot(A, OTHER, generation="5f.9"),
    "older": snapshot(B, OTHER, generation="5f.8"),
    "same": {"type": "in_sync", "schema": 1, **MAIN, "version": ONE},
    "subscribed": {"type": "subscribed", "schema": 1, "patterns": ["billing:*"]},
    "one": ONE,
    "two": TWO,
}


def follow(body: str, options: str = "{}", before: str = "", url: str = "ws://server:8888") -> Any:
    """Run the body of an asynchronous function with a client and the parts of streaming.mjs, and return its result.

    Args:
        body: It has `config`, and `log`, the states and changes that were reported.
        options: Of `watch`, in JavaScript.
        before: Runs before the client is made.
        url: The server's.
    """
    script = f"""
    import * as network from {json.dumps(NETWORK.as_uri())};
    import * as vortex from {json.dumps(VORTEX.as_uri())};
    const {{ advance, attempts, kinds, last, settle, wait }} = network;
    const given = {json.dumps(GIVEN)};
    const log = [];
    {before}
    const options = {{ instance: "", WebSocket: network.Socket, fetch: network.fetch, ...{options} }};
    const config = vortex.watch({json.dumps(url)}, "billing", "prod", options);
    config.on("state", ({{ name, reason, transport }}) => log.push([name, reason, transport]));
    config.on("change", ({{ key, document }}) => log.push([key, document]));
    const result = await (async () => {{ {body} }})();
    process.stdout.write(JSON.stringify(result ?? null));
    """
    command = [str(NODE), "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


# The format.


def events(*texts: str) -> Any:
    body = "const parser = new vortex.EventParser(); return given.flatMap((text) => parser.take(text));"
    return run_js(body, texts)


def event(data: str, kind: str = "message", name: str | None = None) -> dict[str, Any]:
    return {"type": kind, "data": data, "id": name}


STREAM = (
    "retry: 1500\n\n: heartbeat\n\nevent: hello\ndata: {}\n\nid: 12\ndata:x\ndata: y\n\nid\ndata\n\nevent: none\n\n"
)
FOUND = [
    {"type": "retry", "ms": 1500},
    {"type": "comment"},
    event("{}", "hello"),
    event("x\ny", name="12"),
    event("", name=""),
]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
def test_a_stream_may_be_split_anywhere(end: str) -> None:
    text = STREAM.replace("\n", end)
    # A CR ends a line at once, and a LF that follows in the next part is skipped.
    body = """
    return given.map((parts) => { const parser = new vortex.EventParser(); return parts.flatMap((text) => parser.take(text)); });
    """
    halves = [[text[:number], text[number:]] for number in range(len(text) + 1)]

    assert [FOUND] * (len(halves) + 1) == run_js(body, [*halves, list(text)])


def test_an_event_that_has_not_ended_is_none() -> None:
    assert [] == events("data: x\n")
    assert [event("x")] == events("data: x\n", "\n")


def test_fields_of_other_names_and_values_of_other_forms_are_ignored() -> None:
    assert [event("x: y")] == events("datum: 1\nretry: 1s\nretry: -1\nretry: 1234567890\nretry\ndata: x: y\n\n")


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert [event(" x")] == events("data:  x\n\n")


def test_the_id_and_type_of_an_event_are_not_those_of_the_next() -> None:
    assert [event("x", "a", "1"), event("y")] == events("event: a\nid: 1\ndata: x\n\ndata: y\n\n")


@pytest.mark.parametrize("name", ["a b", "a\tb", "\x00", "é", "\x7f", "x" * 4_097])
def test_an_id_that_a_header_cannot_contain_is_like_an_empty_one(name: str) -> None:
    assert [event("x", name="")] == events(f"id: {name}\ndata: x\n\n")


def test_the_longest_id_is_kept() -> None:
    assert [event("x", name="~" * 4_096)] == events(f"id: {'~' * 4_096}\ndata: x\n\n")


SIZE = """
const parser = new vortex.EventParser();
const tried = (text) => { try { return parser.take(text).length; } catch (error) { return error.name; } };
const part = "x".repeat(1024 * 1024 - 1) + "\\n";
const found = [];
found.push(tried("data: " + "y".repeat(33554400) + "\\n\\n"));
for (let number = 0; number < 31; number++) tried(part);
found.push(tried("x".repeat(1024 * 1024)), tried("x"));
return found;
"""


def test_an_event_of_more_than_32_mib_is_refused() -> None:
    """Each event counts from zero. The lines of one event count together, also if their fields are ignored."""
    assert [1, 0, "RangeError"] == run_js(SIZE, None)


# The choice of a transport.


CHOOSE = """
const choice = new vortex.TransportChoice(given[0]);
return given[1].map(([kind, value]) => (kind === "next" ? choice.next(value) : (choice[kind](value), null))).filter((each) => each !== null);
"""


def chosen(wanted: str, *steps: tuple[str, Any]) -> Any:
    return run_js(CHOOSE, [wanted, steps])


def following(count: int, at: float = 0.0) -> list[tuple[str, Any]]:
    return [("next", at)] * count


SOCKET, STREAMING = "websocket", "sse"


def test_a_websocket_is_preferred() -> None:
    assert [SOCKET] * 3 == chosen("auto", *following(3))


def test_after_a_stream_has_worked_each_eleventh_attempt_is_a_websocket_again() -> None:
    steps = [("next", 0.0), ("streamWorks", True), *following(22)]

    assert [SOCKET, *[STREAMING] * 10, SOCKET, *[STREAMING] * 10, SOCKET] == chosen("auto", *steps)


def test_after_five_minutes_a_websocket_is_tried_again() -> None:
    steps = [("next", 7.0), ("streamWorks", True), ("next", 306.9), ("next", 307.0), ("next", 606.9), ("next", 607.0)]

    assert [SOCKET, STREAMING, SOCKET, STREAMING, SOCKET] == chosen("auto", *steps)


def test_a_websocket_that_works_is_kept() -> None:
    steps = [("next", 0.0), ("streamWorks", True), ("next", 300.0), ("socketWorks", None), *following(2, 301.0)]

    assert [SOCKET] * 4 == chosen("auto", *steps)


def test_if_websockets_may_work_the_next_attempt_is_one() -> None:
    steps = [("next", 0.0), ("streamWorks", False), *following(2)]

    assert [SOCKET, SOCKET, STREAMING] == chosen("auto", *steps)


def test_if_there_is_no_stream_the_next_attempt_is_a_websocket() -> None:
    assert [SOCKET, SOCKET] == chosen(
        "auto", ("next", 0.0), ("streamWorks", True), ("streamFails", None), ("next", 1.0)
    )


@pytest.mark.parametrize("wanted", [SOCKET, STREAMING])
def test_a_transport_that_is_demanded_is_the_only_one(wanted: str) -> None:
    steps = [("next", 0.0), ("streamWorks", True), *following(12), ("streamFails", None), ("next", 900.0)]

    assert [wanted] * 14 == chosen(wanted, *steps)


def test_a_transport_that_does_not_exist_is_refused() -> None:
    body = "try { new vortex.TransportChoice(given); } catch (error) { return [error.name, error.message]; }"

    assert ["RangeError", 'transport must be "auto", "websocket" or "sse", not "polling"'] == run_js(body, "polling")


# Falling back.

BLOCKED = "await last().lose(); await last().answer(426); await last().open();"


def test_a_proxy_without_websockets_makes_it_use_an_event_stream() -> None:
    """The server answers the same request over HTTP, and names no reason for a refusal."""
    found = follow(
        f"{BLOCKED} await last().say(given.a, given.one); return [kinds(), log, config.document, config.state.transport];"
    )

    assert [
        ["socket", "question", "stream"],
        [[NAME, A], ["connected", None, "sse"]],
        A,
        "sse",
    ] == found


def test_the_socket_that_failed_is_closed() -> None:
    assert follow(f"{BLOCKED} return attempts[0].isClosed;")


@pytest.mark.parametrize("status", [200, 204, 302, 399, 426])
def test_an_answer_that_is_no_refusal_leads_to_an_event_stream(status: int) -> None:
    body = "null" if status == 204 else '""'

    assert ["socket", "question", "stream"] == follow(
        f"await last().lose(); await last().answer({status}, {{}}, {body}); return kinds();"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
def test_a_refusal_does_not_lead_to_an_event_stream(status: int) -> None:
    direct = f"await last().lose(); await last().answer({status}); return kinds();"
    told = f'await last().lose(); await last().answer(426, {{ "X-Vortex-Refused": "{status}" }}); return kinds();'

    assert ["socket", "question"] == follow(direct)
    assert ["socket", "question"] == follow(told)


def test_a_server_that_is_away_does_not_lead_to_an_event_stream() -> None:
    found = follow("await last().lose(); await last().fail(); return [kinds(), log];")

    assert [["socket", "question"], [["stale", "can't connect to ws://server:8888", "websocket"]]] == found


LOCATION = 'globalThis.location = { origin: "http://server:8888" };'


def test_a_page_of_the_servers_own_origin_can_ask_why() -> None:
    assert ["socket", "question"] == follow(
        "await last().lose(); await last().fail(); return kinds();", before=LOCATION
    )


@pytest.mark.parametrize("origin", ["http://other:8888", "https://server:8888", "http://server"])
def test_a_page_of_another_origin_cannot_ask_why_so_it_tries_an_event_stream(origin: str) -> None:
    before = f'globalThis.location = {{ origin: "{origin}" }};'
    body = """
    await last().lose(); await last().fail(); await last().open(); await last().say(given.a, given.one);
    const transport = config.state.transport;
    await last().lose(); await advance(1);
    return [kinds(), transport, config.state.transport];
    """

    # A WebSocket may work, so it is tried first the next time.
    assert [["socket", "question", "stream", "socket"], "sse", "websocket"] == follow(body, before=before)


def test_a_page_of_another_origin_learns_from_the_stream_that_its_token_is_wrong() -> None:
    before = 'globalThis.location = { origin: "http://other" };'
    body = """
    await last().lose(); await last().fail();
    await last().answer(401, {}, '{"message": "no such token"}');
    return log;
    """

    assert [["failed", "refused with 401 no such token", "sse"]] == follow(body, before=before)


def test_a_handshake_without_an_answer_is_given_up_after_ten_seconds() -> None:
    body = """
    await advance(9.9); const before = kinds();
    await advance(10); const asked = kinds();
    await last().answer(426);
    return [before, asked, kinds(), log, attempts[0].isClosed];
    """

    assert [["socket"], ["socket", "question"], ["socket", "question", "stream"], [], True] == follow(body)


def test_a_server_that_answers_nothing_is_reported() -> None:
    body = "await advance(10); await last().fail(); return [log, attempts[0].isClosed];"

    assert [[["stale", "no answer", "websocket"]], True] == follow(body)


def test_a_socket_that_opens_too_late_is_not_used() -> None:
    body = "await advance(10); await attempts[0].open(); await last().answer(426); return [attempts[0].sent, kinds()];"

    assert [[], ["socket", "question", "stream"]] == follow(body, '{ patterns: ["billing:*"] }')


def test_a_client_that_is_closed_while_it_asks_opens_nothing() -> None:
    body = "await last().lose(); config.close(); await last().answer(426); return [kinds(), config.state.name];"

    assert [["socket", "question"], "closed"] == follow(body)


def test_a_client_that_is_closed_while_a_stream_opens_ends_the_request() -> None:
    body = """
    await last().lose(); await last().answer(426);
    config.close(); await settle();
    return [last().isClosed, config.state.name, wait()];
    """

    assert [True, "closed", None] == follow(body)


def test_a_client_that_is_closed_ends_its_stream() -> None:
    body = f"{BLOCKED} await last().say(given.a, given.one); config.close(); await settle(); return [last().isClosed, log.at(-1), wait()];"

    assert [True, ["closed", None, "sse"], None] == follow(body)


@pytest.mark.parametrize("status", [404, 405, 426, 501])
def test_a_server_without_event_streams_is_asked_for_a_websocket_again(status: int) -> None:
    body = f"""
    await last().lose(); await last().answer(426); await last().answer({status});
    const reported = [...log];
    await advance(1);
    return [reported, kinds()];
    """

    assert [
        [["stale", "can't connect to http://server:8888", "sse"]],
        ["socket", "question", "stream", "socket"],
    ] == follow(body)


def test_a_page_in_place_of_a_stream_is_none() -> None:
    body = """
    await last().lose(); await last().answer(426); await last().open("text/html");
    const reported = [...log];
    await advance(1);
    return [reported, kinds()];
    """

    assert [
        [["stale", "can't connect to http://server:8888", "sse"]],
        ["socket", "question", "stream", "socket"],
    ] == follow(body)


def test_a_stream_that_does_not_answer_is_given_up_after_ten_seconds() -> None:
    body = """
    await last().lose(); await last().answer(426);
    await advance(9.9); const before = last().isClosed;
    await advance(10);
    return [before, attempts[2].isClosed, log];
    """

    assert [False, True, [["stale", "no answer", "sse"]]] == follow(body)


def test_reconnects_use_event_streams_and_then_a_websocket_for_once() -> None:
    body = f"""
    {BLOCKED}
    for (let attempt = 0; attempt < 11; attempt++) {{
      await last().say(given.a, given.one); await last().end(); await advance(attempt + 1);
      if (last().kind === "stream") await last().open();
    }}
    return kinds();
    """

    assert ["socket", "question", *["stream"] * 11, "socket"] == follow(body)


def test_a_websocket_that_works_again_is_used_and_gets_the_patterns() -> None:
    body = f"""
    {BLOCKED}
    await last().say(given.a, given.one); await last().end(); await advance(300);
    await last().open(); await last().say(given.same);
    return [last().kind, last().sent, log.at(-1)];
    """

    assert [
        "socket",
        [{"type": "subscribe", "patterns": ["billing:*"]}],
        ["connected", None, "websocket"],
    ] == follow(body, '{ patterns: ["billing:*"] }')


# A transport that is demanded.


def test_with_the_transport_websocket_there_is_no_stream() -> None:
    body = "await last().lose(); await last().answer(426); return [kinds(), log];"

    assert [["socket", "question"], [["stale", "can't connect to ws://server:8888", "websocket"]]] == follow(
        body, '{ transport: "websocket" }'
    )


SSE = '{ transport: "sse", WebSocket: undefined }'


def test_with_the_transport_sse_there_is_no_socket() -> None:
    body = "await last().open(); await last().say(given.a, given.one); return [kinds(), log];"
    before = "delete globalThis.WebSocket;"

    assert [["stream"], [[NAME, A], ["connected", None, "sse"]]] == follow(body, SSE, before)


def test_the_request_is_that_of_the_protocol() -> None:
    body = "const { url, headers } = last(); return [url.href, headers];"
    options = (
        '{ transport: "sse", label: "a/b", token: "secret", instance: "web", patterns: ["billing:*", "shop:p:*"] }'
    )

    assert [
        "https://server/base/api/v1/events/billing/prod?label=a%2Fb&instance=web&pattern=billing%3A*&pattern=shop%3Ap%3A*",
        {"Accept": "text/event-stream", "Authorization": "Bearer secret"},
    ] == follow(body, options, url="wss://server/base/")


@pytest.mark.parametrize("url", ["ftp://server", "server:8888", "file:///x"])
def test_a_url_of_another_kind_is_refused_at_once(url: str) -> None:
    body = """
    try { vortex.watch(given, "billing", "prod", { transport: "sse" }); } catch (error) { return [error.name, error.message]; }
    """

    assert ["SyntaxError", f"{url} isn't the URL of a server"] == run_js(body, url)


@pytest.mark.parametrize(
    ("status", "headers", "state", "after"),
    [
        (400, "{}", "failed", None),
        (401, "{}", "failed", None),
        (403, "{}", "failed", None),
        (404, "{}", "failed", None),
        (426, "{}", "failed", None),
        (429, '{ "Retry-After": "7" }', "stale", 7),
        (503, "{}", "stale", 0),
    ],
)
def test_a_refused_stream_is_like_a_refused_handshake(status: int, headers: str, state: str, after: float) -> None:
    body = f"""await last().answer({status}, {headers}, '{{"message": "why"}}'); return [log, wait()];"""

    assert [[[state, f"refused with {status} why", "sse"]], after] == follow(body, SSE)


def test_a_stream_that_cannot_be_reached_is_tried_again() -> None:
    body = "await last().fail(); const reported = [...log]; await advance(1); return [reported, kinds()];"

    assert [[["stale", "can't connect to http://server:8888", "sse"]], ["stream", "stream"]] == follow(body, SSE)


def test_an_answer_that_is_no_stream_says_so() -> None:
    body = 'await last().open("text/html"); return log;'

    assert [["stale", "can't connect to http://server:8888: the answer isn't an event stream", "sse"]] == follow(
        body, SSE
    )


# Following a stream.

OPEN = "await last().open();"
BEGUN = f"{OPEN} await last().say(given.a, given.one);"


def test_a_stream_that_ends_is_a_lost_connection_and_retry_is_the_delay() -> None:
    body = f'{OPEN} await last().write("retry: 2500\\n\\n"); await last().say(given.a, given.one); await last().end(); return [log.at(-1), wait(), config.document];'

    assert [["stale", "the connection broke", "sse"], 2.5, A] == follow(body, SSE)


def test_a_stream_that_breaks_is_a_lost_connection() -> None:
    assert [["stale", "the connection broke", "sse"], 0] == follow(
        f"{BEGUN} await last().lose(); return [log.at(-1), wait()];", SSE
    )


def test_the_delay_of_a_server_that_stops_goes_before_retry() -> None:
    body = f"""
    {OPEN} await last().write("retry: 2500\\n\\n"); await last().say(given.a, given.one);
    await last().say({{ type: "connection_closing", schema: 1, reason: "the server is stopping", reconnect_after_ms: 400 }});
    await last().end(); return [log.at(-1), wait()];
    """

    assert [["stale", "1001 the server is stopping", "sse"], 0.4] == follow(body, SSE)


def test_a_server_that_is_behind_sends_the_client_on() -> None:
    body = f"""
    {BEGUN} await last().end(); await advance(1); {OPEN}
    await last().say({{ type: "connection_closing", schema: 1, reason: "another server has a newer state", reconnect_after_ms: 300 }});
    await last().end(); await advance(2);
    const sentOn = last().url.searchParams.get("sent_on");
    {OPEN} await last().say(given.same, given.one); await last().end(); await advance(3);
    return [sentOn, last().url.searchParams.get("sent_on")];
    """

    assert ["1", None] == follow(body, SSE)


def test_the_event_close_is_like_a_close_frame() -> None:
    body = f'{BEGUN} await last().say({{ code: 4401, reason: "the token has expired" }}, null, "close"); return [log.at(-1), last().isClosed, wait()];'

    assert [["failed", "4401 the token has expired", "sse"], True, None] == follow(body, SSE)


@pytest.mark.parametrize("data", ["nonsense", "{}", '{"code":"1"}', "null", "[]"])
def test_an_event_close_without_a_code_is_a_lost_connection(data: str) -> None:
    body = f"{BEGUN} await last().write('event: close\\ndata: {data}\\n\\n'); return log.at(-1);"

    assert ["stale", "the connection broke", "sse"] == follow(body, SSE)


def test_an_event_close_without_a_reason_has_the_usual_one() -> None:
    body = f'{BEGUN} await last().write(\'event: close\\ndata: {{"code":1011,"reason":1}}\\n\\n\'); return log.at(-1);'

    assert ["stale", "1011 internal error", "sse"] == follow(body, SSE)


def test_a_heartbeat_is_a_sign_of_life() -> None:
    body = f"""
    let beats = 0; config.on("beat", () => beats++);
    {BEGUN} await advance(39); await last().write(": heartbeat\\n\\n");
    await advance(78.9); const before = config.state.name;
    await advance(79); return [before, log.at(-1), beats, attempts[0].isClosed];
    """

    silent = "the server is silent: no heartbeat in time"
    assert ["connected", ["stale", silent, "sse"], 1, True] == follow(body, SSE)


def test_a_heartbeat_before_the_first_state_is_none_of_the_document() -> None:
    body = f'let beats = 0; config.on("beat", () => beats++); {OPEN} await last().write(": heartbeat\\n\\n"); return [beats, config.state.name];'

    assert [0, "connecting"] == follow(body, SSE)


def test_an_event_that_is_too_big_ends_it() -> None:
    body = f'{BEGUN} await last().write("x".repeat(33554433)); return [log.at(-1), wait()];'

    assert [["failed", "the server sent an event that is too big", "sse"], None] == follow(body, SSE)


def test_text_may_be_split_within_a_character() -> None:
    document = {"name": "Zoë 😀"}
    body = f"""
    {OPEN}
    const text = new TextEncoder().encode('event: x\\ndata: ' + {json.dumps(json.dumps(snapshot(document), ensure_ascii=False))} + '\\n\\n');
    for (const byte of text) last().controller.enqueue(Uint8Array.of(byte));
    for (let turn = 0; turn < 60; turn++) await settle();
    return config.document;
    """

    assert document == follow(body, SSE)


# Resuming a stream.

RESUMED = """
const { url, headers } = last();
return [url.searchParams.get("last_version"), url.searchParams.get("generation"), headers["Last-Event-ID"] ?? null];
"""


def test_without_patterns_the_id_is_the_version_that_the_client_has() -> None:
    body = f"{BEGUN} await last().end(); await advance(1); {RESUMED}"

    assert [ONE, None, ONE] == follow(body, SSE)


PATTERNS = '{ transport: "sse", patterns: ["billing:*"] }'


def test_with_patterns_the_id_is_that_of_the_last_event() -> None:
    body = f"""
    {OPEN} await last().say(given.a, "c1"); await last().say(given.subscribed); await last().say(given.other, "c2");
    await last().end(); await advance(1); {RESUMED}
    """

    assert [ONE, None, "c2"] == follow(body, PATTERNS)


def test_after_an_empty_id_there_is_none() -> None:
    body = f'{OPEN} await last().say(given.a, "c1"); await last().say(given.b, ""); await last().end(); await advance(1); {RESUMED}'

    assert [TWO, None, None] == follow(body, PATTERNS)


def test_an_id_that_includes_an_older_state_than_the_client_has_is_not_used() -> None:
    body = f"""
    {OPEN} await last().say(given.a, "c1"); await last().say(given.other, "c2"); await last().say(given.older, "c3");
    const found = [];
    const resumed = () => {{ {RESUMED} }};
    await last().say(given.b, "c4"); await last().end(); await advance(1); found.push(resumed()[2]);
    {OPEN} await last().say(given.b, "c5"); await last().say(given.older, "c6"); await last().say(given.other, "c7");
    await last().end(); await advance(2); found.push(resumed()[2]);
    return found;
    """

    assert [None, "c7"] == follow(body, PATTERNS)


def test_a_socket_that_follows_a_stream_names_the_version() -> None:
    body = f"{BLOCKED} await last().say(given.a, given.one); await last().end(); await advance(300); return last().url;"

    assert follow(body).endswith(f"&last_version={ONE}")


@pytest.mark.parametrize("options", [SSE, PATTERNS], ids=["one key", "patterns"])
def test_after_a_gap_the_next_stream_begins_with_snapshots(options: str) -> None:
    """A client of a stream can't ask for a resync. It waits a second, so that a faulty server isn't asked too often."""
    body = f"""
    {BEGUN} await last().say(given.gap, "c2");
    const seen = [log.at(-1), wait(), config.document, last().isClosed];
    await advance(1); const resumed = (() => {{ {RESUMED} }})();
    {OPEN} await last().say(given.b, given.two); await last().end(); await advance(2);
    return [seen, resumed, config.document, (() => {{ {RESUMED} }})()[0]];
    """

    reason = "the server's changes don't lead to the version that it names"
    found = follow(body, options)
    assert [["stale", reason, "sse"], 1, A, True] == found[0]
    assert [[None, None, None], B, TWO] == found[1:]


def test_until_a_snapshot_has_arrived_each_stream_begins_with_one() -> None:
    body = f"{BEGUN} await last().say(given.gap, given.two); await advance(1); {OPEN} await last().end(); await advance(2); {RESUMED}"

    assert [None, None, None] == follow(body, SSE)


def test_the_end_of_a_key_that_was_missed_is_noticed_at_the_second_heartbeat() -> None:
    body = f"""
    {OPEN} await last().say(given.a, "c1"); await last().say(given.subscribed); await last().say(given.other, "c2");
    await last().end(); await advance(1);
    {OPEN} await last().say(given.same, "c3"); await last().say(given.subscribed);
    const count = log.length;
    await last().write(": heartbeat\\n\\n"); const first = log.slice(count);
    await last().write(": heartbeat\\n\\n"); return [first, log.slice(count)];
    """

    assert [[], [["billing:dev:main", None]]] == follow(body, PATTERNS)


# Acknowledgements.


def test_an_acknowledgement_is_not_sent_over_a_stream_and_the_client_says_so_once() -> None:
    before = "const warnings = []; console.warn = (text) => warnings.push(text);"
    body = f"{BEGUN} return [config.ack(config.version), config.ack(config.version), warnings];"

    warning = "vortex.js: the connection is an event stream, so the server doesn't get this client's acknowledgements"
    assert [False, False, [warning]] == follow(body, SSE, before)


def test_over_a_websocket_it_is_sent() -> None:
    before = "const warnings = []; console.warn = (text) => warnings.push(text);"
    body = "await last().open(); await last().say(given.a); return [config.ack(config.version), last().sent.map(({ type }) => type), warnings];"

    assert [True, ["ack"], []] == follow(body, before=before)


def test_it_follows_when_a_websocket_works_again() -> None:
    body = f"""
    console.warn = () => {{}};
    {BLOCKED} await last().say(given.a, given.one); config.ack(config.version);
    await last().end(); await advance(300);
    await last().open(); await last().say(given.same);
    return last().sent.map(({{ type, version, status }}) => [type, version, status]);
    """

    assert [["ack", ONE, "applied"]] == follow(body)
