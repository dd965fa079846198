"""The bridge: the writes to the socket, and their times."""

import json
import re
import socket
import threading
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.fakes import open_gate, wait_until
from tests.http.serving import FilesReader, read_all, serving
from vortexd.aio.late_import import LateImport
from vortexd.auth import Gate
from vortexd.http import client_stream, http1
from vortexd.http.adapter.hypercorn import Http1Server
from vortexd.http.client_stream import ClientStream
from vortexd.net.head import Head
from vortexd.net.listener import Accepted
from vortexd.net.places import Standing
from vortexd.net.proxies import Sender
from vortexd.settings.auth import AuthSettings
from vortexd.settings.server import ServerSettings


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Everything that the bridge writes."""
    written: list[bytes] = []
    send_all = ClientStream.send_all

    async def recorded(stream: ClientStream, data: bytes) -> None:
        written.append(bytes(data))
        await send_all(stream, data)

    monkeypatch.setattr(ClientStream, "send_all", recorded)
    return written


@pytest.mark.parametrize(
    ("target", "method", "body", "status"),
    [
        ("/shop/dev", "GET", b"", 200),
        ("/shop/dev", "HEAD", b"", 200),
        ("/nowhere", "GET", b"", 404),
        ("/shop/dev", "POST", b"x", 405),
    ],
)
async def test_an_answer_is_one_write(writes: list[bytes], target: str, method: str, body: bytes, status: int) -> None:
    async with serving() as http:
        answer = await http.ask(target, method, body)

    assert (status, 1) == (answer.status, len(writes))


async def test_H02_a_large_body_is_one_in_memory_however_many_are_slow_to_read_it(writes: list[bytes]) -> None:
    async with serving(reader=FilesReader({"shop.yml": "large: " + "x" * 100_000})) as http:
        one, other = await http.ask("/shop/dev"), await http.ask("/shop/dev")

    assert one == other
    assert 4 == len(writes)
    assert len(writes[1]) > 100_000
    assert writes[1] is writes[3]


async def test_requests_of_one_connection_are_answered_one_by_one(writes: list[bytes]) -> None:
    one = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with serving() as http:
        answers = await http.exchange(one + one + last)

    assert 3 == answers.count(b"HTTP/1.1 200") == len(writes)
    assert answers.endswith(b'{"status":"UP"}')


async def test_what_is_no_http_behind_a_first_request_is_refused_and_closed() -> None:
    async with serving() as http:
        answers = await http.exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n\x00nonsense\r\n\r\n")

    assert [200, 400] == statuses(answers)


async def test_H05_a_later_request_with_a_length_and_a_coding_is_refused_and_nothing_behind_it_is_read() -> None:
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    two = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with serving() as http:
        answers = await http.exchange(one + two + one)

    assert [b"200", b"400"] == [each[:3] for each in answers.split(b"HTTP/1.1 ")[1:]]


async def test_who_is_still_sending_when_refused_reads_the_answer() -> None:
    head = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    async with serving() as http:
        async with await http.connect() as stream:
            await stream.send_all(head)
            first = await stream.receive_some(65_536)
            # The other end is closed for what it says, and open for what it hears.
            await stream.send_all(b"x" * 1_000_000)
            rest = await read_all(stream)

    assert first.startswith(b"HTTP/1.1 413")
    assert b"" == rest


async def test_who_goes_on_sending_for_ever_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_stream, "_LINGER", 0.05)
    async with serving() as http:
        async with await http.connect() as stream:
            await stream.send_all(b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
            with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x")
        await wait_until(lambda: not http.connections.child_tasks)


RESET = b"\1\0\0\0\0\0\0\0"


@pytest.mark.parametrize("reads", [False, True])
async def test_W15_who_breaks_off_leaves_nothing_behind(reads: bool) -> None:
    async with serving() as http:
        with capture_logs() as logs:
            for _ in range(50):
                with socket.socket() as client:
                    client.connect(("127.0.0.1", http.port))
                    client.sendall(b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    if reads:
                        await trio.to_thread.run_sync(client.recv, 65_536)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await wait_until(lambda: not [each for each in http.connections.child_tasks if each.name == "connection"])

    assert [] == [each for each in logs if each["log_level"] in ("error", "critical")]


async def test_W15_a_socket_that_is_broken_before_hypercorn_looks_at_it_is_no_error() -> None:
    async with serving() as http:
        ours, theirs = socket.socketpair()
        theirs.close()
        ours.shutdown(socket.SHUT_RDWR)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ours.close()
        await http.bridge.serve(Accepted(stream, head, "/health", Sender(), "id"))


# What RFC 9112 has beside the usual.

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def statuses(answers: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3})", answers)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"\r\n" + LAST, [200], id="first"),
        pytest.param(POST + b"\r\n" + LAST, [405, 200], id="behind a body"),
        pytest.param(HEALTH + b"\r\n" + HEALTH + b"\r\n" + LAST, [200, 200, 200], id="between requests"),
        pytest.param(b"\r\n\r\n" + LAST, [400], id="two at first"),
        pytest.param(HEALTH + b"\r\n\r\n" + LAST, [200, 400], id="two between requests"),
    ],
)
async def test_one_empty_line_before_a_request_is_ignored(data: bytes, expected: list[int]) -> None:
    async with serving() as http:
        assert expected == statuses(await http.exchange(data))


async def test_an_empty_line_behind_a_request_wins_an_idle_connection_no_time() -> None:
    settings = ServerSettings(keep_alive_timeout=0.2, request_timeout=30)
    async with serving(settings) as http:
        async with await http.connect() as stream:
            await stream.send_all(POST)
            assert [405] == statuses(await stream.receive_some(65_536))
            await wait_all_tasks_blocked()
            await stream.send_all(b"\r\n")
            with trio.fail_after(5):
                assert b"" == await read_all(stream)


def guarded() -> Gate:
    return Gate(AuthSettings(hosts=("ours.example",)), open_gate().authority, [], lambda: 0, lambda: 0)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://ours.example/shop/dev", "ours.example", 200),
        ("http://ours.example/shop/dev", "evil.example", 200),
        ("https://ours.example:8443/shop/dev?x=1", "evil.example", 200),
        ("http://evil.example/shop/dev", "ours.example", 403),
        ("/shop/dev", "evil.example", 403),
        ("ftp://ours.example/shop/dev", "ours.example", 403),
        ("http://user@ours.example/shop/dev", "ours.example", 400),
        ("http://ours.example/nowhere", "ours.example", 404),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_the_host_of_an_absolute_target_counts_in_place_of_the_header(
    target: str, host: str, status: int, is_first: bool
) -> None:
    data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    async with serving(gate=guarded()) as http:
        answers = await http.exchange(data if is_first else HEALTH + data)

    assert status == statuses(answers)[-1]


async def test_no_count_of_requests_ends_a_connection() -> None:
    """More than the 1,000 after which Hypercorn closes a connection by default."""
    async with serving() as http:
        answers = await http.exchange(HEALTH * 1_002 + LAST)

    assert [200] * 1_003 == statuses(answers)
    assert 1 == answers.lower().count(b"connection: close")


async def test_R12_a_drain_ends_a_connection_behind_pipelined_requests() -> None:
    async with serving() as http:
        async with await http.connect() as stream:
            await http.bridge.drain()
            await stream.send_all(HEALTH * 3)
            with trio.fail_after(5):
                assert [200] == statuses(await read_all(stream))
        await wait_until(lambda: not [each for each in http.connections.child_tasks if each.name == "connection"])


@pytest.mark.parametrize("first", [b"", HEALTH])
async def test_a_handshake_in_absolute_form_goes_to_the_websocket_side_in_origin_form(first: bytes) -> None:
    head = b"GET http://ours.example/ws/shop/dev?x=1 HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\n\r\n"
    async with serving() as http:
        await http.exchange(first + head + b"frames")

    (accepted,) = http.websockets
    assert "/ws/shop/dev?x=1" == accepted.target
    assert (
        b"GET /ws/shop/dev?x=1 HTTP/1.1\r\nHost: ours.example\r\nUpgrade: websocket\r\n\r\nframes".lower()
        == accepted.head.lower()
    )


async def test_health_in_absolute_form_is_answered_where_there_are_too_many_connections() -> None:
    async with serving(ServerSettings(connections=1)) as http:
        async with await http.connect():
            await wait_until(lambda: http.listener.places.count == 1)

            assert 200 == (await http.ask("http://localhost/health")).status


@pytest.mark.parametrize("method", ["get", "Get", "head", "GETT"])
async def test_methods_are_case_sensitive(method: str) -> None:
    async with serving() as http:
        answer = await http.ask("/shop/dev", method)

    assert (405, "GET, HEAD") == (answer.status, answer.headers["allow"])


async def test_the_head_of_a_first_request_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "in_origin_form", lambda _: pytest.fail("parsed again"))
    async with serving() as http:
        assert [200] == statuses(await http.exchange(LAST))


async def test_who_sends_more_behind_a_last_request_reads_the_answer() -> None:
    async with serving() as http:
        async with await http.connect() as stream:
            await stream.send_all(LAST + b"x" * 1_000)
            first = await stream.receive_some(65_536)
            await stream.send_all(b"x" * 1_000_000)
            rest = await read_all(stream)

    assert [200] == statuses(first)
    assert b"" == rest


async def test_a_later_request_that_is_refused_gets_the_same_error_as_a_first_one() -> None:
    bad = b"GET /shop/dev HTTP/2.0\r\nHost: localhost\r\n\r\n"
    async with serving() as http:
        first, later = await http.exchange(bad), await http.exchange(HEALTH + bad)

    assert [505] == statuses(first)
    assert later.endswith(first)


async def test_a_connection_that_was_handed_over_does_not_come_back_and_its_responses_look_the_same(
    writes: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []
    answer = http1.Http1._answer

    async def noted(connection: http1.Http1, head: Head) -> http1.Streamed | None:
        heads.append(head.target)
        return await answer(connection, head)

    monkeypatch.setattr(http1.Http1, "_answer", noted)
    async with serving() as http:
        answers = await http.exchange(HEALTH + POST + HEALTH + LAST)

    assert [200, 405, 200, 200] == statuses(answers)
    assert [b"/health"] == heads
    lines = [re.sub(rb"date: [^\r]*", b"", each) for each in writes]
    assert lines[0] == lines[2]


# What the bridge says of a connection, for the limits.


class Recorded(Standing):
    """A connection whose standing is written down, without repetitions."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.may_read = trio.Event()

    def _say(self, what: str) -> None:
        self.said += [what] if self.said[-1:] != [what] else []

    def works(self) -> None:
        self._say("works")

    def idles(self) -> None:
        self._say("idles")

    async def reads(self) -> None:
        self._say("reads")
        await self.may_read.wait()


