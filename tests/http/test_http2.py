"""HTTP/2: the same responses as over HTTP/1.1, and the limits for hostile peers."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import ContinuationFrame, HeadersFrame, PriorityFrame
from structlog.testing import capture_logs
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from tests.certificates import make
from tests.fakes import open_gate, timestamp
from tests.http.serving import FakeReader, quart_at_once
from vortexd.core.errors import RemoteError
from vortexd.http.app import create_app
from vortexd.http.bridge import Bridge
from vortexd.http.endpoint import Response
from vortexd.http.http2 import Http2
from vortexd.http.request_head import Body, RequestHead, Respond
from vortexd.http.routes import standard_routes
from vortexd.net.listener import Accepted, Listener
from vortexd.net.outgoing import Outgoing
from vortexd.net.places import Standing
from vortexd.net.proxies import Sender
from vortexd.net.tls import Tls, load_context
from vortexd.observe.metrics import Metrics
from vortexd.settings.server import ServerSettings
from vortexd.settings.tls import TlsSettings

SENDER = Sender("192.0.2.1")


@attrs.define
class Told:
    """What a client was told of one stream."""

    status: int = 0
    headers: dict[bytes, bytes] = attrs.field(factory=dict)
    body: bytes = b""
    is_whole: bool = False
    reset: int | None = None


class Client:
    """A client of the h2 package."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.told: dict[int, Told] = {}
        self.goodbye: int | None = None
        self.is_closed = False
        self.takes = True

    def request(self, path: str = "/shop/dev", method: str = "GET", body: bytes | None = None, **more: str) -> int:
        number = self.h2.get_next_available_stream_id()
        headers = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        headers += [(name.replace("_", "-"), value) for name, value in more.items()]
        self.h2.send_headers(number, headers, end_stream=body is None)
        if body is not None:
            self.h2.send_data(number, body, end_stream=True)
        self.told[number] = Told()
        return number

    async def flush(self, more: bytes = b"") -> None:
        await self.stream.send_all(self.h2.data_to_send() + more)

    async def hear(self) -> None:
        """Take in what comes next."""
        try:
            data = await self.stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self.is_closed = True
            return
        for event in self.h2.receive_data(data):
            told = self.told.get(getattr(event, "stream_id", 0) or 0, Told())
            if isinstance(event, h2.events.ResponseReceived):
                told.headers = dict(event.headers)
                told.status = int(told.headers[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                told.body += event.data
                if self.takes:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                told.is_whole = True
            elif isinstance(event, h2.events.StreamReset):
                told.reset = event.error_code
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goodbye = event.error_code
        if data := self.h2.data_to_send():
            try:
                await self.stream.send_all(data)
            except trio.BrokenResourceError:
                self.is_closed = True

    async def answer(self, number: int) -> Told:
        told = self.told[number]
        while not told.is_whole and told.reset is None and not self.is_closed:
            await self.hear()
        return told

    async def end(self) -> int | None:
        """Everything until the server closes; the code of its GOAWAY."""
        while not self.is_closed:
            await self.hear()
        return self.goodbye


@attrs.define
class Served:
    client: Client
    connection: Http2
    reader: FakeReader
    metrics: Metrics
    ended: trio.Event


@asynccontextmanager
async def served(
    settings: ServerSettings | None = None,
    only: frozenset[str] | None = None,
    respond: Respond | None = None,
    standing: Standing | None = None,
) -> AsyncIterator[Served]:
    settings = settings or ServerSettings()
    ours, theirs = memory_stream_pair()
    reader, metrics, ended = FakeReader(), Metrics(), trio.Event()
    routes = standard_routes(reader, metrics)
    app = create_app(routes, metrics, lambda: settings.body_bytes, timestamp, open_gate(), quart_at_once)
    connection = Http2(respond or app.respond, ours, settings, SENDER, None, Outgoing(), only, standing)
    client = Client(theirs)

    async def run() -> None:
        await connection.run()
        ended.set()

    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            client.h2.initiate_connection()
            await client.flush()
            yield Served(client, connection, reader, metrics, ended)
            nursery.cancel_scope.cancel()


async def never(head: RequestHead, body: Body) -> Response:
    raise AssertionError


async def ask(http: Served, *arguments: Any, **options: Any) -> Told:
    number = http.client.request(*arguments, **options)
    await http.client.flush()
    return await http.client.answer(number)


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/shop/dev", "GET", None, 200),
        ("/shop/dev", "HEAD", None, 200),
        ("/shop/dev?x=1", "GET", None, 200),
        ("/nowhere", "GET", None, 404),
        ("/shop/dev", "POST", b"x", 405),
        ("/shop/dev", "GET", b"body", 200),
        ("/ws/shop/dev", "GET", None, 426),
        ("/" + "x" * 9_000, "GET", None, 414),
    ],
)
async def test_requests_are_answered_as_over_http_1(path: str, method: str, body: bytes | None, status: int) -> None:
    async with served() as http:
        told = await ask(http, path, method, body)
        again = await ask(http)

    assert (status, 200) == (told.status, again.status)
    assert (method == "HEAD" or status == 414) == (told.body == b"")


