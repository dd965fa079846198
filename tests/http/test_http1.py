"""HTTP/1.1: requests without a body, the ends of a connection, and the handover."""

import contextlib
import math
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from vortexd.core.errors import RemoteError
from vortexd.http import http1
from vortexd.http.client_stream import ClientStream
from vortexd.http.endpoint import Response
from vortexd.http.http1 import Http1, Streamed, Unanswered, response_head
from vortexd.http.request_head import Body, PeerGone, RequestHead
from vortexd.net.head import Head, Refused, in_origin_form, parse_head
from vortexd.net.outgoing import Outgoing
from vortexd.net.places import Standing
from vortexd.net.proxies import Proxies, Sender
from vortexd.settings.server import ServerSettings

SETTINGS = ServerSettings(request_timeout=30, keep_alive_timeout=60, write_timeout=10)
SENDER = Sender("192.0.2.1")
GET = b"GET /a%2Fb?c=d HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
WEBSOCKET = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"
HEAD_BYTES = 1_024
P = pytest.param


class Recorded(ClientStream):
    """A stream that keeps what it writes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.written: list[bytes] = []

    async def send_all(self, data: bytes) -> None:
        self.written.append(data)
        await super().send_all(data)


class Connection:
    """A connection over a stream in memory, and what its application was asked."""

    def __init__(
        self, response: Response | None = None, proxies: Proxies | None = None, *, is_slow: bool = False
    ) -> None:
        self.client: trio.StapledStream[Any, Any]
        ours, self.client = lockstep_stream_pair() if is_slow else memory_stream_pair()
        self.response = response or Response(200, b"ok")
        self.heads: list[RequestHead] = []
        self.events: list[str] = []
        self.is_draining = False
        # How long the application takes.
        self.seconds = 0.0
        self.stream = Recorded(ours, b"", SETTINGS, Outgoing(), Standing())
        self.http1 = Http1(
            self.respond,
            self.stream,
            HEAD_BYTES,
            SENDER,
            proxies,
            lambda: self.events.append("works"),
            lambda: self.is_draining,
        )

    async def respond(self, head: RequestHead, body: Body) -> Response:
        self.events.append("respond")
        self.heads.append(head)
        await trio.sleep(self.seconds)
        assert await body.receive() is None
        return self.response

    async def run(self, *parts: bytes, received: bytes = b"") -> Unanswered | Streamed | None:
        """Serve a client that sends these parts, each after the server has read the one before, and then ends."""
        found: list[Unanswered | Streamed | None] = []

        async def serve() -> None:
            found.append(await self.http1.run(received))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                for part in parts:
                    await self.client.send_all(part)
                    await wait_all_tasks_blocked()
                await self.client.send_stream.aclose()
        return found[0]


@pytest.fixture
async def connection() -> Connection:
    return Connection()


# Requests.


async def test_a_request_is_answered_and_the_client_is_waited_for(connection: Connection) -> None:
    assert await connection.run(GET) is None

    (head,) = connection.heads
    assert ("GET", "/a%2Fb", "c=d", SENDER, None) == (head.method, head.path, head.query, head.sender, head.proxies)
    assert [(b"host", b"localhost")] == [*head.headers]
    assert ["works", "respond"] == connection.events
    assert not connection.http1.has_unread


async def test_behind_a_proxy_each_request_names_its_sender() -> None:
    proxies = Proxies(("192.0.2.1",))
    connection = Connection(proxies=proxies)
    await connection.run(GET)

    assert proxies is connection.heads[0].proxies


async def test_requests_are_answered_in_a_row_however_they_come(connection: Connection) -> None:
    other = GET.replace(b"/a", b"/z")
    assert await connection.run(GET[:9], GET[9:] + other + GET, b"\r", b"\n" + other, received=GET) is None

    assert ["/a%2Fb", "/a%2Fb", "/z%2Fb", "/a%2Fb", "/z%2Fb"] == [each.path for each in connection.heads]


async def test_a_head_that_the_listener_has_parsed_is_not_parsed_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "in_origin_form", lambda _: pytest.fail("parsed again"))
    await connection.client.send_stream.aclose()

    assert await connection.http1.run(GET, parse_head(GET)) is None
    assert 1 == len(connection.heads)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that were parsed."""
    heads: list[bytes] = []
    parse = in_origin_form

    def counted(head: bytes) -> tuple[bytes, Head]:
        heads.append(head)
        return parse(head)

    monkeypatch.setattr(http1, "in_origin_form", counted)
    return heads