async def stood(*parts: bytes, may_read: bool = True) -> list[str]:
    """What was said of a connection on which these parts came, one by one, and on which the first of them holds a head."""
    standing = Recorded()
    if may_read:
        standing.may_read.set()
    async with serving() as http:
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        client = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        accepted = Accepted(stream, parts[0], "/", Sender("192.0.2.1"), "id", standing=standing)
        http.connections.start_soon(http.bridge.serve, accepted)
        with trio.fail_after(10):
            for part in parts[1:]:
                await wait_all_tasks_blocked()
                assert standing.said[-1:] in (["idles"], ["reads"])
                await client.send_all(part)
            await wait_all_tasks_blocked()
            if may_read:
                assert ["idles"] == standing.said[-1:]
        await client.aclose()
    return standing.said


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([HEALTH], ["works", "idles"]),
        ([POST], ["works", "idles"]),
        ([POST[:-1], b"}"], ["reads", "works", "idles"]),
        ([POST[:-2], b"{", b"}"], ["reads", "works", "idles"]),
        ([HEALTH, HEALTH], ["works", "idles", "works", "idles"]),
        ([HEALTH, POST[:-1], b"}"], ["works", "idles", "reads", "works", "idles"]),
        ([HEALTH, HEALTH[:5], HEALTH[5:]], ["works", "idles", "reads", "works", "idles"]),
        ([HEALTH + HEALTH], ["works", "idles", "works", "idles"]),
    ],
)
async def test_a_peer_is_waited_for_from_when_a_request_begins_until_it_is_whole(
    parts: list[bytes], said: list[str]
) -> None:
    assert said == await stood(*parts)