async def test_what_is_known_is_not_sent_again() -> None:
    async with served() as http:
        first = await ask(http)
        again = await ask(http, if_none_match=first.headers[b"etag"].decode())

    assert (304, b"") == (again.status, again.body)


async def test_many_requests_are_answered_side_by_side_and_counted() -> None:
    async with served() as http:
        numbers = [http.client.request() for _ in range(90)]
        await http.client.flush()
        told = [await http.client.answer(number) for number in numbers]

    assert {200} == {each.status for each in told}
    assert b'status="200"} 90' in http.metrics.render() or b" 90.0" in http.metrics.render()


async def test_a_large_answer_goes_out_as_it_is_taken() -> None:
    async with served() as http:
        http.reader.change({"large": "x" * 9_000})
        numbers = [http.client.request() for _ in range(20)]
        await http.client.flush()
        for number in numbers:
            assert (await http.client.answer(number)).body.endswith(b"}]}")


async def test_H04_a_body_that_is_too_large_is_413_and_the_connection_goes_on() -> None:
    async with served() as http:
        number = http.client.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "localhost")]
        http.client.h2.send_headers(number, [*headers, ("content-length", "1000000")])
        http.client.told[number] = Told()
        await http.client.flush()
        assert 413 == (await http.client.answer(number)).status
        assert 200 == (await ask(http)).status


async def test_W02_websockets_are_not_for_http_2() -> None:
    async with served() as http:
        number = http.client.h2.get_next_available_stream_id()
        http.client.h2.send_headers(number, [(":method", "CONNECT"), (":authority", "localhost")])
        http.client.told[number] = Told()
        await http.client.flush()
        told = await http.client.answer(number)

        assert 501 == told.status
        assert 0 == http.client.h2.remote_settings.enable_connect_protocol


async def test_H03_where_there_are_too_many_connections_health_is_answered() -> None:
    async with served(only=frozenset({"/health"})) as http:
        numbers = [http.client.request(path) for path in ("/health", "/shop/dev")]
        await http.client.flush()
        assert [200, 503] == [(await http.client.answer(number)).status for number in numbers]
        assert ErrorCodes.NO_ERROR == await http.client.end()


# What is said of a connection, for the limits.