@pytest.mark.parametrize(("most", "times"), [(len(GET), 1), (len(GET) - 1, 3)])
async def test_a_short_head_that_is_repeated_is_parsed_once(
    connection: Connection, count: list[bytes], monkeypatch: pytest.MonkeyPatch, most: int, times: int
) -> None:
    monkeypatch.setattr(http1, "_KEPT_BYTES", most)
    await connection.run(GET, GET, GET)

    assert (times, 3) == (len(count), len(connection.heads))
    assert (connection.heads[0] is connection.heads[2]) == (times == 1)


async def test_a_head_that_differs_in_a_byte_is_another_request(connection: Connection, count: list[bytes]) -> None:
    await connection.run(GET, GET.replace(b"c=d", b"c=e"), GET)

    assert ["c=d", "c=e", "c=d"] == [each.query for each in connection.heads]
    assert 3 == len(count)


async def test_heads_with_bytes_behind_them_or_in_absolute_form_are_not_kept(
    connection: Connection, count: list[bytes]
) -> None:
    absolute = GET.replace(b"/a", b"http://other/a", 1)
    await connection.run(GET + GET, GET + GET, absolute, absolute)

    assert [GET + GET, GET, GET + GET, absolute, absolute] == count
    assert [(b"host", b"other")] == [*connection.heads[4].headers] == [*connection.heads[5].headers]


async def test_other_tasks_get_their_turn_between_requests_that_came_at_once(connection: Connection) -> None:
    turns: list[int] = []

    async def other() -> None:
        while len(connection.heads) < 3:
            turns.append(len(connection.heads))
            await trio.lowlevel.checkpoint()

    await connection.client.send_stream.aclose()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            nursery.start_soon(connection.http1.run, GET * 3)

    assert {1, 2} <= {*turns}


# Responses.


def head_of(written: bytes) -> list[bytes]:
    """The lines of a response without its date."""
    lines = written.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert 1 == sum(line.startswith(b"date: ") and line.endswith(b" GMT") for line in lines)
    return [line for line in lines if not line.startswith(b"date: ")]


async def test_a_response_has_all_headers_and_is_one_write() -> None:
    connection = Connection(Response(203, b"text", "text/plain", {"X-Y": "z"}))
    await connection.run(GET)

    (written,) = connection.stream.written
    assert [
        b"HTTP/1.1 203 ",
        b"x-content-type-options: nosniff",
        b"content-type: text/plain",
        b"content-length: 4",
        b"cache-control: no-store",
        b"x-y: z",
    ] == head_of(written)
    assert written.endswith(b"\r\n\r\ntext")


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", Response(200, b"body")),
        (b"GET", Response(304, b"body", None)),
        (b"GET", Response(204, b"body", None)),
    ],
)
async def test_some_responses_have_no_body(method: bytes, response: Response) -> None:
    connection = Connection(response)
    await connection.run(GET.replace(b"GET", method))

    (written,) = connection.stream.written
    assert written.endswith(b"\r\n\r\n")
    assert (b"content-length: 4" in written) == (method == b"HEAD")


@pytest.mark.parametrize(("size", "writes"), [(65_536, 1), (65_537, 2)])
async def test_a_large_body_is_written_by_itself_and_not_copied(size: int, writes: int) -> None:
    body = b"x" * size
    connection = Connection(Response(200, body))
    await connection.run(GET)

    assert writes == len(connection.stream.written)
    assert (connection.stream.written[-1] is body) == (writes == 2)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nSet-Cookie: x", "a\0b"])
