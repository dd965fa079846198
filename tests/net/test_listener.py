"""The listener and the bridge: the bytes that a peer may send, the deadlines, and the ends of a connection."""

import contextlib
import errno
import importlib.metadata
import inspect
import re
import socket
from pathlib import Path
from typing import Any, NoReturn

import attrs
import pytest
import trio
from hypercorn.trio.tcp_server import TCPServer
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import open_gate, timestamp, wait_until
from tests.http.serving import FakeReader, Serving, parse, read_all, serving
from vortexd.core.errors import StartError
from vortexd.http.app import create_app
from vortexd.http.bridge import Bridge
from vortexd.http.routes import standard_routes
from vortexd.net.listener import Accepted, Listener
from vortexd.observe.metrics import Metrics
from vortexd.settings.server import ServerSettings

P = pytest.param
GET = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        P(b"\x16\x03\x01\x02\x00\x01\x00", 400, id="H07 TLS"),
        P(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="H07 HTTP/2"),
        P(b"\0\1\2garbage\r\n\r\n", 400, id="H07 garbage"),
        P(b"hello\r\n\r\n", 400, id="H07 no request"),
        P(b"GET /shop/dev HTTP/1.1\r\n\r\n", 400, id="H07 no Host"),
        P(GET + b"Host: localhost\r\n\r\n", 400, id="H07 two Hosts"),
        P(b"GET / HTTP/1.1\nHost: localhost\n\r\n\r\n", 400, id="H05 bare LF"),
        P(GET + b"A : b\r\n\r\n", 400, id="H05 space before the colon"),
        P(GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="H05 two lengths"),
        P(GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="H05 a length and a coding"),
        P(GET + b"Transfer-Encoding: xchunked\r\n\r\n", 501, id="H05 unknown coding"),
        P(GET + b"X: " + b"x" * 200_000 + b"\r\n\r\n", 431, id="H04 one header"),
        P(GET + b"X: y\r\n" * 10_000 + b"\r\n", 431, id="H04 many headers"),
        P(b"GET /" + b"x" * 65_536 + b" HTTP/1.1\r\n\r\n", 414, id="H04 request line"),
        P(GET.replace(b"/shop", b"/x/y") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 404, id="upgrade"),
    ],
)
async def test_what_is_no_good_request_gets_a_whole_answer(data: bytes, status: int) -> None:
    async with serving() as http:
        answer = parse(await http.exchange(data))

        assert (status, []) == (answer.status, http.websockets)
        assert b"Traceback" not in answer.body
        assert 200 == (await http.ask("/shop/dev")).status


async def test_H05_a_request_in_a_body_is_not_answered() -> None:
    async with serving() as http:
        smuggled = b"GET /smuggled/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"
        both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        await http.exchange(GET + both + b"0\r\n\r\n" + smuggled)
        await http.exchange(GET + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)

        assert "smuggled" not in {key.application for key in http.reader.asked}


async def test_an_upgrade_at_ws_goes_to_the_websocket_side_with_every_byte() -> None:
    async with serving() as http:
        head = GET.replace(b"/shop/dev", b"/ws/shop/dev?x=1") + b"Upgrade: WebSocket\r\n\r\n"
        async with await http.connect() as stream:
            await stream.send_all(head + b"frames")
            with trio.fail_after(5):
                assert b"" == await read_all(stream)

        (accepted,) = http.websockets
        assert (head + b"frames", "/ws/shop/dev?x=1") == (accepted.head, accepted.target)
        assert accepted.sender.host == "127.0.0.1"


async def test_an_upgrade_behind_requests_goes_to_the_websocket_side_with_every_byte() -> None:
    """Proxies that keep their connections put handshakes on them."""
    head = b"GET /ws/shop/dev?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with serving() as http:
        for first in (GET + b"\r\n", GET.replace(b"GET", b"POST") + b"Content-Length: 1\r\n\r\nx"):
            answers = await http.exchange(first + head + b"frames")

            accepted = http.websockets.pop()
            assert (head + b"frames", "/ws/shop/dev?x=1") == (accepted.head, accepted.target)
            assert 1 == answers.count(b"HTTP/1.1")
        await wait_until(lambda: not http.connections.child_tasks)
        assert [] == http.websockets


async def test_an_upgrade_behind_requests_waits_for_their_answers() -> None:
    head = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with serving() as http:
        http.reader.change({"large": "x" * 10_000})
        answers = await http.exchange((GET + b"\r\n") * 3 + head)

        assert 3 == answers.count(b"HTTP/1.1 200")
        assert 1 == len(http.websockets)