class Recorded(Standing):
    """A connection whose standing is written down, without repetitions."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.may_read = True

    def _say(self, what: str) -> None:
        self.said += [what] if self.said[-1:] != [what] else []

    def works(self) -> None:
        self._say("works")

    def idles(self) -> None:
        self._say("idles")

    async def reads(self) -> None:
        self._say("reads")
        if not self.may_read:
            await trio.sleep_forever()


def begin(http: Served) -> int:
    """Send the head of a request, and leave the body away."""
    number = http.client.h2.get_next_available_stream_id()
    headers = [(":method", "POST"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "localhost")]
    http.client.h2.send_headers(number, headers)
    http.client.told[number] = Told()
    return number


async def test_the_peer_is_waited_for_before_its_first_request_and_within_each(autojump_clock: MockClock) -> None:
    standing = Recorded()
    async with served(standing=standing) as http:
        await wait_all_tasks_blocked()
        assert ["reads"] == standing.said
        await ask(http)
        await wait_all_tasks_blocked()
        assert ["reads", "works", "idles"] == standing.said

        number = begin(http)
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert ["reads"] == standing.said[3:]
        http.client.h2.send_data(number, b"x", end_stream=True)
        await http.client.flush()
        await http.client.answer(number)
        await wait_all_tasks_blocked()
        assert ["works", "idles"] == standing.said[4:]


async def test_while_one_request_is_answered_others_may_be_halves(autojump_clock: MockClock) -> None:
    standing, may_answer = Recorded(), trio.Event()

    async def respond(head: RequestHead, body: Body) -> Response:
        if head.method == "POST":
            while await body.receive() is not None:
                pass
        await may_answer.wait()
        return Response(200, b"done")

    async with served(respond=respond, standing=standing) as http:
        whole = http.client.request()
        begin(http)
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert ["reads", "works"] == standing.said
        may_answer.set()
        await http.client.answer(whole)
        await wait_all_tasks_blocked()
        assert ["reads", "works", "reads"] == standing.said


async def test_nothing_is_read_before_there_is_a_slot_and_a_head_has_its_time(autojump_clock: MockClock) -> None:
    standing = Recorded()
    standing.may_read = False
    async with served(ServerSettings(head_timeout=10), standing=standing) as http:
        began = trio.current_time()
        http.client.request()
        await http.client.flush()

        assert ErrorCodes.NO_ERROR == await http.client.end()
        assert 10 == pytest.approx(trio.current_time() - began, abs=1.5)
        assert not http.reader.asked


# Deadlines.


async def test_an_idle_connection_is_told_and_closed_whatever_it_pings(autojump_clock: MockClock) -> None:
    async with served(ServerSettings(keep_alive_timeout=60)) as http:
        await ask(http)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ping() -> None:
                while not http.client.is_closed:
                    http.client.h2.ping(b"12345678")
                    with trio.move_on_after(1):
                        await http.client.flush()
                    await trio.sleep(7)

            assert ErrorCodes.NO_ERROR == await http.client.end()
            assert 60 == pytest.approx(trio.current_time() - began, abs=1.5)
            nursery.cancel_scope.cancel()


async def test_H01_who_asks_nothing_is_closed_after_the_time_of_a_head(autojump_clock: MockClock) -> None:
    async with served(ServerSettings(head_timeout=10)) as http:
        began = trio.current_time()
        # Its settings first, for nothing may come between the parts of a head.
        await http.client.hear()
        frame = HeadersFrame(1)
        frame.data = b"\x82"
        await http.client.flush(frame.serialize())
        assert ErrorCodes.NO_ERROR == await http.client.end()
        assert 10 == pytest.approx(trio.current_time() - began, abs=1.5)


async def test_H02_a_body_that_never_ends_is_reset_and_no_error_of_ours(autojump_clock: MockClock) -> None:
    async with served() as http:
        began = trio.current_time()
        number = http.client.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "localhost")]
        http.client.h2.send_headers(number, headers)
        http.client.told[number] = Told()
        await http.client.flush()
        with capture_logs() as logs:
            told = await http.client.answer(number)

        assert ErrorCodes.CANCEL == told.reset
        assert [] == logs
        assert 30 == pytest.approx(trio.current_time() - began, abs=0.1)
        assert 200 == (await ask(http)).status


async def test_a_client_may_send_on_as_soon_as_the_application_has_taken_a_part(autojump_clock: MockClock) -> None:
    """While it waits for the rest, nothing else would tell the client."""
    async with served(ServerSettings(body_bytes=200_000)) as http:
        number = http.client.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "localhost")]
        http.client.h2.send_headers(number, headers)
        http.client.told[number] = told = Told()
        for _ in range(2):
            http.client.h2.send_data(number, b"x" * 16_384)
            await http.client.flush()
            await wait_all_tasks_blocked()
        with trio.move_on_after(5):
            while True:
                await http.client.hear()
        # The h2 package opens the window again once half of it is taken.
        assert 65_535 == http.client.h2.local_flow_control_window(number)
        http.client.h2.end_stream(number)
        await http.client.flush()

        assert 405 == (await http.client.answer(number)).status
        assert told.is_whole


async def test_R12_a_connection_that_is_accepted_in_a_drain_ends_at_once() -> None:
    routes, metrics = standard_routes(FakeReader(), Metrics()), Metrics()
    bridge = Bridge(create_app(routes, metrics, lambda: 0, timestamp, open_gate(), quart_at_once), ServerSettings())
    ours, theirs = memory_stream_pair()
    client = Client(theirs)
    client.h2.initiate_connection()
    await client.flush()
    await bridge.drain()
    with trio.fail_after(5):
        accepted = Accepted(ours, b"", "", SENDER, "id", is_http2=True)  # type: ignore[arg-type]  # a memory stream in place of a socket
        assert await bridge.serve(accepted) is None

        assert ErrorCodes.NO_ERROR == await client.end()


async def test_H02_who_takes_nothing_of_an_answer_loses_it(autojump_clock: MockClock) -> None:
    async with served(ServerSettings(write_timeout=10)) as http:
        http.client.takes = False
        http.reader.change({"large": "x" * 9_000})
        told = [await ask(http) for _ in range(9)]

    assert ErrorCodes.CANCEL in {each.reset for each in told}


async def test_R12_a_drain_refuses_what_is_new_and_answers_what_is_there() -> None:
    began, go_on = trio.Event(), trio.Event()

    async def respond(head: RequestHead, body: Body) -> Response:
        began.set()
        await go_on.wait()
        return Response(200, b"late")

    async with served(respond=respond) as http:
        first = http.client.request()
        await http.client.flush()
        await began.wait()
        http.connection.drain()
        # A GOAWAY ends the h2 package's own end at once, so that frames are looked at as they are.
        data = b""
        while b"\x07\x00\x00\x00\x00\x00" + first.to_bytes(4, "big") not in data:
            data += await http.client.stream.receive_some()
        assert not http.ended.is_set()
        go_on.set()
        while b"late" not in data:
            data += await http.client.stream.receive_some()
        await http.ended.wait()


async def test_R12_a_drain_ends_idle_connections_at_once() -> None:
    async with served() as http:
        await ask(http)
        http.connection.drain()
        assert ErrorCodes.NO_ERROR == await http.client.end()


# Attacks.


async def calmed(http: Served) -> bool:
    return ErrorCodes.ENHANCE_YOUR_CALM == await http.client.end()


async def test_H03_rapid_reset_is_ended() -> None:
    """CVE-2023-44487."""
    async with served() as http:
        for _ in range(150):
            http.client.h2.reset_stream(http.client.request())
        await http.client.flush()
        assert await calmed(http)
        await http.ended.wait()


async def test_a_few_resets_are_everyday() -> None:
    async with served() as http:
        for _ in range(50):
            http.client.h2.reset_stream(http.client.request())
        await http.client.flush()
        assert 200 == (await ask(http)).status


@pytest.mark.parametrize("kind", ["ping", "settings", "priority", "empty data", "padded empty data"])
async def test_H03_a_flood_of_frames_without_use_is_ended(kind: str) -> None:
    async with served() as http:
        more = b""
        number = http.client.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "localhost")]
        http.client.h2.send_headers(number, headers)
        for _ in range(300):
            if kind == "ping":
                http.client.h2.ping(b"12345678")
            elif kind == "settings":
                http.client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
            elif kind == "priority":
                more += PriorityFrame(9, depends_on=0, stream_weight=1).serialize()
            else:
                http.client.h2.send_data(number, b"", pad_length=0 if kind == "padded empty data" else None)
        await http.client.flush(more)
        assert await calmed(http)


async def test_an_empty_frame_that_ends_a_body_is_no_abuse(autojump_clock: MockClock) -> None:
    """So do httpx and others, for each request with a body."""
    async with served() as http:
        for _ in range(500):
            number = http.client.request(method="POST", body=b"")
            http.client.told[number] = Told()
            await http.client.flush()
            assert 405 == (await http.client.answer(number)).status


async def test_behind_the_last_part_of_a_body_the_application_is_told_nothing(autojump_clock: MockClock) -> None:
    """Quart asks again as soon as it has an answer, and takes what it hears for the end of the peer."""
    heard: list[bytes] = []
    asked_in_vain = trio.Event()

    async def respond(head: RequestHead, body: Body) -> Response:
        while (part := await body.receive()) is not None:
            heard.append(part)
        assert await body.receive() is None
        with trio.move_on_after(3_600) as scope:
            await body.wait_gone()
        assert scope.cancelled_caught
        asked_in_vain.set()
        return Response(200, b"done")

    async with served(respond=respond) as http:
        number = http.client.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "localhost")]
        http.client.h2.send_headers(number, headers)
        http.client.told[number] = Told()
        for part in (b"ab", b"cd"):
            http.client.h2.send_data(number, part)
            await http.client.flush()
            await wait_all_tasks_blocked()
        http.client.h2.end_stream(number)
        await http.client.flush()

        assert b"done" == (await http.client.answer(number)).body
        assert asked_in_vain.is_set()
    assert [b"ab", b"cd", b""] == heard


async def test_a_reset_ends_who_waits_behind_the_last_part() -> None:
    ended = trio.Event()

    async def respond(head: RequestHead, body: Body) -> Response:
        try:
            assert b"x" == await body.receive()
            await body.wait_gone()
            raise AssertionError
        finally:
            ended.set()

    async with served(respond=respond) as http:
        number = http.client.request(method="POST", body=b"x")
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert not ended.is_set()
        http.client.h2.reset_stream(number)
        await http.client.flush()
        await ended.wait()


@pytest.mark.parametrize("method", ["get", "Get", "post"])
async def test_methods_are_case_sensitive(method: str) -> None:
    async with served() as http:
        number = http.client.request(method=method)
        await http.client.flush()
        told = await http.client.answer(number)

        assert (405, b"GET, HEAD") == (told.status, told.headers[b"allow"])


async def test_H03_more_streams_than_allowed_end_the_connection() -> None:
    async def respond(head: RequestHead, body: Body) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with served(respond=respond) as http:
        http.client.h2.remote_settings = h2.settings.Settings(client=False)
        for _ in range(101):
            http.client.request()
        await http.client.flush()
        assert await http.client.end()


async def test_H04_a_flood_of_continuations_is_ended() -> None:
    async with served() as http:
        frame = HeadersFrame(1)
        frame.data = b"\x82"
        more = frame.serialize()
        for _ in range(100):
            continued = ContinuationFrame(1)
            continued.data = b""
            more += continued.serialize()
        await http.client.flush(more)
        assert await http.client.end()


async def test_H04_a_head_that_unfolds_beyond_its_bound_is_ended() -> None:
    async with served(ServerSettings(head_bytes=16_384)) as http:
        # One entry of the table, and many times its index.
        http.client.h2.remote_settings = h2.settings.Settings(client=False)
        frame = HeadersFrame(1)
        frame.flags.add("END_HEADERS")
        frame.data = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000 + b"\xbe" * 5_000
        await http.client.flush(frame.serialize())
        assert await http.client.end()


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":path", "/shop/\udcff"), (":scheme", "https"), (":authority", "localhost")],
        [(":method", "GET"), (":path", "shop"), (":scheme", "https"), (":authority", "localhost")],
        [(":method", "GET"), (":path", "/shop/dev"), (":scheme", "https"), (":authority", "evil.example\udcff")],
        [(":method", "GET"), (":path", "/shop/dev"), (":scheme", "https")],
    ],
)
async def test_H05_what_is_no_good_request_is_400_and_the_connection_goes_on(headers: list[tuple[str, str]]) -> None:
    async with served() as http:
        http.client.h2.config.validate_outbound_headers = False
        number = http.client.h2.get_next_available_stream_id()
        raw = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers]
        http.client.h2.send_headers(number, raw, end_stream=True)
        http.client.told[number] = Told()
        await http.client.flush()
        told = await http.client.answer(number)

        assert told.status in (0, 400)
        assert told.status or http.client.goodbye
        assert b"Traceback" not in told.body


async def test_H13_an_error_in_the_application_ends_one_request_alone() -> None:
    async def respond(head: RequestHead, body: Body) -> Response:
        if head.path == "/fail":
            raise ZeroDivisionError
        return Response(204, content_type=None)

    async with served(respond=respond) as http:
        assert ErrorCodes.INTERNAL_ERROR == (await ask(http, "/fail")).reset
        assert 204 == (await ask(http)).status


async def test_who_goes_in_the_middle_ends_it() -> None:
    async with served() as http:
        http.client.request()
        await http.client.flush()
        await http.client.stream.aclose()
        await http.ended.wait()


async def test_cancelling_ends_a_stalled_write_at_once(autojump_clock: MockClock) -> None:
    ours, theirs = lockstep_stream_pair()
    connection = Http2(never, ours, ServerSettings(), SENDER, None, Outgoing())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await theirs.aclose()

    assert 0 == pytest.approx(trio.current_time(), abs=0.1)


async def test_H02_who_does_not_read_is_cut_after_the_write_deadline(autojump_clock: MockClock) -> None:
    ours, theirs = lockstep_stream_pair()
    await Http2(never, ours, ServerSettings(write_timeout=10), SENDER, None, Outgoing()).run()
    await theirs.aclose()

    assert 10 == pytest.approx(trio.current_time(), abs=0.1)


# By TLS.


async def test_a_client_that_offers_it_by_alpn_gets_it_and_others_http_1(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    settings = ServerSettings(bind=("127.0.0.1:0",))
    listener = Listener(settings, tls=Tls(load_context(TlsSettings(str(certificate), str(key)), {})))
    routes, metrics = standard_routes(FakeReader(), Metrics()), Metrics()
    bridge = Bridge(create_app(routes, metrics, lambda: 0, timestamp, open_gate(), quart_at_once), settings)
    (url,) = await listener.bind()

    async def websocket(accepted: Accepted) -> bool:
        raise AssertionError

    async def connect(*offered: str) -> trio.SSLStream[trio.SocketStream]:
        context = ssl.create_default_context(cafile=str(certificate))
        context.set_alpn_protocols([*offered])
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        encrypted = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
        await encrypted.do_handshake()
        return encrypted

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve, nursery, websocket, bridge.serve)
            async with await connect("h2", "http/1.1") as stream:
                assert "h2" == stream.selected_alpn_protocol()
                client = Client(stream)
                client.h2.initiate_connection()
                number = client.request()
                await client.flush()
                assert 200 == (await client.answer(number)).status
                async with await connect("http/1.1") as other:
                    await other.send_all(b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert (await other.receive_some()).startswith(b"HTTP/1.1 200")
                await bridge.drain()
                assert ErrorCodes.NO_ERROR == await client.end()
            nursery.cancel_scope.cancel()


# Responses that last.


class Lasting:
    """A stream that sends what a test says, and notes what its client does."""

    host = "192.0.2.9"

    def __init__(self) -> None:
        self.stream: trio.abc.Stream | None = None
        self.begun = trio.Event()
        self.may_end = trio.Event()
        self.said: list[str] = []

    async def serve(self, stream: trio.abc.Stream, head: bytes = b"", **_: Any) -> bool:
        self.stream = stream
        self.begun.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, stream, nursery.cancel_scope)
            await self.may_end.wait()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)
        return False

    async def _receive(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        assert b"" == await stream.receive_some()
        self.said.append("gone")
        scope.cancel()

    def abandon(self) -> None:
        self.said.append("abandoned")


class Counted(Standing):
    def __init__(self, error: RemoteError | None = None) -> None:
        self.hosts: list[str] = []
        self.error = error

    def enter_stream(self, host: str) -> None:
        if self.error is not None:
            raise self.error
        self.hosts.append(host)

    def leave_stream(self, host: str) -> None:
        self.hosts.remove(host)


@asynccontextmanager
async def lasting(standing: Standing | None = None) -> AsyncIterator[tuple[Served, Lasting]]:
    stream = Lasting()

    async def respond(head: RequestHead, body: Body) -> Response:
        if head.path == "/other":
            return Response()
        return Response(content_type=None, headers={"Content-Type": "text/event-stream"}, stream=stream)

    async with served(respond=respond, standing=standing) as http:
        yield http, stream


async def test_a_response_that_lasts_is_sent_beside_others_and_ends_its_stream() -> None:
    standing = Counted()
    async with lasting(standing) as (http, stream):
        number = http.client.request("/x")
        await http.client.flush()
        await stream.begun.wait()
        assert ["192.0.2.9"] == standing.hosts
        assert stream.stream is not None
        await stream.stream.send_all(b"one")
        assert 200 == (await ask(http, "/other")).status
        await stream.stream.send_all(b"two")
        stream.may_end.set()
        told = await http.client.answer(number)

        assert (200, b"onetwo", True) == (told.status, told.body, told.is_whole)
        assert b"text/event-stream" == told.headers[b"content-type"]
        assert [] == standing.hosts
        with pytest.raises(trio.ClosedResourceError):
            await stream.stream.send_all(b"x")


async def test_a_client_that_resets_its_stream_has_gone() -> None:
    standing = Counted()
    async with lasting(standing) as (http, stream):
        number = http.client.request("/x")
        await http.client.flush()
        await stream.begun.wait()
        http.client.h2.reset_stream(number)
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert (["gone"], []) == (stream.said, standing.hosts)
        assert stream.stream is not None
        assert 200 == (await ask(http, "/other")).status


async def test_a_connection_that_ends_ends_its_streams() -> None:
    async with lasting() as (http, stream):
        http.client.request("/x")
        await http.client.flush()
        await stream.begun.wait()
        await http.client.stream.aclose()
        await http.ended.wait()
        assert ["gone"] == stream.said


@pytest.mark.parametrize("status", [429, 503])
async def test_a_stream_beyond_the_limits_is_refused(status: int) -> None:
    async with lasting(Counted(RemoteError("too many", status, {"Retry-After": "1"}))) as (http, stream):
        told = await ask(http, "/x")

        assert (status, b"1", True) == (told.status, told.headers[b"retry-after"], told.is_whole)
        assert ["abandoned"] == stream.said


async def test_a_stream_waits_for_the_window_of_its_client() -> None:
    async with lasting() as (http, stream):
        http.client.takes = False
        number = http.client.request("/x")
        await http.client.flush()
        await stream.begun.wait()
        async with trio.open_nursery() as nursery:
            assert stream.stream is not None
            nursery.start_soon(stream.stream.send_all, b"x" * 100_000)
            while len(http.client.told[number].body) < 65_535:
                await http.client.hear()
            await wait_all_tasks_blocked()
            assert not stream.stream.is_whole  # type: ignore[attr-defined]  # it is an Http2Body
            http.client.h2.increment_flow_control_window(100_000)
            http.client.h2.increment_flow_control_window(100_000, number)
            await http.client.flush()
            while len(http.client.told[number].body) < 100_000:
                await http.client.hear()
        assert stream.stream.is_whole  # type: ignore[attr-defined]


async def test_a_body_that_was_cut_off_is_reset() -> None:
    async with lasting() as (http, stream):
        http.client.takes = False
        number = http.client.request("/x")
        await http.client.flush()
        await stream.begun.wait()
        assert stream.stream is not None
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.stream.send_all, b"x" * 100_000)
                while len(http.client.told[number].body) < 65_535:
                    await http.client.hear()
                await trio.sleep_forever()
        stream.may_end.set()
        assert ErrorCodes.CANCEL == (await http.client.answer(number)).reset


async def test_in_a_drain_the_end_of_a_stream_is_sent_before_the_connection_ends() -> None:
    async with lasting() as (http, stream):
        number = http.client.request("/x")
        await http.client.flush()
        await stream.begun.wait()
        http.connection.drain()
        await wait_all_tasks_blocked()
        stream.may_end.set()
        read = b""
        # The h2 package accepts nothing after a GOAWAY, so this reads the frames themselves.
        while data := await http.client.stream.receive_some():
            read += data
        assert b"\0\0\0\0\1" + number.to_bytes(4, "big") in read


# Requests that wait.


def waiting(answer: trio.Event, ended: list[bool]) -> Respond:
    """An application whose requests to /watch wait until the event is set."""

    async def respond(head: RequestHead, body: Body) -> Response:
        if head.path != "/watch":
            return Response(200, b"other")
        try:
            with body.waiting():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(body.wait_gone)
                    await answer.wait()
                    nursery.cancel_scope.cancel()
        except RemoteError as error:
            return Response(error.status)
        finally:
            ended.append(True)
        return Response(200, b"changed")

    return respond


async def test_no_deadline_ends_a_request_that_waits(autojump_clock: MockClock) -> None:
    answer = trio.Event()
    async with served(respond=waiting(answer, [])) as http:
        number = http.client.request("/watch")
        await http.client.flush()
        await trio.sleep(3_600)
        answer.set()
        assert b"changed" == (await http.client.answer(number)).body


async def test_half_of_the_streams_may_wait_and_the_others_are_answered() -> None:
    answer = trio.Event()
    async with served(respond=waiting(answer, [])) as http:
        numbers = [http.client.request("/watch") for _ in range(50)]
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert 429 == (await ask(http, "/watch")).status
        assert b"other" == (await ask(http, "/other")).body
        http.client.h2.reset_stream(numbers[0])
        await http.client.flush()
        await wait_all_tasks_blocked()
        numbers.append(http.client.request("/watch"))
        await http.client.flush()
        answer.set()
        assert [b"changed"] * 50 == [(await http.client.answer(each)).body for each in numbers[1:]]


async def test_a_reset_ends_a_request_that_waits() -> None:
    ended: list[bool] = []
    async with served(respond=waiting(trio.Event(), ended)) as http:
        number = http.client.request("/watch")
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert [] == ended
        http.client.h2.reset_stream(number)
        await http.client.flush()
        await wait_all_tasks_blocked()
        assert [True] == ended


async def test_a_client_that_closes_its_connection_ends_its_requests_that_wait() -> None:
    ended: list[bool] = []
    async with served(respond=waiting(trio.Event(), ended)) as http:
        for _ in range(3):
            http.client.request("/watch")
        await http.client.flush()
        await wait_all_tasks_blocked()
        await http.client.stream.aclose()
        await http.ended.wait()
        assert [True] * 3 == ended


async def test_in_a_drain_a_request_that_waits_is_answered_before_the_connection_ends() -> None:
    answer = trio.Event()
    async with served(respond=waiting(answer, [])) as http:
        http.client.request("/watch")
        await http.client.flush()
        await wait_all_tasks_blocked()
        http.connection.drain()
        await wait_all_tasks_blocked()
        assert not http.ended.is_set()
        answer.set()
        # A GOAWAY ends the h2 package's own end at once, so that frames are looked at as they are.
        data = b""
        while b"changed" not in data:
            data += await http.client.stream.receive_some()
        await http.ended.wait()