async def test_H06_a_header_that_would_end_its_line_is_not_sent(value: str) -> None:
    connection = Connection(Response(200, b"ok", headers={"X": value}))
    with pytest.raises(ValueError, match="more than one line"):
        await connection.http1.run(GET)

    assert [] == connection.stream.written


def test_the_date_of_a_response_is_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 784_111_777.9
    monkeypatch.setattr("vortexd.http.http1.time.time", lambda: seconds)
    assert b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in response_head(Response(), closes=False)

    seconds += 1
    assert b"date: Sun, 06 Nov 1994 08:49:38 GMT\r\n" in response_head(Response(), closes=False)


# The ends of a connection.


@pytest.mark.parametrize(
    "head",
    [GET.replace(b"Host", b"Connection: close\r\nHost"), GET.replace(b"1.1", b"1.0")],
    ids=["close", "HTTP/1.0"],
)
async def test_a_connection_ends_after_the_last_request_and_says_so(connection: Connection, head: bytes) -> None:
    assert await connection.http1.run(GET + head) is None

    first, last = connection.stream.written
    assert b"Connection: close" not in first
    assert b"\r\nConnection: close\r\n\r\nok" in last
    assert not connection.http1.has_unread


async def test_bytes_behind_the_last_request_are_not_answered(connection: Connection) -> None:
    assert await connection.http1.run(GET.replace(b"1.1", b"1.0") + GET) is None

    assert 1 == len(connection.heads)
    assert connection.http1.has_unread


async def test_R12_in_a_drain_a_connection_ends_after_its_request(connection: Connection) -> None:
    connection.is_draining = True
    assert await connection.http1.run(GET + GET) is None

    (written,) = connection.stream.written
    assert b"Connection: close" not in written
    assert connection.http1.has_unread


@pytest.mark.parametrize("rest", [b"", b"\r", b"\r\n", b"GET / HT"])
async def test_a_client_that_ends_gets_nothing_more(connection: Connection, rest: bytes) -> None:
    assert await connection.run(GET + rest) is None

    assert 1 == len(connection.stream.written)


@pytest.mark.parametrize("rest", [b"", b"\r", b"\r\n"])
async def test_an_idle_connection_ends_after_its_time(
    connection: Connection, autojump_clock: MockClock, rest: bytes
) -> None:
    assert await connection.http1.run(GET + rest) is None

    assert 60 == trio.current_time()


@pytest.mark.parametrize("rest", [b"G", b"\r\nGET / HTTP/1.1\r\n"])
async def test_H01_a_later_head_has_its_time(connection: Connection, autojump_clock: MockClock, rest: bytes) -> None:
    async def send() -> None:
        await trio.sleep(50)
        await connection.client.send_all(rest)
        await trio.sleep(20)
        await connection.client.send_all(b"X")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with pytest.raises(Refused) as refused:
            await connection.http1.run(GET)

    assert (408, "the request head took too long") == (refused.value.status, refused.value.reason)
    assert 80 == trio.current_time()