async def test_H05_a_body_behind_a_handshake_stays_behind_it() -> None:
    head = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nContent-Length: 60\r\n\r\n"
    smuggled = b"GET /smuggled/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving() as http:
        await http.exchange(GET + b"\r\n" + head + smuggled)

        assert head + smuggled == http.websockets.pop().head
        assert "smuggled" not in {key.application for key in http.reader.asked}


@pytest.mark.parametrize(
    ("target", "upgrade", "status"),
    [(b"/ws/shop/dev", b"h2c\r\nHTTP2-Settings: AAMAAABk", b"426"), (b"/shop/dev", b"websocket", b"200")],
)
async def test_any_other_upgrade_behind_requests_upgrades_nothing(target: bytes, upgrade: bytes, status: bytes) -> None:
    async with serving() as http:
        second = GET.replace(b"/shop/dev", target) + b"Connection: Upgrade, close\r\nUpgrade: " + upgrade + b"\r\n\r\n"
        answers = await http.exchange(GET + b"\r\n" + second)

        assert [b"200", status] == re.findall(rb"HTTP/1.1 (\d+)", answers)
        assert [] == http.websockets


async def test_H09_requests_in_a_row_are_answered_in_a_row() -> None:
    async with serving() as http:
        many = (GET + b"\r\n") * 50 + GET + b"Connection: close\r\n\r\n"
        answer = await http.exchange(many)

        assert 51 == answer.count(b"HTTP/1.1 200")


