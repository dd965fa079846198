"""The internals of Hypercorn that the adapter relies on, and the behaviour of the adapter."""

import inspect
from collections.abc import Callable
from typing import Any

import h11
import pytest
import trio
from hypercorn.protocol.h11 import H11Protocol

from vortexd.http.adapter import hypercorn
from vortexd.http.adapter.h11 import Http1Parser
from vortexd.http.adapter.hypercorn import Http1Server, may_last
from vortexd.http.endpoint import Response
from vortexd.http.request_head import Body, PeerGone, RequestHead
from vortexd.net.head import parse_head
from vortexd.net.proxies import Sender

SENDER = Sender("192.0.2.1")
GET = b"GET /a%2Fb?c=d HTTP/1.1\r\nHost: localhost\r\nX-Y: z\r\n\r\n"
UPGRADE = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"


class FakeTransport:
    """A client that sends some parts and then nothing more, and what it gets, write by write."""

    def __init__(self, *parts: bytes) -> None:
        self.parser = Http1Parser(16_384)
        self.written: list[bytes] = []
        self.ended = 0
        self.is_broken = False
        self._parts = [*parts]

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.ended:
            raise trio.ClosedResourceError
        return self._parts.pop(0) if self._parts else b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_broken:
            raise trio.BrokenResourceError
        self.written.append(data)

    def finish(self) -> None:
        self.ended += 1


class Responder:
    """An application that notes its requests."""

    def __init__(self, response: Response | None = None) -> None:
        self.heads: list[RequestHead] = []
        self.bodies: list[bytes | None] = []
        self._response = response or Response(200, b"ok")

    async def respond(self, head: RequestHead, body: Body) -> Response:
        self.heads.append(head)
        if head.may_have_body:
            while (part := await body.receive()) is not None:
                self.bodies.append(part)
            self.bodies.append(await body.receive())
        return self._response


async def served(*parts: bytes, responder: Responder | None = None) -> tuple[FakeTransport, Responder, bytes | None]:
    transport, responder = FakeTransport(*parts), responder or Responder()
    with trio.fail_after(10):
        upgrade = await Http1Server(responder.respond).serve(transport, SENDER, None)
    return transport, responder, upgrade


# Contracts.


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (H11Protocol._send_h11_event, ["self", "event"]),
        (H11Protocol._check_protocol, ["self", "event"]),
        (H11Protocol._create_stream, ["self", "request"]),
    ],
)
def test_contract_the_methods_that_are_replaced_are_there(method: Callable[..., Any], parameters: list[str]) -> None:
    """Relied upon: the hooks in which a head joins its body, nothing is upgraded to h2c, and a request keeps its method."""
    assert parameters == [*inspect.signature(method).parameters]


async def test_contract_each_part_of_a_response_passes_the_hook_that_joins_head_and_body() -> None:
    """Relied upon to write a response at once: two packets would cost a second system call."""
    transport, _, _ = await served(GET)

    (written,) = transport.written
    assert written.startswith(b"HTTP/1.1 200 \r\n")
    assert written.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(("size", "writes"), [(65_536, 1), (65_537, 2)])
async def test_a_large_body_is_written_by_itself_and_not_copied(size: int, writes: int) -> None:
    body = b"x" * size
    transport, _, _ = await served(GET, responder=Responder(Response(200, body)))

    assert writes == len(transport.written)
    assert (transport.written[-1] is body) == (writes == 2)


async def test_contract_an_upgrade_to_http_2_without_tls_is_ignored() -> None:
    """Relied upon: HTTP/2 that began in the clear would escape the deadlines of a connection."""
    transport, responder, _ = await served(GET.replace(b"X-Y: z", b"Upgrade: h2c\r\nHTTP2-Settings: AA"))

    assert [b"HTTP/1.1 200"] == [each[:12] for each in transport.written]
    assert b"upgrade" not in dict(responder.heads[0].headers)


async def test_contract_hypercorn_stops_parsing_where_no_stream_is_created() -> None:
    """Relied upon to give a WebSocket handshake back with the bytes behind it, without an exception through Hypercorn's tasks."""
    transport, responder, upgrade = await served(GET + UPGRADE + b"frames")

    assert UPGRADE.lower() + b"frames" == (upgrade or b"").lower()
    assert 1 == len(responder.heads) == len(transport.written)
    assert not transport.ended