@pytest.mark.parametrize(
    ("rest", "status"),
    [(b"\0", 400), (GET.replace(b"\r\n", b"\n"), 400), (b"GET / HTTP/1.1\r\nX: " + b"x" * 1_024, 431)],
)
async def test_a_later_head_that_is_invalid_is_refused(connection: Connection, rest: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        await connection.http1.run(GET + rest)

    assert status == refused.value.status
    assert 1 == len(connection.stream.written)


async def test_a_client_that_does_not_read_ends_its_connection(connection: Connection) -> None:
    await connection.client.receive_stream.aclose()

    with pytest.raises(trio.BrokenResourceError):
        await connection.http1.run(GET)


async def test_an_error_of_the_application_ends_the_connection(connection: Connection) -> None:
    connection.seconds = math.nan

    with pytest.raises(ValueError, match="NaN"):
        await connection.http1.run(GET)


@pytest.mark.parametrize(
    ("seconds", "answers", "ends"), [(29, 1, 29 + 60), (31, 0, 30)], ids=["just in time", "too late"]
)
async def test_a_response_that_takes_too_long_is_not_sent(
    connection: Connection, autojump_clock: MockClock, seconds: float, answers: int, ends: float
) -> None:
    connection.seconds = seconds
    assert await connection.http1.run(GET) is None

    assert (answers, ends) == (len(connection.stream.written), trio.current_time())


async def test_a_late_response_to_a_request_that_came_in_parts_is_no_late_head(
    connection: Connection, autojump_clock: MockClock
) -> None:
    connection.seconds = 31

    async def send() -> None:
        await trio.sleep(1)
        await connection.client.send_all(GET[9:])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await connection.http1.run(GET[:9]) is None
    assert ([], 30) == (connection.stream.written, trio.current_time())


@pytest.mark.parametrize(
    ("seconds", "size", "ends"), [(25, 60_000, 25 + 9), (0, 500_000, 9 * 9)], ids=["after a long wait", "in many parts"]
)
async def test_a_client_that_reads_slowly_has_more_time_than_a_request(
    autojump_clock: MockClock, seconds: float, size: int, ends: float
) -> None:
    connection = Connection(Response(200, b"x" * size), is_slow=True)
    connection.seconds = seconds
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.http1.run, GET.replace(b"Host", b"Connection: close\r\nHost"))
        await trio.sleep(seconds)
        while len(received) < size:
            await trio.sleep(9)
            received += await connection.client.receive_some(100_000)

    assert received.endswith(b"x" * size)
    assert ends == trio.current_time()


async def test_a_request_that_came_with_another_has_its_own_time(
    connection: Connection, autojump_clock: MockClock
) -> None:
    connection.seconds = 20
    assert await connection.http1.run(GET + GET) is None
    assert (2, 100) == (len(connection.stream.written), trio.current_time())


@pytest.mark.parametrize("rest", [b"G", POST[:-1]])
async def test_a_part_that_came_with_another_request_has_begun(
    connection: Connection, autojump_clock: MockClock, rest: bytes
) -> None:
    """The time of idle connections is longer, and in a drain shorter."""
    with contextlib.suppress(Refused):
        unanswered = await connection.http1.run(GET + rest)
        assert unanswered is not None
        connection.stream.drain()
        assert b"" == await connection.stream.receive_some()

    assert 30 == trio.current_time()


# The handover.


@pytest.mark.parametrize("before", [b"", GET, b"\r\n"])
@pytest.mark.parametrize(
    ("rest", "is_websocket"),
    [
        P(POST + GET, False, id="a body"),
        P(POST[:-2], False, id="a body to come"),
        P(GET.replace(b"Host", b"Expect: 100-continue\r\nHost"), False, id="an interim response"),
        P(GET.replace(b"Host", b"Upgrade: h2c\r\nHost"), False, id="an upgrade"),
        P(GET.replace(b"Host", b"Upgrade: websocket\r\nHost"), False, id="a WebSocket elsewhere"),
        P(WEBSOCKET.replace(b"websocket", b"h2c"), False, id="another upgrade at /ws/"),
        P(WEBSOCKET + b"frames", True, id="a WebSocket"),
        P(WEBSOCKET.replace(b"websocket", b"x, WebSocket"), True, id="a WebSocket in a list"),
    ],
)
async def test_a_request_that_needs_more_is_handed_over_with_all_that_follows(
    connection: Connection, before: bytes, rest: bytes, is_websocket: bool
) -> None:
    assert Unanswered(rest, is_websocket) == await connection.http1.run(before + rest)

    assert (before == GET) == len(connection.heads) == len(connection.stream.written)
    assert ["works", "respond"] * len(connection.heads) == connection.events


