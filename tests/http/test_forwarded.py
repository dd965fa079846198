"""Proxies before the listener: the client that a connection counts for, and the headers that are trusted."""

import socket
import struct
from pathlib import Path

import attrs
import pytest
import trio
from structlog.contextvars import get_contextvars
from trio.testing import wait_all_tasks_blocked

from tests.fakes import open_gate, timestamp, wait_until
from tests.http.serving import FakeReader, Serving, parse, quart_at_once, read_all, serving
from vortexd.auth import Authority, Gate, Tokens
from vortexd.auth.certificates import Certificates, load_certificates
from vortexd.auth.tokens import entry_of, load_tokens, new_token
from vortexd.http.app import create_app
from vortexd.http.bridge import Bridge
from vortexd.http.endpoint import Endpoint, Request, Response
from vortexd.http.request_handler import RequestHandler
from vortexd.http.request_head import RequestHead
from vortexd.http.routes import standard_routes
from vortexd.net.client_certificate import ClientCertificate, NameKind
from vortexd.net.listener import Accepted, Listener
from vortexd.net.proxies import Proxies, Sender
from vortexd.observe.metrics import Metrics
from vortexd.settings.auth import AuthSettings
from vortexd.settings.server import ServerSettings

GET = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
WEBSOCKET = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
TRUSTING = ServerSettings(trusted_proxies=("127.0.0.1",))
PROXY_PROTOCOL = ServerSettings(trusted_proxies=("127.0.0.1",), proxy_protocol=True)
HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8888\r\n"
HEADER_2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    + socket.inet_aton("203.0.113.7")
    + b"\xc0\0\2\1"
    + struct.pack("!HH", 4_711, 1)
)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def asking(failure_burst: int = AuthSettings().failure_burst) -> Gate:
    """A gate that asks for a token which nobody has."""
    tokens = Tokens(load_tokens(entry_of("one", new_token()), "t"))
    return Gate(AuthSettings(failure_burst=failure_burst), Authority(tokens), [], lambda: 0.0, lambda: 0.0)


def forwarded(address: str, more: bytes = b"") -> bytes:
    return b"X-Forwarded-For: " + address.encode() + b"\r\n" + more + b"\r\n"


async def sender_of(http: Serving, data: bytes) -> Sender:
    """Who has sent the WebSocket handshake in some bytes."""
    await http.exchange(data)
    return http.websockets.pop().sender


@pytest.mark.parametrize(
    ("settings", "statuses"),
    [(TRUSTING, [401, 401, 401, 429]), (ServerSettings(), [401, 429, 429, 429])],
)
async def test_T07_wrong_tokens_count_for_whom_a_trusted_proxy_names(
    settings: ServerSettings, statuses: list[int]
) -> None:
    wrong = b"Authorization: Bearer wrong\r\n"
    async with serving(settings, asking(failure_burst=1)) as http:
        told = [
            parse(await http.exchange(GET + forwarded(f"203.0.113.{number}", wrong))).status for number in (1, 2, 3, 1)
        ]

    assert statuses == told


async def test_H10_each_request_of_a_connection_has_its_own_sender() -> None:
    seen = []

    class Noting(Endpoint):
        route, methods, is_public = "/x", ("GET",), True

        async def answer(self, request: Request) -> Response:
            seen.append(get_contextvars()["peer"])
            return Response()

    async with serving(TRUSTING, more=[Noting()]) as http:
        lines = b"GET /x HTTP/1.1\r\nHost: localhost\r\n"
        await http.exchange(
            lines + forwarded("203.0.113.1") + lines + forwarded("203.0.113.2", b"Connection: close\r\n")
        )

    assert ["203.0.113.1", "203.0.113.2"] == seen


async def test_H10_headers_are_believed_of_trusted_proxies_only() -> None:
    async with serving(TRUSTING) as http:
        assert Sender("203.0.113.7", "https", b"a") == await sender_of(
            http, WEBSOCKET + b"Forwarded: for=203.0.113.7;proto=https;host=a\r\n\r\n"
        )
        http.listener.replace(ServerSettings(trusted_proxies=("192.0.2.1",)))
        assert Sender("127.0.0.1") == await sender_of(http, WEBSOCKET + forwarded("203.0.113.7"))