async def test_the_rest_of_a_request_is_not_read_before_there_is_a_slot() -> None:
    assert ["reads"] == await stood(POST[:-1], b"}", may_read=False)


# Protocols that are imported at their first use.


def failing(*errors: Exception) -> LateImport[Any]:
    """An import that fails with these errors."""
    left = list(errors)

    def load() -> Any:
        raise left.pop(0)

    return LateImport(load)


async def test_requests_without_a_body_need_neither_hypercorn_nor_h2() -> None:
    async with serving() as http:
        http.bridge.hypercorn = http.bridge.http2 = failing()

        assert 200 == (await http.ask("/shop/dev")).status


@pytest.mark.parametrize("error", [OSError("too many open files"), ImportError("no such module")])
async def test_if_hypercorn_cannot_be_loaded_a_request_with_a_body_gets_503_until_it_can(error: Exception) -> None:
    async with serving() as http:
        usual, http.bridge.hypercorn = http.bridge.hypercorn, failing(error)
        with capture_logs() as logs:
            refused = await http.ask("/shop/dev", "POST", b"{}")
        http.bridge.hypercorn = usual
        served = await http.ask("/shop/dev", "POST", b"{}")

    assert (503, "1") == (refused.status, refused.headers["retry-after"])
    assert "bodies can't be received now" == json.loads(refused.body)["message"]
    assert [("protocol not loaded", "HTTP/1.1 by Hypercorn", str(error), "warning")] == [
        (each["event"], each["protocol"], each["reason"], each["log_level"]) for each in logs
    ]
    assert 405 == served.status