async def test_an_absolute_target_is_handed_over_in_origin_form(connection: Connection) -> None:
    found = await connection.http1.run(WEBSOCKET.replace(b"/ws", b"http://other/ws", 1) + b"frames")

    expected = b"GET /ws/shop/dev HTTP/1.1\r\nHost: other\r\nUpgrade: websocket\r\n\r\nframes"
    assert Unanswered(expected, is_websocket=True) == found


async def test_a_request_without_a_body_is_over_although_the_peer_stays(connection: Connection) -> None:
    """The application may wait until the peer has gone. A peer that waits for its response doesn't go."""
    with trio.move_on_after(0) as scope:
        await http1.NoBody(connection.stream).wait_gone()

    assert scope.cancelled_caught


# Requests that wait.


class Waiting:
    """An application whose requests wait until `answer` is set, or until the client has gone."""

    def __init__(self) -> None:
        self.answer = trio.Event()
        self.began = trio.Event()
        self.has_gone = False

    async def __call__(self, head: RequestHead, body: Body) -> Response:
        with body.waiting(), trio.CancelScope() as scope:
            self.began.set()

            async def end() -> None:
                await self.answer.wait()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(end)
                await body.wait_gone()
                self.has_gone = True
                nursery.cancel_scope.cancel()
        if self.has_gone:
            raise PeerGone
        return Response(200, b"changed")


def waiting() -> tuple[Connection, Waiting]:
    connection, application = Connection(), Waiting()
    connection.http1._respond = application
    return connection, application


async def test_no_deadline_ends_a_request_that_waits(mock_clock: MockClock) -> None:
    connection, application = waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.http1.run, GET)
        await application.began.wait()
        mock_clock.jump(3_600)
        await wait_all_tasks_blocked()
        application.answer.set()
        await wait_all_tasks_blocked()
        (written,) = connection.stream.written
        assert written.endswith(b"changed")
        assert b"Connection" not in written
        # The next request is awaited as after any other.
        mock_clock.jump(59)
        await wait_all_tasks_blocked()
        await connection.client.send_all(GET)
        await wait_all_tasks_blocked()
        assert 2 == len(connection.stream.written)
        await connection.client.send_stream.aclose()


async def test_a_client_that_leaves_while_its_request_waits_is_noticed_at_once() -> None:
    connection, application = waiting()

    assert await connection.run(received=GET) is None
    assert application.has_gone
    assert [] == connection.stream.written


async def test_a_broken_connection_is_a_client_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, application = waiting()

    async def receive(*, is_partly: bool, most: int) -> bytes:
        raise trio.BrokenResourceError

    monkeypatch.setattr(connection.stream, "receive", receive)
    assert await connection.http1.run(GET) is None
    assert application.has_gone


async def test_requests_that_come_while_one_waits_are_answered_after_it() -> None:
    connection, application = waiting()
    found: list[object] = []

    async def serve() -> None:
        found.append(await connection.http1.run(GET))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await application.began.wait()
        for part in (GET[:10], GET[10:] + GET):
            await connection.client.send_all(part)
            await wait_all_tasks_blocked()
        assert [] == connection.stream.written
        application.answer.set()
        await wait_all_tasks_blocked()
        assert 3 == len(connection.stream.written)
        await connection.client.send_stream.aclose()
    assert [None] == found


async def test_what_comes_behind_the_last_request_while_it_waits_is_unread() -> None:
    connection, application = waiting()
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.http1.run, last)
        await application.began.wait()
        await connection.client.send_all(b"more")
        await wait_all_tasks_blocked()
        application.answer.set()
    assert connection.http1.has_unread