async def test_H10_a_handshake_behind_requests_has_its_own_sender() -> None:
    kept = GET.replace(b"Connection: close\r\n", b"") + forwarded("203.0.113.1")
    async with serving(TRUSTING) as http:
        assert Sender("203.0.113.2") == await sender_of(http, kept + WEBSOCKET + forwarded("203.0.113.2"))
        contradiction = b"Forwarded: for=203.0.113.7\r\n" + forwarded("203.0.113.9")
        assert b"HTTP/1.1 400" in await http.exchange(kept + WEBSOCKET + contradiction)
        await wait_until(lambda: not http.listener.places.by_address)


@pytest.mark.parametrize("request_line", [WEBSOCKET, GET])
async def test_H10_headers_that_contradict_each_other_are_told_so(request_line: bytes) -> None:
    async with serving(TRUSTING, asking()) as http:
        both = b"Forwarded: for=203.0.113.7\r\n" + forwarded("203.0.113.9")
        answer = parse(await http.exchange(request_line + both))

    assert 400 == answer.status
    assert b"contradict" in answer.body


async def test_H03_websockets_count_for_whom_a_trusted_proxy_names() -> None:
    settings = ServerSettings(trusted_proxies=("127.0.0.1",), connections_per_address=1, bind=("127.0.0.1:0",))
    listener = Listener(settings)
    (url,) = await listener.bind()
    ended = trio.Event()
    senders = []

    async def websocket(accepted: Accepted) -> bool:
        senders.append(accepted.sender.host)
        await ended.wait()
        return False

    async def http(accepted: Accepted) -> None:
        raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, nursery, websocket, http)
        streams = [await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) for _ in range(4)]
        for number, stream in enumerate(streams[:3]):
            await stream.send_all(WEBSOCKET + forwarded(f"203.0.113.{number}"))
        await wait_until(lambda: len(senders) == 3)
        await streams[3].send_all(WEBSOCKET + forwarded("203.0.113.1"))
        async with streams[3]:
            assert 429 == parse(await read_all(streams[3])).status
        await wait_until(lambda: listener.places.count == 3)
        assert {f"203.0.113.{number}": 1 for number in range(3)} == dict(listener.places.by_address)
        ended.set()
        await wait_until(lambda: not listener.places.count)
        assert {} == dict(listener.places.by_address)
        for stream in streams:
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_W01_a_page_that_a_trusted_proxy_serves_as_ours_may_connect() -> None:
    def gate() -> Gate:
        return Gate(AuthSettings(hosts=("config.example",)), open_gate().authority, [], lambda: 0, lambda: 0, "http")

    lines = b"Origin: https://config.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: config.example\r\n\r\n"
    evil = lines.replace(b"config.example", b"evil.example")
    for settings, data, status in ((TRUSTING, lines, 200), (TRUSTING, evil, 403), (ServerSettings(), lines, 403)):
        async with serving(settings, gate()) as http:
            assert status == parse(await http.exchange(GET + data)).status


# The PROXY protocol.


@pytest.mark.parametrize(
    ("header", "sender"),
    [(HEADER, Sender("203.0.113.7")), (HEADER_2, Sender("203.0.113.7")), (LOCAL, Sender("127.0.0.1"))],
)
async def test_a_proxy_header_says_whose_connection_it_is(header: bytes, sender: Sender) -> None:
    async with serving(PROXY_PROTOCOL) as http:
        assert sender == await sender_of(http, header + WEBSOCKET + b"\r\n")
        assert 200 == parse(await http.exchange(header + GET + b"\r\n")).status
        # What somebody behind it says of himself isn't the proxy's word.
        assert sender == await sender_of(http, header + WEBSOCKET + forwarded("198.51.100.1"))


async def test_a_proxy_behind_a_proxy_is_believed_by_its_headers() -> None:
    settings = ServerSettings(trusted_proxies=("127.0.0.1", "203.0.113.0/24"), proxy_protocol=True)
    async with serving(settings) as http:
        assert Sender("198.51.100.1") == await sender_of(http, HEADER + WEBSOCKET + forwarded("198.51.100.1"))


async def test_a_proxy_header_may_come_byte_by_byte() -> None:
    async with serving(PROXY_PROTOCOL) as http:
        for header in (HEADER, HEADER_2):
            async with await http.connect() as stream:
                stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in header:
                    await stream.send_all(bytes([byte]))
                    await wait_all_tasks_blocked()
                await stream.send_all(GET + b"\r\n")
                assert 200 == parse(await read_all(stream)).status