async def test_contract_hypercorn_takes_a_parser_of_ours() -> None:
    """Relied upon for the empty line before a request, and to know whether a request is whole."""
    transport, responder, _ = await served(b"\r\n" + GET)

    assert 1 == len(responder.heads)
    assert transport.parser.our_state in (h11.IDLE, h11.DONE, h11.MUST_CLOSE, h11.CLOSED)


async def test_contract_a_worker_that_is_terminated_ends_a_connection_after_its_request() -> None:
    """Relied upon in a drain."""
    server, transport = Http1Server(Responder().respond), FakeTransport(GET, GET)
    assert not server.is_draining
    await server.drain()
    with trio.fail_after(10):
        await server.serve(transport, SENDER, None)

    assert server.is_draining
    assert 1 == len(transport.written)
    assert transport.ended


def test_contract_no_count_of_requests_ends_a_connection() -> None:
    """Relied upon: Hypercorn closes a connection after `keep_alive_max_requests`, which is 1,000 by default."""
    config = Http1Server(Responder().respond)._config

    assert hypercorn._REQUESTS_PER_CONNECTION == config.keep_alive_max_requests > 2**62


# What the adapter promises.


async def test_a_request_is_handed_over_as_it_was_sent() -> None:
    _, responder, upgrade = await served(GET.replace(b"GET", b"Get"))

    (head,) = responder.heads
    assert ("Get", "/a%2Fb", "c=d", SENDER, None) == (head.method, head.path, head.query, head.sender, head.proxies)
    assert [(b"host", b"localhost"), (b"x-y", b"z")] == [*head.headers]
    assert upgrade is None


async def test_a_body_comes_in_parts_and_ends_once() -> None:
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
    _, responder, _ = await served(head + b"ab", b"cd")

    assert b"abcd" == b"".join(filter(None, responder.bodies))
    assert responder.bodies[-1] is None


async def test_a_peer_that_leaves_in_the_middle_of_a_body_gets_nothing() -> None:
    gone = trio.Event()

    async def respond(head: RequestHead, body: Body) -> Response:
        try:
            while await body.receive() is not None:
                pass
        except PeerGone:
            gone.set()
            raise
        raise AssertionError

    transport = FakeTransport(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
    with trio.fail_after(10):
        await Http1Server(respond).serve(transport, SENDER, None)

    assert gone.is_set()
    assert transport.ended
    assert not any(each.startswith(b"HTTP/1.1 200") for each in transport.written)


async def test_a_write_that_fails_ends_the_connection() -> None:
    transport = FakeTransport(GET, GET)
    transport.is_broken = True
    with trio.fail_after(10):
        assert await Http1Server(Responder().respond).serve(transport, SENDER, None) is None

    assert transport.ended
    assert [] == transport.written


async def test_a_cancelled_connection_is_ended_and_its_write_is_not_waited_for() -> None:
    """Hypercorn's TCP server would shield the write."""
    transport = FakeTransport(GET)

    async def forever(data: bytes) -> None:
        scope.cancel()
        await trio.sleep_forever()

    transport.send_all = forever  # type: ignore[method-assign]  # a write that never ends
    with trio.fail_after(10), trio.CancelScope() as scope:
        await Http1Server(Responder().respond).serve(transport, SENDER, None)

    assert scope.cancelled_caught
    assert transport.ended


async def test_H05_requests_of_a_peer_that_has_gone_are_not_served() -> None:
    transport, responder = FakeTransport(GET * 20), Responder()
    transport.is_broken = True
    with trio.fail_after(5):
        assert await Http1Server(responder.respond).serve(transport, SENDER, None) is None

    assert len(responder.heads) <= 2
    assert transport.ended


@pytest.mark.parametrize(
    ("line", "more", "lasts"),
    [
        (b"GET /api/v1/watch/a/b", b"", True),
        (b"GET /prefix/api/v1/watch/a/b?version=1", b"", True),
        (b"GET /api/v1/events/a/b", b"", True),
        (b"GET /api/v1/watch/a/b", b"Content-Length: 0\r\n", True),
        (b"GET /api/v1/watch/a/b", b"Content-Length: 1\r\n", False),
        (b"GET /api/v1/watch/a/b", b"Transfer-Encoding: chunked\r\n", False),
        (b"HEAD /api/v1/watch/a/b", b"", False),
        (b"GET /api/v1/watches/a/b", b"", False),
        (b"GET /a/b", b"", False),
    ],
)
def test_a_request_that_may_wait_is_not_for_hypercorn(line: bytes, more: bytes, lasts: bool) -> None:
    assert lasts == may_last(parse_head(line + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n"))