async def test_only_so_many_bytes_are_read_ahead() -> None:
    connection, application = waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.http1.run, GET)
        await application.began.wait()
        await connection.client.send_all(b"x" * 1_000)
        await wait_all_tasks_blocked()
        await connection.client.send_all(b"x" * 65_536)
        await connection.client.send_stream.aclose()
        await wait_all_tasks_blocked()
        assert 4_096 == len(connection.http1._body.ahead)
        assert not application.has_gone
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("extra", "may_wait"), [(0, True), (1, False)])
async def test_a_request_before_too_many_bytes_may_not_wait(extra: int, may_wait: bool) -> None:
    connection, refused = Connection(), list[RemoteError]()

    async def respond(head: RequestHead, body: Body) -> Response:
        if not connection.stream.written:
            try:
                with body.waiting():
                    pass
            except RemoteError as error:
                refused.append(error)
        return Response(200)

    connection.http1._respond = respond
    count, rest = divmod(4_096 + extra, len(GET))
    await connection.run(received=GET + GET * count + GET[:rest])

    assert 1 + count == len(connection.stream.written)
    expected = [] if may_wait else [(400, "at most 4096 bytes may follow a request that waits")]
    assert expected == [(each.status, each.reason) for each in refused]


async def test_a_connection_keeps_no_bytes_of_answered_requests() -> None:
    connection, application = waiting()
    application.answer.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.http1.run, GET + GET)
        await wait_all_tasks_blocked()
        assert (2, b"") == (len(connection.stream.written), connection.http1._body.ahead)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_draining", [False, True])
async def test_a_request_that_waited_until_the_drain_closes_its_connection(is_draining: bool) -> None:
    connection, application = waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.http1.run, GET)
        await application.began.wait()
        connection.is_draining = is_draining
        application.answer.set()
        await wait_all_tasks_blocked()
        assert is_draining == (b"\r\nConnection: close\r\n" in connection.stream.written[0])
        nursery.cancel_scope.cancel()


async def test_in_a_drain_a_request_that_did_not_wait_is_answered_as_ever() -> None:
    connection, application = waiting()
    respond = connection.respond

    async def first_waits(head: RequestHead, body: Body) -> Response:
        if not connection.stream.written:
            return await application(head, body)
        connection.is_draining = True
        return await respond(head, body)

    application.answer.set()
    connection.http1._respond = first_waits
    assert await connection.http1.run(GET + GET) is None
    assert [False, False] == [b"Connection" in each for each in connection.stream.written]


# Event streams.


class FakeStream:
    """A response that lasts."""

    host = "192.0.2.9"

    def __init__(self) -> None:
        self.served: list[tuple[bytes, bool, bool]] = []

    async def serve(
        self, stream: trio.abc.Stream, head: bytes = b"", *, is_chunked: bool = False, has_spoken: bool = False
    ) -> bool:
        self.served.append((head, is_chunked, has_spoken))
        return True

    def abandon(self) -> None:
        self.served.append((b"abandoned", False, False))


@pytest.mark.parametrize(("version", "is_chunked"), [("1.1", True), ("1.0", False)])
@pytest.mark.parametrize("more", [b"", b"x"])
async def test_a_response_that_lasts_takes_the_connection_over(version: str, is_chunked: bool, more: bytes) -> None:
    connection = Connection()
    stream = FakeStream()
    connection.response = Response(content_type=None, headers={"Content-Type": "text/event-stream"}, stream=stream)
    head = f"GET /x HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()
    found = await connection.run(received=head + more)

    assert isinstance(found, Streamed)
    assert "192.0.2.9" == found.host
    assert await found.serve(cast(Any, None))
    [(sent, chunked, has_spoken)] = stream.served
    assert (is_chunked, bool(more)) == (chunked, has_spoken)
    assert is_chunked == (b"\r\nTransfer-Encoding: chunked\r\n" in sent)
    assert sent.startswith(b"HTTP/1.1 200 \r\n")
    assert sent.endswith(b"\r\nConnection: close\r\n\r\n")
    assert b"content-length" not in sent
    found.abandon()
    assert b"abandoned" == stream.served[-1][0]