@pytest.mark.parametrize("error", [OSError("too many open files"), ImportError("no such module")])
async def test_if_h2_cannot_be_loaded_an_http2_connection_is_closed(error: Exception) -> None:
    ours, theirs = memory_stream_pair()
    async with serving() as http:
        http.bridge.http2 = failing(error)
        with capture_logs() as logs:
            accepted = Accepted(ours, b"", "", Sender(), "id", is_http2=True)  # type: ignore[arg-type]  # a stream of the test

            assert await http.bridge.serve(accepted) is None

    assert b"" == await theirs.receive_some()
    assert [("protocol not loaded", "HTTP/2", str(error), "warning")] == [
        (each["event"], each["protocol"], each["reason"], each["log_level"]) for each in logs
    ]


async def test_a_drain_that_begins_while_hypercorn_is_imported_ends_the_connection_after_its_request() -> None:
    may_load = threading.Event()
    async with serving() as http:
        load = http.bridge.hypercorn._load

        def slowly() -> Http1Server:
            may_load.wait(20)
            return load()

        http.bridge.hypercorn = LateImport(slowly)
        async with await http.connect() as stream:
            await stream.send_all(POST)
            await wait_until(lambda: http.bridge.hypercorn._loading.locked())
            await http.bridge.drain()
            assert http.bridge.hypercorn.loaded is None
            may_load.set()
            with trio.fail_after(20):
                answer = await read_all(stream)

    assert 1 == answer.count(b"HTTP/1.1 405")
    assert http.bridge.hypercorn.loaded is not None
    assert http.bridge.hypercorn.loaded.is_draining


async def test_a_drain_reaches_a_hypercorn_that_is_loaded() -> None:
    async with serving() as http:
        async with await http.connect() as stream:
            await stream.send_all(POST)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 405")
            await http.bridge.drain()
            with trio.fail_after(20):
                assert b"" == await read_all(stream)
        assert http.bridge.hypercorn.loaded is not None
        assert http.bridge.hypercorn.loaded.is_draining