async def test_H10_without_a_proxy_header_nobody_is_served() -> None:
    async with serving(PROXY_PROTOCOL) as http:
        for data in (GET + b"\r\n", b"PROXY TCP4 nonsense\r\n" + GET + b"\r\n"):
            answer = parse(await http.exchange(data))
            assert 400 == answer.status
            assert b"server.proxy_protocol" in answer.body
        http.listener.replace(ServerSettings(trusted_proxies=("192.0.2.1",), proxy_protocol=True))
        assert 403 == parse(await http.exchange(HEADER + GET + b"\r\n")).status


async def test_H01_a_proxy_header_has_its_time() -> None:
    settings = ServerSettings(trusted_proxies=("127.0.0.1",), proxy_protocol=True, head_timeout=0.05)
    async with serving(settings) as http:
        assert 408 == parse(await http.exchange(b"PROXY TCP4")).status
        assert 408 == parse(await http.exchange(b"")).status
        async with await http.connect() as stream:
            await stream.send_eof()
            assert b"" == await read_all(stream)


async def test_H03_connections_count_for_whom_a_proxy_header_names() -> None:
    settings = ServerSettings(trusted_proxies=("127.0.0.1",), proxy_protocol=True, connections_per_address=1)
    async with serving(settings) as http:
        async with await http.connect() as first:
            await first.send_all(HEADER + GET[:-19] + b"\r\n")
            assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
            assert 429 == parse(await http.exchange(HEADER + GET + b"\r\n")).status
            assert 200 == parse(await http.exchange(HEADER.replace(b"113.7", b"113.8") + GET + b"\r\n")).status
        await wait_until(lambda: not http.listener.places.by_address)


@pytest.mark.parametrize(
    ("listed", "data", "status"),
    [
        (("unix",), HEADER + GET + b"\r\n", 200),
        (("unix",), GET + b"\r\n", 400),
        # Nobody else than the operator reaches it, and who checks on us needn't know.
        (("127.0.0.1",), GET + b"\r\n", 200),
    ],
)
async def test_a_unix_socket_wants_a_proxy_header_where_it_is_listed(
    tmp_path: Path, listed: tuple[str, ...], data: bytes, status: int
) -> None:
    path = tmp_path / "http.sock"
    settings = ServerSettings(bind=(f"unix:{path}",), trusted_proxies=listed, proxy_protocol=True)
    routes, metrics = standard_routes(FakeReader(), Metrics()), Metrics()
    bridge = Bridge(create_app(routes, metrics, lambda: 0, timestamp, open_gate(), quart_at_once), settings)
    listener = Listener(settings)
    await listener.bind()

    async def websocket(accepted: Accepted) -> bool:
        raise AssertionError("only HTTP is asked for here")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, nursery, websocket, bridge.serve)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(data)
            assert status == parse(await read_all(stream)).status
        nursery.cancel_scope.cancel()


async def test_H10_the_certificate_of_a_proxy_is_nobodys_behind_it() -> None:
    certificate = ClientCertificate(((NameKind.COMMON_NAME, "proxy"),), 1.0, frozenset({"ca"}))
    text = '[[certificate]]\nname = "proxy"\ncommon_name = "proxy"\nrights = ["read"]\npatterns = ["*"]\n'
    known = Certificates(load_certificates(text, "t"), frozenset({"ca"}))
    gate = open_gate(Authority(certificates=known))
    handler = RequestHandler(standard_routes(FakeReader(), Metrics()), Metrics(), timestamp, gate)
    sender = Sender("127.0.0.1", certificate=certificate)
    head = RequestHead("GET", "/shop/dev", "", [(b"host", b"localhost")], sender)

    assert 200 == (await handler.answer(head)).status
    assert 401 == (await handler.answer(attrs.evolve(head, proxies=Proxies(["127.0.0.1"])))).status


class WhereFrom(Endpoint):
    """Answers with the address of the client."""

    route = "/where-from"

    async def answer(self, request: Request) -> Response:
        return Response(body=request.actor.peer.encode())


@pytest.mark.parametrize(("settings", "peer"), [(TRUSTING, b"203.0.113.7"), (ServerSettings(), b"127.0.0.1")])
async def test_an_act_comes_from_whom_a_trusted_proxy_names(settings: ServerSettings, peer: bytes) -> None:
    get = b"GET /where-from HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    async with serving(settings, more=[WhereFrom()]) as http:
        answer = parse(await http.exchange(get + forwarded("203.0.113.7")))

    assert (200, peer) == (answer.status, answer.body)
