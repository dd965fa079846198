"""Bare WebSocket clients, against a server that answers as the test says."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vortexd.ctl import load
from vortexd.ctl.floor import ANSWER
from vortexd.ctl.load import Clients

PING, PONG = b"\x89\x00", b"\x8a\x80\0\0\0\0"
# Long enough for bytes that the kernel has already, and short enough for a wait that must fail.
SHORT = 0.02


class Peer:
    """A server that answers so many handshakes with given bytes, and then sends what the test tells it to send."""

    def __init__(self, count: int, answer: bytes = ANSWER) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.clients: list[socket.socket] = []
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._accept, args=(count,))
        self._thread.start()

    def _accept(self, count: int) -> None:
        for _ in range(count):
            client, _ = self._listening.accept()
            client.settimeout(10)
            self.clients.append(client)
            self.requests.append(client.recv(4_096))
            client.sendall(self._answer)

    def close(self) -> None:
        self._thread.join()
        for each in (*self.clients, self._listening):
            each.close()


@contextmanager
def connected(count: int, **options: str) -> Iterator[tuple[Clients, Peer]]:
    peer = Peer(count)
    clients = Clients("127.0.0.1", peer.port, **options)
    try:
        clients.connect(count, lambda number: f"/ws/app/{number}")
        yield clients, peer
    finally:
        clients.close()
        peer.close()


# Connecting.


def test_each_client_sends_a_handshake_for_its_own_path() -> None:
    with connected(3) as (clients, peer):
        assert 3 == len(clients)
        heads = [request.decode().split("\r\n") for request in peer.requests]

    assert [f"GET /ws/app/{number} HTTP/1.1" for number in range(3)] == [head[0] for head in heads]
    assert {"Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"} <= set(
        heads[0]
    )
    assert ["", ""] == heads[0][-2:]
    assert "Authorization" not in "".join(heads[0])


def test_a_token_is_in_every_handshake() -> None:
    with connected(2, token="vt_secret") as (_, peer):
        assert all(b"\r\nAuthorization: Bearer vt_secret\r\n\r\n" in each for each in peer.requests)


@pytest.mark.parametrize(("count", "progress"), [(1, [1]), (2, [2]), (3, [2, 3]), (4, [2, 4]), (5, [2, 4, 5])])
def test_clients_connect_in_batches(count: int, progress: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_BATCH", 2)
    peer, told = Peer(count), list[int]()
    clients = Clients("127.0.0.1", peer.port)
    took = clients.connect(count, str, progress=told.append)
    clients.close()
    peer.close()

    assert progress == told
    assert 0 < took < 60


def test_clients_that_connect_later_are_added() -> None:
    peer, told = Peer(3), list[int]()
    clients = Clients("127.0.0.1", peer.port)
    clients.connect(1, str)
    clients.connect(2, str, progress=told.append)
    clients.close()
    peer.close()

    assert [3] == told


def test_a_client_without_a_first_message_is_an_error() -> None:
    peer = Peer(2, b"")
    clients = Clients("127.0.0.1", peer.port)
    with pytest.raises(TimeoutError, match=rf"^2 clients were not reached within {SHORT} s$"):
        clients.connect(2, str, SHORT)
    clients.close()
    peer.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n",
            "refused a connection: 503 Service Unavailable",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "closed a connection"),
        (b"220 mail.example\r\n", "closed a connection"),
        (b"", "closed a connection"),
    ],
)
def test_a_server_that_closes_is_an_error_with_the_status_of_a_refusal(answer: bytes, text: str) -> None:
    peer = Peer(1, answer)
    clients = Clients("127.0.0.1", peer.port)

    def end() -> None:
        peer._thread.join()
        peer.clients[0].shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(ConnectionError, match=f"^the server {text}$"):
        clients.connect(1, str)
    thread.join()
    clients.close()
    peer.close()


def test_a_client_that_can_not_connect_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        Clients("127.0.0.1", port).connect(1, str)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_each_address_of_loopback_has_a_bounded_number_of_clients(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_PER_ADDRESS", 2)
    peer = Peer(5)
    clients = Clients(host, peer.port)
    clients.connect(5, str)
    sources = [each.getpeername()[0] for each in peer.clients]
    clients.close()
    peer.close()

    assert ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3"] == sources


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("127.255.0.1", ("127.0.0.1", 0)),
        ("192.0.2.1", None),
        ("config.example", None),
        ("::1", None),
    ],
)
def test_only_clients_of_a_loopback_address_choose_their_own(
    host: str, source: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def refuse(*arguments: object) -> socket.socket:
        asked.append(arguments)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(ConnectionRefusedError):
        Clients(host, 8888).connect(1, str, 7.0)
    assert [((host, 8888), 7.0, source)] == asked


# Waiting.


def test_clients_that_were_not_reached_are_counted() -> None:
    with connected(3) as (clients, peer):
        for each in peer.clients[:2]:
            each.sendall(b'{"timestamp":"2030-01-01T00:00:00.000Z","x":"change-1')
        reached = clients.reach(b"change-1", SHORT)

    assert (2, 1) == (len(reached.times), reached.missing)


def test_a_wait_returns_when_each_client_was_reached() -> None:
    with connected(2) as (clients, peer):
        began = time.monotonic()
        for each in peer.clients:
            each.sendall(b"change-1")
        times = clients.wait(b"change-1", 60)
        ended = time.monotonic()

    assert 2 == len(times)
    assert [began, *times, ended] == sorted([began, *times, ended])


def test_a_wait_for_a_client_that_is_not_reached_is_an_error() -> None:
    with (
        connected(2) as (clients, peer),
        pytest.raises(TimeoutError, match=rf"^1 clients were not reached within {SHORT} s$"),
    ):
        peer.clients[0].sendall(b"change-1")
        clients.wait(b"change-1", SHORT)


def test_a_message_may_arrive_in_parts() -> None:
    with connected(1) as (clients, peer):
        peer.clients[0].sendall(b"chan")
        assert 1 == clients.reach(b"change-1", SHORT).missing
        peer.clients[0].sendall(b"ge-1")
        assert 0 == clients.reach(b"change-1", 60).missing


def test_a_message_reaches_a_client_only_once() -> None:
    with connected(1) as (clients, peer):
        peer.clients[0].sendall(b"change-1")
        assert 0 == clients.reach(b"change-1", 60).missing
        assert 1 == clients.reach(b"change-1", SHORT).missing


@pytest.mark.parametrize(("kept", "missing"), [(8, 0), (7, 1)])
def test_a_client_keeps_a_bounded_number_of_bytes(kept: int, missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(1) as (clients, peer):
        monkeypatch.setattr(load, "_KEPT_BYTES", kept)
        peer.clients[0].sendall(b"before" + b"change-1")
        assert missing == clients.reach(b"change-1", SHORT).missing


def test_no_client_is_waited_for_without_time() -> None:
    with connected(1) as (clients, peer):
        peer.clients[0].sendall(b"change-1")
        assert ((), 1) == ((reached := clients.reach(b"change-1", 0)).times, reached.missing)


def test_only_the_given_clients_are_waited_for() -> None:
    with connected(2) as (clients, peer):
        for each in reversed(peer.clients):
            each.sendall(b"change-1")
        # The other client's message arrives first, and doesn't count.
        port = peer.clients[0].getpeername()[1]
        waiting = {each for each in clients._clients if each.socket.getsockname()[1] == port}
        reached = clients.reach(b"change-1", 60, waiting)

    assert (1, 0) == (len(reached.times), reached.missing)


def test_a_server_that_closes_later_is_an_error_with_its_status() -> None:
    with connected(3) as (clients, peer):
        peer.clients[0].sendall(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
        peer.clients[0].shutdown(socket.SHUT_WR)

        with pytest.raises(ConnectionError, match="refused a connection: 401"):
            clients.reach(b"never", 5)


# Sending, and idle clients.


@pytest.mark.parametrize("act", [lambda clients: clients.idle(SHORT), lambda clients: clients.reach(b"never", SHORT)])
def test_heartbeats_are_answered(act: Callable[[Clients], object]) -> None:
    with connected(2) as (clients, peer):
        peer.clients[0].sendall(b"change-1" + PING)
        peer.clients[1].sendall(PING + b"change-1")
        act(clients)

        assert PONG == peer.clients[0].recv(100)
        peer.clients[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.clients[1].recv(100)


def test_each_client_sends_a_masked_frame() -> None:
    text = '{"type":"resync"}'
    with connected(2) as (clients, peer):
        clients.send(text)
        frames = [each.recv(100) for each in peer.clients]

    assert [b"\x81" + bytes([0x80 + len(text), 0, 0, 0, 0]) + text.encode()] * 2 == frames


def test_a_readiness_without_data_is_ignored() -> None:
    with connected(1) as (clients, _):
        [client] = clients._clients
        assert clients._receive(client) is False


def test_closed_clients_are_forgotten_and_others_may_connect() -> None:
    peer = Peer(2)
    clients = Clients("127.0.0.1", peer.port)
    clients.connect(1, str)
    clients.close()
    assert 0 == len(clients)
    assert b"" == peer.clients[0].recv(100)

    clients.connect(1, str)
    assert 1 == len(clients)
    clients.close()
    peer.close()
