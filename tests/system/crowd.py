"""Crowds of peers that use a server's resources before they send a whole request, and probes that check whether the server still answers.

Each crowd and each probe runs in its own thread, so that a test or a benchmark can observe the server at the same time.
"""

import contextlib
import itertools
import selectors
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Self

REQUEST = (
    b"GET /ws/billing/prod HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_POST = b"POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
_IDLE = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
# For each kind of peer: its first bytes, and the bytes that it sends once a second afterwards.
_PROXY = b"PROXY TCP4 203.0.113.7 127.0.0.1 4321 80\r\n"
KINDS = {
    "silent": (b"", b""),
    "trickle": (b"G", b"x"),
    "body": (_POST, b""),
    "body-trickle": (_POST + b"x", b"x"),
    "proxy": (b"PROXY TCP4 203.0", b"."),
    "behind-proxy": (_PROXY + b"GET ", b"x"),
    "idle": (_IDLE, b""),
    "tls": (b"\x16\x03\x01", b""),
    "hello": (b"", b""),
}


def client_hello() -> bytes:
    """Return the first message of a TLS client."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _addresses(count: int) -> list[str]:
    return [f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}" for number in range(count)]


class Crowd:
    """Connections that keep the server waiting. They are opened as fast as possible, and reopened when the server closes them.

    Args:
        kind: One of `KINDS`.
        addresses: The number of source addresses in 127.0.0.0/8.
    """

    def __init__(self, port: int, count: int, kind: str = "silent", addresses: int = 1) -> None:
        self._port, self._count = port, count
        self._first, self._then = KINDS[kind]
        if kind == "hello":
            self._first = client_hello()
        self._sources = itertools.cycle(_addresses(addresses))
        self._selector = selectors.DefaultSelector()
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.closed = 0
        self.statuses: list[bytes] = []

    def _connect(self) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.bind((next(self._sources), 0))
        made.connect_ex(("127.0.0.1", self._port))
        self._selector.register(made, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._first else 0))

    def _run(self) -> None:
        due = time.monotonic() + 1
        for number in range(self._count):
            self._connect()
            if number % 50 == 49:
                self._turn(0)
        while not self.over.is_set():
            self._turn(0.05)
            if time.monotonic() >= due:
                due += 1
                for key in list(self._selector.get_map().values()) if self._then else []:
                    if key.events == selectors.EVENT_READ:
                        self._say(key.fileobj, self._then)  # type: ignore[arg-type]  # sockets are all there are

    def _turn(self, timeout: float) -> None:
        for key, events in self._selector.select(timeout):
            each = key.fileobj
            assert isinstance(each, socket.socket)
            if events & selectors.EVENT_WRITE:
                self._selector.modify(each, selectors.EVENT_READ)
                self._say(each, self._first)
            if events & selectors.EVENT_READ:
                try:
                    data = each.recv(65_536)
                except OSError:
                    data = b""
                self.statuses += [data[9:12]] if data.startswith(b"HTTP/1.1") else []
                if not data:
                    self.closed += 1
                    self._selector.unregister(each)
                    each.close()
                    if not self.over.is_set():
                        self._connect()

    def _say(self, each: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):
            each.send(data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join(30)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


class Probe:
    """Requests /health again and again, each time on a new connection.

    Attributes:
        times: The seconds of the requests that were answered with 200.
        failures: The outcomes of the other requests.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext | None = None, before: bytes = b"", interval: float = 0.05
    ) -> None:
        self._port, self.context, self._before, self._interval = port, context, before, interval
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times: list[float] = []
        self.failures: list[str] = []

    def _run(self) -> None:
        while not self.over.wait(self._interval):
            began = time.monotonic()
            try:
                answer = self._ask()
            except OSError as error:
                self.failures.append(repr(error))
                continue
            if answer.startswith(b"HTTP/1.1 200"):
                self.times.append(time.monotonic() - began)
            else:
                self.failures.append(repr(answer[:60]))

    def _ask(self) -> bytes:
        plain = socket.create_connection(("127.0.0.1", self._port), 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.ExitStack() as stack:
            stack.enter_context(plain)
            plain.sendall(self._before)
            if self.context:
                plain = stack.enter_context(self.context.wrap_socket(plain, server_hostname="localhost"))
            plain.sendall(HEALTH)
            answer = b""
            while data := plain.recv(65_536):
                answer += data
            return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join(30)


class Storm:
    """WebSocket handshakes of honest clients, all at once.

    Attributes:
        opened: The number of clients that have their first message.
        refused: The outcomes of the others.
        seconds: The time until the last client had its first message.
    """

    def __init__(self, port: int, count: int, context: ssl.SSLContext | None = None, timeout: float = 60) -> None:
        self.opened = 0
        self.refused: list[bytes] = []
        self.seconds = 0.0
        self._port, self._count, self.context, self._timeout = port, count, context, timeout
        self._selector = selectors.DefaultSelector()
        # Each with the bytes that it has received; None before it has sent its request.
        self._waiting: dict[socket.socket, bytes | None] = {}
        self._sockets: list[socket.socket] = []

    def run(self) -> None:
        """Connect all of them, and wait until each has its first message."""
        began = time.monotonic()
        for number in range(self._count):
            made = socket.socket()
            made.setblocking(False)
            made.bind((f"127.0.0.{1 + number // 20_000}", 0))
            made.connect_ex(("127.0.0.1", self._port))
            self._selector.register(made, selectors.EVENT_WRITE)
            self._waiting[made] = None
        while self._waiting and time.monotonic() - began < self._timeout:
            for key, _ in self._selector.select(1):
                assert isinstance(key.fileobj, socket.socket)
                self._turn(key.fileobj)
        self.seconds = time.monotonic() - began

    def _turn(self, each: socket.socket) -> None:
        heard = self._waiting[each]
        if heard is None and self.context and not isinstance(each, ssl.SSLSocket):
            del self._waiting[each]
            self._selector.unregister(each)
            each = self.context.wrap_socket(each, server_hostname="localhost", do_handshake_on_connect=False)
            self._waiting[each] = None
            self._selector.register(each, selectors.EVENT_READ)
        try:
            if heard is None:
                if isinstance(each, ssl.SSLSocket):
                    each.do_handshake()
                each.send(REQUEST)
                self._selector.modify(each, selectors.EVENT_READ)
                self._waiting[each] = b""
                return
            data = each.recv(65_536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except OSError as error:
            data, heard = b"", repr(error).encode()
        heard = (heard or b"") + data
        self._waiting[each] = heard
        if data and b'"type":"' not in heard:
            return
        if data:
            self.opened += 1
        else:
            self.refused.append(heard)
        self._selector.unregister(each)
        del self._waiting[each]
        self._sockets.append(each)

    def close(self) -> None:
        """Close all of them."""
        for each in (*self._sockets, *self._waiting):
            each.close()
        self._selector.close()
