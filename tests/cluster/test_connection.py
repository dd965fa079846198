"""Facts about one HTTP/1.1 connection: addresses, TLS, answers in pieces, and connections that end."""

import fcntl
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import memory_stream_pair

from tests.certificates import make
from vortexd.cluster.connection import Connection, Endpoint, Lost, NotSent


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("http://one:2379", Endpoint("one", 2379, False)),
        ("https://one.example:1/", Endpoint("one.example", 1, True)),
        ("https://one", Endpoint("one", 2379, True)),
        ("http://[::1]:7", Endpoint("::1", 7, False)),
    ],
)
def test_an_address_has_a_scheme_a_host_and_a_port(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint
    assert Endpoint.parse(str(endpoint)) == endpoint


def test_an_address_without_a_port_has_the_one_that_the_caller_names() -> None:
    assert [Endpoint("one", 80, False), Endpoint("one", 7, False)] == [
        Endpoint.parse(text, 80) for text in ("http://one", "http://one:7")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one:2379",
        "ftp://one",
        "http://",
        "http://:7",
        "http://u:p@one",
        "http://one/v3",
        "http://one?a",
        "http://one#a",
        "http://one:99999",
        "http://one:x",
        "http://[::1",
        "http://a..b",
        "http://" + 64 * "a",
        "http://\uff4cocalhost",
    ],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        Endpoint.parse(text)


async def exchange(answer: bytes, act: Callable[[Connection], Awaitable[None]], *, ends: bool = True) -> bytes:
    """Send a request on a connection whose peer sends this answer, and return the bytes that the peer received."""
    ours, theirs = memory_stream_pair()
    connection = Connection(ours, "one:2379")
    await theirs.send_all(answer)
    if ends:
        await theirs.send_eof()
    await act(connection)
    await connection.aclose()
    received = bytearray()
    while data := await theirs.receive_some():
        received += data
    return bytes(received)


async def post(connection: Connection) -> None:
    assert await connection.post("/v3/x", {"Authorization": "t"}, b"{}") == 200


async def test_a_request_has_its_length_and_headers() -> None:
    received = await exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", post)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /v3/x HTTP/1.1",
        b"Host: one:2379",
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"Authorization: t",
    ]
    assert body == b"{}"


async def test_an_answer_arrives_in_parts_and_the_connection_can_be_used_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async def act(connection: Connection) -> None:
        await post(connection)
        parts = []
        assert not connection.is_reusable
        while (part := await connection.receive()) is not None:
            parts.append(part)
        assert b"".join(parts) == b"abcde"
        assert connection.is_reusable
        connection.begin_anew()
        await post(connection)

    await exchange(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", act)


async def test_an_interim_answer_is_passed_over() -> None:
    await exchange(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", post)


async def test_a_connection_that_the_peer_closes_is_not_reusable() -> None:
    async def act(connection: Connection) -> None:
        await post(connection)
        assert await connection.receive() is None
        assert not connection.is_reusable

    await exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", act)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "before the answer was complete"),
        (b"HTTP/1.1 200 O", "before the answer was complete"),
        (b"SSH-2.0-x\r\n\r\n", "doesn't speak HTTP/1.1"),
    ],
)
async def test_a_connection_without_an_answer_is_lost(answer: bytes, text: str) -> None:
    async def act(connection: Connection) -> None:
        with pytest.raises(Lost, match=text):
            await post(connection)

    await exchange(answer, act)


async def test_an_answer_that_is_cut_off_is_lost() -> None:
    async def act(connection: Connection) -> None:
        await post(connection)
        assert await connection.receive() == b"ab"
        with pytest.raises(Lost, match="before the answer was complete"):
            await connection.receive()

    await exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", act)


async def test_a_request_on_a_broken_connection_is_lost() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    with pytest.raises(Lost):
        await Connection(ours, "one").post("/", {}, b"")


# Real sockets.


async def serve(stream: trio.abc.Stream) -> None:
    async with stream:
        received = bytearray()
        while not received.endswith(b"{}"):
            received += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await stream.receive_some()


async def test_an_idle_connection_is_quiet_until_the_peer_closes_it() -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        connection = await Connection.connect(Endpoint("127.0.0.1", port, False), None)
        await post(connection)
        assert await connection.receive() is None
        assert connection.is_quiet()
        stream = connection._stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(b"end")
        await trio.lowlevel.wait_readable(stream.socket)
        assert not connection.is_quiet()
        await connection.aclose()
        nursery.cancel_scope.cancel()


async def test_an_idle_connection_may_have_a_high_descriptor() -> None:
    ours, theirs = socket.socketpair()
    high = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1_100)
    with ours, theirs:
        ours.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=high))) as stream:
            connection = Connection(stream, "one")
            assert connection.is_quiet()
            theirs.send(b"end")
            assert not connection.is_quiet()


async def test_a_member_that_does_not_listen_is_named_by_the_system() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(NotSent, match="^Connection refused$"):
        await Connection.connect(Endpoint("127.0.0.1", port, False), None)


async def test_tls_is_spoken_to_a_member_whose_certificate_is_trusted_and_to_no_other(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def serve_tls(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, server, server_side=True, https_compatible=True)
        try:
            await serve(secure)
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve_tls, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        connection = await Connection.connect(Endpoint("localhost", port, True), trusting)
        await post(connection)
        await connection.aclose()
        with pytest.raises(NotSent, match="^the TLS handshake failed: self.signed certificate"):
            await Connection.connect(Endpoint("localhost", port, True), None)
        with pytest.raises(NotSent, match=r"IP address mismatch|certificate is not valid for '127\.0\.0\.1'"):
            await Connection.connect(Endpoint("127.0.0.1", port, True), trusting)
        nursery.cancel_scope.cancel()