async def test_H09_http_1_0_is_answered_and_closed() -> None:
    async with serving() as http:
        assert (await http.exchange(b"GET /shop/dev HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_H09_expect_continue_is_kept() -> None:
    async with serving() as http:
        head = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        async with await http.connect() as stream:
            await stream.send_all(head)
            with trio.fail_after(5):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
                await stream.send_all(b"x")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 405")


QUICK = ServerSettings(head_timeout=0.1, request_timeout=0.1, write_timeout=0.2, keep_alive_timeout=0.1)


async def test_H01_a_head_that_never_ends_is_408_and_silence_is_closed(socket_clock: MockClock) -> None:
    async with serving(QUICK) as http:
        assert 408 == parse(await http.exchange(b"GET / HTTP/1.1\r\nHos")).status
        assert b"" == await http.exchange(b"")


async def test_H01_each_byte_does_not_win_more_time(socket_clock: MockClock) -> None:
    async with serving(attrs.evolve(QUICK, head_timeout=0.3)) as http:
        async with await http.connect() as stream:
            with trio.fail_after(5):
                sent = 0
                with trio.move_on_after(3) as scope:
                    while True:
                        await stream.send_all(b"G"[:1])
                        sent += 1
                        with trio.move_on_after(0.05):
                            if await stream.receive_some():
                                break
                assert not scope.cancelled_caught
                assert sent < 20


async def test_H02_a_body_that_never_ends_is_closed(socket_clock: MockClock) -> None:
    async with serving(QUICK) as http:
        data = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx"

        assert b"200" not in await http.exchange(data)


async def test_an_idle_connection_is_closed_after_its_time(socket_clock: MockClock) -> None:
    async with serving(ServerSettings(keep_alive_timeout=0.1)) as http:
        assert (await http.exchange(GET + b"\r\n")).startswith(b"HTTP/1.1 200")


async def nobody(accepted: object) -> NoReturn:
    """For connections that mustn't come."""
    raise AssertionError


def small_buffers() -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    return made


async def test_H02_who_does_not_read_is_cut_after_the_write_deadline(socket_clock: MockClock) -> None:
    async with serving(QUICK) as http:
        http.reader.change({"large": "x" * 20_000_000})
        with small_buffers() as client:
            client.connect(("127.0.0.1", http.port))
            client.sendall(GET + b"\r\n")
            await wait_until(lambda: http.connections.child_tasks)
            await wait_until(lambda: not http.connections.child_tasks)

        http.reader.change({"a": 1})
        assert 200 == (await http.ask("/shop/dev")).status


async def test_cancelling_ends_a_stalled_answer_at_once() -> None:
    with trio.fail_after(5):
        async with serving() as http:
            http.reader.change({"large": "x" * 20_000_000})
            client = small_buffers()
            client.connect(("127.0.0.1", http.port))
            client.sendall(GET + b"\r\n")
            await wait_until(lambda: http.reader.asked)
    client.close()
    assert http.reader.asked


async def test_a_drain_closes_idle_connections_and_the_listener(socket_clock: MockClock) -> None:
    async with serving() as http:
        async with await http.connect() as stream:
            await stream.send_all(GET + b"\r\n")
            answer = b""
            while not answer.endswith(b"}]}"):
                answer += await stream.receive_some()
            # Idle since: what it was asked for has come to its end in the server, too.
            await wait_all_tasks_blocked()
            http.listener.stop_accepting()
            await http.bridge.drain()
            with trio.fail_after(5):
                assert b"" == await read_all(stream)
            with pytest.raises(OSError, match="all attempts to connect"):
                await http.connect()


@pytest.mark.parametrize(
    ("settings", "status"),
    [(ServerSettings(connections=1), 503), (ServerSettings(connections_per_address=1), 429)],
)
async def test_H03_one_connection_too_many_is_told_so(settings: ServerSettings, status: int) -> None:
    async with serving(settings) as http:
        async with await http.connect() as first:
            await first.send_all(GET + b"\r\n")
            assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
            refused = parse(await http.exchange(GET + b"\r\n"))
            assert (status, "1") == (refused.status, refused.headers["retry-after"])

            await first.send_all(GET + b"Connection: close\r\n\r\n")
            await read_all(first)
        await wait_until(lambda: not http.connections.child_tasks)
        assert 200 == (await http.ask("/shop/dev")).status


async def test_H03_half_a_head_takes_no_slot_and_no_task() -> None:
    async with serving(ServerSettings(handshakes=1)) as http:
        async with await http.connect() as first, await http.connect() as second:
            await first.send_all(b"GET")
            await second.send_all(b"\r\nPOST /shop/dev HTTP/1.1\r\n")
            await wait_until(lambda: http.listener.places.count == 2)
            assert 200 == parse(await http.exchange(GET + b"Connection: close\r\n\r\n")).status
            await wait_until(lambda: not http.connections.child_tasks)

            await first.send_all(GET[3:] + b"Connection: close\r\n\r\n")
            assert 200 == parse(await read_all(first)).status


POST = b"POST /shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"


async def test_H03_bodies_that_are_waited_for_are_bounded_and_the_first_gives_way_after_a_second(
    socket_clock: MockClock,
) -> None:
    async with serving(ServerSettings(handshakes=1)) as http:
        async with await http.connect() as first:
            await first.send_all(POST + b"{")
            await wait_until(lambda: http.connections.child_tasks)
            # A request that has come as a whole needs no slot.
            assert 200 == (await http.ask("/shop/dev")).status
            assert 405 == parse(await http.exchange(POST + b"{}")).status
            began = trio.current_time()
            async with await http.connect() as second:
                await second.send_all(POST + b"{")
                with trio.fail_after(5):
                    assert b"" == (await read_all(first)).replace(b"<reset>", b"")
                assert 0.7 < trio.current_time() - began
                await second.send_all(b"}")
                assert 405 == parse(await read_all(second)).status


async def test_H03_a_body_that_trickles_gives_way_too(socket_clock: MockClock) -> None:
    async with serving(ServerSettings(handshakes=1)) as http:
        async with await http.connect() as first, await http.connect() as second, trio.open_nursery() as nursery:
            await first.send_all(POST.replace(b": 2", b": 60000"))
            await wait_until(lambda: http.connections.child_tasks)

            @nursery.start_soon
            async def trickle() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    while True:
                        await first.send_all(b"x")
                        await trio.sleep(0.05)

            await second.send_all(POST + b"{")
            await trio.sleep(0.1)
            await second.send_all(b"}")
            with trio.fail_after(5):
                assert 405 == parse(await read_all(second)).status
            nursery.cancel_scope.cancel()


async def test_H03_a_body_on_a_kept_connection_takes_a_slot_from_when_it_begins(socket_clock: MockClock) -> None:
    async with serving(ServerSettings(handshakes=1)) as http:
        async with await http.connect() as kept, await http.connect() as other:
            await kept.send_all(GET + b"\r\n")
            assert (await kept.receive_some()).startswith(b"HTTP/1.1 200")
            await kept.send_all(POST)
            await wait_until(lambda: not http.listener.places.has_slot())
            began = trio.current_time()
            await other.send_all(POST + b"{")
            with trio.fail_after(5):
                assert b"" == (await read_all(kept)).replace(b"<reset>", b"")
            assert 0.7 < trio.current_time() - began


async def connect_from(http: Serving, host: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", http.port, local_address=host)


async def test_H03_nobody_is_refused_for_silent_connections_and_the_oldest_of_them_gives_way(
    socket_clock: MockClock,
) -> None:
    async with serving(ServerSettings(connections=2)) as http:
        async with await connect_from(http, "127.0.0.2") as first, await connect_from(http, "127.0.0.3") as second:
            await wait_until(lambda: http.listener.places.count == 2)
            began = trio.current_time()
            assert 200 == (await http.ask("/health")).status
            assert trio.current_time() - began < 0.5
            assert 200 == (await http.ask("/shop/dev")).status
            assert 0.7 < trio.current_time() - began < 3
            with trio.fail_after(5):
                assert b"" == (await read_all(first)).replace(b"<reset>", b"")
            # Who has said something is heard, however long it took.
            await second.send_all(GET + b"Connection: close\r\n\r\n")
            assert 200 == parse(await read_all(second)).status


async def test_W15_peers_that_break_off_harm_nobody() -> None:
    async with serving() as http:
        for data in (b"", b"GET", GET + b"\r\n"):
            with socket.socket() as client:
                client.connect(("127.0.0.1", http.port))
                client.sendall(data)
                # Closing with a linger of zero seconds resets the connection.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        assert 200 == (await http.ask("/shop/dev")).status


async def test_an_error_in_one_connection_ends_that_one_alone() -> None:
    settings = ServerSettings(bind=("127.0.0.1:0",))
    listener = Listener(settings)
    (url,) = await listener.bind()

    async def fail(accepted: object) -> NoReturn:
        raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, nursery, fail, fail)
        for _ in range(2):
            async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
                await stream.send_all(GET + b"\r\n")
                assert (await read_all(stream)).replace(b"<reset>", b"") == b""
        nursery.cancel_scope.cancel()


# Addresses.


async def test_an_address_in_use_says_so_and_binds_nothing() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(StartError, match=f"can't listen on {address}: address already in use"):
            await Listener(ServerSettings(bind=("127.0.0.1:0", address))).bind()


async def test_a_unix_socket_is_served_to_owner_and_group_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    settings = ServerSettings(bind=(f"unix:{path}",))
    # One that nobody listens on any more is in the way.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    listener = Listener(settings)
    bridge = Bridge(
        create_app(
            standard_routes(FakeReader(), Metrics()), Metrics(), lambda: settings.body_bytes, timestamp, open_gate()
        ),
        settings,
    )

    assert [f"unix:{path}"] == await listener.bind()
    assert 0o660 == path.stat().st_mode & 0o777
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, nursery, nobody, bridge.serve)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(GET + b"Connection: close\r\n\r\n")
            assert 200 == parse(await read_all(stream)).status
        with pytest.raises(StartError, match="in use"):
            await Listener(settings).bind()
        listener.stop_accepting()
    assert not path.exists()


async def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")

    with pytest.raises(StartError, match="isn't a socket"):
        await Listener(ServerSettings(bind=(f"unix:{path}",))).bind()
    assert "precious" == path.read_text()


def test_hypercorn_is_the_one_the_bridge_was_written_for() -> None:
    assert importlib.metadata.version("hypercorn").startswith("0.18.")
    assert ["app", "config", "context", "state", "stream"] == list(inspect.signature(TCPServer).parameters)


async def test_H03_R15_who_is_full_can_still_say_so() -> None:
    async with serving(ServerSettings(connections=1)) as http:
        async with await http.connect() as busy:
            await busy.send_all(GET + b"\r\n")
            assert (await busy.receive_some()).startswith(b"HTTP/1.1 200")
            health = await http.ask("/health")
            other = await http.ask("/shop/dev")

    assert (200, 503) == (health.status, other.status)
    assert "1" == other.headers["retry-after"]


async def test_H03_who_asks_how_it_goes_stays_no_longer_and_becomes_no_websocket() -> None:
    head = b"GET /ws/shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(ServerSettings(connections=1)) as http:
        async with await http.connect() as busy:
            await busy.send_all(GET + b"\r\n")
            assert (await busy.receive_some()).startswith(b"HTTP/1.1 200")
            upgraded = await http.exchange(health + head)
            stayed = await http.exchange(health)

    assert [b"HTTP/1.1 200", b"HTTP/1.1 503"] == [b"HTTP/1.1" + each[:4] for each in upgraded.split(b"HTTP/1.1")[1:]]
    assert [] == http.websockets
    assert stayed.startswith(b"HTTP/1.1 200")


async def test_H03_the_spare_is_bounded_too_and_whoever_comes_then_waits(
    socket_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vortexd.net.places._SPARE", 1)
    async with serving(ServerSettings(connections=1)) as http:
        async with await connect_from(http, "127.0.0.2") as first, await connect_from(http, "127.0.0.3") as second:
            for stream in (first, second):
                await stream.send_all(b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
            await wait_until(lambda: http.listener.places.count == 2)
            began = trio.current_time()
            assert 200 == (await http.ask("/health")).status
            assert 0.7 < trio.current_time() - began < 3
        assert http.listener.places.count <= 2


async def test_H03_where_one_more_comes_one_gives_way_and_no_other(
    socket_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vortexd.net.places._SPARE", 1)
    async with serving(ServerSettings(connections=3)) as http, contextlib.AsyncExitStack() as silent:
        for number in range(4):
            await silent.enter_async_context(await connect_from(http, f"127.0.0.{number + 2}"))
        await wait_until(lambda: http.listener.places.count == 4)
        await trio.sleep(1.1)
        assert 4 == http.listener.places.count
        await silent.enter_async_context(await connect_from(http, "127.0.0.9"))
        await wait_until(lambda: "127.0.0.9" in http.listener.places.by_address)
        await trio.sleep(0.1)

        assert 4 == http.listener.places.count
        assert {"127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.9"} == set(http.listener.places.by_address)


async def test_H03_an_address_with_more_than_its_share_gives_way_sooner(socket_clock: MockClock) -> None:
    async with serving(ServerSettings(connections=2)) as http:
        async with await connect_from(http, "127.0.0.2") as first, await connect_from(http, "127.0.0.2"):
            await wait_until(lambda: http.listener.places.count == 2)
            began = trio.current_time()
            assert 200 == (await http.ask("/shop/dev")).status
            assert trio.current_time() - began < 0.7
            assert b"" == (await read_all(first)).replace(b"<reset>", b"")


async def test_H03_an_idle_connection_gives_its_place_to_who_comes_a_second_later(socket_clock: MockClock) -> None:
    async with serving(ServerSettings(connections=1)) as http:
        async with await http.connect() as idle:
            await idle.send_all(GET + b"\r\n")
            assert (await idle.receive_some()).startswith(b"HTTP/1.1 200")
            assert 503 == (await http.ask("/shop/dev")).status
            await trio.sleep(1)
            assert 200 == (await http.ask("/shop/dev")).status
            assert b"" == (await read_all(idle)).replace(b"<reset>", b"")


async def test_H03_who_was_refused_holds_no_place_up(socket_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused peers that don't read, and don't close, make room for those who ask how the daemon does."""
    monkeypatch.setattr("vortexd.net.places._SPARE", 4)
    async with serving(ServerSettings(connections=1)) as http:
        async with await http.connect() as busy, contextlib.AsyncExitStack() as refused:
            await busy.send_all(GET + b"\r\n")
            assert (await busy.receive_some()).startswith(b"HTTP/1.1 200")
            for _ in range(40):
                stream = await refused.enter_async_context(await http.connect())
                await stream.send_all(GET + b"\r\n")
            began = trio.current_time()
            assert 200 == (await http.ask("/health")).status
            assert trio.current_time() - began < 0.9
            assert http.listener.places.count <= 5


async def test_R12_who_was_accepted_before_a_stop_may_still_say_what_it_wants_for_a_second(
    socket_clock: MockClock,
) -> None:
    async with serving() as http:
        async with await http.connect() as quick, await http.connect() as silent, await http.connect() as half:
            await half.send_all(b"GET /")
            await wait_until(lambda: http.listener.places.count == 3)
            http.listener.stop_accepting()
            await trio.testing.wait_all_tasks_blocked()
            await quick.send_all(GET + b"Connection: close\r\n\r\n")
            assert 200 == parse(await read_all(quick)).status
            with trio.fail_after(3):
                assert b"" == await read_all(silent)
                assert 408 == parse(await read_all(half)).status
                await http.listener.wait_settled()


async def test_who_waits_when_everything_is_cancelled_is_let_go() -> None:
    async with serving() as http:
        silent = await http.connect()
        await wait_until(lambda: http.listener.places.count == 1)
    with trio.fail_after(3):
        assert b"" == (await read_all(silent)).replace(b"<reset>", b"")
    assert (0, {}) == (http.listener.places.count, http.listener.places.by_address)
    await silent.aclose()


async def test_a_peer_that_comes_when_nobody_is_served_any_more_is_let_go() -> None:
    listener = Listener(ServerSettings(bind=("127.0.0.1:0",)))
    (url,) = await listener.bind()

    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as ended:
            outer.start_soon(listener.serve, ended, nobody, nobody)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(GET + b"\r\n")
            with trio.fail_after(5):
                assert b"" == (await read_all(stream)).replace(b"<reset>", b"")
        assert 0 == listener.places.count
        outer.cancel_scope.cancel()


async def test_a_crowd_is_accepted_at_once_and_all_are_answered() -> None:
    async with serving() as http:
        clients = []
        for _ in range(300):
            client = socket.socket()
            client.connect(("127.0.0.1", http.port))
            clients.append(client)
        await wait_until(lambda: http.listener.places.count == 300)
        assert not http.connections.child_tasks
        for client in clients:
            client.sendall(GET + b"Connection: close\r\n\r\n")
        for client in clients:
            assert b"HTTP/1.1 200" in await trio.to_thread.run_sync(client.recv, 65_536)
            client.close()
        await wait_until(lambda: not http.listener.places.count)


async def test_other_limits_are_for_connections_to_come() -> None:
    async with serving() as http:
        async with await http.connect() as first:
            await first.send_all(GET + b"\r\n")
            assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
            for settings, status in (
                (ServerSettings(connections=1), 503),
                (ServerSettings(connections_per_address=1), 429),
                (ServerSettings(), 200),
            ):
                http.listener.replace(settings)
                http.bridge.replace(settings)
                assert status == parse(await http.exchange(GET + b"Connection: close\r\n\r\n")).status
            http.listener.replace(ServerSettings(head_bytes=10))
            assert 431 == parse(await http.exchange(GET)).status
            await first.send_all(GET + b"Connection: close\r\n\r\n")
            assert b"HTTP/1.1 200" in await read_all(first)


async def test_another_time_for_idle_connections_is_for_those_to_come(socket_clock: MockClock) -> None:
    async with serving() as http:
        http.bridge.replace(ServerSettings(keep_alive_timeout=0.05))

        assert (await http.exchange(GET + b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_R12_who_was_accepted_when_the_drain_begins_is_answered() -> None:
    async with serving() as http:
        await http.bridge.drain()
        for _ in range(20):
            assert 200 == parse(await http.exchange(GET + b"\r\n")).status


async def test_who_goes_while_idle_is_let_go_at_once() -> None:
    async with serving() as http:
        async with await http.connect() as stream:
            await stream.send_all(GET + b"\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await wait_until(lambda: not http.connections.child_tasks)


async def test_nobody_is_accepted_before_it_is_time_and_a_stop_ends_the_wait(socket_clock: MockClock) -> None:
    listener = Listener(ServerSettings(bind=("127.0.0.1:0",)))
    is_time = trio.Event()
    accepted: list[Accepted] = []

    async def take(connection: Accepted) -> None:
        accepted.append(connection)

    (url,) = await listener.bind()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, nursery, nobody, take, is_time.wait)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(GET + b"\r\n")
            await wait_all_tasks_blocked()
            assert [] == accepted
            is_time.set()
            await wait_until(lambda: accepted)
        listener.stop_accepting()

    stopped = Listener(ServerSettings(bind=("127.0.0.1:0",)))
    await stopped.bind()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stopped.serve, nursery, nobody, nobody, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        stopped.stop_accepting()


async def test_while_the_system_watches_no_more_sockets_connections_are_closed_and_counted_out() -> None:
    async with serving() as http:
        arrivals: Any = http.listener._arrivals
        epoll = arrivals._epoll
        arrivals._epoll = refusing = Refusing(epoll)
        with capture_logs() as logs:
            for _ in range(2):
                async with await http.connect() as stream:
                    assert b"" == (await read_all(stream)).replace(b"<reset>", b"")
        assert 0 == http.listener.places.count
        assert 2 <= refusing.count
        # It is logged once, until a connection is accepted again.
        assert [("connections not accepted", "no space")] == [(each["event"], each["reason"]) for each in logs]
        arrivals._epoll = epoll
        assert 200 == (await http.ask("/shop/dev")).status


class Refusing:
    """An epoll that refuses to watch another socket."""

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll
        self.count = 0

    def register(self, *_: int) -> None:
        self.count += 1
        raise OSError(errno.ENOSPC, "no space")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)
