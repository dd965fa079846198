"""Request smuggling (H05): the same bytes mean the same as first request, as later request, and after the handover to Hypercorn.

A proxy in front of the server may read ambiguous bytes in another way. So the server refuses them, closes the connection,
and reads nothing behind them.
"""

import re

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from tests.fakes import open_gate, timestamp
from tests.http.serving import FakeReader, serving
from vortexd.http.app import Application
from vortexd.http.bridge import Bridge
from vortexd.http.endpoint import Response
from vortexd.http.request_handler import RequestHandler
from vortexd.http.request_head import Body, RequestHead
from vortexd.http.routes import standard_routes
from vortexd.net.head import Refused, in_origin_form, read_head, refuse
from vortexd.net.listener import Accepted
from vortexd.net.proxies import Sender
from vortexd.observe.metrics import Metrics
from vortexd.settings.server import ServerSettings

P = pytest.param
SETTINGS = ServerSettings()
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
# The request that must not be answered if the bytes before it are refused.
SMUGGLED = b"GET /health?smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def get(*lines: bytes, line: bytes = b"GET /shop/dev HTTP/1.1", host: bytes = b"Host: localhost\r\n") -> bytes:
    return line + b"\r\n" + host + b"".join(each + b"\r\n" for each in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", line: bytes = b"POST /shop/dev HTTP/1.1") -> bytes:
    return get(*lines, line=line) + body


CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: "


def chunks(body: bytes) -> bytes:
    return post(CHUNKED, body=body)


REFUSED = [
    # Lengths.
    P(post(LENGTH + b"5", CHUNKED, body=b"0\r\n\r\n"), 400, id="a length and a coding"),
    P(post(CHUNKED, LENGTH + b"5", body=b"0\r\n\r\n"), 400, id="a coding and a length"),
    P(post(LENGTH + b"0", CHUNKED, body=b"0\r\n\r\n"), 400, id="no length and a coding"),
    P(post(LENGTH + b"1", LENGTH + b"2", body=b"xx"), 400, id="two lengths"),
    P(get(LENGTH + b"0", LENGTH + b"44"), 400, id="no length and a length"),
    P(post(LENGTH + b"1, 2", body=b"xx"), 400, id="a list of lengths"),
    P(get(LENGTH), 400, id="an empty length"),
    P(get(LENGTH + b"0,"), 400, id="an empty length in a list"),
    P(get(LENGTH + b"-0"), 400, id="a negative length"),
    P(get(LENGTH + b"+0"), 400, id="a length with a sign"),
    P(get(LENGTH + b"0x0"), 400, id="a length in hexadecimal"),
    P(get(LENGTH + b"0 0"), 400, id="a length with a space"),
    P(get(LENGTH + b"0_0"), 400, id="a length with an underscore"),
    P(get(LENGTH + "٠".encode()), 400, id="a length in other digits"),
    P(get(LENGTH + b"0" * 21), 400, id="a length of 21 digits"),
    # Codings.
    P(post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501, id="unknown coding"),
    P(post(b"Transfer-Encoding: identity"), 501, id="identity"),
    P(post(b"Transfer-Encoding: chunked, identity"), 501, id="two codings"),
    P(post(b"Transfer-Encoding: identity, chunked"), 501, id="two codings, chunked last"),
    P(post(b'Transfer-Encoding: "chunked"'), 501, id="a coding in quotes"),
    P(post(b"Transfer-Encoding:"), 501, id="an empty coding"),
    P(post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 501, id="a coding twice"),
    P(post(CHUNKED, b"Transfer-Encoding: x", body=b"0\r\n\r\n"), 501, id="a known coding and another"),
    P(post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400, id="VT before the coding"),
    P(post(b"Transfer-Encoding: chunked\x0c", body=b"0\r\n\r\n"), 400, id="FF after the coding"),
    P(post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400, id="space before the colon"),
    P(post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"), 400, id="tab before the colon"),
    P(post(b" Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, id="space before the name"),
    P(post(b"X: y\r\n Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, id="a coding in a folded line"),
    P(post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), 400, id="a folded coding"),
    P(post(b"Transfer-Encoding:\r\n\tchunked", body=b"0\r\n\r\n"), 400, id="a coding folded with a tab"),
    P(post(b"Transfer-\xffEncoding: chunked"), 400, id="a name that is no token"),
    P(post(b"Transfer-Encoding\x00: chunked"), 400, id="NUL in a name"),
    P(post(CHUNKED, line=b"POST /shop/dev HTTP/1.0", body=b"0\r\n\r\n"), 400, id="a coding in HTTP/1.0"),
    # Lines.
    P(get().replace(b"\r\n", b"\n"), 400, id="LF everywhere"),
    P(b"GET /shop/dev HTTP/1.1\nHost: localhost\r\n\r\n", 400, id="LF after the request line"),
    P(b"GET /shop/dev HTTP/1.1\r\nHost: localhost\n\r\n", 400, id="LF after a header"),
    P(b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\n", 400, id="LF at the end"),
    P(
        b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        id="LF in a header",
    ),
    P(get(b"X: a\rb"), 400, id="CR in a value"),
    P(get(b"X: a\r"), 400, id="CR at the end of a value"),
    P(get(b"X\r: a"), 400, id="CR in a name"),
    P(b"GET /shop/dev HTTP/1.1\r\r\nHost: localhost\r\n\r\n", 400, id="two CR"),
    P(get(b"X: a\x00b"), 400, id="NUL in a value"),
    P(get(b": b"), 400, id="no name"),
    P(get(b"X"), 400, id="no colon"),
    P(b"\r\n\r\n" + get(), 400, id="two empty lines"),
    # Request lines.
    P(get(line=b"GET  /shop/dev HTTP/1.1"), 400, id="two spaces"),
    P(get(line=b"GET\t/shop/dev HTTP/1.1"), 400, id="a tab"),
    P(get(line=b" GET /shop/dev HTTP/1.1"), 400, id="a space first"),
    P(get(line=b"GET /shop/dev HTTP/1.1 "), 400, id="a space last"),
    P(get(line=b"GET /shop/dev x HTTP/1.1"), 400, id="a space in the target"),
    P(get(line=b"GET /shop/dev\x00 HTTP/1.1"), 400, id="NUL in the target"),
    P(get(line=b"GET /shop/d\xc3\xa9v HTTP/1.1"), 400, id="a target that is no ASCII"),
    P(get(line=b"GET /shop/dev"), 400, id="no version"),
    P(get(line=b"G(T /shop/dev HTTP/1.1"), 400, id="a method that is no token"),
    P(get(line=b"\x16\x03\x01 /shop/dev HTTP/1.1"), 400, id="TLS"),
    P(get(line=b"GET /shop/dev http/1.1"), 400, id="a version in small letters"),
    P(get(line=b"GET /shop/dev HTTP/1.10"), 400, id="a version with two digits"),
    P(get(line=b"GET /shop/dev HTTP/11"), 400, id="a version without a point"),
    P(get(line=b"GET /shop/dev HTTP/2.0"), 505, id="HTTP/2.0"),
    P(get(line=b"GET /shop/dev HTTP/0.9"), 505, id="HTTP/0.9"),
    P(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="the preface of HTTP/2"),
    # Hosts.
    P(get(host=b""), 400, id="no Host"),
    P(get(host=b"", line=b"GET /shop/dev HTTP/1.2"), 400, id="no Host in a later version"),
    P(get(b"Host: localhost"), 400, id="two Hosts"),
    P(get(b"host: other", line=b"GET /shop/dev HTTP/1.0"), 400, id="two Hosts in HTTP/1.0"),
    P(get(b"Host: other", line=b"GET http://localhost/shop/dev HTTP/1.1"), 400, id="two Hosts and an absolute target"),
    P(get(line=b"GET http://user@localhost/shop/dev HTTP/1.1"), 400, id="an absolute target with a user"),
    P(get(line=b"GET http:///shop/dev HTTP/1.1"), 400, id="an absolute target without a host"),
    P(get(line=b"GET ftp://localhost/shop/dev HTTP/1.1"), 403, id="an absolute target of another scheme"),
    # Sizes.
    P(get(line=b"GET /" + b"x" * 9_000 + b" HTTP/1.1"), 414, id="a target of 9,000 bytes"),
    P(get(b"X: " + b"x" * 20_000), 431, id="a head of 20,000 bytes"),
    # Chunks.
    P(chunks(b"1\nx\r\n0\r\n\r\n"), 400, id="LF after the size of a chunk"),
    P(chunks(b"1\r\nx\n0\r\n\r\n"), 400, id="LF after a chunk"),
    P(chunks(b"1\r\nxy\r\n0\r\n\r\n"), 400, id="a chunk that is longer than its size"),
    P(chunks(b"0x1\r\nx\r\n0\r\n\r\n"), 400, id="a size with a prefix"),
    P(chunks(b"-1\r\nx\r\n0\r\n\r\n"), 400, id="a negative size"),
    P(chunks(b"1_0\r\nx\r\n0\r\n\r\n"), 400, id="a size with an underscore"),
    P(chunks(b" 1\r\nx\r\n0\r\n\r\n"), 400, id="a space before the size"),
    P(chunks(b"\r\nx\r\n0\r\n\r\n"), 400, id="no size"),
    P(chunks(b"1;a\rb\r\nx\r\n0\r\n\r\n"), 400, id="CR in an extension"),
    P(chunks(b"1;a\nb\r\nx\r\n0\r\n\r\n"), 400, id="LF in an extension"),
    P(chunks(b"1;a\x00b\r\nx\r\n0\r\n\r\n"), 400, id="NUL in an extension"),
    P(chunks(b"0\r\n\n"), 400, id="LF instead of trailers"),
    P(chunks(b"0\r\nX: y\n\r\n"), 400, id="LF after a trailer"),
    P(chunks(b"0\r\nX: y\n\n"), 400, id="LF after the trailers"),
]
ANSWERED = [
    P(get(), [200, 200], id="a request"),
    P(b"\r\n" + get(), [200, 200], id="an empty line first"),
    P(get(LENGTH + b"0"), [200, 200], id="no body"),
    P(get(LENGTH + b"0", LENGTH + b"0"), [200, 200], id="no body, twice"),
    P(get(LENGTH + b"00"), [200, 200], id="no body in two digits"),
    P(post(), [405, 200], id="a method that may have a body"),
    P(BODY, [405, 200], id="a body"),
    P(post(LENGTH + b"2, 2", body=b"{}"), [405, 200], id="a list of one length"),
    P(post(LENGTH + b"%d" % len(SMUGGLED), body=SMUGGLED), [405, 200], id="a request in a body"),
    P(get(LENGTH + b"%d" % len(SMUGGLED)) + SMUGGLED, [200, 200], id="a request in a body of GET"),
    P(chunks(b"2\r\n{}\r\n0\r\n\r\n"), [405, 200], id="chunks"),
    P(chunks(b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"), [405, 200], id="chunks with an extension and a trailer"),
    P(chunks(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)), [405, 200], id="a request in a chunk"),
    P(chunks(b"0\r\nContent-Length: 5\r\nHost: other\r\n\r\n"), [405, 200], id="trailers that look like headers"),
    P(post(b"Transfer-Encoding: \t chunked \t", body=b"0\r\n\r\n"), [405, 200], id="spaces around a coding"),
    P(post(b"transfer-ENCODING:ChunkeD", body=b"0\r\n\r\n"), [405, 200], id="a coding in other letters"),
    P(get(b"Transfer_Encoding: chunked"), [200, 200], id="another header"),
    P(get(b"Content-Length-X: 5", b"X-Transfer-Encoding: chunked"), [200, 200], id="longer names"),
    P(get(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA"), [200, 200], id="h2c"),
    P(get(line=b"GET http://localhost/shop/dev HTTP/1.1"), [200, 200], id="an absolute target"),
    P(
        post(LENGTH + b"2", line=b"POST http://localhost/shop/dev HTTP/1.1", body=b"{}"),
        [405, 200],
        id="absolute, body",
    ),
    P(get(line=b"GET /shop/dev HTTP/1.2"), [200, 200], id="a later version"),
    P(get(b"X: \x01\x80 \t y", b"Y:", b"Z:  "), [200, 200], id="odd values"),
    P(get(line=b"GET /shop/dev HTTP/1.0"), [200], id="HTTP/1.0"),
    P(get(b"Connection: keep-alive", line=b"GET /shop/dev HTTP/1.0", host=b""), [200], id="HTTP/1.0 without Host"),
    P(get(b"Connection: close"), [200], id="close"),
    P(get(b"Connection: x", b"Connection: y , Close"), [200], id="close in a list"),
    P(get(b"Connection: closed"), [200, 200], id="another option than close"),
    P(post(LENGTH + b"2", b"Connection: close", body=b"{}"), [405], id="close and a body"),
    P(get(b"X: " + b"x" * (16_384 - len(get(b"X: ")))), [200, 200], id="a head of 16,384 bytes"),
    P(get(line=b"GET /" + b"x" * (8_192 - 14) + b" HTTP/1.1"), [404, 200], id="a request line of 8,192 bytes"),
]
LIMITS = [
    P(get(b"X: " + b"x" * (16_385 - len(get(b"X: ")))), 431, id="a head of 16,385 bytes"),
    P(get(line=b"GET /" + b"x" * (8_193 - 14) + b" HTTP/1.1"), 414, id="a request line of 8,193 bytes"),
]
# The bytes before, and the statuses of their answers.
POSITIONS = [P(b"", [], id="first"), P(HEALTH, [200], id="later"), P(BODY, [405], id="handed over")]
# Long bytes come in larger parts.
_MOST_PARTS = 1_000
SIZES = [P(0, id="at once"), P(1, id="bytewise")]


class Memory(trio.abc.Stream):
    """A stream in memory with the part of a socket that the bridge closes."""

    def __init__(self, stream: trio.StapledStream[MemorySendStream, MemoryReceiveStream]) -> None:
        self._stream = stream
        self.socket = self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        self._stream.send_stream.close()
        self._stream.receive_stream.close()


class Served:
    """What a server answered, and the queries that its application saw."""

    def __init__(self) -> None:
        self.answer = b""
        self.queries: list[str] = []

    @property
    def statuses(self) -> list[int]:
        return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.answer)]


class Noted(Application):
    """An application that notes its requests."""

    def __init__(self, served: Served) -> None:
        metrics = Metrics()
        routes = standard_routes(FakeReader(), metrics)
        super().__init__(RequestHandler(routes, metrics, timestamp, open_gate()), lambda: SETTINGS.body_bytes)
        self._served = served

    async def respond(self, head: RequestHead, body: Body) -> Response:
        self._served.queries.append(head.query)
        return await super().respond(head, body)


async def exchange(data: bytes, size: int) -> Served:
    """Send bytes over a stream in memory, in parts of a size or at once, and end. The parts are routed as the listener does."""
    served = Served()
    bridge = Bridge(Noted(served), SETTINGS)
    ours, theirs = memory_stream_pair()
    stream = Memory(ours)

    async def serve() -> None:
        try:
            head = await read_head(stream, 5, SETTINGS.head_bytes)  # type: ignore[arg-type]
            assert head is not None
            head, request = in_origin_form(head)
            accepted = Accepted(stream, head, "", Sender("192.0.2.1"), "id", request=request)  # type: ignore[arg-type]
            await bridge.serve(accepted)
        except Refused as error:
            await refuse(stream, error.status, error.reason)  # type: ignore[arg-type]
        stream.close()

    async def send() -> None:
        try:
            step = max(size, len(data) // _MOST_PARTS) if size else len(data)
            for start in range(0, len(data), step):
                await theirs.send_all(data[start : start + step])
            await theirs.send_stream.aclose()
        except trio.BrokenResourceError:
            pass

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(send)
            async for part in theirs:
                served.answer += part
    return served


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("before", "statuses"), POSITIONS)
@pytest.mark.parametrize(("data", "status"), REFUSED)
async def test_H05_what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    data: bytes, status: int, before: bytes, statuses: list[int], size: int
) -> None:
    served = await exchange(before + data + SMUGGLED, size)

    assert [*statuses, status] == served.statuses
    assert "smuggled" not in served.queries


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("before", "statuses"), POSITIONS)
@pytest.mark.parametrize(("data", "expected"), ANSWERED)
async def test_H05_what_is_clear_is_answered_the_same_everywhere(
    data: bytes, expected: list[int], before: bytes, statuses: list[int], size: int
) -> None:
    served = await exchange(before + data + SMUGGLED, size)

    assert [*statuses, *expected] == served.statuses
    assert (["smuggled"] if len(expected) > 1 else []) == [each for each in served.queries if each]


@pytest.mark.parametrize(("before", "statuses"), POSITIONS)
@pytest.mark.parametrize(("data", "status"), LIMITS)
async def test_H04_a_head_one_byte_too_long_is_refused_everywhere(
    data: bytes, status: int, before: bytes, statuses: list[int]
) -> None:
    served = await exchange(before + data + SMUGGLED, 0)

    assert [*statuses, status] == served.statuses
    assert "smuggled" not in served.queries


@pytest.mark.parametrize(("before", "statuses"), POSITIONS)
@pytest.mark.parametrize(("data", "status"), REFUSED)
async def test_H05_over_sockets_the_same_bytes_are_refused(
    data: bytes, status: int, before: bytes, statuses: list[int]
) -> None:
    async with serving() as http:
        found = re.findall(rb"HTTP/1\.1 (\d{3}) ", await http.exchange(before + data + SMUGGLED))

    assert [*statuses, status] == [int(each) for each in found]
